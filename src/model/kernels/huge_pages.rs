//! Large memory in huge pages, where the system gives them to those who ask: it is there in half the time, and reading
//! it misses the processor's table of pages less often.

use std::mem::MaybeUninit;

/// Bytes of a huge page.
const HUGE_PAGE: usize = 1 << 21;

/// Asks for huge pages within memory that nothing was written to yet. It is a hint: where there are none, nothing
/// changes.
pub(super) fn ask_for_huge_pages<T>(memory: &mut [MaybeUninit<T>]) {
    let start = memory.as_mut_ptr().cast::<u8>();
    let ahead = start.align_offset(HUGE_PAGE);
    let len = size_of_val(memory).saturating_sub(ahead) / HUGE_PAGE * HUGE_PAGE;
    #[cfg(target_os = "linux")]
    if len > 0 {
        // SAFETY: these pages lie within the memory, and keep what is in them.
        unsafe { libc::madvise(start.wrapping_add(ahead).cast(), len, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = len;
}
