//! Files of a library that have lost some of their rows.

use std::fs;

use gve::TimeRange;
use gve::media::MediaKind;
use gve::retrieval::{Library, LibraryWriter};

use super::damage::damage_embedding;
use super::library::{manifest, paths, row, segments};

/// With the others alone it would be there, and nobody would ask for the one that is lost.
#[test]
fn a_file_that_has_lost_a_moment_is_embedded_anew_with_all_of_them() {
    let moment = |path: &str, axis: usize| {
        let mut row = row(path, axis, 1);
        row.entry.time_range = Some(TimeRange::between(axis as f64, axis as f64 + 1.0));
        row
    };
    let rows = [moment("/a.mp4", 0), moment("/a.mp4", 1), moment("/b.mp4", 2), moment("/b.mp4", 3)];
    for is_embedded in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let writer = || LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
        let mut first = writer();
        first.append(&rows).unwrap();
        first.finish().unwrap();
        damage_embedding(&segments(directory.path())[0], 0.5);
        assert_eq!(paths(&Library::open(directory.path()).unwrap()), ["/a.mp4", "/b.mp4", "/b.mp4"]);
        let mut next = writer();
        assert!(next.damage().len() == 1 && next.has("/a.mp4".as_ref()));
        assert!(next.is_incomplete("/a.mp4".as_ref()) && !next.is_incomplete("/b.mp4".as_ref()));
        if is_embedded {
            next.append(&rows[..2]).unwrap();
        }
        next.finish().unwrap();
        let found = Library::open(directory.path()).unwrap();
        assert!(found.damage().is_empty(), "{:?}", found.damage());
        let (all, lost) = (["/a.mp4", "/a.mp4", "/b.mp4", "/b.mp4"], usize::from(!is_embedded));
        let mut rest = paths(&found);
        rest.sort();
        assert_eq!(rest, &all[lost..]);
        // It is remembered, and the file embedded whenever it is found.
        assert_eq!(writer().is_incomplete("/a.mp4".as_ref()), !is_embedded);
    }
}

/// A row whose path has decayed says of a file that there never was.
#[test]
fn what_lies_beside_a_row_of_nobody_is_embedded_anew_if_it_may_have_lost_one() {
    let part = |path: &str, (start, end): (f64, f64)| {
        let mut row = row(path, start as usize, 1);
        row.entry.kind = MediaKind::Video;
        row.entry.time_range = Some(TimeRange::between(start, end));
        row
    };
    let ranges = [(0.0, 4.0), (0.0, 2.0), (2.0, 4.0)];
    let video = |path: &'static str| ranges.map(|range| part(path, range));
    let rows = [&video("/one.mp4")[..], &[row("/picture.png", 1, 1)], &video("/two.mp4")].concat();
    for (path, kept) in [
        ("/one.mp4", ["/picture.png", "/two.mp4"]),
        ("/two.mp4", ["/one.mp4", "/picture.png"]),
        ("/picture.png", ["/two.mp4", "/two.mp4"]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let writer = || LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
        let mut first = writer();
        first.append(&rows).unwrap();
        first.finish().unwrap();
        let segment = &segments(directory.path())[0];
        let mut bytes = fs::read(segment).unwrap();
        let places: Vec<usize> =
            (0..bytes.len()).filter(|&place| bytes[place..].starts_with(path.as_bytes())).collect();
        // The last of its rows, where they are written out one by one.
        bytes[places[places.len() - 1] + 1] ^= 0x10;
        fs::write(segment, bytes).unwrap();
        let next = writer();
        assert!(!next.damage().is_empty(), "{path} in {} places", places.len());
        let is_whole = |path: &str| next.has(path.as_ref()) && !next.is_incomplete(path.as_ref());
        assert!(!is_whole(path), "{path} in {} places", places.len());
        assert!(kept.iter().all(|kept| is_whole(kept)), "{path}: {:?}", next.damage());
    }
}
