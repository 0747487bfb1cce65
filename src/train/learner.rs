//! The trainable model as the loop uses it.

use std::cell::RefCell;
use std::path::Path;

use candle_core::{Device, Tensor};

use super::batches::LoadedBatch;
use super::config::{LossKind, LossSection, TrainConfig};
use super::gather::GatherNegatives;
use super::loss::{Contrast, yes_no};
use super::prober::{Failed, Prober};
use super::{Gradients, Memory, Mode, Prepared, TrainError, TrainableModel};
use crate::embedder::{CancelToken, EmbedError, Embedder, EmbedderBuilder, Input, PixelLimits};
use crate::model::BaseModel;
use crate::model::family::Family;
use crate::recipe::Recipes;
use crate::video::Sampling;

/// The parameters in f32, exactly as they are in training.
const PARAMETERS_FILE: &str = "parameters.safetensors";
/// The same for others to load: an adapter in PEFT's layout, or a checkpoint in Hugging Face's.
const WEIGHTS_DIR: &str = "weights";
/// Inputs that are embedded together without a graph, at the most.
const EMBEDDED_TOGETHER: usize = 32;

/// What a batch says about the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct BatchNumbers {
    pub(super) loss: f64,
    pub(super) positive_score: f64,
    pub(super) hardest_negative_gap: Option<f64>,
}

/// How inputs are read and where the model runs.
pub(super) fn reading(directory: &Path, config: &TrainConfig) -> Result<EmbedderBuilder, TrainError> {
    let frames = config.model.frames.map(|frames| Sampling::Uniform { frames });
    let mut reading = Embedder::builder(directory)
        .recipes(recipes(config)?)
        .device(config.model.device)
        .dtype(config.model.dtype)
        .sampling(frames)
        .pixels(PixelLimits::default().with_max_pixels(config.model.max_pixels));
    if let Some(tokens) = config.model.max_length {
        reading = reading.max_length(tokens);
    }
    Ok(match config.model.tokens_per_frame {
        Some(tokens) => reading.tokens_per_frame(tokens),
        None => reading,
    })
}

/// The same of the model that is trained, which may be told by which recipe.
pub(super) fn reading_of_model(
    directory: &Path,
    config: &TrainConfig,
) -> Result<EmbedderBuilder, TrainError> {
    let reading = reading(directory, config)?;
    Ok(match &config.model.recipe {
        Some(name) => reading.recipe(recipes(config)?.get(name).map_err(EmbedError::from)?),
        None => reading,
    })
}

fn recipes(config: &TrainConfig) -> Result<Recipes, TrainError> {
    Ok(Recipes::builtin_with(config.model.models_file.as_deref()).map_err(EmbedError::from)?)
}

impl TrainableModel {
    /// The model of a run, at its start; the checkpoint in `directory` is of `family`.
    pub(super) fn of_run(
        directory: &Path,
        family: Box<dyn Family>,
        config: &TrainConfig,
    ) -> Result<Self, TrainError> {
        let (reading, trainable) = (reading_of_model(directory, config)?, config.trainable());
        if config.loss.is_of_pairs() {
            return Self::load_reranker_as(reading, trainable, |_| Ok(family));
        }
        let mut model = Self::load_as(reading, trainable, |_| Ok(family))?;
        model.train_for_widths(&config.loss.matryoshka_dims);
        if config.loss.asks_pseudo_queries() {
            model.require_pseudo_queries()?;
        }
        Ok(model)
    }

    /// Loss and gradients of a batch; `seed` is that of dropout.
    pub(super) fn learn(
        &self,
        batch: &LoadedBatch<Prepared>,
        loss: &LossSection,
        devices: &dyn GatherNegatives,
        seed: u64,
        config: &TrainConfig,
    ) -> Result<(BatchNumbers, Gradients), TrainError> {
        let memory = Memory {
            checkpointing: config.batch.gradient_checkpointing,
            max_tokens: Some(config.batch.chunk_tokens),
        };
        let items: Vec<&Prepared> = batch.items.iter().collect();
        let numbers = RefCell::new(None);
        let (_, gradients) = self.gradients(&items, seed, memory, |embeddings| {
            let rows = |numbers: &[usize]| {
                let numbers: Vec<u32> = numbers.iter().map(|&number| number as u32).collect();
                embeddings.index_select(&Tensor::new(numbers, embeddings.device())?, 0)
            };
            let negatives = (!batch.negatives.is_empty()).then(|| rows(&batch.negatives)).transpose()?;
            let positives = rows(&batch.positives)?;
            let result = match loss.kind {
                LossKind::InfoNce => {
                    let (queries, negatives) = (&rows(&batch.queries)?, negatives.as_ref());
                    let contrast = Contrast { queries, positives: &positives, negatives };
                    let mut result = loss.info_nce().forward(contrast, devices)?;
                    if let Some(ranks) = &loss.rank_net {
                        result.loss = (result.loss + ranks.forward(embeddings, &batch.lists)?)?;
                    }
                    result
                }
                LossKind::YesNo => {
                    let right = positives.dim(0)?;
                    let all: Vec<Tensor> = std::iter::once(positives).chain(negatives).collect();
                    yes_no(&Tensor::cat(&all, 0)?, right)?
                }
            };
            numbers.replace(Some(BatchNumbers {
                loss: f64::from(result.loss.to_scalar::<f32>()?),
                positive_score: result.positive_score,
                hardest_negative_gap: result.hardest_negative_gap,
            }));
            Ok(result.loss)
        })?;
        let numbers = numbers.into_inner().ok_or_else(|| TrainError::Shape("no loss".to_owned()))?;
        Ok((numbers, gradients))
    }

    /// Writes the parameters twice: as they are, and for others to load.
    pub(super) fn save_for_resumption(
        &self,
        directory: &Path,
        base_model: &BaseModel,
    ) -> Result<(), TrainError> {
        let path = directory.join(PARAMETERS_FILE);
        let state = self.state()?.into_iter().collect::<std::collections::HashMap<_, _>>();
        candle_core::safetensors::save(&state, &path)
            .map_err(|e| TrainError::Checkpoint { path, reason: e.to_string() })?;
        self.save(&directory.join(WEIGHTS_DIR), Some(base_model))
    }

    /// Takes over the parameters of a checkpoint.
    pub(super) fn restore(&self, directory: &Path) -> Result<(), TrainError> {
        let path = directory.join(PARAMETERS_FILE);
        let fault = |reason: String| TrainError::Checkpoint { path: path.clone(), reason };
        let state = candle_core::safetensors::load(&path, &Device::Cpu).map_err(|e| fault(e.to_string()))?;
        self.load_state(&state.into_iter().collect()).map_err(|e| fault(e.to_string()))
    }
}

impl Prober for TrainableModel {
    fn embed(
        &self,
        inputs: &[Input],
        failed: &mut Failed<'_>,
        cancel: &CancelToken,
    ) -> Result<Vec<Option<Vec<f32>>>, TrainError> {
        let mut embeddings = vec![None; inputs.len()];
        for (number, chunk) in inputs.chunks(EMBEDDED_TOGETHER).enumerate() {
            if cancel.is_cancelled() {
                return Err(TrainError::Cancelled);
            }
            let (mut numbers, mut items) = (Vec::new(), Vec::new());
            for (i, input) in (number * EMBEDDED_TOGETHER..).zip(chunk) {
                match self.prepare(input) {
                    Ok(item) => {
                        numbers.push(i);
                        items.push(item);
                    }
                    Err(error) => failed(i, error)?,
                }
            }
            if items.is_empty() {
                continue;
            }
            let items: Vec<&Prepared> = items.iter().collect();
            let rows: Tensor = Self::embed(self, &items, Mode::Evaluate)?;
            for (i, row) in numbers.into_iter().zip(rows.to_vec2::<f32>()?) {
                embeddings[i] = Some(row);
            }
        }
        Ok(embeddings)
    }
}

#[cfg(test)]
mod tests {
    use super::super::curriculum::Curriculum;
    use super::super::gather::SingleProcess;
    use super::*;
    use crate::model::{LoraConfig, Trainable};

    const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny-a/model");

    /// Two answers to one question are no negatives of each other, in one piece or in several.
    #[test]
    fn a_query_that_comes_twice_is_known_as_one() {
        let reading = Embedder::builder(MODEL).device(crate::Device::Cpu);
        let model = TrainableModel::load(reading, Trainable::Lora(LoraConfig::default())).unwrap();
        let loss = LossSection { mask_false_negatives: false, ..LossSection::default() };
        let settings = "output = \"run\"\n[model]\npath = \"m\"\n[data]\npairs = [\"p\"]\n";
        let mut config: TrainConfig = toml::from_str(settings).unwrap();
        let items = ["a dog", "it runs", "a cat sleeps there", "a red street"];
        let mut batch = LoadedBatch {
            task: 0,
            place: String::new(),
            items: items.iter().map(|text| model.prepare(&Input::text(*text)).unwrap()).collect(),
            queries: vec![0, 0],
            positives: vec![1, 2],
            negatives: Vec::new(),
            lists: Vec::new(),
            left_out: Vec::new(),
            after: (Curriculum::new(vec![1.0], 1, 0), Vec::new()),
        };
        for chunk_tokens in [1, 8192] {
            config.batch.chunk_tokens = chunk_tokens;
            let mut learn = |queries: [usize; 2]| {
                batch.queries = queries.to_vec();
                model.learn(&batch, &loss, &SingleProcess, 7, &config).unwrap().0
            };
            let once = learn([0, 0]);
            assert_eq!((once.loss, once.hardest_negative_gap), (0.0, None));
            assert!(learn([0, 3]).loss > 0.0);
        }
    }
}
