//! Libraries that have decayed, or were made to do harm: right answers or a message, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use gve::retrieval::{
    EmbeddingFormat, EmbeddingWriter, Library, LibraryManifest, LibraryWriter, RetrievalError,
    read_embeddings,
};

use super::library::{DIM, manifest, paths, row, segments};

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

/// A library of three segments, of which the first is a compaction, and what is in it.
fn library() -> (tempfile::TempDir, Library) {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    writer.append(&[row("gone", 5, 1), row("/clips/a.png", 0, 1), row("/clips/b.png", 1, 1)]).unwrap();
    writer.prune(|path| path != Path::new("gone")).unwrap();
    for (name, axis) in [("/clips/c.png", 2), ("/clips/d.png", 3)] {
        writer.append(&[row(name, axis, 1), row(&format!("{name}.2"), axis + 1, 1)]).unwrap();
        writer.flush().unwrap();
    }
    writer.finish().unwrap();
    assert_eq!(segments(directory.path()).len(), 3);
    let library = Library::open(directory.path()).unwrap();
    assert!(library.damage().is_empty());
    (directory, library)
}

/// Opens a library that may be damaged; what it answers must be right, and what it does not answer told of.
#[track_caller]
fn right_or_told(directory: &Path, whole: &Library, case: &str) {
    let found = match Library::open(directory) {
        Ok(found) => found,
        Err(error) => {
            assert_eq!(error.to_string().lines().count(), 1, "{case}: {error}");
            return;
        }
    };
    for error in found.damage() {
        assert_eq!(error.to_string().lines().count(), 1, "{case}: {error}");
    }
    for (entry, embedding) in found.entries().iter().zip(found.embeddings().unwrap().rows()) {
        let row = whole.entries().iter().position(|original| original == entry);
        let row = row.unwrap_or_else(|| panic!("{case}: {entry:?} was never in it"));
        assert_eq!(embedding, whole.embeddings().unwrap().row(row), "{case}: {entry:?}");
    }
    let all = found.entries().len() == whole.entries().len();
    assert!(all || !found.damage().is_empty(), "{case}: {} rows, nothing said", found.entries().len());
}

#[test]
fn any_one_changed_byte_of_a_segment_is_told_of_or_changes_nothing() {
    let (directory, whole) = library();
    for segment in segments(directory.path()) {
        let bytes = fs::read(&segment).unwrap();
        let (mut told, mut numbers) = (0, Numbers(7));
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << numbers.below(8);
            fs::write(&segment, damaged).unwrap();
            right_or_told(directory.path(), &whole, &format!("byte {place} of {}", segment.display()));
            told += usize::from(Library::open(directory.path()).is_ok_and(|l| !l.damage().is_empty()));
        }
        assert!(told > bytes.len() / 4, "{told} of {} noticed", bytes.len());
        fs::write(&segment, bytes).unwrap();
    }
}

#[test]
fn mutated_libraries_give_right_answers_or_a_message() {
    let (directory, whole) = library();
    let mut files = segments(directory.path());
    files.push(directory.path().join("library.json"));
    let mut numbers = Numbers(11);
    for file in files {
        let bytes = fs::read(&file).unwrap();
        for case in 0..cases(400) {
            let mutated = mutate(&bytes, case, &mut numbers);
            fs::write(&file, &mutated).unwrap();
            let case = format!("case {case} of {}", file.display());
            right_or_told(directory.path(), &whole, &case);
        }
        fs::write(&file, bytes).unwrap();
    }
    right_or_told(directory.path(), &whole, "restored");
}

/// How many mutations of a file are tried: `GVE_MUTATIONS` has more for a longer run by hand.
fn cases(default: usize) -> usize {
    std::env::var("GVE_MUTATIONS").map_or(default, |text| text.parse().unwrap())
}

#[test]
fn mutated_embedding_files_are_read_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut numbers = Numbers(13);
    for (format, name) in [
        (EmbeddingFormat::JsonLines, "e.jsonl"),
        (EmbeddingFormat::Npy, "e.npy"),
        (EmbeddingFormat::Parquet, "e.parquet"),
    ] {
        let path = directory.path().join(name);
        let mut writer = EmbeddingWriter::create(&path, format, DIM).unwrap();
        for i in 0..5 {
            writer.write(&format!("id {i}"), &row("", i, 0).embedding).unwrap();
        }
        writer.finish().unwrap();
        let bytes = fs::read(&path).unwrap();
        let flipped = (0..bytes.len()).map(|place| {
            let mut bytes = bytes.clone();
            bytes[place] ^= 1 << (place % 8);
            bytes
        });
        let mutated = (0..cases(400)).map(|case| mutate(&bytes, case, &mut numbers));
        for (case, mutated) in flipped.chain(mutated).enumerate() {
            fs::write(&path, mutated).unwrap();
            match read_embeddings(&path) {
                Ok(table) => assert_eq!(table.ids.len(), table.embeddings.nrows()),
                Err(error) => {
                    assert_eq!(error.to_string().lines().count(), 1, "case {case} of {name}: {error}");
                }
            }
        }
    }
}

fn mutate(bytes: &[u8], case: usize, numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let start = numbers.below(bytes.len());
    let end = (start + 1 + numbers.below(64)).min(bytes.len());
    match case % 7 {
        0 => bytes.truncate(start),
        1 => drop(bytes.drain(start..end)),
        2 => bytes[start..end].fill(0),
        3 => bytes[start..end].fill(0xff),
        4 => {
            let copy = bytes[start..end].to_vec();
            let place = numbers.below(bytes.len());
            drop(bytes.splice(place..place, copy));
        }
        5 => {
            for _ in 0..1 + numbers.below(8) {
                let place = numbers.below(bytes.len());
                bytes[place] = numbers.below(256) as u8;
            }
        }
        // Numbers at the end of what they are written with.
        _ => {
            let place = numbers.below(bytes.len());
            bytes[place] = [0x7f, 0x80, 0x00, 0xff, b'9', b'-'][numbers.below(6)];
        }
    }
    bytes
}

/// Changes the embedding of the row whose first value is at `axis`, in place.
pub(super) fn damage_embedding(segment: &Path, value: f32) {
    let mut bytes = fs::read(segment).unwrap();
    let one = 1.0_f32.to_le_bytes();
    let place = bytes.windows(4).position(|window| window == one).unwrap();
    bytes[place..place + 4].copy_from_slice(&value.to_le_bytes());
    fs::write(segment, bytes).unwrap();
}

#[test]
fn a_damaged_row_is_named_and_the_rest_answers() {
    for value in [1e20, f32::NAN, -1.0, 0.999_999_9] {
        let (directory, whole) = library();
        let segment = segments(directory.path()).remove(1);
        damage_embedding(&segment, value);
        let found = Library::open(directory.path()).unwrap();
        assert_eq!(found.entries().len(), whole.entries().len() - 1, "{value}");
        let [RetrievalError::DamagedRows { path, first: 0, last: 0, file: Some(file), .. }] = found.damage()
        else {
            panic!("{value}: {:?}", found.damage());
        };
        assert_eq!((path, file.as_path()), (&segment, Path::new("/clips/c.png")));
        let said = found.damage()[0].to_string();
        assert!(said.contains("row 0") && said.contains("/clips/c.png"), "{said}");
        for hit in found.search(ndarray::aview1(&row("", 2, 0).embedding), 9).unwrap() {
            assert!(hit.score.abs() <= 1.0 && hit.entry.path != Path::new("/clips/c.png"), "{hit:?}");
        }
    }
}

#[test]
fn a_segment_that_is_gone_is_named_and_the_rest_answers() {
    for gone in 0..3 {
        let (directory, whole) = library();
        let segment = segments(directory.path()).remove(gone);
        fs::remove_file(&segment).unwrap();
        right_or_told(directory.path(), &whole, &format!("segment {gone}"));
        let found = Library::open(directory.path()).unwrap();
        assert_eq!(found.entries().len(), whole.entries().len() - 2, "segment {gone}");
        let [RetrievalError::DamagedSegment { path, reason }] = found.damage() else {
            panic!("segment {gone}: {:?}", found.damage());
        };
        assert!(*path == segment && reason.starts_with("it is missing"), "{path:?}: {reason}");

        let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
        assert_eq!(writer.damage().len(), 1, "segment {gone}");
        if gone == 1 {
            writer.append(&[row("/clips/c.png", 2, 1), row("/clips/c.png.2", 3, 1)]).unwrap();
        }
        writer.finish().unwrap();
        let mended = Library::open(directory.path()).unwrap();
        assert!(mended.damage().is_empty(), "segment {gone}: {:?}", mended.damage());
        let rows = whole.entries().len() - if gone == 1 { 0 } else { 2 };
        assert_eq!(mended.entries().len(), rows, "segment {gone}");
    }
}

#[test]
fn all_segments_gone_are_no_empty_library() {
    let (directory, _) = library();
    segments(directory.path()).iter().for_each(|segment| fs::remove_file(segment).unwrap());
    let found = Library::open(directory.path()).unwrap();
    assert!(found.entries().is_empty() && found.damage().len() == 1);
    assert!(found.damage()[0].to_string().contains("it is missing, and 3 before it"));
    LibraryWriter::create_or_open(directory.path(), manifest()).unwrap().finish().unwrap();
    assert!(Library::open(directory.path()).unwrap().damage().is_empty());
}

#[test]
fn libraries_without_the_number_of_the_newest_segment_are_read_as_before() {
    let (directory, whole) = library();
    let newest = directory.path().join("library.newest");
    assert_eq!(fs::read_to_string(&newest).unwrap(), "4\n");
    fs::remove_file(&newest).unwrap();
    let found = Library::open(directory.path()).unwrap();
    assert!(found.damage().is_empty() && found.entries() == whole.entries());
    fs::remove_file(segments(directory.path()).remove(1)).unwrap();
    assert_eq!(Library::open(directory.path()).unwrap().damage().len(), 1);
    // Which is no number is told of, and written anew with the rest.
    fs::write(&newest, "four").unwrap();
    let found = Library::open(directory.path()).unwrap();
    let is_newest = |error: &RetrievalError| matches!(error, RetrievalError::DamagedNewest { .. });
    assert!(found.damage().iter().any(is_newest), "{:?}", found.damage());
    LibraryWriter::create_or_open(directory.path(), manifest()).unwrap().finish().unwrap();
    assert!(Library::open(directory.path()).unwrap().damage().is_empty());
}

#[test]
fn the_next_writer_embeds_anew_what_is_lost_and_keeps_the_damaged_file_aside() {
    let (directory, whole) = library();
    let segment = segments(directory.path()).remove(0);
    damage_embedding(&segment, 0.5);
    let damaged = fs::read(&segment).unwrap();
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    assert_eq!(writer.damage().len(), 1);
    let state = |name: &str| row(name, 0, 1).entry.fingerprint;
    assert!(!writer.is_current("/clips/a.png".as_ref(), state("/clips/a.png")));
    assert!(writer.is_current("/clips/b.png".as_ref(), state("/clips/b.png")));
    writer.append(&[row("/clips/a.png", 0, 1)]).unwrap();
    writer.finish().unwrap();
    let found = Library::open(directory.path()).unwrap();
    assert!(found.damage().is_empty(), "{:?}", found.damage());
    assert_eq!(paths(&found), paths(&whole));
    let mut name = segment.into_os_string();
    name.push(".damaged");
    assert_eq!(fs::read(name).unwrap(), damaged);
}

#[test]
fn vectors_that_are_not_normalised_are_damage_without_checksums_too() {
    let directory = tempfile::tempdir().unwrap();
    copy_of_0_1(directory.path());
    let segment = directory.path().join("segments/00000004.parquet");
    let mut bytes = fs::read(&segment).unwrap();
    let values = Library::open(directory.path()).unwrap().embeddings().unwrap().row(3).to_vec();
    let place = bytes.windows(4).position(|window| window == values[0].to_le_bytes()).unwrap();
    bytes[place..place + 4].copy_from_slice(&1e20_f32.to_le_bytes());
    fs::write(&segment, bytes).unwrap();
    let found = Library::open(directory.path()).unwrap();
    assert_eq!(found.entries().len(), 3);
    assert!(matches!(found.damage(), [RetrievalError::DamagedRows { .. }]), "{:?}", found.damage());
}

fn copy_of_0_1(directory: &Path) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/retrieval/library-0.1");
    fs::create_dir_all(directory.join("segments")).unwrap();
    fs::copy(fixture.join("library.json"), directory.join("library.json")).unwrap();
    for segment in segments(&fixture) {
        fs::copy(&segment, directory.join("segments").join(segment.file_name().unwrap())).unwrap();
    }
}

/// Written by gve 0.1.0, before there were checksums: a compaction and two segments, one with the newer state
/// of a file.
#[test]
fn a_library_of_0_1_is_read_and_continued() {
    let directory = tempfile::tempdir().unwrap();
    copy_of_0_1(directory.path());
    let library = Library::open(directory.path()).unwrap();
    assert!(library.damage().is_empty(), "{:?}", library.damage());
    let expected = [
        "/tmp/holiday/rabbit.png",
        "/tmp/holiday/tall.png",
        "/tmp/holiday/two words.mp4",
        "/tmp/holiday/ä.mp4",
    ];
    assert_eq!(paths(&library), expected);
    let rabbit = library.entries().iter().position(|e| e.path.ends_with("rabbit.png")).unwrap();
    assert_eq!(library.entries()[rabbit].fingerprint.modified_nanoseconds, 1_577_836_800_000_000_000);

    let manifest: LibraryManifest = library.manifest().clone();
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest).unwrap();
    for entry in library.entries() {
        assert!(writer.is_current(&entry.path, entry.fingerprint), "{entry:?}");
    }
    writer.compact().unwrap();
    drop(writer);
    assert_eq!(segments(directory.path()).len(), 1);
    let compacted = Library::open(directory.path()).unwrap();
    assert_eq!(compacted.entries(), library.entries());
    assert_eq!(compacted.embeddings(), library.embeddings());
}

#[test]
fn a_manifest_that_is_not_of_the_segments_is_told_of() {
    let (directory, _) = library();
    let path = directory.path().join("library.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("156800", "156801")).unwrap();
    let found = Library::open(directory.path()).unwrap();
    assert_eq!(found.entries().len(), 0);
    assert_eq!(found.damage().len(), 3);
    for error in found.damage() {
        assert!(matches!(error, RetrievalError::ForeignSegment { .. }), "{error}");
    }
    let other = LibraryManifest { max_pixels: Some(156_801), ..manifest() };
    let error = LibraryWriter::create_or_open(directory.path(), other).unwrap_err();
    assert!(matches!(error, RetrievalError::ForeignSegment { .. }), "{error}");
    assert_eq!(segments(directory.path()).len(), 3, "nothing is given up");
}

/// Whoever tries other settings first may still go on with those that it was made with.
#[test]
fn a_manifest_that_is_gone_is_written_anew_once_the_segments_fit_it() {
    let (directory, whole) = library();
    let path = directory.path().join("library.json");
    fs::remove_file(&path).unwrap();
    let other = LibraryManifest { max_pixels: Some(156_801), ..manifest() };
    let error = LibraryWriter::create_or_open(directory.path(), other).unwrap_err();
    assert!(matches!(error, RetrievalError::ForeignSegment { .. }), "{error}");
    assert!(error.to_string().contains("move the segment itself elsewhere"), "{error}");
    assert!(!path.exists());
    let writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    assert!(writer.damage().is_empty(), "{:?}", writer.damage());
    assert_eq!(paths(&Library::open(directory.path()).unwrap()), paths(&whole));
}

#[test]
fn manifests_that_claim_too_much_are_refused() {
    let (directory, _) = library();
    let path = directory.path().join("library.json");
    let text = fs::read_to_string(&path).unwrap();
    let dim = format!("\"dim\": {DIM}");
    assert!(text.contains(&dim));
    for claim in ["18446744073709551615", "1152921504606846976", "4294967296", "0", "-1", "1e300", "[]"] {
        fs::write(&path, text.replace(&dim, &format!("\"dim\": {claim}"))).unwrap();
        let error = Library::open(directory.path()).unwrap_err();
        assert!(matches!(error, RetrievalError::InvalidManifest { .. }), "{claim}: {error}");
    }
    // Possible, but not of these rows.
    fs::write(&path, text.replace(&dim, "\"dim\": 1048576")).unwrap();
    assert_eq!(Library::open(directory.path()).unwrap().entries().len(), 0);
    assert_eq!(Library::open(directory.path()).unwrap().damage().len(), 3);
}

#[test]
fn odd_files_among_the_segments_do_no_harm() {
    let (directory, whole) = library();
    let folder = directory.path().join("segments");
    // Not names of segments.
    for name in ["notes.txt", "x.parquet", "-1.parquet", "+5.parquet", "99999999999999999999.parquet"] {
        fs::write(folder.join(name), "x").unwrap();
    }
    let found = Library::open(directory.path()).unwrap();
    assert!(found.damage().is_empty() && paths(&found) == paths(&whole), "{:?}", found.damage());
    // What cannot be read now may be readable another time: it is reported, and no writer gives it up.
    let directory_of_that_name = folder.join("00000050.parquet");
    fs::create_dir(&directory_of_that_name).unwrap();
    let found = Library::open(directory.path()).unwrap();
    assert_eq!(paths(&found), paths(&whole));
    assert!(matches!(found.damage(), [RetrievalError::Io(_)]), "{:?}", found.damage());
    let error = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap_err();
    assert!(matches!(&error, RetrievalError::Io(error) if error.path == directory_of_that_name), "{error}");
    fs::remove_dir(&directory_of_that_name).unwrap();
    // The last number that a segment can have leaves room for further ones.
    fs::copy(segments(directory.path())[0].clone(), folder.join("999999999999999999.parquet")).unwrap();
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    writer.append(&[row("/clips/z.png", 6, 1)]).unwrap();
    writer.finish().unwrap();
}

#[cfg(unix)]
#[test]
fn pipes_in_place_of_files_are_no_reason_to_wait() {
    let pipe = |path: &Path| {
        drop(fs::remove_file(path));
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    let places: [fn(&Path) -> PathBuf; 3] = [
        |library| library.join("segments/00000002.parquet"),
        |library| library.join("library.json"),
        |library| library.join("library.lock"),
    ];
    for place in places {
        let (directory, whole) = library();
        let path = place(directory.path());
        pipe(&path);
        right_or_told(directory.path(), &whole, &path.display().to_string());
        let error = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap_err().to_string();
        assert!(error.contains("regular file"), "{error}");
    }
}
