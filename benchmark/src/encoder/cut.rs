//! Embeddings of fewer values.

use super::{Emit, EncodeError, Encoder, EncoderInfo, Request};
use crate::Error;

/// Keeps the first values of another encoder's embeddings; whoever ranks them normalises them again. It stands
/// before a cache, which then serves every width.
pub struct CutEncoder<E> {
    inner: E,
    dim: usize,
    info: EncoderInfo,
}

impl<E: Encoder> CutEncoder<E> {
    /// The first `dim` values of what `inner` gives, as `dim` in its settings.
    pub fn new(inner: E, dim: usize) -> Self {
        let mut info = inner.info().clone();
        info.settings.insert("dim".to_owned(), dim.into());
        Self { inner, dim, info }
    }
}

impl<E: Encoder> Encoder for CutEncoder<E> {
    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    fn encode(&self, request: Request<'_>, emit: &mut Emit<'_>) -> Result<(), Error> {
        self.inner.encode(request, &mut |index, result| {
            let cut = result.and_then(|mut embedding| {
                let (dim, width) = (self.dim, embedding.len());
                if dim > width {
                    return Err(EncodeError(format!(
                        "an embedding of {width} values cannot be cut to {dim}"
                    )));
                }
                embedding.truncate(dim);
                Ok(embedding)
            });
            emit(index, cut)
        })
    }

    fn cache_hits(&self) -> usize {
        self.inner.cache_hits()
    }
}
