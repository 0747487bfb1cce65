//! What a model reads: inputs as ids and patches, and sequences packed one behind the other.

use candle_core::{DType, Device, Tensor};

use super::ModelError;
use super::segments::Segments;
use crate::preprocess::{Encoding, VisualPatches};

type Result<T, E = candle_core::Error> = std::result::Result<T, E>;

/// One image or video as the vision tower reads it.
pub type Visual = VisualPatches;

/// Patches of one image or video: frames, rows and columns. Rows and columns are multiples of
/// `spatial_merge_size`; a temporal patch spans `temporal_patch_size` frames.
pub type GridThw = [usize; 3];

/// One input as a model reads it.
#[derive(Debug)]
pub(crate) struct Item {
    /// Token ids and positions; none where pictures go through a tower of their own.
    pub(crate) encoding: Encoding,
    /// Images and videos in their order.
    pub(crate) visuals: Vec<Visual>,
    /// Tokens in front of it that it has in common with others, whose keys and values are known.
    pub(crate) behind: usize,
}

impl Item {
    /// Tokens that the model reads: those of its sequence, and its patches where these have no place in it.
    pub(crate) fn num_tokens(&self) -> usize {
        let patches = || self.visuals.iter().map(Visual::num_patches).sum();
        self.encoding.input_ids.len() + if self.encoding.visual_spans.is_empty() { patches() } else { 0 }
    }

    /// About what it costs in time, in tokens: a patch takes a quarter of what a token takes.
    pub(crate) fn cost(&self) -> usize {
        let patches: usize = self.visuals.iter().map(Visual::num_patches).sum();
        self.encoding.input_ids.len() + patches / 4
    }
}

/// Sequences packed one behind the other, without padding.
#[derive(Debug, Clone, Default)]
pub struct PackedBatch<'a> {
    /// Token ids of all sequences.
    pub input_ids: Vec<u32>,
    /// Temporal, height and width positions, one of each per token.
    pub position_ids: [Vec<u32>; 3],
    /// Tokens of each sequence.
    pub lengths: Vec<usize>,
    /// Images and videos in the order of their placeholder tokens.
    pub visuals: Vec<&'a Visual>,
}

impl<'a> PackedBatch<'a> {
    /// Items packed one behind the other.
    pub(crate) fn pack(items: impl IntoIterator<Item = &'a Item>) -> Self {
        let mut packed = Self::default();
        for Item { encoding, visuals, .. } in items {
            packed.lengths.push(encoding.input_ids.len());
            packed.input_ids.extend(&encoding.input_ids);
            for (all, its) in packed.position_ids.iter_mut().zip(&encoding.position_ids) {
                all.extend(its);
            }
            packed.visuals.extend(visuals);
        }
        packed
    }

    /// The sequences, once the batch is found not to contradict itself: ids lie within a vocabulary of
    /// `vocab_size`, and there are as many placeholders as the visuals have tokens of `merge_unit` patches.
    pub(super) fn check(
        &self,
        vocab_size: usize,
        merge_unit: usize,
        is_placeholder: impl Fn(u32) -> bool,
    ) -> Result<Segments, ModelError> {
        let tokens = self.input_ids.len();
        let sequences = Segments::from_lengths(self.lengths.iter().copied());
        let positions = self.position_ids.each_ref().map(Vec::len);
        if sequences.num_rows() != tokens || positions != [tokens; 3] {
            return Err(ModelError::Batch(format!(
                "{tokens} token ids, {positions:?} positions, lengths that add up to {}: all must be equal",
                sequences.num_rows()
            )));
        }
        if self.lengths.contains(&0) {
            return Err(ModelError::Batch("a sequence without tokens".to_owned()));
        }
        if let Some(id) = self.input_ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(ModelError::Batch(format!(
                "token id {id} is outside of the vocabulary of {vocab_size}: the tokenizer belongs to \
                 another model"
            )));
        }
        let placeholders = self.input_ids.iter().filter(|&&id| is_placeholder(id)).count();
        let visual_tokens: usize =
            self.visuals.iter().map(|v| v.grid_thw.iter().product::<usize>() / merge_unit).sum();
        if placeholders != visual_tokens {
            return Err(ModelError::Batch(format!(
                "{placeholders} visual placeholder tokens, but {visual_tokens} tokens from the visuals"
            )));
        }
        Ok(sequences)
    }

    /// `text`, the embeddings of all ids, with `visual_rows` in the places of their placeholders.
    pub(super) fn with_visuals(
        &self,
        text: &Tensor,
        visual_rows: &Tensor,
        is_placeholder: impl Fn(u32) -> bool,
    ) -> Result<Tensor> {
        let mut next_visual = self.input_ids.len() as u32;
        let source: Vec<u32> = (0..)
            .zip(&self.input_ids)
            .map(|(row, &id)| {
                if is_placeholder(id) {
                    next_visual += 1;
                    next_visual - 1
                } else {
                    row
                }
            })
            .collect();
        let source = Tensor::new(source, text.device())?;
        Tensor::cat(&[text, visual_rows], 0)?.index_select(&source, 0)
    }
}

/// The patches of `visuals`, one behind the other, (patches, patch length); rows and columns of their grids
/// are multiples of `merge`.
pub(super) fn pixel_rows(
    visuals: &[&Visual],
    patch_len: usize,
    merge: usize,
    dtype: DType,
    device: &Device,
) -> Result<Tensor, ModelError> {
    for visual in visuals {
        let [t, h, w] = visual.grid_thw;
        let expected = t * h * w * patch_len;
        let whole_units = h.is_multiple_of(merge) && w.is_multiple_of(merge);
        if visual.pixel_values.len() != expected || expected == 0 || !whole_units {
            return Err(ModelError::Batch(format!(
                "a visual with grid {:?} has {} pixel values, expected {expected}, rows and columns \
                 multiples of {merge}",
                visual.grid_thw,
                visual.pixel_values.len()
            )));
        }
    }
    let pixels = visuals
        .iter()
        .map(|v| {
            let rows = v.pixel_values.len() / patch_len;
            Tensor::from_slice(&v.pixel_values, (rows, patch_len), device)?.to_dtype(dtype)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(&pixels, 0)?)
}

/// `x` as the start of a graph, unless it is part of one.
pub(super) fn part_of_graph(x: Tensor) -> Result<Tensor> {
    if x.track_op() { Ok(x) } else { Ok(candle_core::Var::from_tensor(&x)?.into_inner()) }
}
