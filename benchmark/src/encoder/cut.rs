//! Embeddings of fewer values.

use gve::video::FrameCount;
use gve::{Embedder, Sampling};

use super::{Emit, EncodeError, Encoder, EncoderInfo, PromptStyle, Request};
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

    fn frames(&self) -> Option<(&Sampling, FrameCount)> {
        self.inner.frames()
    }

    fn embedder(&self) -> Option<&Embedder> {
        self.inner.embedder()
    }

    fn prompt_style(&self) -> PromptStyle {
        self.inner.prompt_style()
    }

    fn cache_hits(&self) -> usize {
        self.inner.cache_hits()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gve::Input;

    use super::super::{Item, Role};
    use super::*;

    struct Whole(EncoderInfo, Sampling);

    impl Encoder for Whole {
        fn info(&self) -> &EncoderInfo {
            &self.0
        }

        fn frames(&self) -> Option<(&Sampling, FrameCount)> {
            Some((&self.1, FrameCount::MultipleOf(2)))
        }

        fn prompt_style(&self) -> PromptStyle {
            PromptStyle::None
        }

        fn encode(&self, _: Request<'_>, emit: &mut Emit<'_>) -> Result<(), Error> {
            emit(0, Ok(vec![1.0, 2.0, 3.0]))
        }
    }

    #[test]
    fn the_first_values_are_kept_and_all_else_is_the_encoders() {
        let (name, revision, settings) = ("a".to_owned(), "b".to_owned(), BTreeMap::new());
        let info = EncoderInfo { name, revision, settings, recipe: None, cacheable: true };
        let input = Input::text("a");
        let items = [Item { id: "a", input: &input }];
        for (dim, expected) in [
            (2, Ok(vec![1.0, 2.0])),
            (3, Ok(vec![1.0, 2.0, 3.0])),
            (4, Err(EncodeError("an embedding of 3 values cannot be cut to 4".into()))),
        ] {
            let cut = CutEncoder::new(Whole(info.clone(), Sampling::Uniform { frames: 4 }), dim);
            assert_eq!(cut.info().settings["dim"], dim);
            assert_eq!(cut.frames(), Some((&Sampling::Uniform { frames: 4 }, FrameCount::MultipleOf(2))));
            assert_eq!(cut.prompt_style(), PromptStyle::None);
            let request = Request { dataset: "d", role: Role::Query, items: &items };
            let mut found = None;
            cut.encode(request, &mut |_, result| {
                found = Some(result);
                Ok(())
            })
            .unwrap();
            assert_eq!(found, Some(expected));
        }
    }
}
