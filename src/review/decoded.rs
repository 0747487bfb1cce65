//! Which media can be decoded.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rayon::prelude::*;

use super::content::{Contents, part_files};
use super::{ReviewError, ReviewEvent};
use crate::embedder::{CancelToken, Part};
use crate::page::{Look, pictures};
use crate::pairs::Pair;

/// Media that are decoded between two reports.
const REPORTED: usize = 32;

/// The media of pairs, each but once: by the number of what it holds.
#[derive(Default)]
pub(super) struct Media(BTreeMap<u64, Part>);

impl Media {
    /// Adds those of a pair that are there.
    pub(super) fn add(&mut self, pair: &Pair, contents: &Contents) {
        let is_there = |part: &&Part| {
            let is_seen = match part {
                Part::Text(_) => false,
                Part::Video(_) => cfg!(feature = "video"),
                _ => true,
            };
            is_seen && part_files(part).all(|path| contents.id(path).is_some())
        };
        for part in parts(pair).filter(is_there) {
            self.0.entry(contents.part_key(part)).or_insert_with(|| part.clone());
        }
    }

    /// Which cannot be decoded.
    pub(super) fn damaged(
        self,
        cancel: &CancelToken,
        on: &mut dyn FnMut(ReviewEvent<'_>),
    ) -> Result<BTreeMap<u64, Damage>, ReviewError> {
        let media: Vec<(u64, Part)> = self.0.into_iter().collect();
        let mut damaged = BTreeMap::new();
        let mut done = 0;
        for some in media.chunks(REPORTED) {
            let looked = some.par_iter().map(|(key, part)| {
                if cancel.is_cancelled() {
                    return Err(ReviewError::Cancelled);
                }
                let damage = |reason| Damage { files: part_files(part).map(PathBuf::from).collect(), reason };
                Ok(pictures(part, Look::Throughout).err().map(|reason| (*key, damage(reason))))
            });
            damaged.extend(looked.collect::<Result<Vec<_>, _>>()?.into_iter().flatten());
            done += some.len();
            on(ReviewEvent::Decoded { done, total: media.len() });
        }
        Ok(damaged)
    }
}

/// What cannot be decoded, and why.
pub(super) struct Damage {
    /// Where it was seen first.
    files: Vec<PathBuf>,
    reason: String,
}

impl Damage {
    /// Why a part that holds the same cannot be decoded; its file is named.
    pub(super) fn of(&self, part: &Part) -> Option<String> {
        let is_named = |file: &PathBuf| self.reason.contains(&file.display().to_string());
        if part_files(part).eq(&self.files) && self.files.iter().any(is_named) {
            return Some(self.reason.clone());
        }
        Some(format!("{}: {}", part_files(part).next()?.display(), self.reason))
    }
}

/// All parts of a pair.
pub(super) fn parts(pair: &Pair) -> impl Iterator<Item = &Part> {
    let inputs = [&pair.query, &pair.positive].into_iter().chain(&pair.negatives);
    inputs.flat_map(|input| &input.parts)
}
