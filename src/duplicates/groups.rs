use std::cmp::Ordering;
use std::collections::BTreeMap;

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
    let mut groups = Vec::new();
    while let Some((&hub, _)) = holds
        .iter()
        .filter(|(_, held)| !held.is_empty())
        .max_by(|a, b| a.1.len().cmp(&b.1.len()).then_with(|| better(*a.0, *b.0)))
    {
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
            for held in holds.values_mut() {
                held.remove(&member.place);
            }
        }
        groups.push(Group { members: group });
    }
    groups.sort_by_key(|group| group.members.iter().map(|member| member.place).min());
    groups
}

/// Which is the better copy.
fn rank(fingerprints: &Fingerprints, a: usize, b: usize) -> Ordering {
    let (Some(a), Some(b)) = (fingerprints.get(a), fingerprints.get(b)) else { return Ordering::Equal };
    let pixels = |of: &super::Fingerprint| {
        let percent = (of.picture_share * 100.0).round() as u64;
        // A copy without borders is the better one of the same size, which is seen to a cell at each side.
        let share = if percent >= BORDERLESS { 100 } else { percent.saturating_sub(UNSEEN) };
        u64::from(of.width) * u64::from(of.height) * share
    };
    // Containers round durations.
    let tenths = |of: &super::Fingerprint| (of.duration_seconds * 10.0).round() as u64;
    let by_pixels = pixels(b).cmp(&pixels(a));
    by_pixels.then_with(|| tenths(b).cmp(&tenths(a))).then_with(|| b.size_bytes.cmp(&a.size_bytes))
}
