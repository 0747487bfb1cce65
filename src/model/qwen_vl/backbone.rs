use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::Config;
use super::variant::{VisionFeatures, VisionTower, load_tower};
use crate::model::adapter::LoraAdapter;
use crate::model::family::{Backbone, VisualRows};
use crate::model::layers::{Additions, Behind, LanguageModel, Prefix, Training};
use crate::model::loader::{Precision, Weights, load_folded};
use crate::model::ops::Recycling;
use crate::model::packed::{Item, part_of_graph, pixel_rows};
use crate::model::segments::Segments;
use crate::model::{GridThw, ModelError, PackedBatch, Visual, WeightPrecision};
use crate::options::shown_by;

/// A model of the Qwen-VL line without its language head: token ids and patches to hidden states.
pub struct QwenVl {
    config: Config,
    vision: Box<dyn VisionTower>,
    /// Whether anything in the tower is trained.
    trains_vision: bool,
    language: LanguageModel,
    device: Device,
    precision: Precision,
}

shown_by!(QwenVl |it| { config: it.config, device: it.device });

impl QwenVl {
    /// Loads `config.json` and the weights in `model_dir`, the weights as `dtype`.
    ///
    /// On the CPU activations are f32 whatever `dtype` is; elsewhere they are `dtype` as well.
    ///
    /// # Errors
    /// Those of [`Config::load`] and [`Checkpoint::open`](crate::model::Checkpoint::open), a missing or
    /// misshapen tensor, and [`ModelError::Memory`] before any weight is loaded.
    pub fn load(
        model_dir: &Path,
        dtype: impl Into<WeightPrecision>,
        device: &Device,
    ) -> Result<Self, ModelError> {
        Self::load_with(model_dir, dtype.into(), device, None)
    }

    /// As [`load`](Self::load), with `adapter` folded into the weights before they are rounded to `dtype`.
    ///
    /// # Errors
    /// Also [`ModelError::AdapterBinding`] and [`ModelError::AdapterShape`] when it was made for another
    /// model.
    pub fn load_adapted(
        model_dir: &Path,
        dtype: impl Into<WeightPrecision>,
        device: &Device,
        adapter: &LoraAdapter,
    ) -> Result<Self, ModelError> {
        Self::load_with(model_dir, dtype.into(), device, Some(adapter))
    }

    fn load_with(
        model_dir: &Path,
        precision: WeightPrecision,
        device: &Device,
        adapter: Option<&LoraAdapter>,
    ) -> Result<Self, ModelError> {
        let config = Config::load(model_dir)?;
        load_folded(model_dir, precision, device, adapter, |weights| Self::new(&config, weights))
    }

    pub(super) fn new(config: &Config, weights: &Weights<'_>) -> Result<Self, ModelError> {
        let Weights { checkpoint, precision, device, .. } = *weights;
        let vision = weights.at(checkpoint.vision_prefix());
        let language = weights.at(checkpoint.language_prefix());
        Ok(Self {
            vision: load_tower(&vision, &config.vision, precision, device)?,
            language: LanguageModel::load(&language, &config.text, precision, device)?,
            trains_vision: vision.trains(),
            config: config.clone(),
            device: device.clone(),
            precision,
        })
    }

    /// The model's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Precision of the results: of the weights, but f32 where these are [`Stored`](WeightPrecision::Stored).
    pub fn dtype(&self) -> DType {
        self.precision.weights.arithmetic()
    }

    /// Tokens of each visual, one behind the other: (patches / merge unit, hidden), f32 on the CPU.
    ///
    /// # Errors
    /// [`ModelError::Batch`] when a visual's pixels do not fill its grid.
    pub fn vision_embeds(&self, visuals: &[&Visual]) -> Result<Tensor, ModelError> {
        Ok(self.vision_features(visuals)?.swap_remove(0))
    }

    /// [`vision_embeds`](Self::vision_embeds), and behind them what is added in their places behind the first
    /// layers of the language model (Qwen3-VL's DeepStack), each of the same shape.
    ///
    /// # Errors
    /// [`ModelError::Batch`] when a visual's pixels do not fill its grid.
    pub fn vision_features(&self, visuals: &[&Visual]) -> Result<Vec<Tensor>, ModelError> {
        let _recycling = Recycling::begin();
        let grids: Vec<GridThw> = visuals.iter().map(|v| v.grid_thw).collect();
        let VisionFeatures { rows, deepstack } = self.vision.forward(self.pixels(visuals)?, &grids)?;
        let on_cpu = |x: Tensor| x.to_device(&Device::Cpu)?.to_dtype(DType::F32);
        Ok(std::iter::once(rows).chain(deepstack).map(on_cpu).collect::<candle_core::Result<_>>()?)
    }

    /// Final-norm hidden states of every token, (tokens, hidden), f32 on the CPU.
    ///
    /// # Errors
    /// [`ModelError::Batch`] when the batch contradicts itself.
    pub fn hidden_states(&self, batch: &PackedBatch<'_>) -> Result<Tensor, ModelError> {
        let sequences = self.check(batch)?;
        let visual_rows = self.rows_of(&batch.visuals, false)?;
        let (x, additions) = self.embed_inputs(batch, visual_rows.as_ref(), false)?;
        let x = self.language.hidden_states(x, &batch.position_ids, &sequences, &additions)?;
        Ok(x.to_device(&Device::Cpu)?.to_dtype(DType::F32)?)
    }

    /// Final-norm hidden state of each sequence's last token, (sequences, hidden), f32 on the CPU.
    ///
    /// # Errors
    /// [`ModelError::Batch`] when the batch contradicts itself.
    pub fn last_hidden_states(&self, batch: &PackedBatch<'_>) -> Result<Tensor, ModelError> {
        let visual_rows = self.rows_of(&batch.visuals, false)?;
        self.last_states(batch, visual_rows.as_ref(), None, false, &Training::default())
    }

    /// What takes the places of the placeholders of `visuals`, and behind it what is added there behind early
    /// layers, each (visual tokens, hidden); `None` without visuals.
    fn rows_of(&self, visuals: &[&Visual], record: bool) -> Result<Option<VisualRows>, ModelError> {
        if visuals.is_empty() {
            return Ok(None);
        }
        let pixels = self.pixels(visuals)?;
        let pixels = if record && self.trains_vision { part_of_graph(pixels)? } else { pixels };
        let _recycling = Recycling::begin();
        let grids: Vec<GridThw> = visuals.iter().map(|v| v.grid_thw).collect();
        let VisionFeatures { rows, deepstack } = self.vision.forward(pixels, &grids)?;
        Ok(Some([vec![rows], deepstack].concat()))
    }

    /// As [`last_hidden_states`](Self::last_hidden_states), given the visuals' rows.
    fn last_states(
        &self,
        batch: &PackedBatch<'_>,
        visual_rows: Option<&VisualRows>,
        behind: Option<Behind<'_>>,
        record: bool,
        training: &Training,
    ) -> Result<Tensor, ModelError> {
        let sequences = self.check(batch)?;
        let (x, additions) = self.embed_inputs(batch, visual_rows, record)?;
        let x = if record { part_of_graph(x)? } else { x };
        let positions = &batch.position_ids;
        let x = self.language.last_hidden_states(x, positions, &sequences, &additions, behind, training)?;
        Ok(x.to_device(&Device::Cpu)?.to_dtype(DType::F32)?)
    }

    fn check(&self, batch: &PackedBatch<'_>) -> Result<Segments, ModelError> {
        let Config { text, vision, .. } = &self.config;
        batch.check(text.vocab_size, vision.merge_unit(), |id| self.is_placeholder(id))
    }

    fn is_placeholder(&self, id: u32) -> bool {
        id == self.config.image_token_id || id == self.config.video_token_id
    }

    /// Token embeddings with the visuals' rows in the place of their placeholders, and what is added to these
    /// behind early layers.
    fn embed_inputs(
        &self,
        batch: &PackedBatch<'_>,
        visual_rows: Option<&VisualRows>,
        record: bool,
    ) -> Result<(Tensor, Additions), ModelError> {
        let text = self.language.embed(&batch.input_ids, record)?;
        let Some([rows, deepstack @ ..]) = visual_rows.map(Vec::as_slice) else {
            return Ok((text, Additions::default()));
        };
        let x = batch.with_visuals(&text, rows, |id| self.is_placeholder(id))?;
        let places = (0..).zip(&batch.input_ids).filter(|(_, id)| self.is_placeholder(**id));
        let places: Vec<u32> = places.map(|(row, _)| row).collect();
        Ok((x, Additions::new(&places, deepstack.to_vec(), &self.device)?))
    }

    /// The patches of `visuals`, one behind the other, (patches, patch length).
    fn pixels(&self, visuals: &[&Visual]) -> Result<Tensor, ModelError> {
        let vision = &self.config.vision;
        let activations = self.precision.activations;
        pixel_rows(visuals, vision.patch_len(), vision.spatial_merge_size, activations, &self.device)
    }
}

impl Backbone for QwenVl {
    fn visual_rows(&self, items: &[&Item], record: bool) -> Result<Option<VisualRows>, ModelError> {
        let visuals: Vec<&Visual> = items.iter().flat_map(|item| &item.visuals).collect();
        self.rows_of(&visuals, record)
    }

    fn pooled(
        &self,
        items: &[&Item],
        visual_rows: Option<&VisualRows>,
        record: bool,
        training: &Training,
    ) -> Result<Tensor, ModelError> {
        let batch = PackedBatch::pack(items.iter().copied());
        self.last_states(&batch, visual_rows, None, record, training)
    }

    fn token_rows(&self, ids: &[u32], record: bool) -> Result<Tensor, ModelError> {
        Ok(self.language.embed(ids, record)?.to_device(&Device::Cpu)?.to_dtype(DType::F32)?)
    }

    fn prefix(&self, item: &Item) -> Result<Prefix, ModelError> {
        let batch = PackedBatch::pack([item]);
        self.check(&batch)?;
        let visual_rows = self.rows_of(&batch.visuals, false)?;
        let (x, additions) = self.embed_inputs(&batch, visual_rows.as_ref(), false)?;
        Ok(self.language.prefix(x, &batch.position_ids, &additions)?)
    }

    fn pooled_behind(&self, prefix: &Prefix, items: &[&Item]) -> Result<Tensor, ModelError> {
        let batch = PackedBatch::pack(items.iter().copied());
        let visual_rows = self.rows_of(&batch.visuals, false)?;
        let rows: Vec<usize> = items.iter().map(|item| item.behind).collect();
        let behind = Some(Behind { prefix, rows: &rows });
        self.last_states(&batch, visual_rows.as_ref(), behind, false, &Training::default())
    }
}
