use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};

use super::Config;
use super::vision::VisionTower;
use crate::device::available_memory;
use crate::model::adapter::{Folding, LoraAdapter};
use crate::model::layers::{LanguageModel, Training};
use crate::model::loader::{Changes, Loader, Precision};
use crate::model::segments::Segments;
use crate::model::trainable::{Recorder, TrainableParts};
use crate::model::{Checkpoint, GridThw, ModelError, PackedBatch, Visual, WeightPrecision, memory};

/// Qwen2.5-VL without its language head: token ids and patches to hidden states.
pub struct Qwen25Vl {
    config: Config,
    vision: VisionTower,
    language: LanguageModel,
    device: Device,
    precision: Precision,
}

impl Qwen25Vl {
    /// Loads `config.json` and the weights in `model_dir`, the weights as `dtype`.
    ///
    /// On the CPU activations are f32 whatever `dtype` is; elsewhere they are `dtype` as well.
    ///
    /// # Errors
    /// Those of [`Config::load`] and [`Checkpoint::open`], a missing or misshapen tensor, and [`ModelError::Memory`] before any weight is loaded.
    pub fn load(
        model_dir: &Path,
        dtype: impl Into<WeightPrecision>,
        device: &Device,
    ) -> Result<Self, ModelError> {
        Self::load_changed(model_dir, dtype, device, Changes::default())
    }

    /// As [`load`](Self::load), with `adapter` folded into the weights before they are rounded to `dtype`.
    ///
    /// # Errors
    /// Also [`ModelError::AdapterBinding`] and [`ModelError::AdapterShape`] when it was made for another model.
    pub fn load_adapted(
        model_dir: &Path,
        dtype: impl Into<WeightPrecision>,
        device: &Device,
        adapter: &LoraAdapter,
    ) -> Result<Self, ModelError> {
        let folding = Folding::new(adapter);
        let model = Self::load_changed(
            model_dir,
            dtype,
            device,
            Changes { folding: Some(&folding), recorder: None },
        )?;
        folding.require_all_bound()?;
        Ok(model)
    }

    /// As [`load`](Self::load), with `parts` made trainable; also what is trained, by name.
    pub(crate) fn load_trainable(
        model_dir: &Path,
        dtype: impl Into<WeightPrecision>,
        device: &Device,
        parts: TrainableParts,
    ) -> Result<(Self, BTreeMap<String, Var>), ModelError> {
        let recorder = Recorder::new(parts);
        let changes = Changes { folding: None, recorder: Some(&recorder) };
        let model = Self::load_changed(model_dir, dtype, device, changes)?;
        Ok((model, recorder.into_parameters()))
    }

    fn load_changed(
        model_dir: &Path,
        dtype: impl Into<WeightPrecision>,
        device: &Device,
        changes: Changes<'_>,
    ) -> Result<Self, ModelError> {
        let config = Config::load(model_dir)?;
        let checkpoint = Checkpoint::open(model_dir)?;
        let weights: WeightPrecision = dtype.into();
        let activations = if device.is_cpu() { DType::F32 } else { weights.arithmetic() };
        let precision = Precision { weights, activations };
        if device.is_cpu() {
            let widened = |name: &str| changes.widens(name);
            memory::require(&checkpoint, weights, &widened, available_memory())?;
        }
        let at = |prefix| Loader::new(&checkpoint, prefix, precision, device, changes);
        let vision = VisionTower::load(&at(checkpoint.vision_prefix()), &config.vision, precision, device)?;
        let language =
            LanguageModel::load(&at(checkpoint.language_prefix()), &config.text, precision, device)?;
        Ok(Self { config, vision, language, device: device.clone(), precision })
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
        let grids: Vec<GridThw> = visuals.iter().map(|v| v.grid_thw).collect();
        let embeds = self.vision.forward(self.pixels(visuals)?, &grids)?;
        Ok(embeds.to_device(&Device::Cpu)?.to_dtype(DType::F32)?)
    }

    /// Final-norm hidden states of every token, (tokens, hidden), f32 on the CPU.
    ///
    /// # Errors
    /// [`ModelError::Batch`] when the batch contradicts itself.
    pub fn hidden_states(&self, batch: &PackedBatch<'_>) -> Result<Tensor, ModelError> {
        let sequences = self.check(batch)?;
        let x = self.embed_inputs(batch, self.visual_rows(batch, false)?.as_ref(), false)?;
        let x = self.language.hidden_states(x, &batch.position_ids, &sequences)?;
        Ok(x.to_device(&Device::Cpu)?.to_dtype(DType::F32)?)
    }

    /// Final-norm hidden state of each sequence's last token, (sequences, hidden), f32 on the CPU.
    ///
    /// # Errors
    /// [`ModelError::Batch`] when the batch contradicts itself.
    pub fn last_hidden_states(&self, batch: &PackedBatch<'_>) -> Result<Tensor, ModelError> {
        let visual_rows = self.visual_rows(batch, false)?;
        self.pooled(batch, visual_rows.as_ref(), false, &Training::default())
    }

    /// Rows of the visuals of `batch`, (visual tokens, hidden), for [`pooled`](Self::pooled); `None` without visuals. Part of a graph
    /// where `record` is set and the vision tower is trained.
    pub(crate) fn visual_rows(
        &self,
        batch: &PackedBatch<'_>,
        record: bool,
    ) -> Result<Option<Tensor>, ModelError> {
        if batch.visuals.is_empty() {
            return Ok(None);
        }
        let pixels = self.pixels(&batch.visuals)?;
        let pixels = if record && self.vision.is_trained() { part_of_graph(pixels)? } else { pixels };
        let grids: Vec<GridThw> = batch.visuals.iter().map(|v| v.grid_thw).collect();
        Ok(Some(self.vision.forward(pixels, &grids)?))
    }

    /// As [`last_hidden_states`](Self::last_hidden_states), given the visuals' rows. With `record` the result is part of a graph that
    /// reaches down to the trainable tensors.
    pub(crate) fn pooled(
        &self,
        batch: &PackedBatch<'_>,
        visual_rows: Option<&Tensor>,
        record: bool,
        training: &Training,
    ) -> Result<Tensor, ModelError> {
        let sequences = self.check(batch)?;
        let x = self.embed_inputs(batch, visual_rows, record)?;
        let x = if record { part_of_graph(x)? } else { x };
        let x = self.language.last_hidden_states(x, &batch.position_ids, &sequences, training)?;
        Ok(x.to_device(&Device::Cpu)?.to_dtype(DType::F32)?)
    }

    /// The sequences of `batch`, once it is found not to contradict itself.
    fn check(&self, batch: &PackedBatch<'_>) -> Result<Segments, ModelError> {
        let tokens = batch.input_ids.len();
        let sequences = Segments::from_lengths(batch.lengths.iter().copied());
        let positions = batch.position_ids.each_ref().map(Vec::len);
        if sequences.num_rows() != tokens || positions != [tokens; 3] {
            return Err(ModelError::Batch(format!(
                "{tokens} token ids, {positions:?} positions, lengths that add up to {}: all must be equal",
                sequences.num_rows()
            )));
        }
        if batch.lengths.contains(&0) {
            return Err(ModelError::Batch("a sequence without tokens".to_owned()));
        }
        if let Some(id) = batch.input_ids.iter().find(|&&id| id as usize >= self.config.text.vocab_size) {
            return Err(ModelError::Batch(format!(
                "token id {id} is outside of the vocabulary of {}: the tokenizer belongs to another model",
                self.config.text.vocab_size
            )));
        }
        let placeholders = batch.input_ids.iter().filter(|&&id| self.is_placeholder(id)).count();
        let unit = self.config.vision.merge_unit();
        let visual_tokens: usize =
            batch.visuals.iter().map(|v| v.grid_thw.iter().product::<usize>() / unit).sum();
        if placeholders != visual_tokens {
            return Err(ModelError::Batch(format!(
                "{placeholders} visual placeholder tokens, but {visual_tokens} tokens from the visuals"
            )));
        }
        Ok(sequences)
    }

    fn is_placeholder(&self, id: u32) -> bool {
        id == self.config.image_token_id || id == self.config.video_token_id
    }

    /// Token embeddings with the visuals' rows in the place of their placeholders.
    fn embed_inputs(
        &self,
        batch: &PackedBatch<'_>,
        visual_rows: Option<&Tensor>,
        record: bool,
    ) -> Result<Tensor, ModelError> {
        let text = self.language.embed(&batch.input_ids, record)?;
        let Some(visual_rows) = visual_rows else { return Ok(text) };
        let mut next_visual = batch.input_ids.len() as u32;
        let source: Vec<u32> = (0..)
            .zip(&batch.input_ids)
            .map(|(row, &id)| {
                if self.is_placeholder(id) {
                    next_visual += 1;
                    next_visual - 1
                } else {
                    row
                }
            })
            .collect();
        let source = Tensor::new(source, &self.device)?;
        Ok(Tensor::cat(&[&text, visual_rows], 0)?.index_select(&source, 0)?)
    }

    /// The patches of `visuals`, one behind the other, (patches, patch length).
    fn pixels(&self, visuals: &[&Visual]) -> Result<Tensor, ModelError> {
        let patch_len = self.config.vision.patch_len();
        let merge = self.config.vision.spatial_merge_size;
        for visual in visuals {
            let [t, h, w] = visual.grid_thw;
            let expected = t * h * w * patch_len;
            let whole_units = h.is_multiple_of(merge) && w.is_multiple_of(merge);
            if visual.pixel_values.len() != expected || expected == 0 || !whole_units {
                return Err(ModelError::Batch(format!(
                    "a visual with grid {:?} has {} pixel values, expected {expected}, rows and columns multiples of {merge}",
                    visual.grid_thw,
                    visual.pixel_values.len()
                )));
            }
        }
        let pixels = visuals
            .iter()
            .map(|v| {
                let rows = v.pixel_values.len() / patch_len;
                Tensor::from_slice(&v.pixel_values, (rows, patch_len), &self.device)?
                    .to_dtype(self.precision.activations)
            })
            .collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Tensor::cat(&pixels, 0)?)
    }
}

/// `x` as the start of a graph, unless it is part of one.
fn part_of_graph(x: Tensor) -> candle_core::Result<Tensor> {
    if x.track_op() { Ok(x) } else { Ok(Var::from_tensor(&x)?.into_inner()) }
}
