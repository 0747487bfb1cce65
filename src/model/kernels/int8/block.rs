//! Products of a few rows of activations and a panel of weights, by what a processor has.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::cell::Cell;
use std::ops::Range;
use std::thread::LocalKey;

use super::{GROUP, GROUP_LINES, Line, OUTPUTS, QUAD, Rows};

/// Rows that any unit takes at once.
pub(super) const MAX_ROWS: usize = VNNI_ROWS;
/// Rows whose sums fit into the registers of AVX512, beside what they are made of.
const VNNI_ROWS: usize = 12;

/// How a processor multiplies int8.
pub(super) trait Unit {
    /// Activations as it reads them.
    type Value: Copy + Default + From<i8> + Send + Sync + 'static;

    /// Rows that it takes at once.
    const ROWS: usize;
    /// Values of activations that a task keeps at hand, in half of the second-level cache.
    const VALUES_PER_BLOCK: usize = 1 << 17;

    /// Memory for activations that the thread is done with.
    fn spare() -> &'static LocalKey<Cell<Rows<Self::Value>>>;

    /// Writes the products of `some` of the `rows`, as many as the unit takes or fewer from the first of a block on,
    /// and a panel, without the scales of the panel.
    ///
    /// # Safety
    /// The processor has the unit, `rows` were rounded for it and have the panel's inputs, and `sums` is as long as
    /// `some`.
    unsafe fn multiply(
        rows: &Rows<Self::Value>,
        some: Range<usize>,
        panel: &[Line],
        sums: &mut [[f32; OUTPUTS]],
    );
}

thread_local! {
    static SPARE_I16: Cell<Rows<i16>> = Cell::default();
    #[cfg(target_arch = "x86_64")]
    static SPARE_I8: Cell<Rows<i8>> = Cell::default();
}

/// Any processor: what the compiler makes of it.
pub(super) struct Portable;

impl Unit for Portable {
    type Value = i16;
    const ROWS: usize = 1;

    fn spare() -> &'static LocalKey<Cell<Rows<i16>>> {
        &SPARE_I16
    }

    unsafe fn multiply(rows: &Rows<i16>, some: Range<usize>, panel: &[Line], sums: &mut [[f32; OUTPUTS]]) {
        for (row, totals) in some.zip(sums) {
            *totals = [0.0; OUTPUTS];
            let groups = panel.chunks(GROUP_LINES).zip(rows.block(row).chunks(GROUP)).zip(rows.groups(row));
            for ((lines, x), (scale, _)) in groups {
                let mut sums = [0i32; OUTPUTS];
                for (line, x) in lines.iter().zip(x.as_chunks::<QUAD>().0) {
                    for (sum, weights) in sums.iter_mut().zip(line.0.as_chunks::<QUAD>().0) {
                        let products =
                            weights.iter().zip(x).map(|(&weight, &x)| i32::from(weight) * i32::from(x));
                        *sum += products.sum::<i32>();
                    }
                }
                totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum as f32 * scale);
            }
        }
    }
}

/// Vectors of 16 x i16, of which pairs are multiplied and added.
#[cfg(target_arch = "x86_64")]
pub(super) struct Avx2;

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    pub(super) fn is_available() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    }
}

#[cfg(target_arch = "x86_64")]
impl Unit for Avx2 {
    type Value = i16;
    const ROWS: usize = 6;

    fn spare() -> &'static LocalKey<Cell<Rows<i16>>> {
        &SPARE_I16
    }

    unsafe fn multiply(rows: &Rows<i16>, some: Range<usize>, panel: &[Line], sums: &mut [[f32; OUTPUTS]]) {
        let first = some.start;
        // SAFETY: as the caller says.
        unsafe {
            match sums.len() {
                1 => avx2::<1>(rows, first, panel, sums),
                2 => avx2::<2>(rows, first, panel, sums),
                3 => avx2::<3>(rows, first, panel, sums),
                4 => avx2::<4>(rows, first, panel, sums),
                5 => avx2::<5>(rows, first, panel, sums),
                _ => avx2::<6>(rows, first, panel, sums),
            }
        }
    }
}

/// # Safety
/// As [`Unit::multiply`], of `R` rows.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const R: usize>(rows: &Rows<i16>, first: usize, panel: &[Line], out: &mut [[f32; OUTPUTS]]) {
    let x = rows.block(first).as_ptr();
    let groups: [&[(f32, i32)]; R] = std::array::from_fn(|row| rows.groups(first + row));
    // Each vector has two sums of each of four outputs.
    let mut totals = [[_mm256_setzero_ps(); 4]; R];
    for (group, lines) in panel.chunks(GROUP_LINES).enumerate() {
        for half in 0..2 {
            let mut sums = [[_mm256_setzero_si256(); 2]; R];
            for (index, line) in lines.iter().enumerate() {
                // SAFETY: a block has as many fours of each row as a panel has lines (caller).
                let quads = unsafe { x.add((group * GROUP_LINES + index) * Avx2::ROWS * QUAD).cast::<i64>() };
                // SAFETY: half a line has 32 bytes, and a line begins at a multiple of 64.
                let weights = unsafe {
                    let half = line.0.as_ptr().add(half * 2 * OUTPUTS).cast::<__m128i>();
                    [_mm_load_si128(half), _mm_load_si128(half.add(1))].map(|w| _mm256_cvtepi8_epi16(w))
                };
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: as above; there are `R` rows in a block.
                    let x = _mm256_set1_epi64x(unsafe { quads.add(row).read_unaligned() });
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(weights, x));
                    }
                }
            }
            for ((totals, sums), groups) in totals.iter_mut().zip(sums).zip(groups) {
                let scale = _mm256_set1_ps(groups[group].0);
                for (total, sum) in totals[2 * half..].iter_mut().zip(sums) {
                    *total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, *total);
                }
            }
        }
    }
    for (out, totals) in out.iter_mut().zip(totals) {
        for (out, [low, high]) in out.as_chunks_mut::<8>().0.iter_mut().zip(totals.as_chunks().0) {
            // Outputs 0 1 4 5 2 3 6 7.
            let pairs = _mm256_castps_pd(_mm256_hadd_ps(*low, *high));
            let ordered = _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(pairs));
            // SAFETY: there are eight values.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), ordered) };
        }
    }
}

/// `vpdpbusd`, which multiplies fours of unsigned and signed bytes and adds them up.
#[cfg(target_arch = "x86_64")]
pub(super) struct Vnni;

#[cfg(target_arch = "x86_64")]
impl Vnni {
    pub(super) fn is_available() -> bool {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")
    }
}

#[cfg(target_arch = "x86_64")]
impl Unit for Vnni {
    type Value = i8;
    const ROWS: usize = VNNI_ROWS;

    fn spare() -> &'static LocalKey<Cell<Rows<i8>>> {
        &SPARE_I8
    }

    unsafe fn multiply(rows: &Rows<i8>, some: Range<usize>, panel: &[Line], sums: &mut [[f32; OUTPUTS]]) {
        let first = some.start;
        // SAFETY: as the caller says.
        unsafe {
            match sums.len() {
                1 => vnni::<1>(rows, first, panel, sums),
                2 => vnni::<2>(rows, first, panel, sums),
                3 => vnni::<3>(rows, first, panel, sums),
                4 => vnni::<4>(rows, first, panel, sums),
                5 => vnni::<5>(rows, first, panel, sums),
                6 => vnni::<6>(rows, first, panel, sums),
                7 => vnni::<7>(rows, first, panel, sums),
                8 => vnni::<8>(rows, first, panel, sums),
                9 => vnni::<9>(rows, first, panel, sums),
                10 => vnni::<10>(rows, first, panel, sums),
                11 => vnni::<11>(rows, first, panel, sums),
                _ => vnni::<VNNI_ROWS>(rows, first, panel, sums),
            }
        }
    }
}

/// # Safety
/// As [`Unit::multiply`], of `R` rows.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn vnni<const R: usize>(rows: &Rows<i8>, first: usize, panel: &[Line], out: &mut [[f32; OUTPUTS]]) {
    let x = rows.block(first).as_ptr();
    let groups: [&[(f32, i32)]; R] = std::array::from_fn(|row| rows.groups(first + row));
    // Weights are made unsigned by adding 128 to them, which adds 128 times the sum of the activations.
    let unsigned = _mm512_set1_epi8(i8::MIN);
    let mut totals = [_mm512_setzero_ps(); R];
    for (group, lines) in panel.chunks(GROUP_LINES).enumerate() {
        let mut sums = groups.map(|groups| _mm512_set1_epi32(-128 * groups[group].1));
        for (index, line) in lines.iter().enumerate() {
            // SAFETY: a block has as many fours of each row as a panel has lines (caller).
            let quads = unsafe { x.add((group * GROUP_LINES + index) * VNNI_ROWS * QUAD).cast::<i32>() };
            // SAFETY: a line has 64 bytes and begins at a multiple of 64.
            let weights = _mm512_xor_si512(unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }, unsigned);
            for (row, sum) in sums.iter_mut().enumerate() {
                // SAFETY: as above; there are `R` rows in a block.
                let x = _mm512_set1_epi32(unsafe { quads.add(row).read_unaligned() });
                *sum = _mm512_dpbusd_epi32(*sum, weights, x);
            }
        }
        for ((total, sum), groups) in totals.iter_mut().zip(sums).zip(groups) {
            let scale = _mm512_set1_ps(groups[group].0);
            *total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, *total);
        }
    }
    for (out, total) in out.iter_mut().zip(totals) {
        // SAFETY: there are sixteen values.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), total) };
    }
}
