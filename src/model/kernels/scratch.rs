//! Buffers that a thread keeps from call to call, as large as the largest call needed.

/// Gives a buffer `length` values, whatever they are: those it had, or `value`. It has room for the largest
/// length so far and no more, and while it grows not for the old values as well, as `Vec::resize` would.
pub(super) fn resize_exact<T: Copy>(buffer: &mut Vec<T>, length: usize, value: T) {
    if length > buffer.capacity() {
        *buffer = Vec::new();
        buffer.reserve_exact(length);
    }
    buffer.resize(length, value);
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
}
