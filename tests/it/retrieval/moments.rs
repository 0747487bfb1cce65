//! Searching a library whose videos have rows for their moments.

use gve::TimeRange;
use gve::media::{MediaKind, Moments};
use gve::retrieval::{Feedback, Library, LibraryManifest, LibraryRow, LibraryWriter, SearchOptions, Unit};

use super::library::{DIM, manifest, row};

/// A row of a video that has `near` of the query, and of an axis of its own the rest.
fn part(path: &str, range: (f64, f64), near: f32, axis: usize) -> LibraryRow {
    let mut embedding = vec![0.0; DIM];
    embedding[0] = near;
    embedding[axis] = (1.0 - near * near).sqrt();
    let mut row = LibraryRow { embedding, ..row(path, 0, 1) };
    row.entry.kind = MediaKind::Video;
    row.entry.time_range = Some(TimeRange::between(range.0, range.1));
    row
}

fn windows() -> LibraryManifest {
    let moments = Some(Moments::Windows { length_seconds: 10.0, overlap_seconds: 0.0 });
    LibraryManifest { moments, ..manifest() }
}

fn library_of(directory: &std::path::Path, rows: &[LibraryRow]) -> Library {
    let mut writer = LibraryWriter::create_or_open(directory, windows()).unwrap();
    writer.append(rows).unwrap();
    writer.finish().unwrap();
    Library::open(directory).unwrap()
}

/// `a` has its best moment in the middle of three, beside a good one; `b` is better as a whole.
fn library(directory: &std::path::Path) -> Library {
    let picture = LibraryRow { embedding: part("", (0.0, 1.0), 0.4, 5).embedding, ..row("c.png", 0, 1) };
    let rows = [
        part("a", (0.0, 40.0), 0.3, 1),
        part("a", (0.0, 10.0), 0.75, 2),
        part("a", (10.0, 20.0), 0.9, 3),
        part("a", (20.0, 30.0), 0.1, 4),
        part("a", (30.0, 40.0), 0.8, 5),
        part("b", (0.0, 20.0), 0.6, 1),
        part("b", (0.0, 10.0), 0.5, 2),
        part("b", (10.0, 20.0), 0.2, 3),
        picture,
    ];
    library_of(directory, &rows)
}

fn found(library: &Library, options: &SearchOptions) -> Vec<(String, f32, Option<(f64, f64)>)> {
    let query = [&[1.0][..], &[0.0; DIM - 1]].concat();
    let hits = library.search_for(ndarray::aview1(&query), options).unwrap();
    let hit = |hit: &gve::retrieval::LibraryHit| {
        (hit.entry.path.display().to_string(), hit.score, hit.time_range.and_then(TimeRange::bounds))
    };
    hits.iter().map(hit).collect()
}

#[test]
fn a_video_is_found_by_its_best_moment_by_every_one_or_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let library = library(directory.path());
    let hit = |path: &str, score, range| (path.to_owned(), score, range);
    let (best, rest) = (hit("a", 0.9, Some((10.0, 20.0))), hit("c.png", 0.4, None));
    let by = |unit, k| found(&library, &SearchOptions::new(k).with_unit(unit));
    assert_eq!(by(Unit::BestMoment, 9), [best.clone(), hit("b", 0.5, Some((0.0, 10.0))), rest.clone()]);
    assert_eq!(by(Unit::BestMoment, 1), [best]);
    // From a hit to its row, and from a file to its rows.
    let query = [&[1.0][..], &[0.0; DIM - 1]].concat();
    let hit_of_a = &library.search(ndarray::aview1(&query), 1).unwrap()[0];
    assert_eq!(library.entries()[hit_of_a.row], hit_of_a.entry);
    let again = library.embedding(hit_of_a.row).unwrap().unwrap();
    assert!((library.search((&again[..]).into(), 1).unwrap()[0].score - 1.0).abs() < 1e-6);
    let of = |path: &str| library.rows_of(path.as_ref()).collect::<Vec<_>>();
    assert!(of("a").len() == 5 && of("a").contains(&hit_of_a.row) && of("none").is_empty());
    let seconds = |path: &str| library.duration_seconds(path.as_ref());
    assert_eq!(
        (seconds("a"), seconds("b"), seconds("c.png"), seconds("none")),
        (Some(40.0), Some(20.0), None, None)
    );
    assert_eq!(
        by(Unit::File, 9),
        [hit("b", 0.6, Some((0.0, 20.0))), rest.clone(), hit("a", 0.3, Some((0.0, 40.0)))]
    );
    // A neighbour that fits nearly as well is in the hit of the best; how many are asked for changes no hit.
    let all = [
        hit("a", 0.9, Some((0.0, 20.0))),
        hit("a", 0.8, Some((30.0, 40.0))),
        hit("b", 0.5, Some((0.0, 10.0))),
        rest,
        hit("b", 0.2, Some((10.0, 20.0))),
        hit("a", 0.1, Some((20.0, 30.0))),
    ];
    for k in [1, 2, 4, 9] {
        assert_eq!(by(Unit::Moment, k), all[..k.min(6)], "{k}");
    }
}

#[test]
fn windows_that_score_alike_are_one_hit() {
    let hits = |rows: &[LibraryRow]| {
        let directory = tempfile::tempdir().unwrap();
        let library = library_of(directory.path(), rows);
        let hits = found(&library, &SearchOptions::new(9).with_unit(Unit::Moment));
        hits.into_iter().map(|(path, _, range)| (path, range.unwrap())).collect::<Vec<_>>()
    };
    let several = [
        part("a", (0.0, 25.0), 0.3, 1),
        part("a", (0.0, 10.0), 0.80, 2),
        part("a", (5.0, 15.0), 0.81, 3),
        part("a", (10.0, 20.0), 0.80, 4),
        part("a", (15.0, 25.0), 0.60, 5),
        // A gap.
        part("b", (0.0, 40.0), 0.3, 1),
        part("b", (0.0, 10.0), 0.79, 2),
        part("b", (11.0, 20.0), 0.78, 3),
    ];
    let expected = [("a", (0.0, 20.0)), ("b", (0.0, 10.0)), ("b", (11.0, 20.0)), ("a", (15.0, 25.0))];
    assert_eq!(hits(&several), expected.map(|(path, range)| (path.to_owned(), range)));
    // In whatever order they were written.
    let mut mixed: Vec<LibraryRow> = several.to_vec();
    mixed.sort_by_key(|row| row.entry.time_range.and_then(TimeRange::bounds).map(|(_, end)| end as u64));
    assert_eq!(hits(&mixed), hits(&several));
    // Where there is nothing else, a little below the best is far below the mean.
    let one =
        [part("a", (0.0, 15.0), 0.8, 1), part("a", (0.0, 10.0), 0.8, 2), part("a", (5.0, 15.0), 0.79, 3)];
    assert_eq!(hits(&one), [("a".to_owned(), (0.0, 15.0))]);
}

/// The best moment moves the query, not the whole that nobody asked for.
#[test]
fn feedback_is_of_what_was_found() {
    let directory = tempfile::tempdir().unwrap();
    let library = library(directory.path());
    let options = SearchOptions::new(1).with_feedback(Some(Feedback::of(1).with_weight(1.0)));
    let [(path, score, _)] = &found(&library, &options)[..] else { panic!() };
    // The query and (0.9, sqrt(0.19)) make (1.9, sqrt(0.19)).
    let length = (1.9_f32 * 1.9 + 0.19).sqrt();
    assert!(path == "a" && (score - (1.9 * 0.9 + 0.19) / length).abs() < 1e-6, "{score}");
}

#[test]
fn a_library_is_cut_in_one_way() {
    let directory = tempfile::tempdir().unwrap();
    drop(library(directory.path()));
    for (other, expected) in [
        (manifest(), "moments"),
        (LibraryManifest { moments: Some(Moments::shots()), ..manifest() }, "moments"),
    ] {
        let refused = LibraryWriter::create_or_open(directory.path(), other).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    let senseless = tempfile::tempdir().unwrap();
    for (length_seconds, overlap_seconds, expected) in
        [(0.0, 0.0, "positive number"), (f64::NAN, 0.0, "positive number"), (10.0, 6.0, "half of 10 s")]
    {
        let moments = Some(Moments::Windows { length_seconds, overlap_seconds });
        let other = LibraryManifest { moments, ..manifest() };
        let refused = LibraryWriter::create_or_open(senseless.path(), other).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}
