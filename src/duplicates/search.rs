//! Pictures of one video are looked up in others, and those that come of it are compared.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

use rayon::prelude::*;

use super::DuplicatesError;
use super::compare::{Comparison, Match, Weighed};
use super::fingerprint::Fingerprint;
use super::index::{Index, Near};
use super::signature::{Basis, Window};
use super::votes::{Vote, sure_on_a_line};
use crate::cancel::CancelToken;

/// Pictures that are looked up of a video lie so many seconds apart: of a short one, and of one longer than
/// [`LONG`].
const QUERY_STEP: f64 = 0.5;
const LONG_QUERY_STEP: f64 = 1.0;
const LONG: f64 = 60.0;
/// A picture that counts less is not looked up: too many have it.
const LEAST_WEIGHT: f32 = 0.1;
/// Bits that differ in codes of pictures that are counted as one another.
const SAME_PICTURE: u32 = 8;
/// What one picture may propose of a video.
const VOTES_OF_PICTURE: usize = 4;
/// How sure pictures on one line have to be for a closer look, or else such a share of those that could be.
const LEAST_SURE: f32 = 2.0;
const LEAST_SURE_SHARE: f32 = 0.1;

/// Videos that are looked up in each other.
pub(super) struct Search<'a> {
    videos: Vec<&'a Fingerprint>,
    /// How much each of their pictures counts, once that was asked.
    weights: Vec<OnceLock<Vec<f32>>>,
    index: Index,
    windows: Vec<Window>,
    bases: Vec<Basis>,
    cancel: &'a CancelToken,
}

impl<'a> Search<'a> {
    pub(super) fn new(videos: Vec<&'a Fingerprint>, cancel: &'a CancelToken) -> Self {
        let windows = Window::crops();
        Self {
            weights: videos.iter().map(|_| OnceLock::new()).collect(),
            index: Index::new(videos.iter().copied().enumerate()),
            bases: windows.iter().map(|window| Basis::of(*window)).collect(),
            windows,
            videos,
            cancel,
        }
    }

    /// What each of some videos has in common with others: of those that `wanted` gives for it, and where
    /// `is_wanted` has nothing against the pair. They are looked at through windows from a first one on.
    pub(super) fn run(
        &self,
        queries: Range<usize>,
        first_window: usize,
        wanted: impl Fn(usize) -> Range<usize> + Sync,
        is_wanted: impl Fn(usize, usize) -> bool + Sync,
        on_compared: impl Fn(usize) + Sync,
    ) -> Result<Vec<Match>, DuplicatesError> {
        let compare = |query: usize| {
            let (votes, weight) = self.votes(query, first_window, wanted(query));
            let mut proposals: Vec<_> =
                votes.into_iter().filter(|((second, _), _)| is_wanted(query, *second as usize)).collect();
            proposals.sort_unstable_by_key(|(pair, _)| *pair);
            let compared = proposals.into_iter().filter_map(|((second, mirrored), votes)| {
                self.compare(query, second as usize, mirrored, &votes, weight)
            });
            let found: Vec<Match> = compared.collect();
            if self.cancel.is_cancelled() {
                return Err(DuplicatesError::Cancelled);
            }
            on_compared(query);
            Ok(found)
        };
        let found: Result<Vec<Vec<Match>>, _> = queries.into_par_iter().map(compare).collect();
        Ok(found?.into_iter().flatten().collect())
    }

    /// What two videos have in common, given what of them may be, and how much all counts that was looked up.
    fn compare(
        &self,
        first: usize,
        second: usize,
        mirrored: bool,
        votes: &[Vote],
        weight: f32,
    ) -> Option<Match> {
        let sure = sure_on_a_line(votes, [self.videos[first], self.videos[second]], self.weights(first));
        let step = query_step(self.videos[first]);
        let possible = weight.min((self.videos[second].duration_seconds / step) as f32);
        if sure < LEAST_SURE.min(LEAST_SURE_SHARE * possible) || self.cancel.is_cancelled() {
            return None;
        }
        let [weighed_first, weighed_second] = [first, second]
            .map(|video| Weighed { fingerprint: self.videos[video], weights: self.weights(video) });
        let comparison = Comparison {
            first: weighed_first,
            second: weighed_second,
            mirrored,
            windows: &self.windows,
            cancel: self.cancel,
        };
        Some(Match { first, second, ..comparison.run(votes)? })
    }

    /// How much each picture of a video counts: 0 where there is nothing to see, 1 where no more videos have
    /// it than have the rarer pictures of the same video, and less in proportion where more do.
    fn weights(&self, video: usize) -> &[f32] {
        self.weights[video].get_or_init(|| {
            let all = self.index.entries_of(0..self.videos.len());
            let mut near = Vec::new();
            let mut videos_with = |picture| {
                let signature = self.bases[0].signature(picture)?;
                if self.cancel.is_cancelled() {
                    return None;
                }
                self.index.near(&signature, &all, &mut near);
                let same = near.iter().filter(|near| near.distance <= SAME_PICTURE).map(|near| near.video);
                let mut same: Vec<u32> = same.collect();
                same.dedup();
                // Where even that was too much to look up, it is itself at least.
                Some(same.len().max(1))
            };
            let pictures = &self.videos[video].pictures;
            let counts: Vec<Option<usize>> = pictures.iter().map(&mut videos_with).collect();
            let mut rising: Vec<usize> = counts.iter().copied().flatten().collect();
            rising.sort_unstable();
            let usual = rising.get(rising.len() / 4).map_or(1.0, |count| *count as f32);
            counts
                .into_iter()
                .map(|count| count.map_or(0.0, |count| (usual / count as f32).min(1.0)))
                .collect()
        })
    }

    /// What pictures of a video may be like among others, by video and whether it is mirrored, in order of
    /// the pictures; and the weight of all that were looked up.
    fn votes(
        &self,
        query: usize,
        first_window: usize,
        wanted: Range<usize>,
    ) -> (HashMap<(u32, bool), Vec<Vote>>, f32) {
        let (fingerprint, weights) = (self.videos[query], self.weights(query));
        let wanted = self.index.entries_of(wanted);
        let step = query_step(fingerprint);
        let (mut votes, mut weight, mut last) = (HashMap::<_, Vec<Vote>>::new(), 0.0, f64::MIN);
        let (mut near, mut of_picture) = (Vec::<Near>::new(), Vec::new());
        for (first, picture) in fingerprint.pictures.iter().enumerate() {
            let seconds = f64::from(fingerprint.seconds[first]);
            if weights[first] < LEAST_WEIGHT || seconds < last + step - 1e-3 || self.cancel.is_cancelled() {
                continue;
            }
            last = seconds;
            weight += weights[first];
            of_picture.clear();
            for (window, basis) in self.bases.iter().enumerate().skip(first_window) {
                let Some(signature) = basis.signature(picture) else { continue };
                for (mirrored, signature) in [(false, signature.clone()), (true, signature.mirrored())] {
                    self.index.near(&signature, &wanted, &mut near);
                    of_picture.extend(
                        near.iter().map(|near| (near.video, mirrored, near.unlike, window, near.picture)),
                    );
                }
            }
            of_picture.sort_unstable();
            for same in of_picture.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
                let of_video = votes.entry((same[0].0, same[0].1)).or_default();
                for &(_, _, unlike, window, second) in same.iter().take(VOTES_OF_PICTURE) {
                    of_video.push(Vote { first: first as u32, second, window: window as u8, unlike });
                }
            }
        }
        (votes, weight)
    }
}

/// Seconds between the pictures that are looked up of a video.
fn query_step(of: &Fingerprint) -> f64 {
    if of.duration_seconds > LONG { LONG_QUERY_STEP } else { QUERY_STEP }
}
