//! Data of our own: pairs to train on.
//!
//! [`flow`] is V-SynFlow (arXiv 2510.27571): it sorts videos out, has them described by a multimodal model
//! behind a chat endpoint, and makes pairs of seven kinds of them.
//!
//! [`world`] needs no videos and no captioner: it makes up scenes whose truth it knows.

mod error;
pub mod flow;
mod output_folder;
pub mod world;

pub use error::SynthError;
