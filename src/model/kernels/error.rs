//! What a kernel refuses.

/// A kernel was called with slices or segments that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A slice is shorter or longer than the shapes say.
    #[error(
        "{kernel}: `{operand}` holds {got} values, expected {expected}; check the shapes passed along with it"
    )]
    Length {
        /// The kernel that was called.
        kernel: &'static str,
        /// The argument at fault.
        operand: &'static str,
        /// Number of values the shapes ask for.
        expected: usize,
        /// Number of values in the slice.
        got: usize,
    },
    /// A head count, head size or stride makes no sense.
    #[error("{kernel}: {what} ({first} and {second})")]
    Shape {
        /// The kernel that was called.
        kernel: &'static str,
        /// The rule that was broken.
        what: &'static str,
        /// First number of the rule.
        first: usize,
        /// Second number of the rule.
        second: usize,
    },
    /// An attention segment reaches outside the rows, overlaps the one before, or has more queries than keys
    /// under a causal mask.
    #[error("attention: segment {index}: {what}; got queries {queries:?} over keys {keys:?}")]
    Segment {
        /// Position in the list of segments.
        index: usize,
        /// The rule that was broken.
        what: &'static str,
        /// Rows of the queries.
        queries: std::ops::Range<usize>,
        /// Rows of the keys.
        keys: std::ops::Range<usize>,
    },
}

/// `Ok` when `got` is the length the shapes ask for.
pub(super) fn check_length(
    kernel: &'static str,
    operand: &'static str,
    expected: usize,
    got: usize,
) -> Result<(), KernelError> {
    if expected == got { Ok(()) } else { Err(KernelError::Length { kernel, operand, expected, got }) }
}
