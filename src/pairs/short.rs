use std::path::Path;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::embedder::{Input, InputJson};
use crate::media::MediaKind;

/// Query or target as it stands in a line of pairs.
pub(super) enum Side {
    /// A text or a path.
    Short(String),
    /// All that may be said of an input.
    Long(InputJson),
}

impl Side {
    /// The input; relative paths are relative to `base`.
    pub(super) fn into_input(self, base: &Path) -> Result<Input, String> {
        match self {
            Self::Short(text) => short_input(&text, base),
            Self::Long(json) => json.into_input(base).map(|(_, input)| input).map_err(|e| e.to_string()),
        }
    }
}

/// What a string is the path of, if it is one line that ends as the name of a video or an image.
pub(crate) fn named_kind(text: &str) -> Option<MediaKind> {
    MediaKind::of_name(Path::new(text)).filter(|_| !text.contains(['\n', '\r']))
}

/// The input that a string stands for: the medium at that path, relative to `base`, or a text.
fn short_input(text: &str, base: &Path) -> Result<Input, String> {
    let Some(kind) = named_kind(text) else { return Ok(Input::text(text)) };
    let path = base.join(text);
    match (kind, path.is_file()) {
        (MediaKind::Video, true) => Ok(Input::video(path)),
        (MediaKind::Image, true) => Ok(Input::image(path)),
        (_, false) => Err(format!(
            "{} is not there; a text that ends so is written {{\"content\": [{{\"type\": \"text\", \"text\": ...}}]}}",
            path.display()
        )),
    }
}

impl Serialize for Side {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Short(text) => text.serialize(serializer),
            Self::Long(json) => json.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Side {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SideVisitor)
    }
}

struct SideVisitor;

impl<'de> Visitor<'de> for SideVisitor {
    type Value = Side;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text, a path, or an input with its `content`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Side, E> {
        Ok(Side::Short(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Side, A::Error> {
        InputJson::deserialize(MapAccessDeserializer::new(map)).map(Side::Long)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pair;
    use super::*;

    #[test]
    fn strings_are_texts_or_paths_and_tasks_follow() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["dog.mp4", "my cat.PNG"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let at = |name: &str| folder.path().join(name);
        let line = r#"{"query": "a dog runs", "positive": "dog.mp4", "negatives": ["dog.mp4"]}"#;
        let pair = Pair::from_json(line, folder.path()).unwrap();
        assert_eq!(pair.task.to_string(), "t2v");
        assert_eq!((pair.query, pair.positive), (Input::text("a dog runs"), Input::video(at("dog.mp4"))));
        assert_eq!(pair.negatives, [Input::video(at("dog.mp4"))]);
        let line = r#"{"query": "my cat.PNG", "positive": "It is a cat. See cat.mp4\n"}"#;
        let pair = Pair::from_json(line, folder.path()).unwrap();
        assert_eq!((pair.task.to_string().as_str(), pair.query), ("i2t", Input::image(at("my cat.PNG"))));
        // What is written has the long form, and the task.
        let written = Pair { query: Input::text("a"), ..pair }.to_json(folder.path());
        assert!(written.unwrap_err().contains("task i2t"));
    }

    #[test]
    fn mistakes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        for (line, named) in [
            (r#"{"query": "a", "positive": "gone.mp4"}"#, "`positive`: "),
            (r#"{"query": "a", "positive": "gone.mp4"}"#, "gone.mp4 is not there"),
            (r#"{"query": "a", "positive": 7}"#, "a text, a path, or an input"),
            (r#"{"query": "a", "positive": {"contents": []}}"#, "`contents`"),
            (r#"{"task": "t2v", "query": "a", "positive": "b"}"#, "`positive` to hold video, it holds text"),
        ] {
            let message = Pair::from_json(line, folder.path()).unwrap_err();
            assert!(message.contains(named) && !message.contains('\n'), "{line}: {message}");
        }
    }
}
