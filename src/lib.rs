//! Universal video embeddings: text, images, videos and any composition of them in one space.
//!
//! `gve` decodes and samples video with FFmpeg, runs an embedder such as
//! [GVE](https://arxiv.org/abs/2510.27571), Qwen3-VL-Embedding or SigLIP 2 in candle, and searches what comes
//! out.
//!
//! ```
//! use gve::{Embedder, Input};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let model_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny-a/model");
//! # #[cfg(feature = "video")] {
//! # let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/media/ntsc.mp4");
//! // A directory in Hugging Face layout; `gve::load("Alibaba-NLP/GVE-3B")` downloads one.
//! let embedder = Embedder::load(model_dir)?;
//! let video = embedder.embed_one(&Input::video(clip))?;
//! let query = Input::text("a dog catches a ball")
//!     .with_instruction("Find the video according to the text description.");
//! let similarity = embedder.embed_one(&query)?.cosine(&video);
//! # assert!(similarity.is_some());
//! # }
//! # Ok(()) }
//! ```
//!
//! # The rooms
//!
//! | module | from | to |
//! |---|---|---|
//! | [`media`] | the name of a file | whether it is a video or an image |
//! | [`video`] | a file | sampled frames |
//! | [`preprocess`] | frames, images, text | patches, token ids, positions |
//! | [`model`] | patches and tokens | hidden states |
//! | [`recipe`] | the name of a checkpoint | how it is used |
//! | [`embedder`] | inputs | embeddings |
//! | [`retrieval`] | embeddings | rankings, library files |
//! | [`indexer`] | folders | a library |
//! | `duplicates` | videos | which are the same, and where a clip is from |
//! | `asynchronous` | the calls of other rooms | futures |
//! | [`new_model`] | a shape and texts | a model to train from nothing |
//! | [`hub`] | a model id | a model directory |
//! | `pairs` | JSON lines | pairs of inputs to train on, by task |
//! | `import` | files of other trainers and of data sets | pairs of inputs |
//! | `review` | pairs of inputs | what is wrong with them, and a page to look at |
//! | `train` | pairs of inputs | an adapter, or new weights |
//! | `synth` | videos, or a seed | pairs to train on |
//! | `page` | an input | a small picture as text, for pages |
//! | [`store`] | what is to be written | files and folders, whole or not at all |
//! | [`text`] | a text file of another program | its lines and ids |
//! | `http` | a failed request | the wait before the next, and what the server said |
//!
//! # Features
//!
//! | feature | default | gives |
//! |---|---|---|
//! | `video` | yes | reading and writing of video files, with FFmpeg 5.1 or later |
//! | `library` | yes | libraries of embeddings, [`indexer`], and embedding files: Arrow and Parquet |
//! | `hub` | yes | [`hub`]: models by id, over HTTPS |
//! | `nano` | no | the built-in model, 7 MB of the program; `gve::hub::resolve("nano", ..)`; with `hub` |
//! | `watch` | no | `indexer::watch`: a library that follows its folders; with `library` |
//! | `async` | no | `asynchronous`: embedding, indexing and searching as futures, of any runtime |
//! | `train` | no | `train`: adapters and whole models from pairs; `import`: pairs from files of others, Parquet and Arrow with `library`; `review` |
//! | `synth` | no | `synth`: pairs to train on, from videos with a multimodal model behind a chat endpoint, or from nothing; with `library` and `video` |
//! | `cuda` | no | NVIDIA GPUs |
//! | `metal` | no | Apple GPUs |
//!
//! The defaults are for an application that embeds media and searches them. Whoever trains asks for it; the
//! command `gve` and all it takes (an argument parser, bars) is the package `gve-cli`. Without any feature,
//! texts, images and frames handed over in memory ([`Input::frames`]) embed, and [`retrieval::rank`] ranks
//! what comes out.

#![deny(unsafe_code)]
#![warn(missing_debug_implementations)]
// Some of what the rooms share is for those alone that are left out; the build with all of them knows what
// nobody uses.
#![cfg_attr(
    not(all(feature = "library", feature = "synth", feature = "train")),
    allow(dead_code, unused_imports)
)]

#[cfg(feature = "async")]
pub mod asynchronous;
mod calendar;
mod cancel;
mod card;
pub mod device;
#[cfg(all(feature = "library", feature = "video"))]
pub mod duplicates;
pub mod embedder;
#[cfg(any(feature = "hub", feature = "synth"))]
pub mod http;
#[cfg(feature = "hub")]
pub mod hub;
#[cfg(feature = "train")]
pub mod import;
#[cfg(feature = "library")]
pub mod indexer;
#[cfg(feature = "hub")]
mod load;
pub mod media;
pub mod model;
pub mod new_model;
#[cfg(feature = "train")]
pub mod page;
#[cfg(any(feature = "synth", feature = "train"))]
pub mod pairs;
pub mod preprocess;
pub mod recipe;
pub mod retrieval;
#[cfg(feature = "train")]
pub mod review;
pub mod store;
#[cfg(feature = "synth")]
pub mod synth;
pub mod text;
#[cfg(feature = "train")]
pub mod train;
// FFmpeg's functions.
#[allow(unsafe_code)]
pub mod video;

pub use device::{DType, Device, DeviceError};
pub use embedder::{
    CancelToken, EmbedError, EmbedIter, Embedder, EmbedderBuilder, Embedding, FramesPart, ImagePart,
    ImageSource, Input, InputJsonError, Part, PixelLimits, Progress, RangeClock, Relevance, Reranker,
    VideoPart,
};
pub use error::Error;
#[cfg(feature = "hub")]
pub use load::load;
pub use media::{MediaReader, MediaSource, Moments, TimeRange};
pub use random::Random;
pub use video::Sampling;

/// The crates whose types are in what this one takes and gives: vectors and matrices, pictures, tensors.
pub use {candle_core, image, ndarray};

mod error;
mod hash;
mod options;
mod random;
mod settings_keys;

/// Compiles the examples of the page for applications.
#[cfg(all(
    doctest,
    feature = "async",
    feature = "hub",
    feature = "library",
    feature = "video",
    feature = "watch"
))]
#[doc = include_str!("../docs/applications.md")]
struct Applications;

/// Compiles the examples in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
