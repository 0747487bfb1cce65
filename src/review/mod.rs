//! A look at pairs before they are trained on: how many there are of what, which are twice there, which contradict
//! each other, which media are missing, and what a benchmark holds as well.
//!
//! Two files are the same by what they hold, whatever they are called; two texts by their words, without case,
//! punctuation and spaces. [`review`] goes through the files twice, first for the media they name, and remembers
//! numbers alone of each pair; once more where media are decoded.

mod content;
mod decoded;
mod held_out;
mod look;
mod page;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::options::with_fields;
use crate::pairs::{Pair, Task};
use crate::store::IoError;

pub use look::review;
pub use page::page;

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReviewSettings {
    /// Files and folders whose media and texts should not be among the pairs, such as the data sets of UVRB.
    pub held_out: Vec<PathBuf>,
    /// Examples to keep of each task.
    pub examples: usize,
    /// Of their choice.
    pub seed: u64,
    /// Whether every image is decoded, and of every video the first picture of its stretch, the middle one and
    /// the last. Videos take the feature `video`; without it they are passed over.
    pub decode: bool,
}

impl Default for ReviewSettings {
    fn default() -> Self {
        Self { held_out: Vec::new(), examples: 12, seed: 1, decode: false }
    }
}

with_fields!(ReviewSettings {
    with_held_out(held_out: Vec<PathBuf>),
    with_examples(examples: usize),
    with_seed(seed: u64),
    with_decode(decode: bool),
});

/// Why nothing could be looked at. Each displays as one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReviewError {
    /// A file or folder cannot be read.
    #[error(transparent)]
    Io(#[from] IoError),
    /// What is held out cannot be read.
    #[error("{place}: {reason}")]
    HeldOut {
        /// File and line.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Cancelled,
}

/// What may be wrong with a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The line is no pair.
    Unreadable,
    /// A file it names is not there.
    Missing,
    /// A medium it names is there and cannot be decoded, or only in part: cut short, or with damaged pictures
    /// where it was looked at.
    Damaged,
    /// Another line has the same query and positive.
    Duplicate,
    /// Its positive is a negative of the same query, in its own line or in another.
    Contradiction,
    /// It holds what is held out.
    Leak,
}

impl Kind {
    /// All of them, the gravest first.
    pub const ALL: [Self; 6] =
        [Self::Unreadable, Self::Missing, Self::Damaged, Self::Contradiction, Self::Leak, Self::Duplicate];

    /// In a word or two, of several.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "not readable",
            Self::Missing => "missing media",
            Self::Damaged => "damaged media",
            Self::Duplicate => "duplicates",
            Self::Contradiction => "contradictions",
            Self::Leak => "held out",
        }
    }
}

/// Something that is wrong with a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// File and line.
    pub place: String,
    /// What is wrong, as a sentence.
    pub reason: String,
}

/// What is told while pairs are looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum ReviewEvent<'a> {
    /// Something is wrong.
    Finding(&'a Finding),
    /// Media were decoded.
    Decoded {
        /// So many so far.
        done: usize,
        /// Of so many.
        total: usize,
    },
}

/// Pairs of a task or a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// Pairs.
    pub pairs: usize,
    /// Their negatives.
    pub negatives: usize,
}

/// A pair to look at.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Example {
    /// File and line.
    pub place: String,
    /// The pair.
    pub pair: Pair,
    /// What is wrong with it.
    pub findings: Vec<String>,
}

/// What there is.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Review {
    /// By task.
    pub tasks: BTreeMap<Task, Count>,
    /// By source; pairs without one under the empty name.
    pub sources: BTreeMap<String, Count>,
    /// Different media that are there.
    pub media: usize,
    /// How many pairs have something wrong.
    pub findings: BTreeMap<Kind, usize>,
    /// Media that are held out, and texts.
    pub held_out: (usize, usize),
    /// Pairs to look at, by task and place.
    pub examples: Vec<Example>,
}

impl Review {
    /// Pairs of all tasks.
    pub fn pairs(&self) -> usize {
        self.tasks.values().map(|count| count.pairs).sum()
    }
}
