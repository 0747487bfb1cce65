//! What turns inputs into embeddings. Every embedder is an [`Encoder`]: the built-in model, a server, a file
//! of embeddings made elsewhere, a baseline, and the cache that stands before any of them.

mod baseline;
mod cache;
mod checkpoint;
mod content;
mod cut;
mod model;
mod pairs;
mod parallel;
mod pictures;
mod precomputed;
mod prompt;
mod record;
mod server;

use std::collections::BTreeMap;

use gve::recipe::RecipeId;
use gve::video::FrameCount;
use gve::{Embedder, Input, Sampling};

use crate::Error;
pub use baseline::{MeanColourEncoder, RandomEncoder};
pub use cache::{CacheStatistics, CachedEncoder, OnDamage};
pub use checkpoint::checkpoint_revision;
pub use content::{ContentError, ContentHasher, ContentKey};
pub use cut::CutEncoder;
#[cfg(feature = "video")]
pub use model::video_options;
pub use model::{ModelEncoder, OnWarning};
pub use pairs::{PairScorer, RerankerReference};
pub use precomputed::PrecomputedEncoder;
pub use prompt::{PromptStyle, UnknownPromptStyle};
pub use server::{ServerEncoder, ServerOptions, VideoTransport};

/// What a result is labelled with.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderInfo {
    /// `org/model`, or a bare name.
    pub name: String,
    /// Commit, file hash or version; what makes a name mean one set of weights.
    pub revision: String,
    /// All that changes an embedding and is not in the input: sampling, pixels, device, dtype. Goes into the
    /// result file and into the key of the cache.
    pub settings: BTreeMap<String, serde_json::Value>,
    /// How gve uses the model; `None` for what gve does not run.
    pub recipe: Option<RecipeId>,
    /// Whether embeddings are worth keeping in a cache: false where they are at hand anyway.
    pub cacheable: bool,
}

/// Which side of the search an input stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// What is searched for.
    Query,
    /// What is searched.
    Document,
}

/// Inputs to encode, of one role and data set.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The id of the data set.
    pub dataset: &'a str,
    /// Queries or documents.
    pub role: Role,
    /// The inputs with their ids.
    pub items: &'a [Item<'a>],
}

/// One input. Its prompt is part of it already.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The id in the data set.
    pub id: &'a str,
    /// What is embedded.
    pub input: &'a Input,
}

/// Why one input has no embedding; displays as one line. The others go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EncodeError(pub String);

impl EncodeError {
    /// The message of another error, as one line.
    pub fn new(reason: impl std::fmt::Display) -> Self {
        Self(reason.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// Takes the embedding of item `index`, or why there is none.
pub type Emit<'a> = dyn FnMut(usize, Result<Vec<f32>, EncodeError>) -> Result<(), Error> + 'a;

/// Turns inputs into embeddings of one space.
pub trait Encoder: Sync {
    /// Who this is.
    fn info(&self) -> &EncoderInfo;

    /// Encodes every item of `request`, calling `emit` once for each, in any order, as soon as it is known.
    /// Embeddings need not be normalised; all of one encoder have the same length, hold finite numbers and
    /// are not zero (an encoder reports one that is not so as that item's error).
    ///
    /// # Errors
    /// When no item can be encoded any more, or when `emit` fails; items not emitted by then have no result.
    fn encode(&self, request: Request<'_>, emit: &mut Emit<'_>) -> Result<(), Error>;

    /// Which frames of a video it looks at, and of what their number is a multiple; `None` where somebody
    /// else says.
    fn frames(&self) -> Option<(&Sampling, FrameCount)> {
        None
    }

    /// The model behind it, where gve runs it.
    fn embedder(&self) -> Option<&Embedder> {
        None
    }

    /// How it is given the prompt of a query, where nobody says.
    fn prompt_style(&self) -> PromptStyle {
        PromptStyle::default()
    }

    /// Items so far whose embedding was at hand, so that nothing was computed for them.
    fn cache_hits(&self) -> usize {
        0
    }
}

impl<E: Encoder + ?Sized> Encoder for Box<E> {
    fn info(&self) -> &EncoderInfo {
        (**self).info()
    }

    fn encode(&self, request: Request<'_>, emit: &mut Emit<'_>) -> Result<(), Error> {
        (**self).encode(request, emit)
    }

    fn frames(&self) -> Option<(&Sampling, FrameCount)> {
        (**self).frames()
    }

    fn embedder(&self) -> Option<&Embedder> {
        (**self).embedder()
    }

    fn prompt_style(&self) -> PromptStyle {
        (**self).prompt_style()
    }

    fn cache_hits(&self) -> usize {
        (**self).cache_hits()
    }
}

impl<E: Encoder + ?Sized> Encoder for &E {
    fn info(&self) -> &EncoderInfo {
        (**self).info()
    }

    fn encode(&self, request: Request<'_>, emit: &mut Emit<'_>) -> Result<(), Error> {
        (**self).encode(request, emit)
    }

    fn frames(&self) -> Option<(&Sampling, FrameCount)> {
        (**self).frames()
    }

    fn embedder(&self) -> Option<&Embedder> {
        (**self).embedder()
    }

    fn prompt_style(&self) -> PromptStyle {
        (**self).prompt_style()
    }

    fn cache_hits(&self) -> usize {
        (**self).cache_hits()
    }
}

/// Whether `values` can be ranked: some, finite, and not all zero.
fn check(values: &[f32]) -> Result<(), EncodeError> {
    match values {
        [] => Err(EncodeError("the embedding is empty".into())),
        _ if values.iter().any(|value| !value.is_finite()) => {
            Err(EncodeError("the embedding is not finite".into()))
        }
        _ if values.iter().all(|&value| value == 0.0) => Err(EncodeError("the embedding is zero".into())),
        _ => Ok(()),
    }
}
