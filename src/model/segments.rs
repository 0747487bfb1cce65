//! Packed sequences: rows of many sequences in one tensor, told apart by their lengths.

/// Consecutive runs of rows that attend only within themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segments {
    /// `bounds[i]..bounds[i + 1]` are the rows of segment `i`; starts with 0.
    bounds: Vec<usize>,
}

impl Segments {
    /// Segments of the given lengths, one behind the other.
    pub(crate) fn from_lengths(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut bounds = vec![0];
        let mut end = 0;
        for length in lengths {
            end += length;
            bounds.push(end);
        }
        Self { bounds }
    }

    /// Rows in all segments.
    pub(crate) fn num_rows(&self) -> usize {
        self.bounds.last().copied().unwrap_or(0)
    }

    /// Number of segments.
    pub(crate) fn count(&self) -> usize {
        self.bounds.len() - 1
    }

    /// The rows of each segment, in order.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        self.bounds.iter().zip(self.bounds.iter().skip(1)).map(|(&start, &end)| start..end)
    }

    /// The last row of each segment that has one.
    pub(crate) fn last_rows(&self) -> Vec<u32> {
        self.ranges().filter(|r| !r.is_empty()).map(|r| (r.end - 1) as u32).collect()
    }
}
