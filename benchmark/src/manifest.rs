//! The data sets of the benchmark and how each is scored: `datasets.toml`, typed.
