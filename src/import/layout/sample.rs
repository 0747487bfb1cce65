//! Files that are called alike: a medium and what is said of it.

use serde_json::{Map, Value};

use super::{Layout, captions};
use crate::import::error::Fault;
use crate::import::reading::{Reading, Row};
use crate::import::records::NAME;
use crate::media::MediaKind;
use crate::pairs::Pair;

/// Samples of webdataset's shards, <https://github.com/webdataset/webdataset>.
pub(super) const WEBDATASET: Layout = Layout {
    name: "webdataset",
    about: "tar and tar.gz shards: name.mp4, name.jpg, ... with name.txt, name.json or name.cls",
    keys: &[&["mp4", "txt"], &["jpg", "txt"]],
    looks: |fields: &Map<String, Value>| fields.contains_key(NAME) && medium_of(fields).is_some(),
    read,
};

/// The same in a folder.
pub(super) const FOLDER: Layout = Layout {
    name: "folder",
    about: "a folder: name.mp4, name.jpg, ... with name.txt, name.caption or name.json",
    keys: &[],
    looks: |fields: &Map<String, Value>| !fields.contains_key(NAME) && medium_of(fields).is_some(),
    read,
};

/// Endings of files with texts.
const TEXTS: [&str; 6] = ["txt", "caption", "text", "captions", "cls", "title"];

/// The file of a sample, by its ending: a video before an image, which may be a still of it.
fn medium_of(fields: &Map<String, Value>) -> Option<(&str, MediaKind)> {
    let kind = |key: &str| MediaKind::of_extension(key.rsplit('.').next().unwrap_or(key));
    let of = |wanted| fields.keys().find(|key| kind(key) == Some(wanted)).map(|key| (key.as_str(), wanted));
    of(MediaKind::Video).or_else(|| of(MediaKind::Image))
}

fn read(row: &Row, reading: &Reading<'_>) -> Result<Vec<Pair>, Fault> {
    let (key, kind) = medium_of(&row.fields).ok_or("has no video and no image".to_owned())?;
    if row.first(&TEXTS).is_some() {
        return captions::read(row, reading, &[(key, kind)], &TEXTS);
    }
    let Some(Value::Object(said)) = row.get("json") else {
        return Err(Fault::Row(format!("has no text beside its {key}: none of {}, json", TEXTS.join(", "))));
    };
    let mut fields = said.clone();
    fields.insert(key.to_owned(), row.fields.get(key).cloned().unwrap_or_default());
    let row = Row { place: row.place.clone(), fields };
    captions::read(&row, reading, &[(key, kind)], &captions::TEXTS)
}
