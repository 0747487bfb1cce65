//! Which media can be decoded.

use std::collections::BTreeMap;

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

    /// Why those that cannot be decoded cannot.
    pub(super) fn damaged(
        self,
        cancel: &CancelToken,
        on: &mut dyn FnMut(ReviewEvent<'_>),
    ) -> Result<BTreeMap<u64, String>, ReviewError> {
        let media: Vec<(u64, Part)> = self.0.into_iter().collect();
        let mut damaged = BTreeMap::new();
        let mut done = 0;
        for some in media.chunks(REPORTED) {
            let looked = some.par_iter().map(|(key, part)| {
                if cancel.is_cancelled() {
                    return Err(ReviewError::Cancelled);
                }
                Ok(pictures(part, Look::Throughout).err().map(|reason| (*key, reason)))
            });
            damaged.extend(looked.collect::<Result<Vec<_>, _>>()?.into_iter().flatten());
            done += some.len();
            on(ReviewEvent::Decoded { done, total: media.len() });
        }
        Ok(damaged)
    }
}

/// All parts of a pair.
pub(super) fn parts(pair: &Pair) -> impl Iterator<Item = &Part> {
    let inputs = [&pair.query, &pair.positive].into_iter().chain(&pair.negatives);
    inputs.flat_map(|input| &input.parts)
}
