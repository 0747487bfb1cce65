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
/// Rows ahead of the one at hand that memory is asked for, where rows lie anywhere.
const AHEAD: usize = 12;
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

/// The bits of [`STAGE_BITS`] values of a query, those of the smallest weight first; the last have that of the sign.
#[derive(Debug, Clone)]
struct Planes {
    words: [[u64; WORDS]; PLANES],
    /// Of each byte of the words the lower half, and the upper one.
    halves: [[[u8; STAGE_BYTES]; 2]; PLANES],
}

impl Planes {
    fn new(words: [[u64; WORDS]; PLANES]) -> Self {
        let halves = words.each_ref().map(|words| {
            let mut bytes = [0; STAGE_BYTES];
            for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
                *bytes = word.to_le_bytes();
            }
            [bytes.map(|byte| byte & 0x0f), bytes.map(|byte| byte >> 4)]
        });
        Self { words, halves }
    }
}

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
            let mut bits = [[0; WORDS]; PLANES];
            let mut sum = 0;
            for (place, value) in stretch.iter().enumerate() {
                let rounded = (value / step).round().clamp(-8.0, 7.0) as i32;
                sum += rounded;
                for (plane, bits) in bits.iter_mut().enumerate() {
                    bits[place / 64] |= (u64::from(rounded.cast_unsigned()) >> plane & 1) << (place % 64);
                }
            }
            planes.push(Planes::new(bits));
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
        let factor = self.planes.len() as f32 * self.step;
        let (sum, spread) = (self.sums[0], deviations * self.first_spread_of_scale());
        let bound = |(count, numbers): (&i32, &[u8; NUMBERS])| {
            let (scale, offset) = unpack(numbers);
            (factor * (2 * count - sum) as f32 + spread) * scale + offset + self.constant
        };
        bounds.clear();
        bounds.extend(counts.iter().zip(numbers.as_chunks().0).map(bound));
    }

    /// The standard deviation of [`first_spread`](Self::first_spread), as a share of a row's scale.
    fn first_spread_of_scale(&self) -> f32 {
        let share = self.planes.len() as f32;
        // The rest of the dimensions is as these are, but for chance.
        self.length * (share * SPREAD.powi(2) + (share - 1.0) * COSINE.powi(2)).sqrt()
    }

    /// Standard deviation of the error of the estimate of a row by what a first pass reads of it.
    pub(in super::super) fn first_spread(&self, row: usize) -> f32 {
        self.first_spread_of_scale() * unpack(self.parts(row).0).0
    }

    /// Where what lies of a row: its numbers, what the first pass reads, and the rest of its bits.
    fn parts(&self, row: usize) -> (&[u8; NUMBERS], &[u8], &[u8]) {
        let (body, layout) = (&self.set.body, self.set.layout());
        let first = &body[layout.first()][row * STAGE_BYTES..][..STAGE_BYTES];
        let rest = &body[layout.rest()][row * layout.rest..][..layout.rest];
        (&body[layout.numbers()].as_chunks().0[row], first, rest)
    }

    /// Has the processor fetch what [`whole`](Self::whole) will read of a row.
    fn fetch(&self, row: usize) {
        let (numbers, first, rest) = self.parts(row);
        [&numbers[..], first, rest].into_iter().for_each(fetch);
    }

    /// The estimate of a row by all of its bits.
    pub(in super::super) fn whole(&self, row: usize) -> Estimate {
        let (numbers, first, rest) = self.parts(row);
        let (scale, offset) = unpack(numbers);
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

/// The estimates by all of their bits of rows that lie anywhere: each the number of its set, and its row of that.
pub(in super::super) fn estimates(queries: &[SetQuery<'_>], rows: &[(u32, u32)]) -> Vec<Estimate> {
    let of = |place: usize| rows.get(place).map(|(set, row)| (&queries[*set as usize], *row as usize));
    let estimate = |place: usize| {
        if let Some((query, row)) = of(place + AHEAD) {
            query.fetch(row);
        }
        of(place).map(|(query, row)| query.whole(row))
    };
    (0..rows.len()).filter_map(estimate).collect()
}

/// Has the processor fetch these bytes, which are about to be read.
fn fetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every such processor has the instruction, which changes nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
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
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        unsafe { weighted_counts_avx2(bits, planes, counts) };
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
    let [one, two, four, eight] = planes.words.each_ref().map(load_plane);
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

/// Counts by tables of half bytes, which hold the weight of their plane already.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn weighted_counts_avx2(bits: &[u8], planes: &Planes, counts: &mut [i32]) {
    use std::arch::x86_64::{
        __m256i, _mm_add_epi64, _mm_cvtsi128_si64, _mm_setr_epi8, _mm_unpackhi_epi64, _mm256_add_epi8,
        _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_castsi256_si128, _mm256_extracti128_si256,
        _mm256_loadu_si256, _mm256_sad_epu8, _mm256_set1_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8,
        _mm256_srli_epi16, _mm256_sub_epi8, _mm256_xor_si256,
    };

    // SAFETY: each is 32 bytes of a row's or a plane's 64.
    let load = |bytes: &[u8; 32]| unsafe { _mm256_loadu_si256(bytes.as_ptr().cast::<__m256i>()) };
    let low_half = _mm256_set1_epi8(0x0f);
    let halves = |both: __m256i| {
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(both), low_half);
        [_mm256_and_si256(both, low_half), high]
    };
    let ones = _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    let one = _mm256_broadcastsi128_si256(ones);
    let two = _mm256_add_epi8(one, one);
    let four = _mm256_add_epi8(two, two);
    // The last plane is that of the sign.
    let minus_eight = _mm256_sub_epi8(_mm256_setzero_si256(), _mm256_add_epi8(four, four));
    let tables = [one, two, four, minus_eight];
    // Of each plane and 32 bytes of it the lower halves of the bytes, and the upper ones.
    let mut loaded = [[[_mm256_setzero_si256(); 2]; 2]; PLANES];
    for (loaded, halves) in loaded.iter_mut().zip(&planes.halves) {
        for (part, loaded) in loaded.iter_mut().enumerate() {
            let [low, high] = halves;
            *loaded = [load(&low.as_chunks().0[part]), load(&high.as_chunks().0[part])];
        }
    }
    let middle = _mm256_set1_epi8(i8::MIN);
    for (bits, count) in bits.as_chunks::<32>().0.as_chunks::<2>().0.iter().zip(counts) {
        // Of a byte -128 to 112, in both parts together.
        let mut sums = _mm256_setzero_si256();
        for (part, bits) in bits.iter().enumerate() {
            let [low, high] = halves(load(bits));
            for (plane, table) in loaded.iter().zip(tables) {
                let [plane_low, plane_high] = plane[part];
                let low = _mm256_shuffle_epi8(table, _mm256_and_si256(low, plane_low));
                let high = _mm256_shuffle_epi8(table, _mm256_and_si256(high, plane_high));
                sums = _mm256_add_epi8(sums, _mm256_add_epi8(low, high));
            }
        }
        let sums = _mm256_sad_epu8(_mm256_xor_si256(sums, middle), _mm256_setzero_si256());
        let sums = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        let sum = _mm_cvtsi128_si64(_mm_add_epi64(sums, _mm_unpackhi_epi64(sums, sums)));
        *count = sum as i32 - 32 * 128;
    }
}

#[inline(always)]
fn weighted_counts_of(bits: &[u8], planes: &Planes, counts: &mut [i32]) {
    for (bits, count) in bits.as_chunks::<STAGE_BYTES>().0.iter().zip(counts) {
        let mut sums = [0_u64; WORDS];
        for (word, (bytes, sum)) in bits.as_chunks::<8>().0.iter().zip(&mut sums).enumerate() {
            let bits = u64::from_le_bytes(*bytes);
            let ones = |plane: usize| u64::from((bits & planes.words[plane][word]).count_ones());
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
        let mut bits: Vec<u8> = (0..5 * STAGE_BYTES).map(|_| random.next_u64() as u8).collect();
        // One row of ones, and values of which the largest and the smallest fill whole bytes.
        bits[..STAGE_BYTES].fill(u8::MAX);
        let extreme = |place: usize| [7, -8].get(place / 64).copied();
        let values: Vec<i64> = (0..STAGE_BITS)
            .map(|place| extreme(place % 256).unwrap_or(random.below(16) as i64 - 8))
            .collect();
        let mut planes = [[0; WORDS]; PLANES];
        for (place, value) in values.iter().enumerate() {
            for (plane, words) in planes.iter_mut().enumerate() {
                words[place / 64] |= (*value as u64 >> plane & 1) << (place % 64);
            }
        }
        let planes = Planes::new(planes);
        let is_set = |row: usize, place: usize| bits[row * STAGE_BYTES + place / 8] >> (place % 8) & 1 == 1;
        let expected: Vec<i64> = (0..5)
            .map(|row| (0..STAGE_BITS).filter(|&place| is_set(row, place)).map(|place| values[place]).sum())
            .collect();
        type Count = fn(&[u8], &Planes, &mut [i32]);
        let mut all: Vec<Count> = vec![weighted_counts, weighted_counts_of];
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function is compiled for.
            all.push(|bits, planes, counts| unsafe { weighted_counts_avx2(bits, planes, counts) });
        }
        for one in all {
            let mut counts = vec![0; 5];
            one(&bits, &planes, &mut counts);
            assert_eq!(counts.iter().map(|&count| i64::from(count)).collect::<Vec<_>>(), expected);
        }
    }
}
