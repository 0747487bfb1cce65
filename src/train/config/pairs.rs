//! `pairs = ["a.jsonl", { path = "b.csv", format = "webvid" }]`, or `[[data.pairs]]`.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::import::{HUB_DATA_SETS, ImportSettings};

/// Pairs to train on or to score with: a JSONL file of pairs, or files of others, which a run turns into one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PairsSource {
    /// A JSONL file of pairs, any number of tasks.
    File(PathBuf),
    /// What [`import`](crate::import::import) reads.
    Import(Box<PairsImport>),
}

/// Pairs as others have them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PairsImport {
    /// The file, or a folder of them.
    pub path: PathBuf,
    /// How it is read.
    #[serde(flatten)]
    pub settings: ImportSettings,
}

impl PairsSource {
    /// What was written down for it.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Import(import) => &import.path,
        }
    }

    /// Whether a run makes a file of its own of it.
    pub(in crate::train) fn is_imported(&self) -> bool {
        matches!(self, Self::Import(_))
    }

    /// Visits all paths it has.
    pub(super) fn each_path(&mut self, visit: &mut dyn FnMut(&mut PathBuf)) {
        match self {
            Self::File(path) => visit(path),
            Self::Import(import) => {
                // A data set on the hub lies in no folder here.
                if !import.path.to_string_lossy().starts_with(HUB_DATA_SETS) {
                    visit(&mut import.path);
                }
                import.settings.media.iter_mut().for_each(visit);
            }
        }
    }
}

impl From<PathBuf> for PairsSource {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl<'de> Deserialize<'de> for PairsSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = PairsSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file of pairs, or a table with `path` and `format`")
    }

    fn visit_str<E: Error>(self, path: &str) -> Result<PairsSource, E> {
        Ok(PairsSource::File(path.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PairsSource, A::Error> {
        let mut fields = Map::<String, Value>::deserialize(MapAccessDeserializer::new(map))?;
        let path = fields.remove("path").ok_or_else(|| A::Error::missing_field("path"))?;
        let path =
            serde_json::from_value(path).map_err(|error| A::Error::custom(format!("`path`: {error}")))?;
        let settings = serde_json::from_value(Value::Object(fields)).map_err(A::Error::custom)?;
        Ok(PairsSource::Import(Box::new(PairsImport { path, settings })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Serialize)]
    struct Section {
        pairs: Vec<PairsSource>,
    }

    #[test]
    fn sources_are_files_or_tables_and_are_written_as_they_are_read() {
        let mixed = "pairs = [\"a.jsonl\", { path = \"b.csv\", format = \"webvid\", min_score = 1 }]";
        let section: Section = toml::from_str(mixed).unwrap();
        assert_eq!(section.pairs[0], PairsSource::File("a.jsonl".into()));
        let PairsSource::Import(import) = &section.pairs[1] else { panic!("{section:?}") };
        assert_eq!((import.settings.format.name(), import.settings.min_score), ("webvid", Some(1.0)));
        let tables = "[[pairs]]\npath = \"b.csv\"\nformat = \"webvid\"\nmin_score = 1.0\n";
        assert_eq!(toml::from_str::<Section>(tables).unwrap().pairs[0], section.pairs[1]);
        let written = serde_json::to_value(&section).unwrap();
        assert_eq!(written["pairs"][0], "a.jsonl");
        assert_eq!(serde_json::from_value::<Section>(written).unwrap().pairs, section.pairs);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, named) in [
            ("pairs = [7]", "a file of pairs, or a table with `path`"),
            ("pairs = [{ format = \"webvid\" }]", "missing field `path`"),
            ("pairs = [{ path = \"a\", form = 1 }]", "unknown field `form`"),
            ("pairs = [{ path = \"a\", format = \"webvids\" }]", "no format is called `webvids`"),
        ] {
            let message = toml::from_str::<Section>(text).unwrap_err().to_string();
            assert!(message.contains(named), "{text}: {message}");
        }
    }
}
