use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::store::write_file;
use crate::synth::SynthError;

/// A part of the work. Each has a report of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Clips, and captions that came with them, are sorted out.
    Quality,
    /// The captioner describes clips and frames.
    Enrichment,
    /// Pairs of seven kinds are made.
    Extension,
}

/// What an item is dropped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Filter {
    /// The video cannot be decoded.
    Unreadable,
    /// Next to nothing moves.
    Static,
    /// The embedder failed at it.
    NotEmbedded,
    /// The caption is of a time that the video does not reach.
    OutOfRange,
    /// The caption is of a clip that was dropped.
    ClipDropped,
    /// The text holds a web address.
    Address,
    /// The text holds a file name.
    FileName,
    /// The text has too few words.
    TooShort,
    /// The text is digits and signs for the most part.
    NotWords,
    /// The text speaks of a channel, a licence or its writer.
    Boilerplate,
    /// The text repeats its words.
    Repetitive,
    /// The text was there before.
    Duplicate,
    /// The embedder finds that text and clip have little to do with each other.
    Inconsistent,
    /// The captioner gave no answer.
    Unanswered,
    /// The captioner's answer did not fit the schema, nor did the next.
    UnusableReply,
    /// There is no other clip to compose a query with, or the one that was drawn has no caption.
    NoPartner,
    /// The captioner finds that two clips do not make a composed query.
    Declined,
    /// The text of a composed query is enough without its picture or clip.
    TellsAll,
}

impl Filter {
    /// Whether something went wrong; otherwise the item was judged.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Unreadable | Self::NotEmbedded | Self::Unanswered | Self::UnusableReply)
    }
}

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// The video, clip or frame.
    pub item: String,
    /// What kind of text about it is judged; `None` where it is the item itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style: Option<&'static str>,
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What dropped it; `None` where it is kept.
    #[serde(rename = "dropped_by", skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Why, as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was measured, by name: `motion`, from 0 to 1, or `cosine`.
    #[serde(flatten)]
    pub measured: BTreeMap<&'static str, f64>,
}

impl Judgement {
    /// An item that is kept so far.
    pub(super) fn of(item: impl Into<String>) -> Self {
        Self {
            item: item.into(),
            style: None,
            text: None,
            filter: None,
            reason: None,
            measured: BTreeMap::new(),
        }
    }

    /// A text about an item.
    pub(super) fn of_text(item: &str, style: &'static str, text: &str) -> Self {
        Self { style: Some(style), text: Some(text.to_owned()), ..Self::of(item) }
    }

    pub(super) fn measured(mut self, name: &'static str, value: f64) -> Self {
        self.measured.insert(name, value);
        self
    }

    pub(super) fn dropped(mut self, filter: Filter, reason: impl Into<String>) -> Self {
        (self.filter, self.reason) = (Some(filter), Some(reason.into()));
        self
    }

    /// Whether nothing has dropped the item.
    pub fn is_kept(&self) -> bool {
        self.filter.is_none()
    }
}

/// What a stage kept and dropped.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageReport {
    /// The stage.
    pub stage: Stage,
    /// Items it looked at.
    pub items: usize,
    /// Items it kept.
    pub kept: usize,
    /// Items dropped by each filter.
    pub dropped: BTreeMap<Filter, usize>,
}

impl StageReport {
    /// Counts `judgements` and writes each as a line of `path`.
    pub(super) fn write(stage: Stage, judgements: &[Judgement], path: &Path) -> Result<Self, SynthError> {
        let mut report = Self { stage, items: judgements.len(), kept: 0, dropped: BTreeMap::new() };
        write_file(path, |file| {
            for judgement in judgements {
                serde_json::to_writer(&mut *file, judgement)?;
                file.write_all(b"\n")?;
            }
            Ok(())
        })?;
        for judgement in judgements {
            match judgement.filter {
                None => report.kept += 1,
                Some(filter) => *report.dropped.entry(filter).or_default() += 1,
            }
        }
        Ok(report)
    }

    /// Items that something went wrong with.
    pub fn failures(&self) -> usize {
        self.dropped.iter().filter(|(filter, _)| filter.is_failure()).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
