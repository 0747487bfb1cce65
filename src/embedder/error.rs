use std::path::{Path, PathBuf};

use crate::device::DeviceError;
use crate::model::ModelError;
use crate::preprocess::PreprocessError;
use crate::recipe::RecipeError;
use crate::video::VideoError;

/// Why an input has no embedding, or an embedder could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The checkpoint cannot be loaded, or a tensor operation failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The recipe cannot be read, or the model is not used as it says.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// An image, a prompt or the checkpoint's preprocessing files are at fault.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// A video cannot be read or sampled.
    #[error(transparent)]
    Video(#[from] VideoError),
    /// What is asked of a file cannot be done.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why; it does not name the file.
        reason: Box<EmbedError>,
    },
    /// A model that scores pairs.
    #[error("by its recipe, {recipe}, the model is a reranker, which embeds nothing")]
    NoEmbedder {
        /// The recipe's name.
        recipe: String,
    },
    /// A model that scores no pairs.
    #[error("{}: not a reranker: {reason}", path.display())]
    NoReranker {
        /// The model's directory.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A model that reads no query together with what was found for it.
    #[error(
        "the recipe {recipe} has no `pseudo_query`: the model was not trained to read a query together with \
         what was found for it"
    )]
    NoPseudoQuery {
        /// The recipe's name.
        recipe: String,
    },
    /// An input without parts.
    #[error("an input without content: give at least one text, image or video")]
    EmptyInput,
    /// The hidden state overflowed, as f16 can.
    #[error("the embedding is not finite: use f32 or bf16")]
    NotFinite,
    /// Frames cannot be decoded by a build without FFmpeg.
    #[error(
        "{}: this build cannot decode video; enable the feature `video`, or hand over frames",
        path.display()
    )]
    NoVideoSupport {
        /// The video asked for.
        path: PathBuf,
    },
    /// A library that reads files panicked over this input.
    #[error("reading it panicked, which is a fault of a library: the file may be damaged")]
    Panicked,
    /// The job was cancelled before this input's turn.
    #[error("cancelled")]
    Cancelled,
    /// A thread of the job could not be started, or ended without a result.
    #[error("embedding job failed: {0}")]
    Job(String),
}

impl EmbedError {
    /// Whether it is the fault of one input, as of a file that is damaged: others may do well.
    pub(crate) fn is_of_input(&self) -> bool {
        match self {
            Self::Preprocess(_) | Self::Video(_) | Self::EmptyInput | Self::Panicked => true,
            Self::File { reason, .. } => reason.is_of_input(),
            _ => false,
        }
    }

    /// The same, naming the file at `path` if it did not.
    pub(super) fn at(self, path: &Path) -> Self {
        match self {
            Self::Panicked
            | Self::Video(VideoError::InvalidSampling { .. } | VideoError::EmptyRange { .. })
            | Self::Preprocess(
                PreprocessError::InvalidPixelBounds { .. }
                | PreprocessError::FrameSizeMismatch { .. }
                | PreprocessError::EmptyPicture { .. },
            ) => Self::File { path: path.to_owned(), reason: Box::new(self) },
            names_it => names_it,
        }
    }
}
