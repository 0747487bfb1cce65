//! Libraries whose embeddings stay on disk: found by codes, scored by what is read.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use gve::media::MediaKind;
use gve::retrieval::{
    Feedback, FileFingerprint, Filter, Library, LibraryEntry, LibraryHit, LibraryManifest, LibraryOptions,
    LibraryRow, LibraryWriter, RetrievalError, SearchOptions, StoreDType, normalize,
};
use gve::{Random, TimeRange};
use ndarray::ArrayView1;

use super::library::{manifest, segments};

const DIM: usize = 40;

fn of_dim(store_dtype: StoreDType) -> LibraryManifest {
    LibraryManifest { dim: DIM, store_dtype, ..manifest() }
}

/// Vectors in clusters of about a hundred.
fn clustered(count: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut random = Random::new(3);
    let noise = |random: &mut Random| -> Vec<f32> { (0..DIM).map(|_| random.unit() as f32 - 0.5).collect() };
    let centres: Vec<Vec<f32>> = (0..count.div_ceil(100)).map(|_| noise(&mut random)).collect();
    let mut random = Random::new(seed);
    let mut vector = || {
        let centre = &centres[random.below(centres.len())];
        let noise = noise(&mut random);
        let mut vector: Vec<f32> =
            centre.iter().zip(noise).map(|(centre, noise)| centre + 0.8 * noise).collect();
        normalize(&mut vector, "test").unwrap();
        vector
    };
    (0..count).map(|_| vector()).collect()
}

fn name(number: usize) -> PathBuf {
    let folder = if number.is_multiple_of(50) { "few" } else { "most" };
    format!("/v/{folder}/{number:06}.mp4").into()
}

fn rows(vectors: &[Vec<f32>], first: usize) -> Vec<LibraryRow> {
    let fingerprint = FileFingerprint { size_bytes: 1, modified_nanoseconds: 1 };
    let entry = |number| LibraryEntry::new(name(number), MediaKind::Video, fingerprint);
    (first..)
        .zip(vectors)
        .map(|(number, vector)| LibraryRow { entry: entry(number), embedding: vector.clone() })
        .collect()
}

/// A library of two segments.
fn library_of(vectors: &[Vec<f32>], dtype: StoreDType) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LibraryWriter::create_or_open(directory.path(), of_dim(dtype)).unwrap();
    let (first, second) = vectors.split_at(vectors.len() / 3);
    writer.append(&rows(first, 0)).unwrap();
    writer.flush().unwrap();
    writer.append(&rows(second, first.len())).unwrap();
    writer.finish().unwrap();
    directory
}

fn on_disk(directory: &Path) -> (Library, usize) {
    let mut coded = 0;
    let library =
        Library::open_with(directory, &LibraryOptions::default().with_memory_bytes(0), |done, all| {
            coded = done;
            assert!(done <= all);
        });
    (library.unwrap(), coded)
}

fn found(library: &Library, query: &[f32], options: &SearchOptions) -> Vec<LibraryHit> {
    library.search_for(ArrayView1::from(query), options).unwrap()
}

fn names(hits: &[LibraryHit]) -> Vec<PathBuf> {
    hits.iter().map(|hit| hit.entry.path.clone()).collect()
}

fn codes(directory: &Path) -> Vec<PathBuf> {
    segments(directory).into_iter().filter(|path| path.extension().is_some_and(|e| e == "codes")).collect()
}

#[test]
fn what_is_found_on_disk_is_what_is_found_in_memory() {
    let vectors = clustered(20_000, 1);
    for dtype in StoreDType::ALL {
        let directory = library_of(&vectors, dtype);
        let in_memory = Library::open(directory.path()).unwrap();
        let (on_disk, coded) = on_disk(directory.path());
        assert_eq!((coded, on_disk.entries()), (20_000, in_memory.entries()));
        assert!(in_memory.embeddings().is_some() && on_disk.embeddings().is_none());
        assert_eq!(on_disk.embedding(12_345).unwrap(), in_memory.embedding(12_345).unwrap());
        assert!(matches!(on_disk.embedding(20_000), Err(RetrievalError::CandidateOutOfRange { .. })));
        let usual = SearchOptions::new(10);
        let few = usual.clone().with_filter(Filter::default().named("**/few/*").unwrap());
        let most = usual.clone().with_filter(Filter::default().named("**/most/*").unwrap());
        let fed = usual.clone().with_feedback(Some(Feedback::of(3)));
        let cases = [("usual", &usual), ("few", &few), ("most", &most), ("fed", &fed)];
        for (case, options) in cases {
            let (mut same, mut all) = (0, 0);
            for (number, query) in clustered(40, 2).into_iter().enumerate() {
                let expected = found(&in_memory, &query, options);
                if number < 2 {
                    let exact = options.clone().with_exact(true);
                    assert_eq!(found(&on_disk, &query, &exact), expected, "{dtype:?} {case}");
                }
                let expected: HashSet<PathBuf> = names(&expected).into_iter().collect();
                all += expected.len();
                same += names(&found(&on_disk, &query, options))
                    .iter()
                    .filter(|name| expected.contains(*name))
                    .count();
            }
            assert!(all == 400 && same * 100 >= all * 98, "{dtype:?} {case}: {same} of {all}");
        }
        let (narrow, narrower) = (&vectors[7][..16], usual.clone().with_dim(Some(16)));
        let [a, b] = [&in_memory, &on_disk].map(|library| names(&found(library, narrow, &narrower)));
        assert_eq!(a, b);
        assert!(on_disk.take_damage().is_empty());
    }
}

/// More dimensions than the first bits are of, and more rows than they leave over: half of them close together about one
/// direction, the others anywhere.
#[test]
fn the_best_of_rows_that_lie_tight_and_wide_are_found() {
    const WIDE: usize = 600;
    const ROWS: usize = 18_000;
    let mut random = Random::new(5);
    let noise = |random: &mut Random| -> Vec<f32> { (0..WIDE).map(|_| random.unit() as f32 - 0.5).collect() };
    let mixed = |one: &[f32], other: &[f32], share: f32| {
        let mut mixed: Vec<f32> = one.iter().zip(other).map(|(one, other)| one * share + other).collect();
        normalize(&mut mixed, "test").unwrap();
        mixed
    };
    let centre = noise(&mut random);
    let row = |number: usize, random: &mut Random| {
        let share = if number < ROWS / 2 { 5.0 } else { 2.0 * random.unit() as f32 };
        let other = noise(random);
        mixed(&centre, &other, share)
    };
    let vectors: Vec<Vec<f32>> = (0..ROWS).map(|number| row(number, &mut random)).collect();
    let directory = tempfile::tempdir().unwrap();
    let of = LibraryManifest { dim: WIDE, store_dtype: StoreDType::F16, ..manifest() };
    let mut writer = LibraryWriter::create_or_open(directory.path(), of).unwrap();
    for (number, half) in vectors.chunks(ROWS / 2).enumerate() {
        writer.append(&rows(half, number * ROWS / 2)).unwrap();
        writer.flush().unwrap();
    }
    writer.finish().unwrap();
    let (library, _) = on_disk(directory.path());
    let usual = SearchOptions::new(10);
    let (mut same, mut all) = (0, 0);
    for number in 0..8 {
        let other = noise(&mut random);
        let query = mixed(&vectors[number * ROWS / 8], &other, [0.5, 20.0][number % 2]);
        let expected = names(&found(&library, &query, &usual.clone().with_exact(true)));
        all += expected.len();
        same += names(&found(&library, &query, &usual)).iter().filter(|name| expected.contains(name)).count();
    }
    assert!(all == 80 && same >= 79, "{same} of {all}");
    let no_number = vec![f32::NAN; WIDE];
    let refused = library.search_for(ArrayView1::from(&no_number), &usual);
    assert!(matches!(refused, Err(RetrievalError::NonFiniteScore { .. })), "{refused:?}");
}

#[test]
fn moments_are_found_on_disk_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let vectors = clustered(300, 4);
    let mut writer = LibraryWriter::create_or_open(directory.path(), of_dim(StoreDType::F32)).unwrap();
    for (number, moments) in vectors.chunks(6).enumerate() {
        let fingerprint = FileFingerprint { size_bytes: 1, modified_nanoseconds: 1 };
        let range = |i: usize| match i {
            0 => TimeRange::between(0.0, 50.0),
            i => TimeRange::between(10.0 * (i - 1) as f64, 10.0 * i as f64),
        };
        let row = |(i, vector): (usize, &Vec<f32>)| LibraryRow {
            entry: LibraryEntry::new(name(number), MediaKind::Video, fingerprint)
                .with_time_range(Some(range(i))),
            embedding: vector.clone(),
        };
        writer.append(&moments.iter().enumerate().map(row).collect::<Vec<_>>()).unwrap();
    }
    writer.finish().unwrap();
    let in_memory = Library::open(directory.path()).unwrap();
    let (on_disk, _) = on_disk(directory.path());
    for unit in [gve::retrieval::Unit::BestMoment, gve::retrieval::Unit::Moment, gve::retrieval::Unit::File] {
        let options = SearchOptions::new(10).with_unit(unit);
        for query in clustered(10, 5) {
            assert_eq!(found(&on_disk, &query, &options), found(&in_memory, &query, &options), "{unit:?}");
        }
    }
}

#[test]
fn codes_are_made_where_they_are_missing_stale_or_damaged() {
    let vectors = clustered(600, 6);
    let directory = library_of(&vectors, StoreDType::F32);
    let path = directory.path();
    assert!(codes(path).is_empty(), "what fits into memory needs none");
    assert_eq!(on_disk(path).1, 600);
    assert_eq!((codes(path).len(), on_disk(path).1), (2, 0));
    fs::remove_file(&codes(path)[0]).unwrap();
    assert_eq!(on_disk(path).1, 200);
    fs::copy(&codes(path)[0], &codes(path)[1]).unwrap();
    assert_eq!(on_disk(path).1, 400, "those of another segment");
    let mut bytes = fs::read(&codes(path)[1]).unwrap();
    let place = bytes.len() - 100;
    bytes[place] ^= 1;
    fs::write(&codes(path)[1], bytes).unwrap();
    assert_eq!((on_disk(path).1, on_disk(path).1), (400, 0));
    // What is added, renamed or removed leaves them as they are.
    let before: Vec<_> = codes(path).iter().map(|path| fs::read(path).unwrap()).collect();
    let mut writer = LibraryWriter::create_or_open(path, of_dim(StoreDType::F32)).unwrap();
    writer.append(&rows(&clustered(20, 7), 600)).unwrap();
    writer.flush().unwrap();
    writer.rename(&name(3), Path::new("/v/renamed.mp4")).unwrap();
    let removed: Vec<PathBuf> = (100..150).map(name).collect();
    assert_eq!(writer.remove(&removed).unwrap(), 50);
    drop(writer);
    let (library, coded) = on_disk(path);
    assert_eq!((library.entries().len(), coded), (570, 21));
    assert!(before.iter().zip(codes(path)).all(|(before, path)| *before == fs::read(path).unwrap()));
    let hits = found(&library, &vectors[3], &SearchOptions::new(1));
    assert_eq!(names(&hits), [PathBuf::from("/v/renamed.mp4")]);
    let gone: HashSet<PathBuf> = removed.into_iter().collect();
    let all = found(&library, &vectors[120], &SearchOptions::new(600));
    assert!(all.len() == 570 && !all.iter().any(|hit| gone.contains(&hit.entry.path)));
    // A segment that is gone takes its codes along.
    let mut writer = LibraryWriter::create_or_open(path, of_dim(StoreDType::F32)).unwrap();
    fs::write(path.join("segments/00000099.codes"), "of none").unwrap();
    writer.compact().unwrap();
    drop(writer);
    drop(LibraryWriter::create_or_open(path, of_dim(StoreDType::F32)).unwrap());
    assert_eq!((segments(path).len(), codes(path).len(), on_disk(path).1), (1, 0, 570));
}

/// An application opens a library once, searches it from many threads, and looks now and then for what is
/// new.
#[test]
fn a_library_goes_on_as_it_was_while_others_write() {
    let vectors = clustered(400, 10);
    let directory = library_of(&vectors[..300], StoreDType::F16);
    let path = directory.path();
    let before = Library::open(path).unwrap();
    let (coded, _) = on_disk(path);
    assert!(before.is_current().unwrap() && coded.is_current().unwrap());
    std::thread::scope(|scope| {
        let searches: Vec<_> = [&before, &coded, &before, &coded]
            .into_iter()
            .map(|library| {
                let vectors = &vectors;
                scope.spawn(move || {
                    for (number, vector) in vectors[..300].iter().enumerate() {
                        let folder = if number % 2 == 0 { "**/few/*" } else { "**/most/*" };
                        let options =
                            SearchOptions::new(1).with_filter(Filter::default().named(folder).unwrap());
                        let hits = found(library, vector, &options);
                        let is_here = name(number).to_str().unwrap().contains(&folder[3..folder.len() - 2]);
                        assert_eq!(names(&hits)[0] == name(number), is_here, "{number}");
                    }
                })
            })
            .collect();
        let mut writer = LibraryWriter::create_or_open(path, of_dim(StoreDType::F16)).unwrap();
        for number in 300..400 {
            writer.append(&rows(&vectors[number..=number], number)).unwrap();
            writer.flush().unwrap();
        }
        writer.remove(&[name(7)]).unwrap();
        // The segments that the others have open go.
        writer.compact().unwrap();
        searches.into_iter().for_each(|search| search.join().unwrap());
    });
    assert!(!before.is_current().unwrap() && !coded.is_current().unwrap());
    assert_eq!((coded.entries().len(), Library::open(path).unwrap().entries().len()), (300, 399));
    assert_eq!(names(&found(&coded, &vectors[7], &SearchOptions::new(1))), [name(7)]);
}

#[test]
fn a_row_that_decays_is_named_and_not_found() {
    let vectors = clustered(300, 8);
    let decayed = || {
        let directory = library_of(&vectors, StoreDType::F32);
        drop(on_disk(directory.path()));
        // One value of an embedding, after its codes were made.
        let segment =
            segments(directory.path()).into_iter().find(|path| path.ends_with("00000002.parquet")).unwrap();
        let bytes = fs::read(&segment).unwrap();
        let value: Vec<u8> = vectors[200][..8].iter().flat_map(|value| value.to_le_bytes()).collect();
        let place = bytes.windows(value.len()).position(|window| window == value).unwrap();
        let file = OpenOptions::new().write(true).open(&segment).unwrap();
        file.write_all_at(&[bytes[place] ^ 1], place as u64).unwrap();
        directory
    };
    let directory = decayed();
    let (library, coded) = on_disk(directory.path());
    assert_eq!((coded, library.damage().len()), (0, 0), "nobody has read it yet");
    let writer = LibraryWriter::create_or_open(directory.path(), of_dim(StoreDType::F32)).unwrap();
    assert!(writer.damage().is_empty() && writer.has(&name(200)), "nor does a writer, where there are codes");
    drop(writer);
    let hits = found(&library, &vectors[200], &SearchOptions::new(300));
    assert!(hits.len() == 299 && !names(&hits).contains(&name(200)));
    assert_eq!(library.embedding(200).unwrap(), None);
    let damage = library.take_damage();
    let [RetrievalError::DamagedRows { first: 100, file: Some(file), .. }] = &damage[..] else {
        panic!("{damage:?}");
    };
    assert_eq!(*file, name(200));
    assert!(library.take_damage().is_empty(), "it is told of once");
    // The next writer reads all of the segment, and has the rest.
    let compacted = decayed();
    let by_codes =
        LibraryWriter::create_or_open(compacted.path(), of_dim(StoreDType::F32)).unwrap().compact();
    assert!(matches!(by_codes, Err(RetrievalError::DamagedRows { .. })), "{by_codes:?}");
    for directory in [directory, compacted] {
        let writer = LibraryWriter::create_or_open(directory.path(), of_dim(StoreDType::F32)).unwrap();
        assert!(writer.damage().len() == 1 && !writer.has(&name(200)));
        writer.finish().unwrap();
        let (library, _) = on_disk(directory.path());
        assert_eq!((library.entries().len(), library.damage().len()), (299, 0));
    }
}

#[test]
fn small_segments_are_joined_without_those_that_are_large() {
    let vectors = clustered(800, 9);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut writer = LibraryWriter::create_or_open(path, of_dim(StoreDType::F32)).unwrap();
    writer.append(&rows(&vectors[..600], 0)).unwrap();
    writer.flush().unwrap();
    let large = fs::metadata(path.join("segments/00000001.parquet")).unwrap().modified().unwrap();
    for number in 600..640 {
        writer.append(&rows(&vectors[number..=number], number)).unwrap();
        writer.flush().unwrap();
    }
    writer.remove(&[name(5), name(610)]).unwrap();
    // In a newer state, and forgotten before.
    let mut again = rows(&vectors[700..702], 5);
    again[1].entry.fingerprint.modified_nanoseconds = 2;
    writer.append(&again).unwrap();
    let check = |coded: bool| {
        let (library, _) = on_disk(path);
        assert!(library.damage().is_empty(), "{:?}", library.damage());
        assert_eq!(library.entries().len(), 639);
        for (number, vector) in [(5, 700), (6, 701), (7, 7), (639, 639)] {
            let hits = found(&library, &vectors[vector], &SearchOptions::new(1).with_exact(!coded));
            assert_eq!(names(&hits), [name(number)]);
        }
    };
    writer.finish().unwrap();
    let parquet =
        || segments(path).into_iter().filter(|path| path.extension().is_some_and(|e| e == "parquet"));
    assert_eq!(parquet().count(), 2);
    assert_eq!(fs::metadata(path.join("segments/00000001.parquet")).unwrap().modified().unwrap(), large);
    check(true);
    let mut writer = LibraryWriter::create_or_open(path, of_dim(StoreDType::F32)).unwrap();
    assert!(writer.damage().is_empty(), "{:?}", writer.damage());
    assert_eq!(writer.paths().count(), 639);
    writer.rename(&name(639), &name(900)).unwrap();
    writer.rename(&name(900), &name(639)).unwrap();
    writer.compact().unwrap();
    drop(writer);
    assert_eq!(parquet().count(), 1);
    check(false);
}

#[test]
fn joined_segments_are_joined_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let vectors = clustered(1000, 11);
    let mut writer = LibraryWriter::create_or_open(path, of_dim(StoreDType::F32)).unwrap();
    writer.append(&rows(&vectors[..600], 0)).unwrap();
    for number in 600..800 {
        writer.append(&rows(&vectors[number..=number], number)).unwrap();
        writer.flush().unwrap();
        if number % 40 == 39 {
            writer.finish().unwrap();
            writer = LibraryWriter::create_or_open(path, of_dim(StoreDType::F32)).unwrap();
            assert!(writer.damage().is_empty(), "{:?}", writer.damage());
        }
    }
    // Without an end, too, they do not become too many.
    for number in 800..1000 {
        writer.append(&rows(&vectors[number..=number], number)).unwrap();
        writer.flush().unwrap();
    }
    assert!(segments(path).len() < 140, "{}", segments(path).len());
    let library = Library::open(path).unwrap();
    assert!(library.damage().is_empty() && library.entries().len() == 1000, "{:?}", library.damage());
}

/// A segment that forgets alone has no rows, and those behind it keep theirs.
#[test]
fn a_segment_without_rows_is_none() {
    let vectors = clustered(20_300, 12);
    let directory = library_of(&vectors[..20_000], StoreDType::F32);
    let mut writer = LibraryWriter::create_or_open(directory.path(), of_dim(StoreDType::F32)).unwrap();
    writer.remove(&[name(17)]).unwrap();
    writer.append(&rows(&vectors[20_000..], 20_000)).unwrap();
    writer.flush().unwrap();
    let (library, _) = on_disk(directory.path());
    for number in [3, 19_999, 20_000, 20_100, 20_299] {
        assert_eq!(names(&found(&library, &vectors[number], &SearchOptions::new(1))), [name(number)]);
    }
    assert_ne!(names(&found(&library, &vectors[17], &SearchOptions::new(1))), [name(17)]);
}

/// Codes in memory are shared with what comes after, but where something has decayed.
#[test]
fn what_is_opened_again_shares_its_codes() {
    let vectors = clustered(400, 13);
    let directory = library_of(&vectors[..300], StoreDType::F32);
    let path = directory.path();
    let (first, _) = on_disk(path);
    let known = codes(path);
    let mut writer = LibraryWriter::create_or_open(path, of_dim(StoreDType::F32)).unwrap();
    writer.append(&rows(&vectors[300..], 300)).unwrap();
    writer.flush().unwrap();
    known.iter().for_each(|file| fs::remove_file(file).unwrap());
    let second = first.reload().unwrap().unwrap();
    assert!(known.iter().all(|file| !file.exists()), "codes are made that are known");
    for number in [3, 299, 300, 399] {
        assert_eq!(names(&found(&second, &vectors[number], &SearchOptions::new(1))), [name(number)]);
    }

    let file =
        segments(path).into_iter().find(|file| file.extension().is_some_and(|e| e == "parquet")).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let value = vectors[3][5].to_le_bytes();
    let at = bytes.windows(4).position(|window| window == value).unwrap();
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_ne!(names(&found(&second, &vectors[3], &SearchOptions::new(1))), [name(3)]);
    writer.remove(&[name(7)]).unwrap();
    writer.flush().unwrap();
    let third = second.reload().unwrap().unwrap();
    assert!(third.damage().iter().any(|damage| matches!(damage, RetrievalError::DamagedRows { .. })));
}
