//! One entry of the manifest.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::MainMetric;

/// What a data set is and how it is scored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatasetSpec {
    /// As on the command line, in result files and as the name of its folder.
    pub id: String,
    /// A few words for people.
    pub title: String,
    /// What queries are made of.
    pub task: Task,
    /// What a text query asks for; only with [`Task::Text`].
    pub domain: Option<Domain>,
    /// The kind of detail; only with [`Domain::FineGrained`].
    pub sub_domain: Option<SubDomain>,
    /// The instruction that every query is embedded with; never empty.
    pub prompt: String,
    /// The number it is compared by.
    pub metric: MainMetric,
    /// Queries that a complete copy has.
    pub queries: usize,
    /// Documents that a complete copy has; with [`Candidates::PerQuery`] about the length of one list.
    pub corpus: usize,
    /// Where a copy can be had: a hub id or an address.
    pub source: String,
    /// What is known of the terms of the media.
    pub licence: String,
    /// The packaging to look for first.
    pub layout: Layout,
    /// What a query is ranked against.
    pub candidates: Candidates,
}

impl DatasetSpec {
    /// What is assumed of a data set that no manifest holds, to score a ranking of it: every query is ranked
    /// against all documents, unless the data list candidates.
    pub fn unregistered(id: impl Into<String>, metric: MainMetric) -> Self {
        let id = id.into();
        Self {
            title: id.clone(),
            id,
            task: Task::Text,
            domain: None,
            sub_domain: None,
            prompt: "Find what the query describes.".to_owned(),
            metric,
            queries: 0,
            corpus: 0,
            source: String::new(),
            licence: String::new(),
            layout: Layout::Uvrb,
            candidates: Candidates::Corpus,
        }
    }
}

/// What queries are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Task {
    /// Text.
    #[serde(rename = "TXT")]
    Text,
    /// Text together with an image or a clip.
    #[serde(rename = "CMP")]
    Composed,
    /// An image or a clip alone.
    #[serde(rename = "VIS")]
    Visual,
}

/// What a text query asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Domain {
    /// The video as a whole.
    #[serde(rename = "CG")]
    CoarseGrained,
    /// Details of it.
    #[serde(rename = "FG")]
    FineGrained,
    /// A long text for a long video.
    #[serde(rename = "LC")]
    LongContext,
}

/// The kind of detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SubDomain {
    /// What is where.
    #[serde(rename = "S")]
    Spatial,
    /// What happens when, and how the camera moves.
    #[serde(rename = "T")]
    Temporal,
    /// Something that is only part of the video.
    #[serde(rename = "PR")]
    PartiallyRelevant,
}

/// How a data set is packed in files. What is on disk decides; this is what is looked for first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `jsonl/{queries,corpus,instances}.jsonl` with media beside.
    Uvrb,
    /// `queries`, `corpus` and `qrels`, as in BEIR.
    Beir,
}

/// What a query is ranked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Candidates {
    /// All of the corpus, unless the data list candidates for the query.
    Corpus,
    /// A list of its own: `candidates`, else its positives and `neg`.
    PerQuery,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Text => "TXT",
            Self::Composed => "CMP",
            Self::Visual => "VIS",
        })
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::CoarseGrained => "CG",
            Self::FineGrained => "FG",
            Self::LongContext => "LC",
        })
    }
}

impl fmt::Display for SubDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Spatial => "S",
            Self::Temporal => "T",
            Self::PartiallyRelevant => "PR",
        })
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Uvrb => "uvrb",
            Self::Beir => "beir",
        })
    }
}
