//! The library directory, always read back into a fresh object.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use gve::media::MediaKind;
use gve::retrieval::{
    Feedback, FileFingerprint, Library, LibraryEntry, LibraryManifest, LibraryRow, LibraryWriter,
    MANIFEST_FORMAT_VERSION, RetrievalError, SearchOptions, StoreDType,
};
use gve::{Sampling, TimeRange};

pub(super) const DIM: usize = 8;

pub(super) fn manifest() -> LibraryManifest {
    LibraryManifest {
        format_version: MANIFEST_FORMAT_VERSION,
        model: "Alibaba-NLP/GVE-3B".into(),
        revision: Some("0123abc".into()),
        adapter: None,
        recipe: None,
        dim: DIM,
        instruction: None,
        sampling: Sampling::Uniform { frames: 8 },
        min_pixels: Some(3136),
        max_pixels: Some(156_800),
        moments: None,
        store_dtype: StoreDType::default(),
    }
}

/// What a query says in fewer values is looked for in as many, and feedback moves it.
#[test]
fn a_library_is_searched_at_a_smaller_width_and_with_feedback() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    // Whole, `near` is nearer to the query than `far`; of the first two values it is not.
    let rows =
        [("near", [0.6, 0.8, 0.0, 0.0]), ("far", [0.8, 0.0, 0.6, 0.0]), ("side", [0.0, 0.0, 0.8, 0.6])];
    let rows = rows.map(|(path, values)| {
        let mut embedding = vec![0.0; DIM];
        embedding[..4].copy_from_slice(&values);
        LibraryRow { embedding, ..row(path, 0, 1) }
    });
    writer.append(&rows).unwrap();
    writer.finish().unwrap();
    let library = Library::open(directory.path()).unwrap();
    let found = |query: &[f32], feedback: Option<Feedback>| -> Vec<(String, f32)> {
        let hits = library
            .search_for(
                ndarray::ArrayView1::from(query),
                &SearchOptions::new(3).with_feedback(feedback).with_dim(Some(query.len())),
            )
            .unwrap();
        hits.iter().map(|hit| (hit.entry.path.display().to_string(), hit.score)).collect()
    };
    let names = |found: Vec<(String, f32)>| found.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let whole = [&[0.8, 0.6][..], &[0.0; DIM - 2]].concat();
    assert_eq!(names(found(&whole, None)), ["near", "far", "side"]);
    let cut = found(&[1.0, 0.0], None);
    assert_eq!(cut, [("far".into(), 1.0), ("near".into(), 0.6), ("side".into(), 0.0)]);
    // That is asked for, and never assumed of a query that may be of another model.
    let refused = |dim: Option<usize>| {
        let options = SearchOptions::new(3).with_dim(dim).with_feedback(Some(Feedback::of(1)));
        let narrow = library.search_for(ndarray::aview1(&[1.0, 0.0]), &options);
        narrow.unwrap_err().to_string()
    };
    assert_eq!(refused(None), format!("the query has dimension 2, expected {DIM}"));
    assert_eq!(refused(Some(3)), "the query has dimension 2, expected 3");
    let (most, more) = (DIM, DIM + 1);
    let width = format!(
        "{more} values were to be compared, and the library's embeddings have {most}: expected 1 to {most}"
    );
    assert_eq!(refused(Some(more)), width);
    assert!(refused(Some(0)).starts_with("0 values"));
    // Moved towards `far`, a query is found beside `side`, which it had nothing of.
    let query = [&[1.0][..], &[0.0; DIM - 1]].concat();
    assert_eq!(found(&query, None)[2].1, 0.0);
    let moved = found(&query, Some(Feedback::of(1)));
    let expected = 0.5 * 0.6 * 0.8 / (1.4 * 1.4 + 0.3 * 0.3_f32).sqrt();
    assert!((moved[2].1 - expected).abs() < 1e-6 && moved[2].0 == "side", "{moved:?}");
}

pub(super) fn row(path: &str, axis: usize, modified_nanoseconds: i64) -> LibraryRow {
    let mut embedding = vec![0.0; DIM];
    embedding[axis % DIM] = 1.0;
    let fingerprint = FileFingerprint { size_bytes: 10, modified_nanoseconds };
    LibraryRow { entry: LibraryEntry::new(path, MediaKind::Image, fingerprint), embedding }
}

pub(super) fn paths(library: &Library) -> Vec<String> {
    let mut paths: Vec<String> = library.entries().iter().map(|e| e.path.display().to_string()).collect();
    paths.sort();
    paths
}

pub(super) fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory.join("segments")).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_library_comes_back_as_it_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut video = row("b.mp4", 2, -5);
    video.entry.kind = MediaKind::Video;
    video.entry.time_range = Some(TimeRange::between(1.5, 4.0));
    let rows = [row("ä/a.png", 1, i64::MAX), video];
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    writer.append(&rows).unwrap();
    writer.finish().unwrap();

    let library = Library::open(directory.path()).unwrap();
    assert_eq!(library.manifest(), &manifest());
    assert_eq!(library.entries(), [rows[0].entry.clone(), rows[1].entry.clone()]);
    assert_eq!(library.embeddings().unwrap().row(1).to_vec(), rows[1].embedding);
    let hits = library.search(ndarray::aview1(&rows[1].embedding), 5).unwrap();
    assert_eq!((hits[0].score, &hits[0].entry), (1.0, &rows[1].entry));
    assert_eq!((hits[1].score, &hits[1].entry), (0.0, &rows[0].entry));
    let wide = library.search(ndarray::aview1(&[0.5; DIM + 1]), 5).unwrap_err().to_string();
    assert!(wide.contains(&format!("dimension {}, expected {DIM}", DIM + 1)), "{wide}");
    assert!(library.search(ndarray::aview1(&[]), 5).is_err());

    let writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    assert!(writer.is_current("b.mp4".as_ref(), rows[1].entry.fingerprint));
    assert!(
        !writer.is_current("b.mp4".as_ref(), FileFingerprint { size_bytes: 11, modified_nanoseconds: -5 })
    );
    assert!(!writer.is_current("c.mp4".as_ref(), rows[1].entry.fingerprint));
}

#[test]
fn changed_files_are_replaced_and_removed_ones_pruned() {
    let directory = tempfile::tempdir().unwrap();
    for (name, axis, modified) in [("a", 0, 1), ("b", 1, 1), ("c", 2, 1), ("a", 3, 2)] {
        let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
        writer.append(&[row(name, axis, modified)]).unwrap();
        writer.finish().unwrap();
    }
    let library = Library::open(directory.path()).unwrap();
    assert_eq!(paths(&library), ["a", "b", "c"]);
    let hit = &library.search(ndarray::aview1(&row("", 3, 0).embedding), 1).unwrap()[0];
    assert_eq!((hit.score, hit.entry.fingerprint.modified_nanoseconds), (1.0, 2));

    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    writer.append(&[row("d", 4, 1)]).unwrap();
    assert_eq!(writer.prune(|path| path != Path::new("b")).unwrap(), 1);
    drop(writer);
    let library = Library::open(directory.path()).unwrap();
    assert_eq!(paths(&library), ["a", "c", "d"]);
    assert_eq!(segments(directory.path()).len(), 1);
}

#[test]
fn many_small_segments_are_joined() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    for i in 0..40 {
        writer.append(&[row(&format!("{i:02}"), i, 1)]).unwrap();
        writer.flush().unwrap();
    }
    assert_eq!(segments(directory.path()).len(), 40);
    let before = Library::open(directory.path()).unwrap();
    writer.finish().unwrap();
    assert_eq!(segments(directory.path()).len(), 1);
    let after = Library::open(directory.path()).unwrap();
    assert_eq!(after.entries(), before.entries());
    assert_eq!(after.embeddings(), before.embeddings());
}

/// What was joined and not yet deleted when a writer was killed is deleted by the next one, and does not lie
/// there beside what is joined later.
#[test]
fn what_a_killed_writer_had_joined_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    let mut number = 0;
    let mut add = |writer: &mut LibraryWriter, rows: usize| {
        let rows: Vec<LibraryRow> = (number..number + rows).map(|i| row(&format!("{i:05}"), i, 1)).collect();
        number += rows.len();
        writer.append(&rows).unwrap();
        writer.flush().unwrap();
    };
    add(&mut writer, 1500);
    (0..40).for_each(|_| add(&mut writer, 1));
    let joined: Vec<(PathBuf, Vec<u8>)> = segments(directory.path())[1..]
        .iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    writer.finish().unwrap();
    assert_eq!(segments(directory.path()).len(), 2);
    for (path, bytes) in &joined {
        std::fs::write(path, bytes).unwrap();
    }
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    assert_eq!(segments(directory.path()).len(), 2);
    (0..9).for_each(|_| add(&mut writer, 1));
    writer.finish().unwrap();
    assert_eq!(segments(directory.path()).len(), 11);
    let library = Library::open(directory.path()).unwrap();
    assert_eq!((library.entries().len(), library.damage().len()), (number, 0));
}

/// Rows that nobody asks to be flushed wait for no more than 255 others, and no longer than they may.
#[test]
fn rows_do_not_wait_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let on_disk = || Library::open(directory.path()).unwrap().entries().len();
    let writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    let mut writer = writer.flush_interval(Duration::MAX);
    for i in 0..256 {
        assert_eq!(on_disk(), 0, "{i} rows wait");
        writer.append(&[row(&format!("{i}"), i, 1)]).unwrap();
    }
    assert_eq!(on_disk(), 256);
    writer.append(&[row("waiting", 0, 1)]).unwrap();
    assert_eq!(on_disk(), 256);

    let mut writer = writer.flush_interval(Duration::ZERO);
    writer.append(&[row("late", 0, 1)]).unwrap();
    assert_eq!(on_disk(), 258);
}

/// A compaction killed between writing the new segment and deleting the old ones must not bring pruned
/// rows back.
#[test]
fn a_compaction_cut_off_before_deleting_counts() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    writer.append(&[row("a", 0, 1), row("b", 1, 1)]).unwrap();
    writer.flush().unwrap();
    let old = segments(directory.path()).remove(0);
    let kept = std::fs::read(&old).unwrap();
    writer.prune(|path| path != Path::new("b")).unwrap();
    std::fs::write(&old, kept).unwrap();
    assert_eq!(segments(directory.path()).len(), 2);
    assert_eq!(paths(&Library::open(directory.path()).unwrap()), ["a"]);
}

#[test]
fn other_settings_are_refused_and_named() {
    let directory = tempfile::tempdir().unwrap();
    LibraryWriter::create_or_open(directory.path(), manifest()).unwrap().finish().unwrap();
    let other = LibraryManifest { model: "Alibaba-NLP/GVE-7B".into(), dim: 3584, ..manifest() };
    let error = LibraryWriter::create_or_open(directory.path(), other.clone()).unwrap_err().to_string();
    for expected in ["GVE-3B", "GVE-7B", "dim: 8 there, 3584 here", "another library directory"] {
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(error.lines().count(), 1);
    assert!(Library::open(directory.path()).unwrap().require_manifest(&other).is_err());
    assert!(Library::open(directory.path()).unwrap().require_manifest(&manifest()).is_ok());
}

#[test]
fn rows_that_cannot_be_searched_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    let with = |embedding: Vec<f32>| LibraryRow { embedding, ..row("a", 0, 1) };
    for bad in [vec![1.0; DIM - 1], vec![0.0; DIM], vec![f32::NAN; DIM], vec![2.0; DIM]] {
        assert!(writer.append(&[row("good", 0, 1), with(bad)]).is_err());
    }
    writer.finish().unwrap();
    assert_eq!(
        Library::open(directory.path()).unwrap().entries().len(),
        0,
        "none of a refused call is added"
    );
}

#[test]
fn torn_files_are_ignored_and_damaged_ones_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    writer.append(&[row("a", 0, 1)]).unwrap();
    writer.finish().unwrap();
    let torn = directory.path().join("segments/.00000002.parquet.tmp");
    std::fs::write(&torn, b"PAR1 half of a segm").unwrap();
    assert_eq!(paths(&Library::open(directory.path()).unwrap()), ["a"]);
    drop(LibraryWriter::create_or_open(directory.path(), manifest()).unwrap());
    assert!(!torn.exists(), "the next writer cleans up");

    let segment = segments(directory.path()).remove(0);
    let whole = std::fs::read(&segment).unwrap();
    for cut in [0, 10, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&segment, &whole[..cut]).unwrap();
        let library = Library::open(directory.path()).unwrap();
        assert!(library.entries().is_empty());
        let [error @ RetrievalError::DamagedSegment { path, .. }] = library.damage() else {
            panic!("{:?}", library.damage());
        };
        assert_eq!(*path, segment);
        assert_eq!(error.to_string().lines().count(), 1);
    }
}

#[test]
fn a_second_writer_is_refused_and_readers_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    writer.append(&[row("a", 0, 1)]).unwrap();
    writer.flush().unwrap();
    let error = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap_err();
    assert!(matches!(error, RetrievalError::Locked { .. }), "{error}");
    assert_eq!(paths(&Library::open(directory.path()).unwrap()), ["a"]);
    drop(writer);
    assert!(LibraryWriter::create_or_open(directory.path(), manifest()).is_ok());
}

#[test]
fn what_is_no_library_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let error = Library::open(directory.path().join("nowhere")).unwrap_err();
    assert!(matches!(error, RetrievalError::NotALibrary { .. }), "{error}");
    LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    std::fs::write(directory.path().join("library.json"), "{").unwrap();
    let error = Library::open(directory.path()).unwrap_err();
    assert!(matches!(error, RetrievalError::InvalidManifest { .. }), "{error}");
}

const CHILD_DIRECTORY: &str = "GVE_TEST_LIBRARY_OF_CHILD";

/// Run as a process of its own by the test below.
#[test]
#[ignore = "the child process of a_killed_writer_loses_nothing_flushed"]
fn child_that_writes_until_killed() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else {
        return;
    };
    let mut writer = LibraryWriter::create_or_open(PathBuf::from(directory), manifest()).unwrap();
    for i in 0..100_000 {
        writer.append(&[row(&format!("{i}"), i, 1)]).unwrap();
        if i % 3 == 2 {
            writer.flush().unwrap();
            eprintln!("flushed {}", i + 1);
        }
    }
}

#[test]
fn a_killed_writer_loses_nothing_flushed() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "retrieval::library::child_that_writes_until_killed", "--ignored", "--nocapture"])
        .env(CHILD_DIRECTORY, directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut flushed = 0;
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while flushed < 30 {
        let line = lines.next().expect("the child goes on until it is killed").unwrap();
        flushed = line.strip_prefix("flushed ").map_or(flushed, |n| n.parse().unwrap());
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let library = Library::open(directory.path()).unwrap();
    assert!(library.entries().len() >= flushed, "{} of {flushed}", library.entries().len());
    // The lock died with the process, and the next run goes on.
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    assert!(writer.is_current("29".as_ref(), row("29", 0, 1).entry.fingerprint));
    writer.append(&[row("new", 0, 1)]).unwrap();
    writer.finish().unwrap();
    assert_eq!(Library::open(directory.path()).unwrap().entries().len(), library.entries().len() + 1);
}

#[test]
fn files_that_lie_elsewhere_keep_their_rows() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    writer
        .append(&[row("/a/x", 0, 1), row("/a/deep/y", 1, 1), row("/ab/x", 2, 1), row("/c/x", 3, 1)])
        .unwrap();
    let refused = writer.relocate("/a".as_ref(), "/c".as_ref()).unwrap_err();
    assert!(
        matches!(&refused, RetrievalError::Relocation { path } if path == Path::new("/c/x")),
        "{refused}"
    );
    assert_eq!(writer.relocate("/nowhere".as_ref(), "/b".as_ref()).unwrap(), 0);
    assert_eq!(writer.relocate("/a".as_ref(), "/a/b".as_ref()).unwrap(), 2);
    let fingerprint = row("", 0, 1).entry.fingerprint;
    assert!(writer.is_current("/a/b/x".as_ref(), fingerprint) && !writer.has("/a/x".as_ref()));
    // What comes later is of the new place.
    writer.append(&[row("/a/b/x", 5, 2)]).unwrap();
    // A single file.
    assert_eq!(writer.relocate("/c/x".as_ref(), "/d/z".as_ref()).unwrap(), 1);
    writer.finish().unwrap();
    let library = Library::open(directory.path()).unwrap();
    assert_eq!(paths(&library), ["/a/b/deep/y", "/a/b/x", "/ab/x", "/d/z"]);
    let found = &library.search(ndarray::aview1(&row("", 5, 0).embedding), 1).unwrap()[0];
    assert_eq!((found.score, found.entry.path.as_path()), (1.0, Path::new("/a/b/x")));
}
