//! Sharing work between threads: below a certain size the hand-over costs more than the work.

use rayon::prelude::*;
use std::marker::PhantomData;

/// Values a task should touch at least; smaller calls run on the calling thread.
const VALUES_PER_TASK: usize = 1 << 15;

/// Runs `work(first_row, rows)` over `values` cut at rows of `row_len` values, in parallel where that pays.
///
/// `row_len` is not 0. The last row may be cut short.
pub(super) fn for_each_rows<T: Send>(
    values: &mut [T],
    row_len: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let rows_per_task = VALUES_PER_TASK.div_ceil(row_len);
    if values.len() <= rows_per_task * row_len {
        work(0, values);
        return;
    }
    values
        .par_chunks_mut(rows_per_task * row_len)
        .enumerate()
        .for_each(|(task, rows)| work(task * rows_per_task, rows));
}

/// A mutable slice several tasks write disjoint, interleaved parts of.
pub(super) struct SharedMut<'a, T> {
    start: *mut T,
    _slice: PhantomData<&'a mut [T]>,
}

impl<'a, T> SharedMut<'a, T> {
    pub(super) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), _slice: PhantomData }
    }

    /// The first value. Whoever writes through it vouches that nobody else touches the same values.
    pub(super) fn as_ptr(&self) -> *mut T {
        self.start
    }
}

// SAFETY: handing the pointer to another thread is harmless for values that may be sent there; the users of
// `as_ptr` vouch that their accesses are disjoint.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}
