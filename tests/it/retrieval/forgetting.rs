//! Files that are forgotten, renamed or said to be others, always read back into a fresh object.

use std::fs;
use std::path::Path;

use gve::retrieval::{ContentHash, Library, LibraryRow, LibraryWriter, RetrievalError};

use super::library::{DIM, manifest, paths, row, segments};

/// Twenty files in one segment.
fn twenty() -> (tempfile::TempDir, LibraryWriter) {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    let rows: Vec<LibraryRow> = (0..20).map(|i| row(&format!("/v/{i:02}"), i, 1)).collect();
    writer.append(&rows).unwrap();
    writer.flush().unwrap();
    (directory, writer)
}

fn names(directory: &Path) -> Vec<String> {
    let library = Library::open(directory).unwrap();
    assert!(library.damage().is_empty(), "{:?}", library.damage());
    paths(&library)
}

fn reopened(directory: &Path) -> LibraryWriter {
    LibraryWriter::create_or_open(directory, manifest()).unwrap()
}

#[test]
fn what_is_known_of_a_file_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    let mut rows = [row("a", 0, 1), row("b", 1, 1), row("c", 2, 1)];
    let content = ContentHash::of(&b"bytes"[..]).unwrap();
    rows[1].entry.content = Some(content);
    rows[1].entry.captured_seconds = Some(-1);
    rows[1].entry.width = Some(1920);
    rows[1].entry.height = Some(0);
    rows[2].entry.height = Some(1080);
    writer.append(&rows).unwrap();
    writer.compact().unwrap();
    let library = Library::open(directory.path()).unwrap();
    assert!(library.damage().is_empty(), "{:?}", library.damage());
    assert_eq!(library.entries(), rows.map(|row| row.entry));
    // `None` is not what has no value by chance.
    assert_eq!(library.entries()[0].content, None);
}

#[test]
fn few_files_are_forgotten_by_a_mark_and_many_by_writing_the_rest_anew() {
    let (directory, mut writer) = twenty();
    assert_eq!(writer.remove(&["/v/03", "/v/nothing", "/v/04"]).unwrap(), 2);
    assert_eq!(writer.remove(&["/v/03"]).unwrap(), 0);
    assert_eq!(segments(directory.path()).len(), 2, "the rows are not written again");
    assert!(!writer.has("/v/03".as_ref()));
    drop(writer);
    assert_eq!(names(directory.path()).len(), 18);
    assert!(!names(directory.path()).contains(&"/v/03".to_owned()));

    // What comes later counts, be it the very state that was forgotten.
    let mut writer = reopened(directory.path());
    assert!(!writer.has("/v/03".as_ref()) && writer.has("/v/05".as_ref()));
    writer.append(&[row("/v/03", 3, 1)]).unwrap();
    writer.flush().unwrap();
    assert_eq!((names(directory.path()).len(), segments(directory.path()).len()), (19, 3));
    // A quarter of all that was ever written counts no more.
    assert_eq!(writer.prune(|path| !path.ends_with("05") && path < Path::new("/v/17")).unwrap(), 4);
    assert_eq!((names(directory.path()).len(), segments(directory.path()).len()), (15, 1));
    assert!(writer.has("/v/06".as_ref()) && !writer.has("/v/18".as_ref()));
    writer.finish().unwrap();
    assert_eq!(names(directory.path()).len(), 15);
}

#[test]
fn a_renamed_file_keeps_its_rows() {
    let (directory, mut writer) = twenty();
    assert!(!writer.rename("/v/nothing".as_ref(), "/w".as_ref()).unwrap());
    let taken = writer.rename("/v/00".as_ref(), "/v/01".as_ref()).unwrap_err();
    assert!(matches!(&taken, RetrievalError::Relocation { path } if path == Path::new("/v/01")), "{taken}");
    assert!(writer.rename("/v/03".as_ref(), "/w/3".as_ref()).unwrap());
    assert_eq!(segments(directory.path()).len(), 2, "one step, so that it is done or not");
    // There and back, and what takes the old place is another file.
    assert!(writer.rename("/v/04".as_ref(), "/w/4".as_ref()).unwrap());
    assert!(writer.rename("/w/4".as_ref(), "/v/04".as_ref()).unwrap());
    writer.append(&[row("/v/03", 7, 2)]).unwrap();
    assert!(writer.rename("/v/03".as_ref(), "/w/03".as_ref()).unwrap(), "rows that waited, too");
    writer.finish().unwrap();

    let library = Library::open(directory.path()).unwrap();
    assert!(library.damage().is_empty(), "{:?}", library.damage());
    assert_eq!(library.entries().len(), 21);
    let axis = |path: &str| {
        let place = library.entries().iter().position(|entry| entry.path == Path::new(path)).expect(path);
        let row = library.embeddings().unwrap().row(place).to_vec();
        row.iter().position(|value| *value == 1.0).unwrap()
    };
    assert_eq!((axis("/w/3"), axis("/v/04"), axis("/w/03")), (3, 4, 7));
    assert!(!paths(&library).contains(&"/v/03".to_owned()) && DIM == 8);
    let mut writer = reopened(directory.path());
    assert!(writer.is_current("/w/3".as_ref(), row("", 0, 1).entry.fingerprint));
    writer.compact().unwrap();
    assert_eq!(names(directory.path()), paths(&library));
}

/// Whatever happens to a byte of the segment that forgets, it is said, or what was forgotten stays so.
#[test]
fn nothing_that_was_forgotten_comes_back_silently() {
    let (directory, mut writer) = twenty();
    writer.remove(&["/v/03"]).unwrap();
    writer.rename("/v/04".as_ref(), "/w/4".as_ref()).unwrap();
    writer.finish().unwrap();
    let whole = names(directory.path());
    for segment in segments(directory.path()).into_iter().skip(1) {
        let bytes = fs::read(&segment).unwrap();
        let mut kept = 0;
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << (place % 8);
            fs::write(&segment, damaged).unwrap();
            let library = Library::open(directory.path()).unwrap();
            let is_told = !library.damage().is_empty();
            assert!(is_told || paths(&library) == whole, "byte {place} of {}", segment.display());
            kept += usize::from(is_told && !paths(&library).iter().any(|path| path == "/v/03"));
        }
        assert!(kept > 0, "the marks have a checksum of their own");
        fs::write(&segment, bytes).unwrap();
    }
}
