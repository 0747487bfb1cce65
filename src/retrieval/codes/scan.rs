//! From a query and codes to estimates of inner products.

use std::ops::Range;

use pulp::Arch;

use super::rotation::{LANES, Rotation};
use super::{CodeSet, NUMBERS, STAGE_BITS, STAGE_BYTES, bits_of};

/// Bits that a query keeps of each of its values.
const PLANES: usize = 4;
/// The cosine of a vector turned at random with its signs, about: `sqrt(2 / pi)`.
const COSINE: f32 = 0.798;
/// Standard deviation of an estimate by all bits, as a share of a row's scale and the query's length: `sqrt(1
/// - a^2)` where `a` is [`COSINE`], and 0.14 of the query's own rounding.
const SPREAD: f32 = 0.62;
/// Words of what a first pass reads of a row.
const WORDS: usize = STAGE_BYTES / 8;

/// A query turned as the codes are.
#[derive(Debug)]
pub(in super::super) struct TurnedQuery(Vec<f32>);

impl TurnedQuery {
    pub(in super::super) fn new(query: &[f32]) -> Self {
        let mut turned = vec![[0.0; LANES]; bits_of(query.len())];
        for (turned, value) in turned.iter_mut().zip(query) {
            turned[0] = *value;
        }
        Rotation::new(query.len()).apply(&mut turned);
        Self(turned.iter().map(|lanes| lanes[0]).collect())
    }
}

/// The bits of [`STAGE_BITS`] values of a query.
type Planes = [[u64; WORDS]; PLANES];

/// A query, made ready for one set of codes.
#[derive(Debug)]
pub(in super::super) struct SetQuery<'a> {
    set: &'a CodeSet,
    /// Of each stretch of [`STAGE_BITS`] values.
    planes: Vec<Planes>,
    /// Sum of the rounded values, of each stretch.
    sums: Vec<i32>,
    /// What a rounded value is multiplied by.
    step: f32,
    /// What the mean contributes.
    constant: f32,
    /// Length of the query without the mean.
    length: f32,
}

/// An inner product, as it is estimated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct Estimate {
    pub(in super::super) value: f32,
    /// Standard deviation of the error.
    pub(in super::super) spread: f32,
}

impl<'a> SetQuery<'a> {
    pub(in super::super) fn new(query: &TurnedQuery, set: &'a CodeSet) -> Self {
        let without_mean: Vec<f32> =
            query.0.iter().zip(&set.mean).map(|(value, mean)| value - mean).collect();
        let dot = |left: &[f32], right: &[f32]| super::super::dot(left, right);
        let largest = without_mean.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        // Rounded values go from -8 to 7.
        let step = if largest > 0.0 { largest / 7.5 } else { 1.0 };
        let mut planes = Vec::new();
        let mut sums = Vec::new();
        for stretch in without_mean.chunks_exact(STAGE_BITS) {
            let mut bits: Planes = Default::default();
            let mut sum = 0;
            for (place, value) in stretch.iter().enumerate() {
                let rounded = (value / step).round().clamp(-8.0, 7.0) as i32;
                sum += rounded;
                for (plane, bits) in bits.iter_mut().enumerate() {
                    bits[place / 64] |= (u64::from(rounded.cast_unsigned()) >> plane & 1) << (place % 64);
                }
            }
            planes.push(bits);
            sums.push(sum);
        }
        // <x, q> = <x - m, q - m> + <x - m, m> + <m, q>; the second is a row's own number.
        Self {
            set,
            planes,
            sums,
            step,
            constant: dot(&set.mean, &query.0),
            length: dot(&without_mean, &without_mean).sqrt(),
        }
    }

    /// Upper bounds, `deviations` above the estimates, of rows by what a first pass reads of them.
    pub(in super::super) fn first(&self, rows: Range<usize>, deviations: f32, bounds: &mut Vec<f32>) {
        let (body, layout) = (&self.set.body, self.set.layout());
        let numbers = &body[layout.numbers()][rows.start * NUMBERS..rows.end * NUMBERS];
        let bits = &body[layout.first()][rows.start * STAGE_BYTES..rows.end * STAGE_BYTES];
        let mut counts = vec![0; rows.len()];
        weighted_counts(bits, &self.planes[0], &mut counts);
        let share = self.planes.len() as f32;
        let factor = share * self.step;
        // The rest of the dimensions is as these are, but for chance.
        let spread = (share * SPREAD.powi(2) + (share - 1.0) * COSINE.powi(2)).sqrt();
        let (sum, spread) = (self.sums[0], deviations * self.length * spread);
        let bound = |(count, numbers): (&i32, &[u8; NUMBERS])| {
            let (scale, offset) = unpack(numbers);
            (factor * (2 * count - sum) as f32 + spread) * scale + offset + self.constant
        };
        bounds.clear();
        bounds.extend(counts.iter().zip(numbers.as_chunks().0).map(bound));
    }

    /// The estimate of a row by all of its bits.
    pub(in super::super) fn whole(&self, row: usize) -> Estimate {
        let (body, layout) = (&self.set.body, self.set.layout());
        let (scale, offset) = unpack(&body[layout.numbers()].as_chunks().0[row]);
        let first = &body[layout.first()][row * STAGE_BYTES..][..STAGE_BYTES];
        let rest = &body[layout.rest()][row * layout.rest..][..layout.rest];
        let mut product = 0;
        for (bits, (planes, sum)) in [first, rest]
            .into_iter()
            .flat_map(|bits| bits.chunks_exact(STAGE_BYTES))
            .zip(self.planes.iter().zip(&self.sums))
        {
            let mut count = [0];
            weighted_counts(bits, planes, &mut count);
            product += 2 * count[0] - sum;
        }
        let value = product as f32 * self.step * scale + offset + self.constant;
        Estimate { value, spread: SPREAD * self.length * scale }
    }
}

/// A row's numbers: by what the product of signs is multiplied, and what is added.
fn unpack(numbers: &[u8; NUMBERS]) -> (f32, f32) {
    let [a, b, c, d, rest @ ..] = *numbers;
    (f32::from_le_bytes([a, b, c, d]), f32::from_le_bytes(rest))
}

/// Of each row of `bits`, [`STAGE_BYTES`] each, the sum of the query's rounded values where its bits are set.
fn weighted_counts(bits: &[u8], planes: &Planes, counts: &mut [i32]) {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512vpopcntdq") {
        // SAFETY: the processor has what the function is compiled for.
        unsafe { weighted_counts_avx512(bits, planes, counts) };
        return;
    }
    Arch::new().dispatch(
        #[inline(always)]
        || weighted_counts_of(bits, planes, counts),
    );
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn weighted_counts_avx512(bits: &[u8], planes: &Planes, counts: &mut [i32]) {
    use std::arch::x86_64::{
        __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_loadu_si512, _mm512_popcnt_epi64,
        _mm512_reduce_add_epi64, _mm512_slli_epi64, _mm512_sub_epi64,
    };

    // SAFETY: both are 64 bytes, as a vector is.
    let load_plane = |plane: &[u64; WORDS]| unsafe { _mm512_loadu_si512(plane.as_ptr().cast::<__m512i>()) };
    let load_bits = |bits: &[u8; STAGE_BYTES]| unsafe { _mm512_loadu_si512(bits.as_ptr().cast::<__m512i>()) };
    let [one, two, four, eight] = planes.each_ref().map(load_plane);
    for (bits, count) in bits.as_chunks::<STAGE_BYTES>().0.iter().zip(counts) {
        let bits = load_bits(bits);
        let ones = |plane| _mm512_popcnt_epi64(_mm512_and_si512(bits, plane));
        let low = _mm512_add_epi64(ones(one), _mm512_slli_epi64::<1>(ones(two)));
        // The last plane is that of the sign.
        let high = _mm512_sub_epi64(ones(four), _mm512_slli_epi64::<1>(ones(eight)));
        let sum = _mm512_add_epi64(low, _mm512_slli_epi64::<2>(high));
        *count = _mm512_reduce_add_epi64(sum) as i32;
    }
}

#[inline(always)]
fn weighted_counts_of(bits: &[u8], planes: &Planes, counts: &mut [i32]) {
    for (bits, count) in bits.as_chunks::<STAGE_BYTES>().0.iter().zip(counts) {
        let mut sums = [0_u64; WORDS];
        for (word, (bytes, sum)) in bits.as_chunks::<8>().0.iter().zip(&mut sums).enumerate() {
            let bits = u64::from_le_bytes(*bytes);
            let ones = |plane: usize| u64::from((bits & planes[plane][word]).count_ones());
            // The last plane is that of the sign.
            *sum = (ones(0) + (ones(1) << 1) + (ones(2) << 2)).wrapping_sub(ones(3) << 3);
        }
        *count = sums.iter().fold(0_u64, |total, sum| total.wrapping_add(*sum)) as i32;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Encoder;
    use super::*;
    use crate::random::Random;
    use crate::retrieval::{dot, normalize};

    fn vectors(count: usize, dim: usize, spread: f32, random: &mut Random) -> Vec<Vec<f32>> {
        let centre: Vec<f32> = (0..dim).map(|_| random.unit() as f32 - 0.5).collect();
        let vector = |random: &mut Random| {
            let mut vector: Vec<f32> =
                centre.iter().map(|x| x + spread * (random.unit() as f32 - 0.5)).collect();
            normalize(&mut vector, "test").unwrap();
            vector
        };
        (0..count).map(|_| vector(random)).collect()
    }

    #[test]
    fn estimates_are_as_near_as_they_say() {
        let mut random = Random::new(5);
        for dim in [24, 512, 700, 2048] {
            let vectors = vectors(301, dim, 1.5, &mut random);
            let (rows, query) = (&vectors[..300], &vectors[300]);
            let mean: Vec<f32> =
                (0..dim).map(|i| rows.iter().map(|row| row[i]).sum::<f32>() / 300.0).collect();
            let mut encoder = Encoder::new(dim, &mean);
            rows.iter().for_each(|row| encoder.push(row));
            let set = encoder.finish(7);
            assert_eq!(set.rows(), 300);
            let query_of_set = SetQuery::new(&TurnedQuery::new(query), &set);
            let mut bounds = Vec::new();
            query_of_set.first(0..300, 0.0, &mut bounds);
            let mut upper = Vec::new();
            query_of_set.first(100..300, 1.0, &mut upper);
            let (mut whole, mut first) = (0.0, 0.0);
            for (row, vector) in rows.iter().enumerate() {
                let (exact, estimate) = (dot(vector, query), query_of_set.whole(row));
                whole += ((estimate.value - exact) / estimate.spread).powi(2) / 300.0;
                if row >= 100 {
                    first += ((bounds[row] - exact) / (upper[row - 100] - bounds[row])).powi(2) / 200.0;
                }
            }
            assert!((0.4..1.5).contains(&whole) && (0.4..1.5).contains(&first), "{dim}: {whole} and {first}");
        }
    }

    #[test]
    fn counts_are_those_of_the_rounded_values() {
        let mut random = Random::new(6);
        let bits: Vec<u8> = (0..5 * STAGE_BYTES).map(|_| random.next_u64() as u8).collect();
        let values: Vec<i64> = (0..STAGE_BITS).map(|_| random.below(16) as i64 - 8).collect();
        let mut planes = Planes::default();
        for (place, value) in values.iter().enumerate() {
            for (plane, words) in planes.iter_mut().enumerate() {
                words[place / 64] |= (*value as u64 >> plane & 1) << (place % 64);
            }
        }
        let is_set = |row: usize, place: usize| bits[row * STAGE_BYTES + place / 8] >> (place % 8) & 1 == 1;
        let expected: Vec<i64> = (0..5)
            .map(|row| (0..STAGE_BITS).filter(|&place| is_set(row, place)).map(|place| values[place]).sum())
            .collect();
        let mut counts = vec![0; 5];
        weighted_counts(&bits, &planes, &mut counts);
        assert_eq!(counts.iter().map(|&count| i64::from(count)).collect::<Vec<_>>(), expected);
        weighted_counts_of(&bits, &planes, &mut counts);
        assert_eq!(counts.iter().map(|&count| i64::from(count)).collect::<Vec<_>>(), expected);
    }
}
