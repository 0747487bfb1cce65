//! What models of two towers share, one for texts and one for pictures, whose embeddings meet in one space:
//! CLIP and SigLIP.
//!
//! A text is one row of ids, a picture one frame of patches. A video is its frames: each is embedded and
//! normalised, and their mean is the video's. An input of a text and pictures is the mean of its parts, if
//! the recipe has it so. The towers know no instruction.
//!
//! A family brings its tower of pictures ([`PictureTower`]), how it reads texts ([`TextRule`]) and what its
//! `config.json` leaves out.

mod config;
mod processor;
#[cfg(test)]
mod tests;
mod text;

use candle_core::{D, DType, Device, Result as TensorResult, Tensor};

pub(super) use config::{PictureTowerConfig, TextTowerConfig, TowersConfig, TowersDefaults};
pub(super) use processor::{End, TextRule, TowersProcessor};
pub(super) use text::TextTower;

use super::adapter::ModuleNames;
use super::family::{Backbone, VisualRows};
use super::layers::Training;
use super::loader::Precision;
use super::ops::{Linear, Recycling};
use super::packed::{Item, Visual, part_of_graph, pixel_rows};
use super::segments::Segments;
use super::{Checkpoint, ModelError};
use crate::recipe::Composed;

/// Rows that go through a tower of pictures at a time.
const MAX_ROWS: usize = 1 << 14;

/// The modules of both families, in their own names, which PEFT takes for those of an adapter.
pub(super) const MODULE_NAMES: ModuleNames = ModuleNames {
    vision: &["vision_model.", "visual_projection"],
    adapted: &["text_model.encoder.", "vision_model.encoder."],
    projections: &["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
    // Of PyTorch's own attention, which reads its weights past the layer.
    left_out: &["vision_model.head.attention."],
};

/// What a model around the towers may put before the names of their tensors. transformers takes off that of
/// its own class.
const WRAPPERS: [&str; 4] = ["", "clip.", "siglip.", "model."];

/// Which of them `checkpoint` has before the names of both towers.
pub(super) fn wrapper(checkpoint: &Checkpoint) -> Result<&'static str, ModelError> {
    let names = checkpoint.tensor_names();
    let begins = |wrapper: &&str| {
        let tower = format!("{wrapper}text_model.");
        names.iter().any(|name| name.starts_with(&tower))
    };
    WRAPPERS.into_iter().find(begins).ok_or_else(|| ModelError::Checkpoint {
        path: checkpoint.directory().to_owned(),
        reason: format!(
            "the checkpoint has no tensor `text_model.embeddings.token_embedding.weight`, alone or behind `{}`",
            WRAPPERS[1..].join("`, `")
        ),
    })
}

/// The tower of pictures.
pub(super) trait PictureTower: Send + Sync {
    /// `patches`, (frames x patches of a frame, hidden), to one row a frame, (frames, dim).
    fn pooled(&self, patches: Tensor, frames: usize, training: &Training) -> TensorResult<Tensor>;

    /// Rows of a frame beside its patches.
    fn extra_rows(&self) -> usize;
}

/// A model of two towers with its weights.
pub(super) struct TwoTowers {
    pub(super) text: TextTower,
    /// From pixels to rows of the tower's width.
    pub(super) patches: Linear,
    pub(super) pictures: Box<dyn PictureTower>,
    /// Whether anything of the way of pictures is trained.
    pub(super) trains_vision: bool,
    pub(super) config: PictureTowerConfig,
    pub(super) composed: Composed,
    pub(super) precision: Precision,
    pub(super) device: Device,
}

impl TwoTowers {
    /// Rows of all frames of `visuals`, (frames, dim). `starts` are the places of their first patches in the
    /// dropout's rows.
    fn frames(
        &self,
        visuals: &[&Visual],
        starts: &[u32],
        record: bool,
        training: &Training,
    ) -> Result<Tensor, ModelError> {
        let (patches, activations) = (self.config.num_patches(), self.precision.activations);
        let pixels = pixel_rows(visuals, self.config.patch_len(), 1, activations, &self.device)?;
        let frames = pixels.dim(0)? / patches;
        let rows = patches + self.pictures.extra_rows();
        let at_a_time = (MAX_ROWS / rows).max(1);
        let of = |first: usize| {
            let count = at_a_time.min(frames - first);
            let pixels = pixels.narrow(0, first * patches, count * patches)?;
            let pixels = if record { part_of_graph(pixels)? } else { pixels };
            let dropout = training.dropout.as_ref();
            let dropout = dropout.map(|dropout| dropout.spread(&starts[first..first + count], rows));
            let training = Training { dropout, checkpointing: training.checkpointing.clone() };
            Ok(self.pictures.pooled(self.patches.forward(&pixels)?, count, &training)?)
        };
        let rows = (0..frames).step_by(at_a_time).map(of).collect::<Result<Vec<_>, ModelError>>()?;
        Ok(Tensor::cat(&rows, 0)?)
    }

    /// Fails for pictures that are not of the tower's size.
    fn check(&self, visuals: &[&Visual]) -> Result<(), ModelError> {
        let side = self.config.patches_per_side();
        match visuals.iter().find(|visual| visual.grid_thw[1..] != [side, side]) {
            None => Ok(()),
            Some(visual) => Err(ModelError::Batch(format!(
                "a picture of {:?} patches, expected {side} rows and columns",
                visual.grid_thw
            ))),
        }
    }

    /// Means of what is normalised: frames of a video, then parts of an input.
    fn combine(
        &self,
        items: &[&Item],
        texts: Option<&Tensor>,
        frames: Option<&Tensor>,
    ) -> Result<Tensor, ModelError> {
        let (mut text, mut frame) = (0.., 0);
        let row_of = |rows: Option<&Tensor>, first, count| match rows {
            // Means are f32 whatever the towers compute in, and stand in one tensor with what is none.
            Some(rows) => Ok(rows.narrow(0, first, count)?.to_dtype(DType::F32)?),
            None => Err(ModelError::Batch("a part without its row".to_owned())),
        };
        let mut of = |item: &&Item| {
            let mut parts = Vec::new();
            if !item.encoding.input_ids.is_empty() {
                parts.push(row_of(texts, text.next().unwrap_or_default(), 1)?);
            }
            for visual in &item.visuals {
                let count = visual.grid_thw[0];
                let rows = row_of(frames, frame, count)?;
                frame += count;
                parts.push(if count == 1 { rows } else { normalised(&rows)?.mean_keepdim(0)? });
            }
            match (parts.len(), self.composed) {
                (0, _) => Err(ModelError::Batch("an input without parts".to_owned())),
                (1, _) => Ok(parts.remove(0)),
                (_, Composed::Mean) => Ok(normalised(&Tensor::cat(&parts, 0)?)?.mean_keepdim(0)?),
                (_, Composed::Refused) => Err(ModelError::Batch("an input of several parts".to_owned())),
            }
        };
        let rows = items.iter().map(&mut of).collect::<Result<Vec<_>, _>>()?;
        Ok(Tensor::cat(&rows, 0)?)
    }
}

/// Rows of f32, made of length 1.
fn normalised(rows: &Tensor) -> TensorResult<Tensor> {
    rows.broadcast_div(&rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)
}

impl Backbone for TwoTowers {
    /// The frames' rows, unless they have to wait for what is trained.
    fn visual_rows(&self, items: &[&Item], _: bool) -> Result<Option<VisualRows>, ModelError> {
        let visuals: Vec<&Visual> = items.iter().flat_map(|item| &item.visuals).collect();
        if visuals.is_empty() || self.trains_vision {
            return Ok(None);
        }
        self.check(&visuals)?;
        let _recycling = Recycling::begin();
        Ok(Some(vec![self.frames(&visuals, &[], false, &Training::default())?]))
    }

    fn pooled(
        &self,
        items: &[&Item],
        visual_rows: Option<&VisualRows>,
        record: bool,
        training: &Training,
    ) -> Result<Tensor, ModelError> {
        let _recycling = Recycling::begin();
        // An item's rows in the dropout are its text's, then its patches'.
        let (mut row, mut text_rows, mut starts) = (0u32, Vec::new(), Vec::new());
        for item in items {
            let ids = item.encoding.input_ids.len() as u32;
            text_rows.extend(row..row + ids);
            row += ids;
            for visual in &item.visuals {
                let patches = self.config.num_patches() as u32;
                starts.extend((0..visual.grid_thw[0] as u32).map(|frame| row + frame * patches));
                row += visual.grid_thw[0] as u32 * patches;
            }
        }
        let visuals: Vec<&Visual> = items.iter().flat_map(|item| &item.visuals).collect();
        let frames = match visual_rows.and_then(|rows| rows.first()) {
            Some(rows) => Some(rows.clone()),
            None if visuals.is_empty() => None,
            None => {
                self.check(&visuals)?;
                Some(self.frames(&visuals, &starts, record && self.trains_vision, training)?)
            }
        };
        let ids: Vec<&[u32]> = items.iter().map(|item| item.encoding.input_ids.as_slice()).collect();
        let ids: Vec<&[u32]> = ids.into_iter().filter(|ids| !ids.is_empty()).collect();
        let texts = if ids.is_empty() {
            None
        } else {
            let dropout = training.dropout.as_ref().map(|dropout| dropout.select(&text_rows));
            let training = Training { dropout, checkpointing: training.checkpointing.clone() };
            Some(self.text.pooled(&ids, record, &training)?)
        };
        let pooled = self.combine(items, texts.as_ref(), frames.as_ref())?;
        Ok(pooled.to_device(&Device::Cpu)?)
    }
}

/// One segment for each frame of `rows` rows.
pub(super) fn frame_segments(frames: usize, rows: usize) -> Segments {
    Segments::from_lengths(std::iter::repeat_n(rows, frames))
}
