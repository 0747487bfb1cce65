//! How unusual a hit is: rare among queries that fit nothing, usual for what is there.

use std::path::{Path, PathBuf};

use gve::Random;
use gve::TimeRange;
use gve::media::MediaKind;
use gve::retrieval::{
    Feedback, FileFingerprint, Filter, Library, LibraryEntry, LibraryHit, LibraryManifest, LibraryOptions,
    LibraryRow, LibraryWriter, SearchOptions, StoreDType, normalize,
};
use ndarray::ArrayView1;

use super::library::manifest;

const DIM: usize = 48;
/// Values in which rows have nothing.
const APART: usize = 8;

fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    normalize(&mut vector, "test").unwrap();
    vector
}

fn noise(random: &mut Random) -> Vec<f32> {
    let mut vector: Vec<f32> = (0..DIM - APART).map(|_| random.unit() as f32 - 0.5).collect();
    vector.resize(DIM, 0.0);
    unit(vector)
}

fn sum(of: &[(f32, &[f32])]) -> Vec<f32> {
    unit((0..DIM).map(|i| of.iter().map(|(weight, vector)| weight * vector[i]).sum()).collect())
}

/// What all have, as embeddings do.
fn common() -> Vec<f32> {
    noise(&mut Random::new(1))
}

/// A vector about one of 40 centres, or about one of its own.
fn vector(random: &mut Random, is_known: bool) -> Vec<f32> {
    let own = noise(random);
    let centre =
        if is_known { noise(&mut Random::derived(2, &[random.below(40) as u64])) } else { noise(random) };
    sum(&[(0.6, &common()), (1.0, &centre), (0.5, &own)])
}

fn rows(count: usize) -> Vec<Vec<f32>> {
    let mut random = Random::new(7);
    (0..count).map(|_| vector(&mut random, true)).collect()
}

fn library_of(vectors: &[Vec<f32>], store_dtype: StoreDType) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let fingerprint = FileFingerprint { size_bytes: 1, modified_nanoseconds: 1 };
    let manifest = LibraryManifest { dim: DIM, store_dtype, ..manifest() };
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest).unwrap();
    let row = |(number, vector): (usize, &Vec<f32>)| {
        // Each file is cut into four, the first of which is the whole.
        let (start, end) =
            if number.is_multiple_of(4) { (0.0, 40.0) } else { (10.0 * (number % 4) as f64, 40.0) };
        let entry = LibraryEntry::new(name(number), MediaKind::Video, fingerprint)
            .with_time_range(Some(TimeRange::between(start, end)));
        LibraryRow { entry, embedding: vector.clone() }
    };
    let rows: Vec<LibraryRow> = vectors.iter().enumerate().map(row).collect();
    writer.append(&rows).unwrap();
    writer.finish().unwrap();
    directory
}

fn name(row: usize) -> PathBuf {
    format!("/v/{}/{:06}.mp4", if (row / 4).is_multiple_of(10) { "few" } else { "most" }, row / 4).into()
}

fn open(directory: &Path, memory_bytes: u64) -> Library {
    let options = LibraryOptions::default().with_memory_bytes(memory_bytes);
    Library::open_with(directory, &options, |_, _| {}).unwrap()
}

fn asked(k: usize) -> SearchOptions {
    SearchOptions::new(k).with_min_confidence(Some(0.0))
}

fn found(library: &Library, query: &[f32], options: &SearchOptions) -> Vec<LibraryHit> {
    library.search_for(ArrayView1::from(query), options).unwrap()
}

fn best(library: &Library, query: &[f32], options: &SearchOptions) -> f32 {
    found(library, query, options)[0].confidence.unwrap()
}

/// Queries of which nothing is in the library, and such as mean one of its moments.
fn queries(vectors: &[Vec<f32>]) -> [Vec<Vec<f32>>; 2] {
    let mut random = Random::new(11);
    let strangers = (0..200).map(|_| vector(&mut random, false)).collect();
    let planted = |number: usize| sum(&[(1.0, &vectors[number * 8 + 1]), (0.5, &noise(&mut random))]);
    [strangers, (0..200).map(planted).collect()]
}

fn share_from(library: &Library, queries: &[Vec<f32>], least: f32, options: &SearchOptions) -> f64 {
    let sure = queries.iter().filter(|query| best(library, query, options) >= least).count();
    sure as f64 / queries.len() as f64
}

#[test]
fn what_is_there_is_unusual_and_what_is_not_is_usual() {
    let vectors = rows(6000);
    let [strangers, planted] = queries(&vectors);
    for dtype in StoreDType::ALL {
        let directory = library_of(&vectors, dtype);
        for memory_bytes in [u64::MAX, 0] {
            let library = open(directory.path(), memory_bytes);
            let share = |queries, least| share_from(&library, queries, least, &asked(1));
            let shares = [share(&strangers, 0.9), share(&strangers, 0.5), share(&planted, 0.9)];
            let [surely, rather, planted] = shares;
            assert!(surely <= 0.1 && rather <= 0.5 && planted >= 0.9, "{dtype:?} {memory_bytes}: {shares:?}");
        }
    }
}

/// Texts of some models lie apart from all pictures, so that their cosines are small and close together.
#[test]
fn a_kind_of_query_that_lies_apart_is_judged_as_any_other() {
    let vectors = rows(4000);
    let directory = library_of(&vectors, StoreDType::default());
    let library = open(directory.path(), u64::MAX);
    let mut apart = vec![0.0; DIM];
    apart[DIM - 1] = 1.0;
    let [strangers, planted] = queries(&vectors)
        .map(|queries| queries.iter().map(|query| sum(&[(0.3, query), (1.0, &apart)])).collect::<Vec<_>>());
    let score = found(&library, &planted[0], &asked(1))[0].score;
    assert!(score < 0.3, "{score}");
    let share = |queries, least| share_from(&library, queries, least, &asked(1));
    let shares = [share(&strangers, 0.9), share(&planted, 0.5), share(&strangers, 0.5)];
    let [strange, planted, rather] = shares;
    assert!(strange <= 0.1 && planted >= 0.7 && rather <= 0.3, "{shares:?}");
}

#[test]
fn confidence_falls_with_the_score_and_is_of_the_whole_library_and_the_query_as_asked() {
    let vectors = rows(2000);
    let directory = library_of(&vectors, StoreDType::default());
    let (library, on_disk) = (open(directory.path(), u64::MAX), open(directory.path(), 0));
    let [strangers, planted] = queries(&vectors);
    for query in strangers.iter().take(10).chain(planted.iter().take(10)) {
        let hits = found(&library, query, &asked(20));
        let confidences: Vec<f32> = hits.iter().map(|hit| hit.confidence.unwrap()).collect();
        assert!(confidences.is_sorted_by(|a, b| a >= b) && confidences[0] < 1.0, "{confidences:?}");
        assert_eq!(
            found(&open(directory.path(), u64::MAX), query, &asked(20)),
            hits,
            "it differs by nothing"
        );
        for (hit, other) in hits.iter().zip(found(&on_disk, query, &asked(20).with_exact(true))) {
            let gap = (hit.confidence.unwrap() - other.confidence.unwrap()).abs();
            assert!(hit.entry == other.entry && gap < 0.005, "{hit:?} {other:?}");
        }
        // Without it nothing is computed; with it what is less is left out, and nothing else.
        assert!(found(&library, query, &SearchOptions::new(20)).iter().all(|hit| hit.confidence.is_none()));
        let least = confidences[7];
        let some: Vec<_> = hits.iter().filter(|hit| hit.confidence.unwrap() >= least).cloned().collect();
        assert_eq!(found(&library, query, &asked(20).with_min_confidence(Some(least))), some);
        assert_eq!(found(&library, query, &asked(20).with_min_confidence(Some(1.0))), []);

        let of = |hits: &[LibraryHit], wanted: &LibraryHit| {
            let hit = hits.iter().find(|hit| hit.entry == wanted.entry);
            hit.map(|hit| hit.confidence.unwrap())
        };
        let few = found(&library, query, &asked(5).with_filter(Filter::default().named("**/few/*").unwrap()));
        let all = found(&library, query, &asked(2000));
        assert!(few.len() == 5 && few.iter().all(|hit| of(&all, hit) == hit.confidence));
        let moved = found(&library, query, &asked(5).with_feedback(Some(Feedback::of(3))));
        for hit in &moved {
            let before = of(&all, hit);
            assert!(
                before.is_none_or(|before| (before - hit.confidence.unwrap()).abs() < 0.005),
                "{hit:?} {before:?}"
            );
        }
        assert!(of(&all, &moved[0]).is_some());
    }
    // At a smaller width it is that width's, whatever was asked before.
    let cut = |query: &Vec<f32>| unit(query[..32].to_vec());
    let [strangers, planted] =
        [&strangers, &planted].map(|queries| queries.iter().map(cut).collect::<Vec<_>>());
    let share = |queries| share_from(&library, queries, 0.9, &asked(1).with_dim(Some(32)));
    assert!(share(&strangers) <= 0.1 && share(&planted) >= 0.9, "{} {}", share(&strangers), share(&planted));
}

#[test]
fn a_small_library_tells_nothing_and_one_of_equals_does_not_fail() {
    for (count, tells) in [(1, false), (49, false), (50, true)] {
        let vectors = rows(count);
        let directory = library_of(&vectors, StoreDType::default());
        for memory_bytes in [u64::MAX, 0] {
            let library = open(directory.path(), memory_bytes);
            let hits = found(&library, &vectors[0], &asked(3));
            assert!(!hits.is_empty() && hits.iter().all(|hit| hit.confidence.is_some() == tells), "{hits:?}");
            let strict = found(&library, &vectors[0], &asked(3).with_min_confidence(Some(1.0)));
            assert_eq!(strict, if tells { Vec::new() } else { hits });
        }
    }
    let equal = vec![rows(1).remove(0); 60];
    let directory = library_of(&equal, StoreDType::default());
    let library = open(directory.path(), u64::MAX);
    let mut apart = vec![0.0; DIM];
    apart[DIM - 1] = 1.0;
    for query in [&equal[0], &apart] {
        let confidence = best(&library, query, &asked(1));
        assert!((0.0..1.0).contains(&confidence), "{confidence}");
    }
}
