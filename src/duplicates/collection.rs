use std::collections::{BTreeMap, HashSet};

use super::DuplicatesError;
use super::compare::Match;
use super::fingerprint::Fingerprint;
use super::pool;
use super::search::Search;
use crate::cancel::CancelToken;

/// What a clip has to have in common with a source for others not to be looked for.
const LEAST_SOURCE_SHARE: f64 = 0.5;

/// Fingerprints of videos and images, to be compared with each other. 0.6 KB of memory for each of their
/// pictures.
///
/// ```
/// use gve::CancelToken;
/// use gve::duplicates::{Fingerprints, fingerprint, groups};
/// use gve::video::VideoOptions;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/media/bunny.mp4");
/// # let other = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/media/testsrc.mp4");
/// let cancel = CancelToken::new();
/// let mut fingerprints = Fingerprints::default();
/// for path in [clip, clip, other] {
///     fingerprints.push(fingerprint(path, VideoOptions::default(), &cancel)?);
/// }
/// let matches = fingerprints.matches(&cancel, |_| ())?;
/// let groups = groups(&fingerprints, &matches);
/// assert_eq!(groups.len(), 1);
/// assert_eq!(groups[0].members.len(), 2);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Fingerprints {
    all: Vec<Fingerprint>,
}

impl Fingerprints {
    /// Adds one, and gives its place.
    pub fn push(&mut self, fingerprint: Fingerprint) -> usize {
        self.all.push(fingerprint);
        self.all.len() - 1
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// That at a place.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&Fingerprint> {
        self.all.get(place)
    }

    /// All pairs that have something in common, in order of their places. `on_compared` is told of each
    /// video that has been compared with all others, from any thread.
    ///
    /// # Errors
    /// [`DuplicatesError::Cancelled`].
    pub fn matches(
        &self,
        cancel: &CancelToken,
        on_compared: impl Fn(usize) + Sync,
    ) -> Result<Vec<Match>, DuplicatesError> {
        let on_compared = &on_compared;
        pool::install(|| self.all_matches(cancel, on_compared))
    }

    fn all_matches(
        &self,
        cancel: &CancelToken,
        on_compared: impl Fn(usize) + Sync,
    ) -> Result<Vec<Match>, DuplicatesError> {
        let search = Search::new(self.all.iter().collect(), cancel);
        let all = 0..self.all.len();
        let found = search.run(all.clone(), 0, |video| video + 1..all.end, |_, _| true, |_| ())?;
        // Of crops, the other is looked at through windows. A whole picture is like another as that is like
        // it.
        let known: HashSet<(usize, usize)> = found.iter().map(|found| (found.first, found.second)).collect();
        let is_wanted = |first: usize, second: usize| !known.contains(&(second, first));
        let cropped = search.run(all, 1, |video| 0..video, is_wanted, on_compared)?;
        Ok(best_of_pairs(found.into_iter().chain(cropped)))
    }

    /// What a clip has in common with the others, the most of it first: it is the [`first`](Match::first) of
    /// each match, and [`ranges`](Match::ranges) say where in the [`second`](Match::second) it is from.
    ///
    /// A clip is its [`fingerprint`](super::fingerprint()) alone, or what
    /// [`fingerprint_clip`](super::fingerprint_clip) makes: each is looked for while those before have not found
    /// where half of the clip is from.
    ///
    /// # Errors
    /// [`DuplicatesError::Cancelled`].
    pub fn locate(&self, clip: &[Fingerprint], cancel: &CancelToken) -> Result<Vec<Match>, DuplicatesError> {
        let mut all = Vec::new();
        for clip in clip {
            let found = pool::install(|| self.locate_phase(clip, cancel))?;
            let is_enough = has_source(&found);
            all.extend(found);
            if is_enough {
                break;
            }
        }
        let mut found = best_of_pairs(all);
        found.sort_by(|a, b| (b.first_share * b.score).total_cmp(&(a.first_share * a.score)));
        Ok(found)
    }

    fn locate_phase(&self, clip: &Fingerprint, cancel: &CancelToken) -> Result<Vec<Match>, DuplicatesError> {
        let place = self.all.len();
        let search = Search::new(self.all.iter().chain([clip]).collect(), cancel);
        let sources = |_| 0..place;
        let mut found = search.run(place..place + 1, 0, sources, |_, _| true, |_| ())?;
        // What is cropped is a part of the others' pictures, which takes looking at them all.
        if !has_source(&found) {
            let cropped = search.run(0..place, 0, |_| place..place + 1, |_, _| true, |_| ())?;
            found.extend(cropped.into_iter().map(Match::swapped));
        }
        Ok(found)
    }
}

/// Whether a clip, which is the first of these, is from one of them.
fn has_source(found: &[Match]) -> bool {
    found.iter().any(|found| found.first_share >= LEAST_SOURCE_SHARE)
}

/// Of the matches of each pair the one with the most in common.
fn best_of_pairs(matches: impl IntoIterator<Item = Match>) -> Vec<Match> {
    let mut best: BTreeMap<(usize, usize), Match> = BTreeMap::new();
    for found in matches {
        let pair = (found.first.min(found.second), found.first.max(found.second));
        let worth = |of: &Match| of.first_share.max(of.second_share) * of.score;
        if best.get(&pair).is_none_or(|other| worth(&found) > worth(other)) {
            best.insert(pair, found);
        }
    }
    best.into_values().collect()
}
