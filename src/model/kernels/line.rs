//! What blocks of 32 rows or outputs are laid out in.

/// Rows and outputs of a block.
pub(super) const BLOCK: usize = 32;
/// Outputs that lie side by side, of which a block has two.
pub(super) const HALF: usize = 16;

/// What is at `[row][column]` goes to `[column][row]`.
#[inline(always)]
pub(super) fn transposed(mut rows: [[u32; HALF]; HALF]) -> [[u32; HALF]; HALF] {
    // Of the eight bits of a place, row before column, each round moves the first behind the last.
    for _ in 0..4 {
        let mut next = [[0; HALF]; HALF];
        for (row, pair) in next.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let (even, odd) = (&rows[row], &rows[row + HALF / 2]);
            for (half, next) in pair.iter_mut().enumerate() {
                for (place, next) in next.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                    let place = half * HALF / 2 + place;
                    *next = [even[place], odd[place]];
                }
            }
        }
        rows = next;
    }
    rows
}

/// One cache line of packed values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u16; BLOCK]);

impl Line {
    pub(super) const ZERO: Self = Self([0; BLOCK]);

    /// The same memory as pairs of bf16, the first of a pair in the lower half.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn pairs(&self) -> &[u32; HALF] {
        // SAFETY: both are 64 plain bytes, and a line is aligned to more.
        unsafe { &*std::ptr::from_ref(self).cast() }
    }

    /// As [`pairs`](Self::pairs), to write.
    pub(super) fn pairs_mut(&mut self) -> &mut [u32; HALF] {
        // SAFETY: as in `pairs`.
        unsafe { &mut *std::ptr::from_mut(self).cast() }
    }

    /// The same memory of f32.
    pub(super) fn floats(&self) -> &[f32; HALF] {
        // SAFETY: as in `pairs`; any bits are an f32.
        unsafe { &*std::ptr::from_ref(self).cast() }
    }

    /// As [`floats`](Self::floats), to write.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn floats_mut(&mut self) -> &mut [f32; HALF] {
        // SAFETY: as in `floats`.
        unsafe { &mut *std::ptr::from_mut(self).cast() }
    }

    /// The same memory of int8.
    #[cfg(all(test, target_arch = "x86_64"))]
    pub(super) fn bytes(&self) -> &[i8; 2 * BLOCK] {
        // SAFETY: as in `pairs`.
        unsafe { &*std::ptr::from_ref(self).cast() }
    }

    /// A line of int8.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn of_bytes(bytes: &[i8; 2 * BLOCK]) -> Self {
        // SAFETY: both are 64 plain bytes.
        unsafe { std::mem::transmute::<[i8; 2 * BLOCK], Self>(*bytes) }
    }
}
