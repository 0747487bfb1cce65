//! gve

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod device;
pub mod embedder;
pub mod hub;
pub mod indexer;
pub mod model;
pub mod preprocess;
pub mod retrieval;
pub mod video;

pub use device::{DType, Device, DeviceError};
pub use embedder::{
    CancelToken, EmbedError, EmbedIter, Embedder, EmbedderBuilder, Embedding, FramesPart, ImagePart,
    ImageSource, Input, InputJsonError, Part, PixelLimits, Progress, VideoPart,
};
pub use video::{Sampling, TimeRange};
