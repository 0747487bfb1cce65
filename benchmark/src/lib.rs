//! UVRB, the universal video retrieval benchmark (arXiv 2510.27571, section 4): 16 data sets, nine abilities.
//!
//! Data flows one way:
//!
//! ```text
//! datasets.toml -> files -> inputs -> embeddings -> rankings -> scores -> result files -> report
//! manifest        dataset           encoder       ranking     metrics   result          report
//! ```
//!
//! - [`manifest`] says which data sets there are and how each is scored.
//! - [`dataset`] reads one from disk, whatever its packaging, and finds its faults.
//! - [`encoder`] turns inputs into embeddings: the built-in model, a server, a file, a baseline; with a
//!   cache.
//! - [`ranking`] orders the corpus for each query, in blocks; [`run_file`] reads and writes rankings.
//! - [`metrics`] and [`statistics`] are functions of numbers; [`comparison`] holds two models against each
//!   other.
//! - [`evaluate`] joins these into a [`result`], the file that the [`report`] reads.

pub mod comparison;
pub mod dataset;
pub mod encoder;
pub mod error;
pub mod evaluate;
pub mod manifest;
pub mod metrics;
pub mod ranking;
pub mod report;
pub mod result;
pub mod run_file;
pub mod statistics;
mod text_file;

pub use error::Error;
