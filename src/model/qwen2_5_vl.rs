use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::language::LanguageModel;
use super::loader::{Loader, Precision};
use super::segments::Segments;
use super::vision::VisionTower;
use super::window::GridThw;
use super::{Checkpoint, Config, ModelError};

/// One image or video as the vision tower reads it.
#[derive(Debug, Clone)]
pub struct Visual {
    /// Flattened patches, `grid_thw` product x [`patch_len`](super::VisionConfig::patch_len)
    /// values, unit by unit (see [`GridThw`]).
    pub pixel_values: Vec<f32>,
    /// Temporal patches, rows and columns.
    pub grid_thw: GridThw,
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
    /// Those of [`Config::load`] and [`Checkpoint::open`], and a missing or misshapen tensor.
    pub fn load(model_dir: &Path, dtype: DType, device: &Device) -> Result<Self, ModelError> {
        let config = Config::load(model_dir)?;
        let checkpoint = Checkpoint::open(model_dir)?;
        let activations = if device.is_cpu() { DType::F32 } else { dtype };
        let precision = Precision { weights: dtype, activations };
        let at = |prefix| Loader::new(&checkpoint, prefix, precision, device);
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

    /// Precision of the weights.
    pub fn dtype(&self) -> DType {
        self.precision.weights
    }

    /// Tokens of each visual, one behind the other: (patches / merge unit, hidden), f32 on the CPU.
    ///
    /// # Errors
    /// [`ModelError::Batch`] when a visual's pixels do not fill its grid.
    pub fn vision_embeds(&self, visuals: &[&Visual]) -> Result<Tensor, ModelError> {
        let embeds = self.embed_visuals(visuals)?;
        Ok(embeds.to_device(&Device::Cpu)?.to_dtype(DType::F32)?)
    }

    /// Final-norm hidden states of every token, (tokens, hidden), f32 on the CPU.
    ///
    /// # Errors
    /// [`ModelError::Batch`] when the batch contradicts itself.
    pub fn hidden_states(&self, batch: &PackedBatch<'_>) -> Result<Tensor, ModelError> {
        let (x, sequences) = self.embed_inputs(batch)?;
        let x = self.language.hidden_states(x, &batch.position_ids, &sequences)?;
        Ok(x.to_device(&Device::Cpu)?.to_dtype(DType::F32)?)
    }

    /// Final-norm hidden state of each sequence's last token, (sequences, hidden), f32 on the CPU.
    ///
    /// # Errors
    /// [`ModelError::Batch`] when the batch contradicts itself.
    pub fn last_hidden_states(&self, batch: &PackedBatch<'_>) -> Result<Tensor, ModelError> {
        let (x, sequences) = self.embed_inputs(batch)?;
        let x = self.language.last_hidden_states(x, &batch.position_ids, &sequences)?;
        Ok(x.to_device(&Device::Cpu)?.to_dtype(DType::F32)?)
    }

    /// Token embeddings with the visuals' tokens in the place of their placeholders.
    fn embed_inputs(&self, batch: &PackedBatch<'_>) -> Result<(Tensor, Segments), ModelError> {
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
        let text = self.language.embed(&batch.input_ids)?;
        let is_placeholder = |id: u32| id == self.config.image_token_id || id == self.config.video_token_id;
        let placeholders = batch.input_ids.iter().filter(|&&id| is_placeholder(id)).count();
        let unit = self.config.vision.merge_unit();
        let visual_tokens: usize =
            batch.visuals.iter().map(|v| v.grid_thw.iter().product::<usize>() / unit).sum();
        if placeholders != visual_tokens {
            return Err(ModelError::Batch(format!(
                "{placeholders} visual placeholder tokens, but {visual_tokens} tokens from the visuals"
            )));
        }
        if placeholders == 0 {
            return Ok((text, sequences));
        }
        let visual = self.embed_visuals(&batch.visuals)?;
        let mut next_visual = tokens as u32;
        let source: Vec<u32> = (0..)
            .zip(&batch.input_ids)
            .map(|(row, &id)| {
                if is_placeholder(id) {
                    next_visual += 1;
                    next_visual - 1
                } else {
                    row
                }
            })
            .collect();
        let source = Tensor::new(source, &self.device)?;
        let x = Tensor::cat(&[&text, &visual], 0)?.index_select(&source, 0)?;
        Ok((x, sequences))
    }

    fn embed_visuals(&self, visuals: &[&Visual]) -> Result<Tensor, ModelError> {
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
        let grids: Vec<GridThw> = visuals.iter().map(|v| v.grid_thw).collect();
        let pixels = visuals
            .iter()
            .map(|v| {
                let rows = v.pixel_values.len() / patch_len;
                Tensor::from_slice(&v.pixel_values, (rows, patch_len), &self.device)?
                    .to_dtype(self.precision.activations)
            })
            .collect::<candle_core::Result<Vec<_>>>()?;
        let pixels = Tensor::cat(&pixels, 0)?;
        Ok(self.vision.forward(pixels, &grids)?)
    }
}
