//! What events are in JSON, and in whatever else serde writes.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::IndexEvent;

/// One object: `event`, `path`, and what else there is: `from` (where it was, or what it is a copy of),
/// `warnings`, `error` (a text). The events are `unchanged`, `moved`, `copied`, `added`, `failed` and
/// `forgotten`; `gve index --watch --json` writes them with `event`, `path` and `from`.
impl Serialize for IndexEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut form = serializer.serialize_map(None)?;
        let (event, path) = match self {
            Self::Unchanged(path) => ("unchanged", path),
            Self::Moved { to, .. } => ("moved", to),
            Self::Copied { to, .. } => ("copied", to),
            Self::Done(path, _) => ("added", path),
            Self::Failed(path, _) => ("failed", path),
            Self::Forgotten(path) => ("forgotten", path),
        };
        form.serialize_entry("event", event)?;
        // One that was not to be kept may be no text.
        form.serialize_entry("path", &path.to_string_lossy())?;
        match self {
            Self::Moved { from, .. } | Self::Copied { from, .. } => form.serialize_entry("from", from)?,
            Self::Done(_, warnings) => form.serialize_entry("warnings", warnings)?,
            Self::Failed(_, error) => form.serialize_entry("error", &error.to_string())?,
            Self::Unchanged(_) | Self::Forgotten(_) => {}
        }
        form.end()
    }
}

/// One object: that of the [`IndexEvent`] for [`File`](super::WatchEvent::File); else `event` is `failed`
/// (with `error`), `up_to_date` (`totals`), `away`, `back`, `unwatched` (`path`, `reason`), `kept` (`path`, `reason`,
/// `files`), `too_many` (`gone`, `files`), `damaged` (`reason`) or `hindered` (`error`).
#[cfg(feature = "watch")]
impl Serialize for super::WatchEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Self::File(event) = self {
            return event.serialize(serializer);
        }
        let mut form = serializer.serialize_map(None)?;
        let event = match self {
            Self::File(_) => "file",
            Self::Failed(_) => "failed",
            Self::UpToDate(_) => "up_to_date",
            Self::Away(_) => "away",
            Self::Back(_) => "back",
            Self::Unwatched(..) => "unwatched",
            Self::Kept(..) => "kept",
            Self::TooMany(..) => "too_many",
            Self::Damaged(_) => "damaged",
            Self::Hindered(_) => "hindered",
        };
        form.serialize_entry("event", event)?;
        // Folders may be no text, either.
        match self {
            Self::File(_) => {}
            Self::Failed(error) => form.serialize_entry("error", &error.to_string())?,
            Self::UpToDate(totals) => form.serialize_entry("totals", totals)?,
            Self::Away(path) | Self::Back(path) => form.serialize_entry("path", &path.to_string_lossy())?,
            Self::Unwatched(path, reason) => {
                form.serialize_entry("path", &path.to_string_lossy())?;
                form.serialize_entry("reason", reason)?;
            }
            Self::Kept(path, doubt, files) => {
                form.serialize_entry("path", &path.to_string_lossy())?;
                form.serialize_entry("reason", &doubt.to_string())?;
                form.serialize_entry("files", files)?;
            }
            Self::TooMany(gone, files) => {
                form.serialize_entry("gone", gone)?;
                form.serialize_entry("files", files)?;
            }
            Self::Damaged(reason) => form.serialize_entry("reason", reason)?,
            Self::Hindered(error) => form.serialize_entry("error", &error.to_string())?,
        }
        form.end()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::indexer::{IndexError, IndexTotals};

    fn form(event: &impl Serialize) -> String {
        serde_json::to_string(event).unwrap()
    }

    #[test]
    fn an_event_is_one_object() {
        let path = || PathBuf::from("/a.mp4");
        for (event, expected) in [
            (IndexEvent::Unchanged(path()), r#"{"event":"unchanged","path":"/a.mp4"}"#),
            (
                IndexEvent::Moved { from: "/b.mp4".into(), to: path() },
                r#"{"event":"moved","path":"/a.mp4","from":"/b.mp4"}"#,
            ),
            (
                IndexEvent::Done(path(), vec!["odd".into()]),
                r#"{"event":"added","path":"/a.mp4","warnings":["odd"]}"#,
            ),
            (
                IndexEvent::Failed(path(), Arc::new(IndexError::Cancelled)),
                r#"{"event":"failed","path":"/a.mp4","error":"cancelled"}"#,
            ),
            (IndexEvent::Forgotten(path()), r#"{"event":"forgotten","path":"/a.mp4"}"#),
        ] {
            assert_eq!(form(&event.clone()), expected);
            #[cfg(feature = "watch")]
            assert_eq!(form(&crate::indexer::WatchEvent::File(event)), expected);
        }
        let totals = IndexTotals { added: 2, ..Default::default() };
        assert!(form(&totals).starts_with(r#"{"added":2,"unchanged":0,"#));
        #[cfg(feature = "watch")]
        {
            use crate::indexer::{Doubt, WatchEvent};

            for (event, expected) in [
                (WatchEvent::Away("/v".into()), r#"{"event":"away","path":"/v"}"#),
                (WatchEvent::TooMany(11, 12), r#"{"event":"too_many","gone":11,"files":12}"#),
                (WatchEvent::Damaged("why".into()), r#"{"event":"damaged","reason":"why"}"#),
                (
                    WatchEvent::Kept("/v".into(), Doubt::Missing, 3),
                    r#"{"event":"kept","path":"/v","reason":"it is not there","files":3}"#,
                ),
                (
                    WatchEvent::Failed(Arc::new(IndexError::Cancelled)),
                    r#"{"event":"failed","error":"cancelled"}"#,
                ),
            ] {
                assert_eq!(form(&event.clone()), expected);
            }
        }
    }
}
