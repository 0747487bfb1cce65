//! Data of our own: pairs to train on, made from videos.
//!
//! [`flow`] is V-SynFlow (arXiv 2510.27571): it sorts videos out, has them described by a multimodal model behind
//! a chat endpoint, and makes pairs of seven kinds of them. It needs the cargo feature `synth`.

mod error;
#[cfg(feature = "synth")]
pub mod flow;

pub use error::SynthError;
