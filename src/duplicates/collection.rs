use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;

use super::DuplicatesError;
use super::compare::{Comparison, Match, Vote, Weighed};
use super::fingerprint::Fingerprint;
use super::index::{Index, Near};
use super::signature::{Basis, Window};
use crate::cancel::CancelToken;

/// Pictures that are looked up of a video lie so many seconds apart: of a short one, and of one longer than
/// [`LONG`].
const QUERY_STEP: f64 = 0.5;
const LONG_QUERY_STEP: f64 = 1.0;
const LONG: f64 = 60.0;
/// Bits that differ in codes of pictures that are counted as one another.
const SAME_PICTURE: u32 = 8;
/// What one picture may propose of a video, and the correlation from which on it does.
const VOTES_OF_PICTURE: usize = 4;
const LEAST_ALIKE: f32 = 0.62;
/// Pictures that have to propose a video, by weight, or else such a share of all of them.
const LEAST_VOTES: f32 = 1.5;
const LEAST_VOTE_SHARE: f32 = 0.15;

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

/// What is looked up in what, and how.
struct Search<'a> {
    index: Index,
    windows: Vec<Window>,
    bases: Vec<Basis>,
    videos: Vec<Weighed<'a>>,
    /// Whether two videos are to be compared, the first of them through a window.
    is_wanted: &'a (dyn Fn(usize, usize, usize) -> bool + Sync),
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
        let weights = self.weights(cancel)?;
        // A whole picture is like another as that is like it.
        let is_wanted =
            |first: usize, second: usize, window: usize| first != second && (window > 0 || first < second);
        let index = Index::new(self.all.iter().enumerate());
        let queries: Vec<usize> = (0..self.all.len()).collect();
        self.search(index, &weights, &queries, &is_wanted, cancel, &on_compared)
    }

    /// What a clip has in common with the others, the most of it first: it is the [`first`](Match::first) of
    /// each match, and [`ranges`](Match::ranges) say where in the [`second`](Match::second) it is from.
    ///
    /// # Errors
    /// [`DuplicatesError::Cancelled`].
    pub fn locate(&self, clip: &Fingerprint, cancel: &CancelToken) -> Result<Vec<Match>, DuplicatesError> {
        let mut all = self.clone();
        let place = all.push(clip.clone());
        let weights = all.weights(cancel)?;
        let is_wanted = |first: usize, second: usize, _: usize| first == place && second != place;
        let index = Index::new(self.all.iter().enumerate());
        let mut found = all.search(index, &weights, &[place], &is_wanted, cancel, &|_| ())?;
        // What is cropped is a part of the others' pictures, which takes looking at them all.
        if found.iter().all(|found| found.first_share < LEAST_SOURCE_SHARE) {
            let is_wanted = |first: usize, second: usize, _: usize| first != place && second == place;
            let index = Index::new(std::iter::once((place, clip)));
            let queries: Vec<usize> = (0..place).collect();
            let cropped = all.search(index, &weights, &queries, &is_wanted, cancel, &|_| ())?;
            found = best_of_pairs(found.into_iter().chain(cropped.into_iter().map(Match::swapped)));
        }
        found.sort_by(|a, b| (b.first_share * b.score).total_cmp(&(a.first_share * a.score)));
        Ok(found)
    }

    /// How much each picture of each video counts: 0 where there is nothing to see, 1 where no more videos
    /// have it than have the rarer pictures of the same video, and less in proportion where more do.
    fn weights(&self, cancel: &CancelToken) -> Result<Vec<Vec<f32>>, DuplicatesError> {
        let index = Index::new(self.all.iter().enumerate());
        let whole = Basis::of(Window::WHOLE);
        let weigh = |fingerprint: &Fingerprint| {
            if cancel.is_cancelled() {
                return Err(DuplicatesError::Cancelled);
            }
            let mut near = Vec::new();
            let mut videos_with = |picture| {
                let signature = whole.signature(picture)?;
                index.near(&signature, &mut near);
                let same = near.iter().filter(|near| near.distance <= SAME_PICTURE).map(|near| near.video);
                let mut same: Vec<u32> = same.collect();
                same.dedup();
                // Where even that was too much to look up, it is itself at least.
                Some(same.len().max(1))
            };
            let counts: Vec<Option<usize>> = fingerprint.pictures.iter().map(&mut videos_with).collect();
            let mut rising: Vec<usize> = counts.iter().copied().flatten().collect();
            rising.sort_unstable();
            let usual = rising.get(rising.len() / 4).map_or(1.0, |count| *count as f32);
            Ok(counts
                .into_iter()
                .map(|count| count.map_or(0.0, |count| (usual / count as f32).min(1.0)))
                .collect())
        };
        self.all.par_iter().map(weigh).collect()
    }

    fn search(
        &self,
        index: Index,
        weights: &[Vec<f32>],
        queries: &[usize],
        is_wanted: &(dyn Fn(usize, usize, usize) -> bool + Sync),
        cancel: &CancelToken,
        on_compared: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<Match>, DuplicatesError> {
        let videos = self.all.iter().zip(weights);
        let videos = videos.map(|(fingerprint, weights)| Weighed { fingerprint, weights }).collect();
        let windows = Window::crops();
        let bases = windows.iter().map(|window| Basis::of(*window)).collect();
        let search = Search { index, windows, bases, videos, is_wanted };
        let found: Result<Vec<Vec<Match>>, DuplicatesError> = queries
            .par_iter()
            .map(|&query| {
                let found = search.compare(query, cancel)?;
                on_compared(query);
                Ok(found)
            })
            .collect();
        Ok(best_of_pairs(found?.into_iter().flatten()))
    }
}

/// What a clip has to have in common with a source for others not to be looked for.
const LEAST_SOURCE_SHARE: f64 = 0.5;

/// Of the matches of each pair the one with the most in common.
fn best_of_pairs(matches: impl Iterator<Item = Match>) -> Vec<Match> {
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

impl Search<'_> {
    /// What one video has in common with others.
    fn compare(&self, query: usize, cancel: &CancelToken) -> Result<Vec<Match>, DuplicatesError> {
        let mut found = Vec::new();
        let first = self.videos[query];
        let (votes, weight) = self.votes(query);
        let mut proposals: Vec<_> = votes.into_iter().collect();
        proposals.sort_unstable_by_key(|((second, mirrored), _)| (*second, *mirrored));
        for ((second, mirrored), mut votes) in proposals {
            if cancel.is_cancelled() {
                return Err(DuplicatesError::Cancelled);
            }
            votes.retain(|vote| self.alike(query, second as usize, mirrored, vote) >= Some(LEAST_ALIKE));
            let mut pictures: Vec<u32> = votes.iter().map(|vote| vote.first).collect();
            pictures.dedup();
            let sum: f32 = pictures.iter().map(|picture| first.weights[*picture as usize]).sum();
            if sum < LEAST_VOTES.min(LEAST_VOTE_SHARE * weight) {
                continue;
            }
            let second = second as usize;
            let comparison =
                Comparison { first, second: self.videos[second], mirrored, windows: &self.windows };
            found.extend(comparison.run(&votes).map(|found| Match { first: query, second, ..found }));
        }
        Ok(found)
    }

    /// How alike two pictures are, of which codes are near.
    fn alike(&self, first: usize, second: usize, mirrored: bool, vote: &Vote) -> Option<f32> {
        let picture =
            |video: usize, picture: u32| self.videos[video].fingerprint.pictures.get(picture as usize);
        let through = self.bases[usize::from(vote.window)].signature(picture(first, vote.first)?)?;
        let through = if mirrored { through.mirrored() } else { through };
        Some(through.dot(&self.bases[0].signature(picture(second, vote.second)?)?))
    }

    /// What pictures of a video may be like, by video and whether it is mirrored, in order of the pictures;
    /// and the weight of all that were looked up.
    fn votes(&self, query: usize) -> (HashMap<(u32, bool), Vec<Vote>>, f32) {
        let Weighed { fingerprint, weights } = self.videos[query];
        let step = if fingerprint.duration_seconds > LONG { LONG_QUERY_STEP } else { QUERY_STEP };
        let (mut votes, mut weight, mut last) = (HashMap::<_, Vec<Vote>>::new(), 0.0, f64::MIN);
        let (mut near, mut of_picture) = (Vec::<Near>::new(), Vec::new());
        for (first, picture) in fingerprint.pictures.iter().enumerate() {
            let seconds = f64::from(fingerprint.seconds[first]);
            if weights[first] <= 0.0 || seconds < last + step - 1e-3 {
                continue;
            }
            last = seconds;
            weight += weights[first];
            of_picture.clear();
            for (window, basis) in self.bases.iter().enumerate() {
                let Some(signature) = basis.signature(picture) else { continue };
                for (mirrored, signature) in [(false, signature.clone()), (true, signature.mirrored())] {
                    self.index.near(&signature, &mut near);
                    let near =
                        near.iter().filter(|near| (self.is_wanted)(query, near.video as usize, window));
                    of_picture
                        .extend(near.map(|near| (near.video, mirrored, near.distance, window, near.picture)));
                }
            }
            of_picture.sort_unstable();
            for same in of_picture.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
                let of_video = votes.entry((same[0].0, same[0].1)).or_default();
                for &(_, _, distance, window, second) in same.iter().take(VOTES_OF_PICTURE) {
                    let (window, distance) = (window as u8, distance as u8);
                    of_video.push(Vote { first: first as u32, second, window, distance });
                }
            }
        }
        (votes, weight)
    }
}
