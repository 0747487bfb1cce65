//! What turns inputs into embeddings. Every embedder is an [`Encoder`]: the built-in model, a server, a file of
//! embeddings made elsewhere, a baseline, and the cache that stands before any of them.

use std::collections::BTreeMap;

use gve::Input;

use crate::Error;

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

/// Takes the embedding of item `index`, or why there is none.
pub type Emit<'a> = dyn FnMut(usize, Result<Vec<f32>, EncodeError>) -> Result<(), Error> + 'a;

/// Turns inputs into embeddings of one space.
pub trait Encoder: Sync {
    /// Who this is.
    fn info(&self) -> &EncoderInfo;

    /// Encodes every item of `request`, calling `emit` once for each, in any order, as soon as it is known.
    /// Embeddings need not be normalised; all of one encoder have the same length, hold finite numbers and are
    /// not zero (an encoder reports one that is not so as that item's error).
    ///
    /// # Errors
    /// When no item can be encoded any more, or when `emit` fails; items not emitted by then have no result.
    fn encode(&self, request: Request<'_>, emit: &mut Emit<'_>) -> Result<(), Error>;
}
