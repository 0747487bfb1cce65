//! Options of `gve search` that make no sense, and pictures of what is found.

use std::fs;

use gve_test_support::files::text;
use gve_test_support::golden::media;
use gve_test_support::program::{assert_status, json_lines, stderr};

use crate::library::Bench;
use crate::program::{command, gve};

#[test]
fn options_that_make_no_sense_are_refused_by_name() {
    let search = ["search", "--library", "nowhere", "a rabbit"];
    let frames = ["frames", "nowhere.mp4"];
    let locate = ["locate", "nowhere.mp4", "nowhere"];
    for (command, options, expected) in [
        (&search[..], "-k -1", "'-1' for '-k <N>': expected a whole number from 1 on"),
        (&search, "-k 0", "'0' for '-k <N>': expected a whole number from 1 on"),
        (
            &search,
            "--reranker nowhere --rerank-top 0",
            "'0' for '--rerank-top <N>': expected a whole number from 1 on",
        ),
        (&search, "--min-confidence -1", "'-1' for '--min-confidence <P>': expected a number from 0 to 1"),
        (&search, "--batch-tokens 0", "'0' for '--batch-tokens <N>': expected a whole number from 1 on"),
        (
            &search,
            "--batch-tokens -512",
            "'-512' for '--batch-tokens <N>': expected a whole number from 1 on",
        ),
        (&search, "--dim -2", "expected a whole number from 1 on"),
        (&search, "--feedback -1", "expected a whole number from 1 on"),
        (&search, "--feedback 2 --feedback-weight -0.5", "--feedback-weight must not be negative, got -0.5"),
        (&search, "--feedback 2 --feedback-weight -.5", "--feedback-weight must not be negative, got -0.5"),
        (&search, "--feedback 2 --feedback-weight -inf", "--feedback-weight must not be negative, got -inf"),
        (&search, "-k -.5", "'-.5' for '-k <N>': expected a whole number from 1 on"),
        (
            &search,
            "-k 18446744073709551616",
            "'18446744073709551616' for '-k <N>': expected a whole number from 1 on that fits 64 bits",
        ),
        (&search, "--min-width -1", "-1 is not in 0..=4294967295"),
        (
            &search,
            "--min-duration nan",
            "'nan' for '--min-duration <S>': expected a number of seconds from 0 on",
        ),
        (
            &search,
            "--max-duration -3",
            "'-3' for '--max-duration <S>': expected a number of seconds from 0 on",
        ),
        (&search, "--tag stars>=nan", "expected a number behind >= or <=, got \"nan\""),
        (&search, "--min-width 200 --max-width 100", "--min-width 200 is beyond --max-width 100: "),
        (&search, "--min-height 2 --max-height 1", "--min-height 2 is beyond --max-height 1: "),
        (&search, "--min-duration 9 --max-duration 8.5", "--min-duration 9 is beyond --max-duration 8.5: "),
        (
            &search,
            "--modified-after 2026-06-02 --modified-before 2026-05-31",
            "--modified-after 2026-06-02 is beyond --modified-before 2026-05-31: ",
        ),
        (
            &search,
            "--captured-after 2026-06-01T12:00:00 --captured-before 2026-05-31",
            "--captured-after 2026-06-01T12:00:00 is beyond --captured-before 2026-05-31: ",
        ),
        (&search, "--tag stars>=5 --tag stars<=3", "--tag stars>= 5 is beyond --tag stars<= 3: "),
        (&frames, "--frames -1", "expected a whole number from 1 on"),
        (&frames, "--fps -1", "--fps must be a positive number, got -1"),
        (&frames, "--start -5", "'-5' for '--start <SECONDS>': expected a number of seconds from 0 on"),
        (&frames, "--end -inf", "'-inf' for '--end <SECONDS>': expected a number of seconds from 0 on"),
        (
            &frames,
            "--fps 2 --min-frames 769",
            "--min-frames 769 is beyond 768, the default of --max-frames: ",
        ),
        (&frames, "--fps 2 --min-frames 9 --max-frames 3", "--min-frames 9 is beyond --max-frames 3: "),
        (&locate, "-k -1", "expected a whole number from 1 on"),
        (&locate, "-k 0", "'0' for '-k <N>': expected a whole number from 1 on"),
    ] {
        let options: Vec<&str> = options.split(' ').collect();
        let refused = gve(&[command, &options[..]].concat());
        assert_status(&refused, 1);
        let said = stderr(&refused);
        assert!(said.contains(expected) && !said.contains("tip:"), "{options:?}: {said}");
    }
    // What leaves something is none of these: it is the library that is missing.
    for options in [
        "-k 1 --min-width 100 --max-width 100 --min-duration 0 --modified-after 2026-05-31 --modified-before 2026-05-31",
        "--tag stars>=3 --tag stars<=3 --tag other<=1",
    ] {
        let options: Vec<&str> = options.split(' ').collect();
        let said = stderr(&gve(&[&search[..], &options[..]].concat()));
        assert!(said.contains("nowhere") && !said.contains("beyond"), "{said}");
    }
}

#[test]
fn most_frames_by_default_bound_the_fewest_alone() {
    for options in [
        &["--min-frames", "768"][..],
        &["--min-frames", "0"],
        &["--min-frames", "1000", "--max-frames", "1000"],
    ] {
        let refused = gve(&[&["frames", "nowhere.mp4", "--fps", "2"], options].concat());
        assert_status(&refused, 1);
        let said = stderr(&refused);
        assert!(said.contains("nowhere.mp4") && !said.contains("beyond"), "{said}");
    }
}

#[test]
fn what_is_said_of_nano_is_not_said_to_who_wants_it_quiet_or_has_a_library_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (library, picture) = (folder.path().join("library"), media("rabbit.png"));
    let run = |arguments: &[&str]| {
        let output = command(arguments).env("XDG_CACHE_HOME", folder.path()).output().unwrap();
        assert_status(&output, 0);
        stderr(&output)
    };
    let index = ["index", text(&picture), "--library", text(&library)];
    let search = ["search", "--library", text(&library), "a red star"];
    assert_eq!(run(&[&index[..], &["--quiet"]].concat()), "");
    for arguments in [&index[..], &search] {
        let said = run(arguments);
        assert!(!said.contains("built-in") && !said.contains("--model"), "{arguments:?}: {said}");
    }
    let chosen = [&search[..], &["--model", "nano"]].concat();
    assert!(run(&chosen).contains("using the built-in model nano"));
    assert_eq!(run(&[&chosen[..], &["--quiet"]].concat()), "");
}

#[test]
fn frames_are_taken_by_the_clock_that_is_asked_for() {
    let clip = media("testsrc.mp4");
    let taken = |more: &[&str]| -> Vec<u64> {
        let always = ["frames", text(&clip), "--start", "0", "--end", "1", "--json"];
        let frames = gve(&[&always[..], more].concat());
        assert_status(&frames, 0);
        json_lines(&frames).iter().map(|frame| frame["index"].as_u64().unwrap()).collect()
    };
    // 30 frames a second: the one of number 30 comes up at the end.
    let by_average_rate = taken(&[]);
    assert_eq!(by_average_rate.last(), Some(&30));
    assert_eq!(taken(&["--clock", "average-rate"]), by_average_rate);
    let by_display = taken(&["--clock", "display"]);
    assert_eq!((by_display.first(), by_display.last()), (Some(&0), Some(&29)));
}

#[test]
fn no_picture_of_another_search_stands_for_a_hit() {
    let bench = Bench::of(&["a.png", "b.png", "c.png"]);
    let (library, found) = (bench.path("library"), bench.path("found"));
    let search = |more: &[&str]| {
        let always =
            ["search", "--library", text(&library), "a rabbit", "--json", "--thumbnails", text(&found)];
        gve(&[&always[..], more].concat())
    };
    let pictures = || {
        let names = fs::read_dir(&found).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_status(&search(&[]), 0);
    let mut expected = vec!["001.jpg", "002.jpg", "003.jpg"];
    assert_eq!(pictures(), expected);
    image::open(found.join("001.jpg")).unwrap();

    // A hit whose file cannot be read has none.
    fs::remove_file(bench.clip("b.png")).unwrap();
    let without = search(&[]);
    assert_status(&without, 2);
    assert!(stderr(&without).contains("there is no picture of it"), "{}", stderr(&without));
    let hits = json_lines(&without);
    let place = hits.iter().position(|hit| hit["path"].as_str().unwrap().ends_with("b.png")).unwrap();
    expected.remove(place);
    assert_eq!(pictures(), expected);

    // Those of ranks that there are no more go; what others put there stays.
    fs::copy(media("tiny.png"), found.join("007.jpg")).unwrap();
    fs::copy(found.join(expected[0]), found.join("8.jpg")).unwrap();
    assert_status(&search(&["--named", "a.png"]), 0);
    assert_eq!(pictures(), ["001.jpg", "007.jpg", "8.jpg"]);
    assert_status(&search(&["--named", "none.png"]), 0);
    assert_eq!(pictures(), ["007.jpg", "8.jpg"]);
    fs::rename(found.join("007.jpg"), found.join("002.jpg")).unwrap();
    let before = fs::read(found.join("002.jpg")).unwrap();
    let refused = search(&[]);
    assert_status(&refused, 1);
    assert!(stderr(&refused).contains("002.jpg is no picture of a search"), "{}", stderr(&refused));
    assert_eq!(fs::read(found.join("002.jpg")).unwrap(), before);
    assert_eq!(pictures(), ["002.jpg", "8.jpg"], "none of another search beside it");
}
