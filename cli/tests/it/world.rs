//! `gve synth world` and `gve synth uvrb-mini` as a user meets them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use gve_test_support::files::{files, lines, text};
use gve_test_support::program::{assert_status, stderr, stdout};

use crate::program::gve;

/// Starts a command, interrupts it when there is something in `folder`, and waits for its end.
#[cfg(unix)]
fn interrupted(mut command: Command, folder: &Path) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be interrupted");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    child.wait_with_output().unwrap()
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on() {
    let parent = tempfile::tempdir().unwrap();
    let synth = |arguments: &[&str], out: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gve"));
        command.arg("synth").args(arguments).args(["--seed", "5", "--quiet", "--out"]).arg(out);
        command
    };
    let told = "stopped before the end; finished files are kept, and the same command goes on from there";
    let [world, mini] = ["world", "mini"].map(|name| parent.path().join(name));

    let arguments = ["world", "--pictures", "400"];
    let stopped = interrupted(synth(&arguments, &world), &world.join("images"));
    assert_status(&stopped, 2);
    assert!(stderr(&stopped).contains(told), "{}", stderr(&stopped));
    let kept = files(&world.join("images"));
    assert!(!kept.is_empty() && !world.join("pairs_t2i.jsonl").exists());
    assert_status(&synth(&arguments, &world).output().unwrap(), 0);
    let all = files(&world.join("images"));
    assert!(kept.len() < all.len() && kept.iter().all(|file| all.contains(file)));
    assert!(world.join("pairs_t2i.jsonl").exists());

    let stopped = interrupted(synth(&["uvrb-mini", "--videos", "60"], &mini), &mini.join("MSRVTT/videos"));
    assert_status(&stopped, 2);
    assert!(stderr(&stopped).contains(told), "{}", stderr(&stopped));
}

/// What a model learns where things are from: captions that differ in nothing but the place of the one thing
/// they name.
#[test]
fn pictures_of_lone_things_have_near_misses_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let made = gve(&[
        "synth",
        "world",
        "--seed",
        "3",
        "--pictures",
        "60",
        "--things",
        "1",
        "--quiet",
        "--out",
        text(folder.path()),
    ]);
    assert_status(&made, 0);
    assert!(stdout(&made).contains(" 0 videos"), "{}", stdout(&made));
    let mut places = std::collections::HashMap::<_, std::collections::HashSet<String>>::new();
    for pair in lines(&folder.path().join("pairs_t2i.jsonl")) {
        let caption = pair["query"]["content"][0]["text"].as_str().unwrap().to_owned();
        let place = [" is at the ", " is in the ", " are at the ", " are in the "]
            .iter()
            .find_map(|stands| caption.split_once(stands));
        if let Some((thing, place)) = place {
            places.entry((pair["group"].to_string(), thing.to_owned())).or_default().insert(place.to_owned());
        }
        let relations = [" left of ", " right of ", " above ", " below "];
        assert!(!relations.iter().any(|relation| caption.contains(relation)), "{caption}");
    }
    let told = places.values().filter(|places| places.len() >= 2).count();
    assert!(told >= 15, "{told} of 20 families");
}

#[test]
fn a_benchmark_is_the_same_every_time_and_right_answers_are_among_near_misses() {
    let parent = tempfile::tempdir().unwrap();
    let [first, second] = ["a", "b"].map(|name| parent.path().join(name));
    let out = |root: &Path, memory: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gve"));
        command.args(["synth", "uvrb-mini", "--seed", "3", "--videos", "6", "--quiet", "--out"]).arg(root);
        // What new memory holds, with glibc: what is read before it is written must not show.
        command.env("MALLOC_PERTURB_", memory).output().unwrap()
    };
    let made = out(&first, "165");
    assert_status(&made, 0);
    assert_eq!(stdout(&made).lines().count(), 16);
    for line in stdout(&made).lines() {
        let id = line.split_whitespace().next().unwrap();
        let jsonl = |name: &str| lines(&first.join(id).join(format!("jsonl/{name}.jsonl")));
        let (queries, instances, corpus) = (jsonl("queries"), jsonl("instances"), jsonl("corpus"));
        let videos = if matches!(id, "CMRB" | "LoVR-TH") { 18 } else { 6 };
        assert!(!queries.is_empty() && queries.len() == instances.len() && corpus.len() == videos, "{line}");
        assert!(line.contains(&format!("{} queries", queries.len())), "{line}");
        for (query, instance) in queries.iter().zip(&instances) {
            assert_eq!(query["id"], instance["qid"]);
            let has = |list: &str, document: &str| {
                instance[list].as_array().unwrap().iter().any(|listed| listed == document)
            };
            let own = query["id"].as_str().unwrap().replace('q', "v");
            assert!(has("pos", &own), "{id}: {instance}");
            let right = instance["pos"].as_array().unwrap().len();
            assert!(right < videos, "{id}: all is right for {query}");
            if query.get("text").is_some() && query.as_object().unwrap().len() > 2 {
                assert!(corpus.iter().all(|document| has("candidates", document["id"].as_str().unwrap())));
            }
        }
    }
    assert_status(&out(&second, "90"), 0);
    let all = files(&first);
    let there = files(&second);
    let different = all.iter().zip(&there).filter(|(a, b)| a != b).map(|(a, _)| &a.0);
    assert_eq!(different.collect::<Vec<_>>(), [""; 0]);
    assert_eq!(all.len(), there.len());

    let missing = [second.join("MSRVTT/videos/v0001.mp4"), second.join("MS-TI/jsonl/queries.jsonl")];
    missing.iter().for_each(|file| fs::remove_file(file).unwrap());
    assert_status(&out(&second, "165"), 0);
    assert!(all == files(&second), "what is missing is made again");
    let world = gve(&["synth", "world", "--seed", "3", "--videos", "6", "--quiet", "--out", text(&second)]);
    assert_status(&world, 1);
    assert!(stderr(&world).contains("belongs to another run"), "{}", stderr(&world));
    assert!(all == files(&second));
}
