//! What rows say: one file for each family of layouts.

mod captions;
mod columns;
mod llava;
mod moments;
mod own;
mod sample;
mod swift;
mod vlm2vec;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::{Fault, UnknownFormat};
use super::reading::{Reading, Row, keys};
use crate::pairs::Pair;

/// A layout of rows.
struct Layout {
    name: &'static str,
    /// What it is, for a list of formats.
    about: &'static str,
    /// The keys that such rows have; of each list, all.
    keys: &'static [&'static [&'static str]],
    /// Whether a row is taken for one where nobody says.
    looks: fn(&Map<String, Value>) -> bool,
    /// The pairs of a row; none where its score is too low.
    read: fn(&Row, &Reading<'_>) -> Result<Vec<Pair>, Fault>,
}

/// The narrower before the wider.
const LAYOUTS: [&Layout; 14] = [
    &own::PAIRS,
    &swift::MS_SWIFT,
    &vlm2vec::VLM2VEC,
    &llava::LLAVA,
    &llava::LLAVA_CAPTIONS,
    &captions::MSR_VTT,
    &captions::COCO,
    &moments::DIDEMO,
    &moments::ACTIVITYNET,
    &captions::WEBVID,
    &columns::SENTENCE_TRANSFORMERS,
    &sample::WEBDATASET,
    &sample::FOLDER,
    &captions::CAPTIONS,
];

/// What rows say, by name; the default is found by their keys.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Format(Option<&'static Layout>);

impl Format {
    /// Whatever the rows look like.
    pub const AUTO: Self = Self(None);

    /// Every format but the default, with what it is in a few words.
    pub fn all() -> impl Iterator<Item = (Self, &'static str)> {
        LAYOUTS.iter().map(|layout| (Self(Some(layout)), layout.about))
    }

    /// The name.
    pub fn name(&self) -> &'static str {
        self.0.map_or("auto", |layout| layout.name)
    }

    /// What is to be read of a row; where the format is not given, what it looks like.
    pub(super) fn of_row(self, fields: &Map<String, Value>) -> Option<Self> {
        match self.0 {
            Some(_) => Some(self),
            None => LAYOUTS.iter().find(|layout| (layout.looks)(fields)).map(|layout| Self(Some(layout))),
        }
    }

    /// The pairs of a row of this format; none where its score is too low.
    pub(super) fn read(self, row: &Row, reading: &Reading<'_>) -> Result<Vec<Pair>, Fault> {
        let Some(layout) = self.0 else { return Err(Fault::Row(unknown(&row.fields))) };
        (layout.read)(row, reading).map_err(|fault| match fault {
            Fault::Row(reason) => {
                let others = LAYOUTS.iter().find(|other| (other.looks)(&row.fields));
                let other = others.filter(|other| other.name != layout.name && !(layout.looks)(&row.fields));
                let hint = other.map(|other| format!("; it looks like {}", other.name)).unwrap_or_default();
                Fault::Row(format!("no pair of {}: {reason}{hint}", layout.name))
            }
            all => all,
        })
    }
}

/// Why a row is of no format, and which one is nearest.
pub(super) fn unknown(fields: &Map<String, Value>) -> String {
    let has = |key: &str| fields.keys().any(|other| alike(other, key));
    let candidates = LAYOUTS.iter().flat_map(|layout| layout.keys.iter().map(move |keys| (layout, *keys)));
    let scored = candidates.map(|(layout, keys)| {
        let there = keys.iter().filter(|key| has(key)).count();
        (there, 100 * there / keys.len().max(1), layout, keys)
    });
    // The first of those that are as near.
    let nearest = scored.reduce(|best, next| if (next.1, next.0) > (best.1, best.0) { next } else { best });
    let held = format!("looks like no known format: it holds {}", keys(fields));
    match nearest {
        Some((1.., _, layout, wanted)) => {
            let lacks: Vec<String> = wanted
                .iter()
                .filter(|key| !fields.contains_key(**key))
                .map(|key| match fields.keys().find(|other| alike(other, key)) {
                    Some(other) => format!("`{key}` (it has `{other}`)"),
                    None => format!("`{key}`"),
                })
                .collect();
            let lacks =
                if lacks.is_empty() { String::new() } else { format!(", which wants {}", lacks.join(", ")) };
            format!("{held}; the nearest is {}{lacks}", layout.name)
        }
        _ => format!("{held}; formats are {}", names()),
    }
}

/// Whether two keys differ in little: case, what parts words, a plural.
fn alike(one: &str, other: &str) -> bool {
    let plain = |key: &str| {
        let letters = key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase);
        letters.collect::<String>().trim_end_matches('s').to_owned()
    };
    one == other || plain(one) == plain(other)
}

/// Whether all of `wanted` are keys.
fn has_all(fields: &Map<String, Value>, wanted: &[&str]) -> bool {
    wanted.iter().all(|key| fields.contains_key(*key))
}

fn names() -> String {
    LAYOUTS.map(|layout| layout.name).join(", ")
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        if name == Self::AUTO.name() {
            return Ok(Self::AUTO);
        }
        let layout = LAYOUTS.iter().find(|layout| layout.name == name);
        layout.map(|layout| Self(Some(layout))).ok_or_else(|| {
            let stored =
                ["jsonl", "json", "csv", "tsv", "parquet", "arrow", "tar", "tar.gz", "tgz"].contains(&name);
            let hint = if stored { "; how rows are stored is seen from the file" } else { "" };
            UnknownFormat { name: name.to_owned(), known: format!("auto, {}{hint}", names()) }
        })
    }
}

impl TryFrom<String> for Format {
    type Error = UnknownFormat;

    fn try_from(name: String) -> Result<Self, UnknownFormat> {
        name.parse()
    }
}

impl From<Format> for String {
    fn from(format: Format) -> Self {
        format.name().to_owned()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Format({})", self.name())
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Format {}
