use crate::device::DeviceError;
#[cfg(all(feature = "library", feature = "video"))]
use crate::duplicates::DuplicatesError;
use crate::embedder::{EmbedError, InputJsonError};
#[cfg(feature = "hub")]
use crate::hub::HubError;
#[cfg(feature = "train")]
use crate::import::ImportError;
#[cfg(feature = "library")]
use crate::indexer::IndexError;
use crate::model::ModelError;
#[cfg(any(feature = "synth", feature = "train"))]
use crate::pairs::PairsError;
use crate::preprocess::PreprocessError;
use crate::recipe::RecipeError;
use crate::retrieval::RetrievalError;
#[cfg(feature = "train")]
use crate::review::ReviewError;
use crate::store::IoError;
#[cfg(feature = "synth")]
use crate::synth::SynthError;
#[cfg(feature = "train")]
use crate::train::TrainError;
use crate::video::VideoError;

/// Any error of this crate, for callers who use several rooms and tell the errors apart later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A device that cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A model that cannot be found or downloaded.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A video that cannot be read or sampled.
    #[error(transparent)]
    Video(#[from] VideoError),
    /// An image or prompt that cannot be prepared.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// A checkpoint that cannot be loaded or run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A recipe that cannot be read or used.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// An input that cannot be embedded.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// A line of JSON that is no input.
    #[error(transparent)]
    InputJson(#[from] InputJsonError),
    /// A file or folder that cannot be read or written.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A library or embedding file that cannot be used.
    #[error(transparent)]
    Retrieval(#[from] RetrievalError),
    /// Pairs that cannot be used.
    #[cfg(any(feature = "synth", feature = "train"))]
    #[error(transparent)]
    Pairs(#[from] PairsError),
    /// Pairs of others that cannot be imported.
    #[cfg(feature = "train")]
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Pairs that cannot be looked at.
    #[cfg(feature = "train")]
    #[error(transparent)]
    Review(#[from] ReviewError),
    /// A model that cannot be trained.
    #[cfg(feature = "train")]
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Data that cannot be made.
    #[cfg(feature = "synth")]
    #[error(transparent)]
    Synth(#[from] SynthError),
    /// A folder that cannot be indexed.
    #[cfg(feature = "library")]
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Videos that cannot be compared.
    #[cfg(all(feature = "library", feature = "video"))]
    #[error(transparent)]
    Duplicates(#[from] DuplicatesError),
}
