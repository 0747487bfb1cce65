//! How far a score may be off, and whether two models differ: bootstrap intervals and the paired
//! randomisation test.
//!
//! Both draw random numbers; the same seed gives the same result on every platform and any number of threads.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rayon::prelude::*;

use crate::result::Interval;

/// Share of cases that an interval covers.
pub const LEVEL: f64 = 0.95;
/// Samples drawn by both methods: the ends of an interval then vary by about 1 % of its width from seed to
/// seed.
pub const SAMPLES: usize = 10_000;
/// The seed where nobody asks for another.
pub const SEED: u64 = 42;
/// Up to this many pairs that differ, all 2^n assignments of signs are enumerated, which is exact.
const EXACT_PAIRS: usize = 16;

/// The percentile bootstrap interval of the mean of `values` at [`LEVEL`]: queries are drawn with replacement
/// [`SAMPLES`] times, and the interval holds the middle of the means. Both ends are 0 without values.
pub fn mean_interval(values: &[f64], seed: u64) -> Interval {
    if values.is_empty() {
        return Interval { level: LEVEL, low: 0.0, high: 0.0 };
    }
    let mut means: Vec<f64> = (0..SAMPLES)
        .into_par_iter()
        .map(|sample| {
            let mut random = generator(seed, sample);
            let sum: f64 = values.iter().map(|_| values[draw(&mut random, values.len())]).sum();
            sum / values.len() as f64
        })
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - LEVEL) / 2.0;
    Interval { level: LEVEL, low: quantile(&means, tail), high: quantile(&means, 1.0 - tail) }
}

/// How two models compare on the same queries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Mean score of the first minus that of the second.
    pub difference: f64,
    /// The bootstrap interval of the difference.
    pub interval: Interval,
    /// Two-sided p of the paired randomisation test: how often a difference at least this large would come up
    /// if, for each query, chance had decided which model got which of the two scores.
    pub p: f64,
}

/// Compares scores of the same queries in the same order, as (first, second). No pairs: no difference, p is
/// 1.
pub fn compare(pairs: &[(f64, f64)], seed: u64) -> Comparison {
    let differences: Vec<f64> = pairs.iter().map(|(first, second)| first - second).collect();
    Comparison {
        difference: differences.iter().sum::<f64>() / differences.len().max(1) as f64,
        interval: mean_interval(&differences, seed),
        p: sign_flip_p(&differences, seed),
    }
}

/// Two-sided p of the sum of `differences` when every sign is up to chance. Exact for up to 16 that are not
/// 0; beyond, from [`SAMPLES`] draws, the observed signs counted as one more, so that it is never 0.
fn sign_flip_p(differences: &[f64], seed: u64) -> f64 {
    // The sign of 0 changes nothing.
    let differences: Vec<f64> = differences.iter().copied().filter(|&d| d != 0.0).collect();
    let total: f64 = differences.iter().map(|d| d.abs()).sum();
    // Sums that are equal on paper may differ by rounding.
    let observed = differences.iter().sum::<f64>().abs() - 1e-12 * total;
    let extreme = |sum: f64| sum.abs() >= observed;
    if differences.len() <= EXACT_PAIRS {
        let assignments = 1_u64 << differences.len();
        let count = (0..assignments).filter(|&signs| extreme(signed_sum(&differences, signs))).count();
        return count as f64 / assignments as f64;
    }
    let count = (0..SAMPLES)
        .into_par_iter()
        .filter(|&sample| {
            let mut random = generator(seed, sample);
            extreme(differences.chunks(64).map(|chunk| signed_sum(chunk, random.next_u64())).sum())
        })
        .count();
    (count + 1) as f64 / (SAMPLES + 1) as f64
}

/// The sum with the sign of element i turned where bit i is set; at most 64 elements.
fn signed_sum(differences: &[f64], signs: u64) -> f64 {
    let signed = |(i, d): (usize, &f64)| f64::from_bits(d.to_bits() ^ (((signs >> i) & 1) << 63));
    differences.iter().enumerate().map(signed).sum()
}

/// Every sample has a stream of its own, whichever thread draws it.
fn generator(seed: u64, sample: usize) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(sample as u64);
    random
}

/// An index below `len`. Off from uniform by at most `len` / 2^32, which no score can show.
fn draw(random: &mut ChaCha8Rng, len: usize) -> usize {
    ((u64::from(random.next_u32()) * len as u64) >> 32) as usize
}

/// Linear between the two nearest of `sorted`, which is not empty.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_threads<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
    }

    /// 0 and 1 in a fixed disorder, `ones` of `len` of them 1.
    fn binary(len: usize, ones: usize) -> Vec<f64> {
        (0..len).map(|i| f64::from(u8::from(i * 7919 % len < ones))).collect()
    }

    #[test]
    fn the_interval_is_that_of_theory() {
        // The mean of 400 draws of which 30 % are 1 has a standard error of sqrt(0.3 * 0.7 / 400).
        let interval = mean_interval(&binary(401, 120), 0);
        let (mean, error) = (120.0 / 401.0, (0.3_f64 * 0.7 / 401.0).sqrt());
        assert!((interval.low - (mean - 1.96 * error)).abs() < 0.1 * error, "{interval:?}");
        assert!((interval.high - (mean + 1.96 * error)).abs() < 0.1 * error, "{interval:?}");
        let certain = mean_interval(&[0.5; 7], 0);
        assert_eq!((certain.low, certain.high), (0.5, 0.5));
        assert_eq!(mean_interval(&[], 0), Interval { level: LEVEL, low: 0.0, high: 0.0 });
    }

    #[test]
    fn the_same_seed_gives_the_same_result_on_any_number_of_threads() {
        let pairs: Vec<(f64, f64)> = binary(101, 40).into_iter().zip(binary(103, 60)).collect();
        let one = in_threads(1, || compare(&pairs, 5));
        assert_eq!(one, in_threads(3, || compare(&pairs, 5)));
        assert_ne!(one, compare(&pairs, 6));
        // Fixed, so that another platform or version of a dependency cannot change it unseen.
        let mut random = generator(5, 3);
        assert_eq!([0; 4].map(|_| draw(&mut random, 1000)), [197, 777, 883, 422]);
    }

    #[test]
    fn p_is_exact_for_few_pairs_and_near_it_for_many() {
        for (differences, expected) in [
            (vec![], 1.0),
            (vec![0.0; 50], 1.0),
            (vec![1.0], 1.0),
            (vec![1.0; 5], 2.0 / 32.0),
            (vec![1.0, 1.0, 1.0, -1.0], 10.0 / 16.0),
            // 0.1 + 0.2 and 0.3 differ in the last bit.
            (vec![0.1, 0.2, -0.3], 1.0),
        ] {
            assert_eq!(sign_flip_p(&differences, 0), expected, "{differences:?}");
        }
        // 20 signs, 15 of them one way: 2 * P(at least 15 of 20) = 0.0414.
        let many: Vec<f64> = (0..20).map(|i| if i < 5 { -1.0 } else { 1.0 }).collect();
        assert!((sign_flip_p(&many, 1) - 0.0414).abs() < 0.006);
        assert_eq!(sign_flip_p(&[1.0; 200], 1), 1.0 / 10_001.0, "the smallest there is");
    }

    #[test]
    fn quantiles_are_linear_between_values() {
        let sorted = [1.0, 2.0, 4.0];
        for (share, expected) in [(0.0, 1.0), (0.25, 1.5), (0.5, 2.0), (0.75, 3.0), (1.0, 4.0)] {
            assert_eq!(quantile(&sorted, share), expected);
        }
    }
}
