//! Training data of one's own.

pub mod world;
