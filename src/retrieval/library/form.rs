//! What hits are in JSON, and in whatever else serde writes.

use std::path::Path;

use serde::ser::{Serialize, Serializer};

use super::entry::{FileFingerprint, LibraryEntry};
use super::search::LibraryHit;
use crate::media::{MediaKind, TimeRange};

/// A hit on one level, in the names that `gve search --json` has.
#[derive(serde::Serialize)]
struct HitForm<'a> {
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f32>,
    row: usize,
    path: &'a Path,
    kind: MediaKind,
    start: Option<f64>,
    end: Option<f64>,
    size_bytes: u64,
    modified_nanoseconds: i64,
    captured_seconds: Option<i64>,
    width: Option<u32>,
    height: Option<u32>,
}

/// On one level: `score`, `confidence` where it was asked for, `row`, `path`, `kind` (`video` or `image`),
/// `start` and `end` of [`time_range`](LibraryHit::time_range) in seconds, and of the entry `size_bytes`,
/// `modified_nanoseconds`, `captured_seconds`, `width` and `height`. What is not known is `null`. A path that
/// is no UTF-8 is an error; a library has none.
impl Serialize for LibraryHit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let LibraryEntry { path, kind, fingerprint, captured_seconds, width, height, .. } = &self.entry;
        let FileFingerprint { size_bytes, modified_nanoseconds } = *fingerprint;
        let TimeRange { start_seconds, end_seconds } = self.time_range.unwrap_or_default();
        let form = HitForm {
            score: self.score,
            confidence: self.confidence,
            row: self.row,
            path,
            kind: *kind,
            start: start_seconds,
            end: end_seconds,
            size_bytes,
            modified_nanoseconds,
            captured_seconds: *captured_seconds,
            width: *width,
            height: *height,
        };
        form.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_is_one_object() {
        let fingerprint = FileFingerprint { size_bytes: 7, modified_nanoseconds: 8 };
        let entry = LibraryEntry::new("/a.mp4", MediaKind::Video, fingerprint).with_width(Some(640));
        let time_range = Some(TimeRange::between(1.5, 4.0));
        let mut hit = LibraryHit { score: 0.5, row: 3, entry, time_range, confidence: None };
        let common = "\"row\":3,\"path\":\"/a.mp4\",\"kind\":\"video\",\"start\":1.5,\"end\":4.0,\"size_bytes\":7,\
                      \"modified_nanoseconds\":8,\"captured_seconds\":null,\"width\":640,\"height\":null}";
        assert_eq!(serde_json::to_string(&hit).unwrap(), format!("{{\"score\":0.5,{common}"));
        hit.confidence = Some(0.75);
        assert_eq!(
            serde_json::to_string(&hit).unwrap(),
            format!("{{\"score\":0.5,\"confidence\":0.75,{common}")
        );
    }
}
