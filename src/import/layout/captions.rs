//! Videos and images with what is to be seen in them.

use serde_json::{Map, Value};

use super::{Layout, has_all};
use crate::embedder::Input;
use crate::import::error::Fault;
use crate::import::reading::{Reading, Row, kind_of};
use crate::media::MediaKind;
use crate::pairs::Pair;

/// MSR-VTT, <https://www.microsoft.com/en-us/research/publication/msr-vtt-a-large-video-description-dataset-for-bridging-video-and-language/>:
/// sentences by the id of their video, or a list of videos with their captions.
pub(super) const MSR_VTT: Layout = Layout {
    name: "msr-vtt",
    about: "MSR-VTT: sentences and videos by video_id; also its lists and tables of video_id and sentence",
    keys: &[&["video_id", "caption"], &["video_id", "sentence"]],
    looks: |fields: &Map<String, Value>| {
        has_all(fields, &["video_id"])
            && ["caption", "sentence"].into_iter().any(|key| fields.contains_key(key))
    },
    read: |row, reading| {
        read(row, reading, &[("video", VIDEO), ("video_id", VIDEO)], &["caption", "sentence"])
    },
};

/// COCO's captions, <https://cocodataset.org/#format-data>: annotations by the id of their image, with the name of its
/// file.
pub(super) const COCO: Layout = Layout {
    name: "coco",
    about: "COCO's captions: images and annotations by image_id, with caption",
    keys: &[COCO_KEYS],
    looks: |fields: &Map<String, Value>| has_all(fields, COCO_KEYS),
    read: coco,
};

const COCO_KEYS: &[&str] = &["image_id", "caption", "file_name"];

/// WebVid, <https://github.com/m-bain/webvid>: the files are `page_dir/videoid.mp4`.
pub(super) const WEBVID: Layout = Layout {
    name: "webvid",
    about: "WebVid's table: videoid, page_dir, name; the files are page_dir/videoid.mp4",
    keys: &[&["videoid", "page_dir", "name"]],
    looks: |fields: &Map<String, Value>| has_all(fields, &["videoid", "page_dir", "name"]),
    read: webvid,
};

/// Whatever else has a medium and its texts.
pub(super) const CAPTIONS: Layout = Layout {
    name: "captions",
    about: "a file and its texts: video, image, file_name, ... with caption, text, sentence, ...",
    keys: &[&["video", "caption"], &["image", "caption"], &["file_name", "text"]],
    looks: |fields: &Map<String, Value>| {
        FILES.iter().any(|(key, _)| fields.contains_key(*key))
            && TEXTS.iter().any(|key| fields.contains_key(*key))
    },
    read: |row, reading| read(row, reading, &FILES, &TEXTS),
};

const VIDEO: MediaKind = MediaKind::Video;
const IMAGE: MediaKind = MediaKind::Image;
/// Under which a file is named, with what it is where its name does not tell.
const FILES: [(&str, MediaKind); 14] = [
    ("video", VIDEO),
    ("video_path", VIDEO),
    ("video_file", VIDEO),
    ("video_name", VIDEO),
    ("clip", VIDEO),
    ("image", IMAGE),
    ("image_path", IMAGE),
    ("image_file", IMAGE),
    ("img_path", IMAGE),
    ("filename", IMAGE),
    ("file_name", IMAGE),
    ("filepath", IMAGE),
    ("file_path", IMAGE),
    ("path", IMAGE),
];
pub(super) const TEXTS: [&str; 9] =
    ["caption", "captions", "text", "texts", "sentence", "sentences", "description", "descriptions", "title"];

fn coco(row: &Row, reading: &Reading<'_>) -> Result<Vec<Pair>, Fault> {
    if row.get("file_name").is_none() {
        let id = row.get("image_id").unwrap_or(&Value::Null);
        return Err(Fault::Row(format!("`image_id` is {id}, and no image with a `file_name` has this `id`")));
    }
    read(row, reading, &[("file_name", IMAGE)], &["caption"])
}

fn webvid(row: &Row, reading: &Reading<'_>) -> Result<Vec<Pair>, Fault> {
    let named = |key: &str| match row.get(key) {
        Some(Value::Number(number)) => Ok(number.to_string()),
        _ => row.text(key).map(str::to_owned),
    };
    let (page, id) = (named("page_dir")?, named("videoid")?);
    let video = reading.medium(&format!("{page}/{id}.mp4"), VIDEO)?;
    Ok(vec![Pair::new(Input::text(row.text("name")?.trim()), video)?])
}

/// A pair for each text of a file.
pub(super) fn read(
    row: &Row,
    reading: &Reading<'_>,
    files: &[(&str, MediaKind)],
    texts: &[&str],
) -> Result<Vec<Pair>, Fault> {
    let of_split = reading.settings.split.as_deref().is_none_or(|split| {
        row.fields.get("split").and_then(Value::as_str).is_none_or(|other| other == split)
    });
    if !of_split {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = files.iter().map(|(key, _)| *key).collect();
    let key = row.one_of(&names)?;
    let kind = files.iter().find(|(name, _)| *name == key).map_or(VIDEO, |(_, kind)| *kind);
    let medium = match row.get(key) {
        Some(Value::String(path)) => reading.medium(path, kind),
        Some(value @ Value::Object(_)) => reading.side(value),
        Some(other) => Err(format!("`{key}` is {}, expected a path", kind_of(other))),
        None => Err(format!("`{key}` is empty")),
    }?;
    let text_key = row.one_of(texts)?;
    let pairs = row.list(text_key).iter().map(|value| match value {
        Value::String(text) => Pair::new(Input::text(text.trim()), medium.clone()),
        other => Err(format!("`{text_key}` holds {}, expected text", kind_of(other))),
    });
    pairs.collect::<Result<_, String>>().map_err(Fault::Row)
}
