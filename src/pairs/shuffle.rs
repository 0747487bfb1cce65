use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// A place in an endless shuffled walk over the pairs of a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// How often all pairs were walked through.
    pub pass: u64,
    /// Pairs taken in this pass.
    pub taken: usize,
}

/// An endless walk over numbers in groups. The groups are shuffled anew in every pass, the numbers of one
/// stay together. The order depends on the seed, the stream and the pass alone, so that a [`Cursor`] is all
/// there is to remember.
#[derive(Debug, Clone)]
pub struct Shuffled {
    groups: Arc<[usize]>,
    seed: u64,
    stream: u64,
    cursor: Cursor,
    order: Vec<usize>,
}

impl Shuffled {
    /// The walk from `cursor` on. `groups` holds the first number of each group, and at last the end of all
    /// numbers; `stream` tells walks of one seed apart.
    pub fn new(groups: Arc<[usize]>, seed: u64, stream: u64, cursor: Cursor) -> Self {
        let shuffled =
            Random::derived(seed, &[stream, cursor.pass]).permutation(groups.len().saturating_sub(1));
        let order = shuffled.into_iter().flat_map(|group| groups[group]..groups[group + 1]).collect();
        Self { groups, seed, stream, cursor, order }
    }

    /// The next `count` numbers, or all if there are fewer. No number comes twice: where a pass has less than
    /// `count` left, its rest is left out, as it is in every pass another one. A group may be cut in two
    /// where a batch ends.
    pub fn take(&mut self, count: usize) -> Vec<usize> {
        let count = count.min(self.order.len());
        if self.cursor.taken + count > self.order.len() {
            let next = Cursor { pass: self.cursor.pass + 1, taken: 0 };
            *self = Self::new(self.groups.clone(), self.seed, self.stream, next);
        }
        let from = self.cursor.taken;
        self.cursor.taken += count;
        self.order[from..self.cursor.taken].to_vec()
    }

    /// Where the walk stands.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn singles(len: usize) -> Arc<[usize]> {
        (0..=len).collect()
    }

    #[test]
    fn the_numbers_of_a_group_stay_together() {
        let mut walk = Shuffled::new([0, 3, 4, 6, 10].into(), 1, 0, Cursor::default());
        let mut orders = std::collections::HashSet::new();
        for _ in 0..20 {
            let pass = walk.take(10);
            let mut groups: Vec<_> = [0..3, 3..4, 4..6, 6..10].map(Iterator::collect::<Vec<_>>).into();
            groups.sort_by_key(|group| pass.iter().position(|number| number == &group[0]));
            assert_eq!(pass, groups.concat());
            orders.insert(pass);
        }
        assert!(orders.len() > 5);
    }

    #[test]
    fn a_pass_holds_each_number_once_and_the_next_is_shuffled_anew() {
        let mut walk = Shuffled::new(singles(10), 42, 0, Cursor::default());
        let mut passes = Vec::new();
        for pass in 0..3 {
            let mut order: Vec<usize> = (0..5).flat_map(|_| walk.take(2)).collect();
            assert_eq!(walk.cursor(), Cursor { pass, taken: 10 });
            passes.push(order.clone());
            order.sort_unstable();
            assert_eq!(order, (0..10).collect::<Vec<_>>());
        }
        assert!(passes[0] != passes[1] && passes[1] != passes[2]);
    }

    #[test]
    fn a_batch_never_holds_a_pair_twice() {
        let mut walk = Shuffled::new(singles(10), 42, 0, Cursor::default());
        for _ in 0..20 {
            let mut batch = walk.take(4);
            batch.sort_unstable();
            batch.dedup();
            assert_eq!(batch.len(), 4);
        }
        assert_eq!(Shuffled::new(singles(3), 42, 0, Cursor::default()).take(8).len(), 3);
    }

    #[test]
    fn a_cursor_brings_the_walk_back() {
        let mut walk = Shuffled::new(singles(100), 7, 3, Cursor::default());
        for _ in 0..37 {
            walk.take(8);
        }
        let mut resumed = Shuffled::new(singles(100), 7, 3, walk.cursor());
        assert_eq!((0..30).flat_map(|_| walk.take(8)).collect::<Vec<_>>(), {
            (0..30).flat_map(|_| resumed.take(8)).collect::<Vec<_>>()
        });
        let other = Shuffled::new(singles(100), 7, 4, Cursor::default()).take(100);
        assert_ne!(other, Shuffled::new(singles(100), 7, 3, Cursor::default()).take(100));
    }
}
