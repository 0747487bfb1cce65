//! The procedural world: what it says is so, and it says and shows the same every time.

mod reader;

use std::fs;
use std::path::Path;

#[cfg(feature = "nano")]
use gve::hub::{HubOptions, NANO, resolve};
use gve::pairs::PairIndex;
use gve::synth::SynthError;
use gve::synth::world::{
    ChangeKind, Scene, Style, Video, WorldSettings, describe, describe_change, director, draw, write_world,
};
use gve::video::VideoEncoding;
use gve::{CancelToken, Random};
#[cfg(feature = "nano")]
use gve::{Embedder, Input};
use gve_test_support::files::{files, lines};

fn scenes(count: u64) -> impl Iterator<Item = Scene> {
    (0..count).map(|seed| director::any_scene(&mut Random::new(seed)))
}

#[test]
fn a_reader_who_sees_the_scene_finds_every_caption_true() {
    let mut read = 0;
    for (number, scene) in scenes(400).enumerate() {
        for style in Style::ALL {
            let Some(caption) = describe(&scene, style, &mut Random::new(number as u64)) else { continue };
            assert!(caption.claims.iter().all(|claim| claim.holds(&scene)), "{}: {scene:#?}", caption.text);
            let faults = reader::faults(&scene, style, &caption.text);
            assert!(faults.is_empty(), "{faults:?} in {} {style:?}: {scene:#?}", caption.text);
            read += 1;
        }
    }
    assert!(read > 2500, "{read}");
}

#[test]
fn a_reader_who_sees_all_scenes_finds_the_captions_of_a_long_video_true() {
    let mut read = 0;
    for number in 0..100 {
        let random = &mut Random::new(number);
        let scenes = (0..2 + number % 3).map(|_| director::any_scene(random)).collect();
        let mut video = Video { scenes };
        for style in Style::ALL {
            let Some(caption) = video.describe(style, random) else { continue };
            let faults = reader::faults_of_scenes(&video.scenes, style, &caption.text);
            assert!(caption.holds(&video) && faults.is_empty(), "{faults:?} in {}: {video:#?}", caption.text);
            video.scenes.rotate_left(1);
            let faults = reader::faults_of_scenes(&video.scenes, style, &caption.text);
            // Where a caption names all there is, the scenes cannot be told of in another order.
            let names_all = matches!(style, Style::Summary | Style::Detailed | Style::Keywords);
            assert!(!faults.is_empty() || !names_all, "{}: {video:#?}", caption.text);
            video.scenes.rotate_right(1);
            read += 1;
        }
    }
    assert!(read > 400, "{read}");
}

#[test]
fn a_reader_who_sees_both_scenes_finds_what_is_said_of_their_difference_true() {
    for kind in ChangeKind::ALL {
        let mut read = 0;
        for (number, scene) in scenes(400).enumerate() {
            let random = &mut Random::new(number as u64);
            let Some((change, changed)) = kind.draw(&scene, random) else { continue };
            let told = describe_change(&scene, &change, &changed, random);
            let fault = reader::fault_of_change(&scene, &changed, &told.text);
            assert_eq!(fault, None, "{}: {scene:#?} to {changed:#?}", told.text);
            assert!(told.claims.iter().all(|claim| claim.holds(&changed)), "{}: {changed:#?}", told.text);
            for wrong in [&scene, &changed] {
                let fault = reader::fault_of_change(wrong, wrong, &told.text);
                assert!(fault.is_some(), "nothing has changed: {}", told.text);
            }
            read += 1;
        }
        assert!(read > 40, "{kind:?}: {read}");
    }
}

#[test]
fn the_reader_and_the_claims_notice_what_is_not_so() {
    let (mut told, mut by_reader, mut by_claims) = (0, 0, 0);
    for (number, scene) in scenes(400).enumerate() {
        for (kind, style) in [
            (ChangeKind::Move, "partial_spatial"),
            (ChangeKind::Swap, "partial_spatial"),
            (ChangeKind::Act, "partial_temporal"),
            (ChangeKind::Reorder, "partial_temporal"),
            (ChangeKind::Camera, "partial_camera"),
            (ChangeKind::Replace, "partial_objects"),
            (ChangeKind::Paint, "partial_objects"),
            (ChangeKind::Count, "partial_objects"),
            (ChangeKind::Count, "abstract"),
            (ChangeKind::Ground, "partial_objects"),
        ] {
            let random = &mut Random::new(number as u64);
            let style = Style::ALL.into_iter().find(|s| s.name() == style).unwrap();
            let (Some(caption), Some((_, changed))) =
                (describe(&scene, style, random), kind.draw(&scene, random))
            else {
                continue;
            };
            // Not every caption of places tells of the places that have changed.
            let told_of = match kind {
                ChangeKind::Move => 1,
                ChangeKind::Swap => 2,
                _ => scene.actors.len(),
            };
            if scene.actors.len() != told_of {
                continue;
            }
            told += 1;
            by_reader += usize::from(!reader::faults(&changed, style, &caption.text).is_empty());
            by_claims += usize::from(!caption.claims.iter().all(|claim| claim.holds(&changed)));
        }
    }
    assert!(told > 300, "{told}");
    assert!(by_reader * 100 > told * 95 && by_claims * 100 > told * 95, "{told} {by_reader} {by_claims}");
}

/// What decides which videos are negatives, and which answers of the benchmark are right.
#[test]
fn the_reader_and_the_claims_agree_on_near_misses() {
    let (mut moods, mut lively, mut keywords) = (0, 0, 0);
    for (number, scene) in scenes(400).enumerate() {
        let random = &mut Random::new(number as u64);
        let changed = ChangeKind::ALL.map(|kind| kind.draw(&scene, random).map(|(_, changed)| changed));
        let mut others: Vec<Scene> = changed.into_iter().flatten().collect();
        // With fewer and fewer events.
        let mut calmer = scene.clone();
        while calmer.events.pop().is_some() {
            others.push(calmer.clone());
        }
        for (told, seen) in others.iter().flat_map(|other| [(&scene, other), (other, &scene)]) {
            let caption = describe(told, Style::Abstract, random).unwrap();
            let holds = caption.claims.iter().all(|claim| claim.holds(seen));
            let faults = reader::faults(seen, Style::Abstract, &caption.text);
            assert_eq!(holds, faults.is_empty(), "{faults:?} in {}: {seen:#?}", caption.text);
            moods += 1;
            lively += usize::from(holds && told.events.len() != seen.events.len());

            let caption = describe(told, Style::Keywords, random).unwrap();
            if caption.claims.iter().all(|claim| claim.holds(seen)) {
                let faults = reader::faults(seen, Style::Keywords, &caption.text);
                assert!(faults.is_empty(), "{faults:?} in {}: {seen:#?}", caption.text);
                keywords += 1;
            }
        }
    }
    assert!(moods > 1000 && lively > 20 && keywords > 300, "{moods} {lively} {keywords}");
}

#[test]
fn a_world_is_the_same_every_time_and_goes_on_where_it_stopped() {
    let parent = tempfile::tempdir().unwrap();
    let [first, second] = ["a", "b"].map(|name| parent.path().join(name));
    let settings = WorldSettings::new(5).with_videos(9).with_pictures(6).with_encoding(VideoEncoding::Ffv1);
    let make = |root: &Path| write_world(root, settings.clone(), &CancelToken::new(), &|_| {});
    let summary = make(&first).unwrap();
    assert!(summary.videos >= 9 && summary.captions > 40);
    assert_eq!(
        summary.pairs.keys().map(String::as_str).collect::<Vec<_>>(),
        ["i2v", "t2i", "t2t", "t2v", "ti2v", "tv2v", "v2v"]
    );
    make(&second).unwrap();
    let all = files(&first);
    assert!(all == files(&second));

    // What is missing is made again, what is there is not touched, and what another run left is refused.
    fs::remove_file(second.join(&all.iter().find(|(name, _)| name.ends_with("mkv")).unwrap().0)).unwrap();
    fs::remove_file(second.join("captions.jsonl")).unwrap();
    make(&second).unwrap();
    assert!(all == files(&second));
    let other = write_world(
        &second,
        WorldSettings::new(6).with_videos(9).with_pictures(6).with_encoding(VideoEncoding::Ffv1),
        &CancelToken::new(),
        &|_| {},
    );
    let message = other.unwrap_err().to_string();
    assert!(message.contains("seed: 5 there, 6 here") && !message.contains('\n'), "{message}");
    assert!(all == files(&second));
    for (spoilt, message) in [
        (settings.clone().with_videos(0).with_pictures(0), "videos is 0, expected at least 1"),
        (
            settings.clone().with_videos(usize::MAX),
            "videos is 18446744073709551615, expected at most 10000000",
        ),
        (
            settings.clone().with_pictures(usize::MAX),
            "pictures is 18446744073709551615, expected at most 10000000",
        ),
        (settings.clone().with_things(0), "things is 0, expected 1 to 3"),
        (settings.clone().with_things(4), "things is 4, expected 1 to 3"),
        (
            settings.clone().with_things(1).with_differ(vec![ChangeKind::Camera, ChangeKind::Swap]),
            "things is 1, expected 2 or 3 where families differ in swap or reorder",
        ),
        (settings.clone().with_family(1), "family is 1, expected 2 to 10"),
        (settings.clone().with_family(11), "family is 11, expected 2 to 10"),
    ] {
        let refused = write_world(&parent.path().join("d"), spoilt, &CancelToken::new(), &|_| {});
        assert_eq!(refused.unwrap_err().to_string(), message);
    }
    let cancelled = CancelToken::new();
    cancelled.cancel();
    assert!(matches!(
        write_world(&parent.path().join("c"), settings, &cancelled, &|_| {}),
        Err(SynthError::Cancelled)
    ));

    // The pairs are such as training reads, with all their files.
    let pairs: Vec<_> =
        all.iter().filter(|(name, _)| name.starts_with("pairs_")).map(|(name, _)| first.join(name)).collect();
    let index = PairIndex::open(&pairs, true).unwrap();
    assert_eq!(
        index.tasks().iter().map(|task| task.len()).sum::<usize>(),
        summary.pairs.values().sum::<usize>()
    );
}

#[test]
fn the_videos_of_a_family_differ_in_what_was_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let differ = vec![ChangeKind::Camera, ChangeKind::Reorder];
    let settings = WorldSettings::new(9).with_videos(20).with_family(5).with_differ(differ);
    let made = write_world(root.path(), settings, &CancelToken::new(), &|_| {}).unwrap();
    // Hardly a scene of this world has one video alone.
    let changes = lines(&root.path().join("pairs_ti2v.jsonl"));
    assert!(made.videos >= 20 && changes.len() >= 10, "{made:?}");
    let mut told = [0; 2];
    for change in &changes {
        let text = change["query"]["content"][1]["text"].as_str().unwrap();
        let is = [text.contains("camera") || text.contains("view"), text.contains("first ")];
        assert!(is[0] != is[1], "{text}");
        told[usize::from(is[1])] += 1;
    }
    assert!(told.iter().all(|&count| count > 0), "{told:?}");
    // Captions that fit one of a whole family each are side by side, and none stands alone: it may be true
    // of all of them, and nothing is learned from it of what they differ in.
    let pairs = lines(&root.path().join("pairs_t2v.jsonl"));
    let lengths = || pairs.iter().map(|pair| pair["group"].to_string().len());
    assert_eq!(lengths().max(), Some("\"000000-01234\"".len()));
    assert_eq!(lengths().min(), Some("\"000000-01\"".len()));
    let run = fs::read_to_string(root.path().join("run.json")).unwrap();
    assert!(run.contains("\"differ\"") && run.contains("\"family\": 5"), "{run}");
}

#[test]
fn pictures_are_the_same_every_time() {
    for scene in scenes(5) {
        assert_eq!(draw(&scene, 7), draw(&scene.clone(), 7));
    }
}

/// The built-in model on scenes that no training world holds: it finds which of 24 videos a summary is of.
#[cfg(feature = "nano")]
#[test]
fn nano_finds_what_is_described() {
    let folder = tempfile::tempdir().unwrap();
    let options = HubOptions::default().with_nano_dir(Some(folder.path().to_owned()));
    let model = resolve(NANO, &options, &mut |_| ()).unwrap();
    let embedder = Embedder::load(model.directory).unwrap();
    let scenes: Vec<Scene> = scenes(24).collect();
    let clips = scenes.iter().map(|scene| {
        let frames = (0..8).map(|frame| draw(scene, frame * (scene.frames - 1) / 7)).collect();
        Input::frames(frames, 8.0 / scene.frames as f64 * 8.0)
    });
    let texts = scenes
        .iter()
        .map(|scene| Input::text(describe(scene, Style::Summary, &mut Random::new(1)).unwrap().text));
    let inputs: Vec<Input> = clips.chain(texts).collect();
    let embeddings: Vec<_> = embedder.embed(&inputs).into_iter().map(Result::unwrap).collect();
    let (clips, texts) = embeddings.split_at(24);
    let found = |number: &usize| {
        let cosine = |clip: &gve::Embedding| texts[*number].cosine(clip).unwrap();
        clips.iter().all(|clip| cosine(clip) <= cosine(&clips[*number]))
    };
    let found = (0..24).filter(found).count();
    assert!(found >= 18, "{found} of 24");
}
