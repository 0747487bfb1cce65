use serde::{Deserialize, Serialize};

/// A small random generator whose whole state is one number: SplitMix64 (Steele, Lea and Flood, "Fast
/// splittable pseudorandom number generators", OOPSLA 2014).
///
/// Written out here because a run must draw the same numbers on every platform and with every version of
/// every dependency, and because its state lies in checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The generator of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A generator of its own for each combination of `seed` and `stream`, such as a task and a pass over it.
    pub fn derived(seed: u64, stream: &[u64]) -> Self {
        let mut random = Self::new(seed);
        for &part in stream {
            random = Self::new(random.next_u64() ^ part.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        }
        Self::new(random.next_u64())
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `[0, 1)`, with 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number below `bound`; 0 where `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The high half of the product is uniform to within `bound` / 2^64.
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// The numbers from 0 to `len`, shuffled (Fisher-Yates).
    pub fn permutation(&mut self, len: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..len).collect();
        for last in (1..len).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }

    /// `count` different numbers below `len`, or all of them if there are fewer; in ascending order.
    pub fn sample(&mut self, len: usize, count: usize) -> Vec<usize> {
        // Floyd's algorithm: as many draws as numbers, whatever `len` is.
        let mut chosen = std::collections::BTreeSet::new();
        for upper in len.saturating_sub(count)..len {
            let candidate = self.below(upper + 1);
            if !chosen.insert(candidate) {
                chosen.insert(upper);
            }
        }
        chosen.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_splitmix64s() {
        // The reference implementation's first outputs for the seed 1234567
        // (https://prng.di.unimi.it/splitmix64.c).
        let mut random = Random::new(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([random.next_u64(), random.next_u64(), random.next_u64()], expected);
    }

    #[test]
    fn permutations_hold_every_number_once_and_depend_on_the_seed() {
        let shuffled = |seed| Random::new(seed).permutation(100);
        let mut sorted = shuffled(1);
        assert_ne!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(sorted, shuffled(1));
        assert_ne!(sorted, shuffled(2));
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert!(Random::new(3).permutation(0).is_empty());
    }

    #[test]
    fn every_permutation_of_three_is_as_likely() {
        let mut counts = std::collections::HashMap::new();
        let mut random = Random::new(9);
        for _ in 0..6000 {
            *counts.entry(random.permutation(3)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|n| (850..1150).contains(n)), "{counts:?}");
    }

    #[test]
    fn samples_are_different_numbers_spread_over_the_range() {
        let mut random = Random::new(5);
        let mut hits = [0; 10];
        for _ in 0..2000 {
            let sample = random.sample(10, 3);
            assert!(sample.len() == 3 && sample.is_sorted_by(|a, b| a < b));
            sample.into_iter().for_each(|i| hits[i] += 1);
        }
        assert!(hits.iter().all(|n| (500..700).contains(n)), "{hits:?}");
        assert_eq!(random.sample(3, 10), [0, 1, 2]);
    }

    #[test]
    fn derived_streams_differ() {
        let first = |seed, stream: &[u64]| Random::derived(seed, stream).next_u64();
        assert_eq!(first(1, &[2, 3]), first(1, &[2, 3]));
        let all = [
            first(1, &[]),
            first(1, &[0]),
            first(1, &[0, 0]),
            first(1, &[2, 3]),
            first(1, &[3, 2]),
            first(2, &[2, 3]),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
