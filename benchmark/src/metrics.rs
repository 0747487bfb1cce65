//! Retrieval metrics as functions of grades.

/// The cut-offs at which every metric is reported.
pub const CUTOFFS: [usize; 7] = [1, 3, 5, 10, 20, 100, 1000];
