use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use super::collection::Fingerprints;
use super::compare::Match;

/// What one video has to hold of another for both to be in a group, as a share of what there is to see.
const HELD_SHARE: f64 = 0.5;

/// Percent of a frame from which on all of it is picture: scenes have dark edges. How much less of one with
/// borders may be picture than was seen.
const BORDERLESS: u64 = 95;
const UNSEEN: u64 = 5;

/// Versions of one video.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Group {
    /// The best copy first: of those that hold at least half of every other, that with the most pixels, not counting
    /// borders, then the longest, then the largest file. The others follow in the same order.
    pub members: Vec<Member>,
}

/// A video in a group.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Member {
    /// Its place among the [`Fingerprints`].
    pub place: usize,
    /// What the best copy (as the [`first`](Match::first)) and this one have in common; `None` of the best
    /// copy itself.
    pub found: Option<Match>,
}

/// Puts together what is the same: a video and all of which it holds at least half, counted by what there is
/// to see. Each is in one group at the most, with the one that holds the most others.
///
/// What two videos have in common with a third does not bring them together, and neither does what is a
/// small part of both.
#[must_use]
pub fn groups(fingerprints: &Fingerprints, matches: &[Match]) -> Vec<Group> {
    let mut holds: BTreeMap<usize, BTreeMap<usize, &Match>> = BTreeMap::new();
    for found in matches {
        for (holder, held, share) in
            [(found.first, found.second, found.second_share), (found.second, found.first, found.first_share)]
        {
            if share >= HELD_SHARE {
                holds.entry(holder).or_default().insert(held, found);
            }
        }
    }
    let better = |a: usize, b: usize| rank(fingerprints, a, b).reverse().then(b.cmp(&a));
    // By whom each is held: nobody else has to be asked when it goes.
    let mut holders: HashMap<usize, Vec<usize>> = HashMap::new();
    for (&holder, held) in &holds {
        held.keys().for_each(|&one| holders.entry(one).or_default().push(holder));
    }
    // Who holds the most is next, of several the best. How many that are only falls, and is looked at again.
    let mut by_rank: Vec<usize> = holds.keys().copied().collect();
    by_rank.sort_by(|a, b| better(*a, *b));
    let mut hubs: BinaryHeap<(usize, usize)> =
        by_rank.iter().enumerate().map(|(rank, place)| (holds[place].len(), rank)).collect();
    let mut groups = Vec::new();
    while let Some((count, rank)) = hubs.pop() {
        let hub = by_rank[rank];
        let now = holds.get(&hub).map_or(0, BTreeMap::len);
        if now < count {
            hubs.extend((now > 0).then_some((now, rank)));
            continue;
        }
        let members: Vec<usize> =
            holds.get(&hub).into_iter().flat_map(|held| held.keys().copied()).chain([hub]).collect();
        let holds_all = |place: &&usize| {
            let held = holds.get(place);
            members.iter().all(|other| other == *place || held.is_some_and(|held| held.contains_key(other)))
        };
        let best = members.iter().filter(holds_all).max_by(|a, b| better(**a, **b)).copied().unwrap_or(hub);
        let mut group = vec![Member { place: best, found: None }];
        let held = holds.remove(&best).unwrap_or_default();
        let mut rest: Vec<usize> = members.into_iter().filter(|place| *place != best).collect();
        rest.sort_by(|a, b| better(*b, *a));
        for place in rest {
            let found = held.get(&place).map(|found| (*found).clone());
            let found = found.map(|found| if found.first == best { found } else { found.swapped() });
            group.push(Member { place, found });
        }
        for member in &group {
            holds.remove(&member.place);
            for holder in holders.remove(&member.place).unwrap_or_default() {
                if let Some(held) = holds.get_mut(&holder) {
                    held.remove(&member.place);
                }
            }
        }
        groups.push(Group { members: group });
    }
    groups.sort_by_key(|group| group.members.iter().map(|member| member.place).min());
    groups
}

/// Which is the better copy.
fn rank(fingerprints: &Fingerprints, a: usize, b: usize) -> Ordering {
    let pixels = |of: &super::Fingerprint| {
        let percent = (of.picture_share * 100.0).round() as u64;
        // A copy without borders is the better one of the same size, which is seen to a cell at each side.
        let share = if percent >= BORDERLESS { 100 } else { percent.saturating_sub(UNSEEN) };
        u64::from(of.width) * u64::from(of.height) * share
    };
    // Containers round durations.
    let tenths = |of: &super::Fingerprint| (of.duration_seconds * 10.0).round() as u64;
    // Of none nothing is known, and all others are better.
    let known = |place| fingerprints.get(place).map(|of| (pixels(of), tenths(of), of.size_bytes));
    known(b).cmp(&known(a))
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::super::Fingerprint;
    use super::super::fingerprint::fingerprint_image;
    use super::*;
    use crate::random::Random;

    /// Whoever holds the most of those that are left is next, the better one of several.
    #[test]
    fn groups_are_those_that_looking_at_all_of_them_again_would_find() {
        for seed in 0..20 {
            let random = &mut Random::derived(seed, &[]);
            let mut fingerprints = Fingerprints::default();
            for width in random.permutation(60) {
                let (width, height) = (1 + width as u32, 1);
                let blank = fingerprint_image(&RgbImage::new(0, 0));
                fingerprints.push(Fingerprint { width, height, picture_share: 1.0, ..blank });
            }
            let whole = [0.0, 1.0, 0.0, 1.0];
            let pairs = (0..60).flat_map(|first| (0..first).map(move |second| (first, second)));
            let pairs: Vec<(usize, usize)> = pairs.filter(|_| random.below(12) == 0).collect();
            let matches: Vec<Match> = pairs
                .into_iter()
                .map(|(first, second)| {
                    let [first_share, second_share] = [(); 2].map(|()| random.below(4) as f64 / 3.0);
                    let (part_of_first, part_of_second, ranges) = (whole, whole, Vec::new());
                    Match {
                        first,
                        second,
                        ranges,
                        score: 1.0,
                        mirrored: false,
                        speed: 1.0,
                        part_of_first,
                        part_of_second,
                        first_share,
                        second_share,
                    }
                })
                .collect();
            let holds = |holder: usize, held: usize| {
                matches.iter().any(|found| {
                    (found.first, found.second) == (holder, held) && found.second_share >= 0.5
                        || (found.second, found.first) == (holder, held) && found.first_share >= 0.5
                })
            };
            let mut left: Vec<usize> = (0..60).collect();
            let mut expected = Vec::new();
            loop {
                let held = |hub: usize| {
                    left.iter().copied().filter(move |&other| holds(hub, other)).collect::<Vec<_>>()
                };
                let next = left.iter().map(|&hub| (held(hub), hub));
                let next = next.max_by_key(|(held, hub)| (held.len(), fingerprints.get(*hub).unwrap().width));
                let Some((mut members, hub)) = next.filter(|(held, _)| !held.is_empty()) else { break };
                members.push(hub);
                members.sort_unstable();
                left.retain(|place| !members.contains(place));
                expected.push(members);
            }
            expected.sort();
            let in_order = |group: &Group| {
                let mut places: Vec<usize> = group.members.iter().map(|member| member.place).collect();
                places.sort_unstable();
                places
            };
            let mut found: Vec<_> = groups(&fingerprints, &matches).iter().map(in_order).collect();
            found.sort();
            assert!(expected.len() > 5, "{expected:?}");
            assert_eq!(found, expected);
        }
    }
}
