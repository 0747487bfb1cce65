//! What users say of files stays with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gve::retrieval::{
    Filter, Library, LibraryRow, LibraryWriter, RetrievalError, SearchOptions, TagTest, TagValue,
};

use super::damage::damage_embedding;
use super::library::{DIM, manifest, row, segments};

fn library() -> (tempfile::TempDir, LibraryWriter) {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    let rows: Vec<LibraryRow> = (0..20).map(|i| row(&format!("/v/{i:02}"), i, 1)).collect();
    writer.append(&rows).unwrap();
    let stars = |path: &str, stars: f64| change(path, &[("stars", Some(TagValue::Number(stars)))]);
    let who = TagValue::Texts(vec!["Ada".into(), "Max".into()]);
    let unknown = writer
        .tag(&[
            stars("/v/00", 5.0),
            stars("/v/01", 3.0),
            stars("/v/99", 5.0),
            change("/v/02", &[("who", Some(who))]),
        ])
        .unwrap();
    assert_eq!(unknown, [PathBuf::from("/v/99")]);
    writer.flush().unwrap();
    (directory, writer)
}

fn change(path: &str, tags: &[(&str, Option<TagValue>)]) -> (PathBuf, BTreeMap<String, Option<TagValue>>) {
    (path.into(), tags.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

/// The files with tags, and those.
fn tagged(directory: &Path) -> String {
    let library = Library::open(directory).unwrap();
    assert!(library.damage().is_empty(), "{:?}", library.damage());
    let files = library.tagged().map(|(path, tags)| {
        assert_eq!(library.tags(path), Some(tags));
        format!("{} {}", path.display(), serde_json::to_string(tags).unwrap())
    });
    files.collect::<Vec<_>>().join("; ")
}

const WHO: &str = r#"/v/02 {"who":["Ada","Max"]}"#;

/// Those of a file whose row is damaged, too: it is embedded anew in the new place.
#[test]
fn tags_move_with_the_folder_that_is_said_to_have_moved() {
    let (directory, writer) = library();
    writer.finish().unwrap();
    damage_embedding(&segments(directory.path())[0], 0.5);
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    assert!(!writer.has("/v/00".as_ref()), "{:?}", writer.damage());
    assert_eq!(writer.relocate("/v".as_ref(), "/w".as_ref()).unwrap(), 19);
    writer.append(&[row("/w/00", 0, 1)]).unwrap();
    writer.finish().unwrap();
    let who = WHO.replace("/v", "/w");
    let expected = format!(r#"/w/00 {{"stars":5.0}}; /w/01 {{"stars":3.0}}; {who}"#);
    assert_eq!(tagged(directory.path()), expected);
}

#[test]
fn tags_are_set_changed_and_taken_away() {
    let (directory, mut writer) = library();
    assert_eq!(tagged(directory.path()), format!(r#"/v/00 {{"stars":5.0}}; /v/01 {{"stars":3.0}}; {WHO}"#));
    let opened = Library::open(directory.path()).unwrap();
    assert!(opened.is_current().unwrap());
    let seen = ("seen", Some(TagValue::Flag(true)));
    writer
        .tag(&[
            change("/v/00", &[seen, ("stars", None), ("none", None)]),
            change("/v/01", &[("stars", None)]),
        ])
        .unwrap();
    assert_eq!(tagged(directory.path()), format!(r#"/v/00 {{"seen":true}}; {WHO}"#));
    assert!(!opened.is_current().unwrap(), "opening anew shows them");
}

#[test]
fn a_tag_that_is_no_finite_number_is_refused_and_changes_nothing() {
    let (directory, mut writer) = library();
    let before = tagged(directory.path());
    for value in [f64::NAN, f64::INFINITY] {
        let changes = [
            change("/v/00", &[("seen", Some(true.into()))]),
            change("/v/01", &[("stars", Some(value.into()))]),
        ];
        let refused = writer.tag(&changes).unwrap_err().to_string();
        assert_eq!(refused, format!("tag \"stars\" of /v/01 is {value}: expected a finite number"));
        assert_eq!(tagged(directory.path()), before);
    }
}

#[test]
fn files_are_tagged_beside_a_writer_and_reloading_reads_no_rows() {
    let (directory, mut writer) = library();
    let opened = Library::open(directory.path()).unwrap();
    assert!(opened.reload().unwrap().is_none());
    let unknown =
        opened.tag(&[change("/v/03", &[("seen", Some(true.into()))]), change("/w", &[("seen", None)])]);
    assert_eq!(unknown.unwrap(), [PathBuf::from("/w")]);
    assert_eq!(opened.tags("/v/03".as_ref()), None, "a snapshot stays what it is");
    let tagged = opened.reload().unwrap().unwrap();
    assert_eq!(tagged.tags("/v/03".as_ref()).unwrap()["seen"], TagValue::Flag(true));
    assert!(std::ptr::eq(tagged.entries(), opened.entries()), "rows were read again");
    let query = ndarray::Array1::from_elem(DIM, (1.0 / DIM as f32).sqrt());
    let seen = Filter::default().tagged("seen", TagTest::Is("true".into()));
    for (library, expected) in [(&opened, 0), (&tagged, 1), (&opened, 0)] {
        let options = SearchOptions::new(9).with_filter(seen.clone());
        assert_eq!(library.search_for(query.view(), &options).unwrap().len(), expected);
    }
    writer.append(&[row("/v/new", 1, 1)]).unwrap();
    writer.flush().unwrap();
    let newest = tagged.reload().unwrap().unwrap();
    assert_eq!((newest.entries().len(), newest.tagged().count()), (21, 4));
}

#[test]
fn who_tags_at_the_same_time_takes_nothing_from_the_others() {
    let (directory, mut writer) = library();
    let opened = Library::open(directory.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let opened = &opened;
            scope.spawn(move || {
                for index in 3..20 {
                    let name = format!("of{thread}");
                    let one = change(&format!("/v/{index:02}"), &[(&name, Some(f64::from(index).into()))]);
                    opened.tag(&[one]).unwrap();
                }
            });
        }
        for index in 3..20 {
            writer.tag(&[change(&format!("/v/{index:02}"), &[("writer", Some(true.into()))])]).unwrap();
        }
    });
    let library = opened.reload().unwrap().unwrap();
    let count: usize = library.tagged().map(|(_, tags)| tags.len()).sum();
    assert_eq!(count, 3 + 17 * 5);
}

#[test]
fn tags_follow_their_files() {
    let (directory, mut writer) = library();
    writer.rename("/v/00".as_ref(), "/w/0".as_ref()).unwrap();
    writer.remove(&["/v/01"]).unwrap();
    assert_eq!(tagged(directory.path()), format!(r#"{WHO}; /w/0 {{"stars":5.0}}"#));
    // A file of that name that comes later is another.
    writer.append(&[row("/v/01", 1, 1), row("/v/00", 1, 1)]).unwrap();
    writer.flush().unwrap();
    assert_eq!(tagged(directory.path()), format!(r#"{WHO}; /w/0 {{"stars":5.0}}"#));
    writer.relocate("/v".as_ref(), "/v/deep".as_ref()).unwrap();
    writer.prune(|path| path.starts_with("/v")).unwrap();
    writer.finish().unwrap();
    assert_eq!(tagged(directory.path()), WHO.replace("/v/", "/v/deep/"));
}

#[test]
fn a_search_is_narrowed_by_tags() {
    let (directory, writer) = library();
    drop(writer);
    let library = Library::open(directory.path()).unwrap();
    let query = ndarray::Array1::from_elem(DIM, (1.0 / DIM as f32).sqrt());
    let found = |filter: Filter| {
        let hits = library.search_for(query.view(), &SearchOptions::new(9).with_filter(filter)).unwrap();
        let mut names: Vec<String> = hits.iter().map(|hit| hit.entry.path.display().to_string()).collect();
        names.sort();
        names
    };
    let all = Filter::default;
    let is = |text: &str| TagTest::Is(text.into());
    assert_eq!(found(all().tagged("stars", TagTest::AtLeast(3.0))), ["/v/00", "/v/01"]);
    assert_eq!(found(all().tagged("stars", TagTest::AtLeast(3.5))), ["/v/00"]);
    let both = all().tagged("stars", TagTest::AtLeast(3.0)).tagged("stars", TagTest::AtMost(4.0));
    assert_eq!(found(both), ["/v/01"]);
    assert_eq!(found(all().tagged("who", is("Max"))), ["/v/02"]);
    assert_eq!(found(all().tagged("who", is("Eve"))).len(), 0);
    assert_eq!(found(all().tagged("stars", is("5")).under("/w")).len(), 0);
}

#[test]
fn damaged_tags_are_told_of_and_the_rest_answers() {
    let (directory, mut writer) = library();
    let path = directory.path().join("library.tags");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("5.0", "4.0")).unwrap();
    let library = Library::open(directory.path()).unwrap();
    assert!(matches!(library.damage(), [RetrievalError::DamagedTags { .. }]), "{:?}", library.damage());
    assert_eq!((library.entries().len(), library.tagged().count()), (20, 0));
    assert!(matches!(writer.tags_damage(), Some(RetrievalError::DamagedTags { .. })));
    // What would be written over it is not, and nothing is done by half.
    for refused in [
        writer.rename("/v/00".as_ref(), "/w".as_ref()).map(drop),
        writer.tag(&[change("/v/00", &[("stars", None)])]).map(drop),
    ] {
        assert!(matches!(refused, Err(RetrievalError::DamagedTags { .. })), "{refused:?}");
    }
    assert!(writer.has("/v/00".as_ref()));
    std::fs::write(&path, text).unwrap();
    assert!(writer.rename("/v/00".as_ref(), "/w".as_ref()).unwrap());
}
