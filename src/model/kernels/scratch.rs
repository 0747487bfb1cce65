//! Memory of kernels: buffers that a thread keeps from call to call, and what weights are laid out in.

use rayon::prelude::*;
use std::mem::MaybeUninit;

use super::huge_pages::ask_for_huge_pages;

/// Values of [`filled`] that a task writes.
const VALUES_PER_TASK: usize = 1 << 16;

/// Gives a buffer `length` values, whatever they are: those it had, or `value`. It has room for the largest
/// length so far and no more, and while it grows not for the old values as well, as `Vec::resize` would.
pub(super) fn resize_exact<T: Copy>(buffer: &mut Vec<T>, length: usize, value: T) {
    if length > buffer.capacity() {
        *buffer = Vec::new();
        reserve(buffer, length);
    }
    buffer.resize(length, value);
}

/// `length` times `value`, written by all threads, since the system clears memory when it is first written to.
pub(super) fn filled<T: Copy + Send + Sync>(length: usize, value: T) -> Vec<T> {
    let mut values = Vec::new();
    reserve(&mut values, length);
    let memory = &mut values.spare_capacity_mut()[..length];
    memory.par_chunks_mut(VALUES_PER_TASK).for_each(|values| values.fill(MaybeUninit::new(value)));
    // SAFETY: so many were written.
    unsafe { values.set_len(length) };
    values
}

/// Room for `length` values in an empty buffer.
fn reserve<T>(buffer: &mut Vec<T>, length: usize) {
    buffer.reserve_exact(length);
    ask_for_huge_pages(buffer.spare_capacity_mut());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_grows_to_what_is_asked_for_and_stays_there() {
        let mut buffer = Vec::new();
        for length in [1000, 1001, 10] {
            resize_exact(&mut buffer, length, 0u64);
            assert_eq!(buffer.len(), length);
        }
        assert_eq!(buffer.capacity(), 1001);
    }

    #[test]
    fn memory_of_any_size_is_filled() {
        for length in [0, 1, VALUES_PER_TASK + 1, 3 << 20] {
            assert!(filled(length, 7u32) == vec![7; length]);
        }
    }
}
