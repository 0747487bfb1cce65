use std::path::PathBuf;

use crate::embedder::EmbedError;
use crate::import::ImportError;
use crate::model::ModelError;
use crate::pairs::PairsError;
use crate::retrieval::RetrievalError;
use crate::store::IoError;

/// What can go wrong in training. Each displays as one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting of a run or of an adapter makes no sense.
    #[error("{place}: {reason}")]
    Config {
        /// The file, with the line where it is known, or the name of the setting.
        place: String,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// Pairs of others cannot be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Training pairs cannot be used.
    #[error(transparent)]
    Pairs(#[from] PairsError),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Queries, targets or other tensors do not fit together.
    #[error("{0}")]
    Shape(String),
    /// The loss, its gradient or the model behind a step is not a number.
    #[error(
        "step {step}, {batch}: the {what} is {value}: lower the learning rate, or look at these pairs; {last}"
    )]
    NotFinite {
        /// The optimiser step.
        step: usize,
        /// The batch: its task, and its first pair as file and line.
        batch: String,
        /// The loss, the gradient norm, an embedding, or the norm of what is trained.
        what: &'static str,
        /// Its value.
        value: f64,
        /// Where the last good checkpoint is.
        last: String,
    },
    /// A checkpoint cannot be written or read.
    #[error("checkpoint {}: {reason}", path.display())]
    Checkpoint {
        /// Its directory or file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// An input cannot be embedded.
    #[error("{place}: {reason}")]
    Input {
        /// The pair it belongs to, as file and line.
        place: String,
        /// Why.
        reason: Box<TrainError>,
    },
    /// More pairs cannot be read than may be left out.
    #[error(
        "{place}: {reason}; `data.max_damaged` lets {most} of {pairs} pairs go, and this is one more: mend the files, \
         or raise it"
    )]
    TooManyDamaged {
        /// The pair, as file and line.
        place: String,
        /// What is wrong with it.
        reason: String,
        /// Pairs that may be left out.
        most: usize,
        /// Pairs of the run.
        pairs: usize,
    },
    /// An input cannot be prepared, or the device cannot be used.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// A checkpoint or an adapter cannot be read or written, or a tensor operation failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A search failed.
    #[error(transparent)]
    Retrieval(#[from] RetrievalError),
    /// A setting that makes no sense.
    #[error("{setting} is {got}, expected {expected}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// A state that is of another model or of other settings.
    #[error("the saved state does not fit: {reason}")]
    State {
        /// What is missing, unknown or misshapen.
        reason: String,
    },
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Cancelled,
    /// A tensor operation failed: out of memory, an unsupported device, ...
    #[error("tensor operation failed: {0}")]
    Tensor(candle_core::Error),
}

impl TrainError {
    /// Whether it is the fault of one input, as of a file that is damaged.
    pub(super) fn is_of_input(&self) -> bool {
        match self {
            Self::Input { reason, .. } => reason.is_of_input(),
            Self::Embed(error) => error.is_of_input(),
            _ => false,
        }
    }

    /// Wraps what is wrong with an input with the place of its pair.
    pub(super) fn input(place: String) -> impl FnOnce(Self) -> Self {
        move |error| Self::Input { place, reason: Box::new(error) }
    }
}

// Not derived, which would make it a source besides.
impl From<candle_core::Error> for TrainError {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(error)
    }
}
