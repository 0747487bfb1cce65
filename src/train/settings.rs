/// How a batch is embedded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As for search: no dropout, no graph.
    Evaluate,
    /// With a graph down to the parameters, and dropout on adapters. What is dropped depends on `seed`, on
    /// the place of an item in the batch and on nothing else: steps want different seeds, repetitions of a
    /// step the same.
    Train {
        /// Where the dropout masks come from.
        seed: u64,
    },
}
