use std::path::Path;

use candle_core::Tensor;

use super::{Config, Preprocessor, QwenVl, Tower};
use crate::model::family::{Backbone, Family, Processor};
use crate::model::init::RandomWeights;
use crate::model::loader::Weights;
use crate::model::{Checkpoint, ModelError, ModelShape, TextShape, VisionShape};
use crate::preprocess::{ChatTemplate, Pictures, PreprocessError};
use crate::recipe::{Pooling, Recipe};

impl Family for Config {
    fn shape(&self) -> ModelShape {
        let (text, vision) = (&self.text, &self.vision);
        ModelShape {
            dim: text.hidden_size,
            text: TextShape {
                layers: text.num_hidden_layers,
                heads: text.num_attention_heads,
                key_value_heads: text.num_key_value_heads,
                vocab: text.vocab_size,
            },
            vision: VisionShape {
                blocks: vision.depth,
                hidden: vision.hidden_size,
                patch: vision.patch_size,
                window: match &vision.tower {
                    Tower::Windowed(windows) => Some(windows.window_size),
                    Tower::Whole | Tower::Deepstack(_) => None,
                },
            },
        }
    }

    fn pictures(&self, model_dir: &Path, recipe: &Recipe) -> Result<Pictures, PreprocessError> {
        Pictures::load(model_dir, self.variant.budget(), &recipe.pictures)
    }

    fn processor(&self, model_dir: &Path, recipe: &Recipe) -> Result<Box<dyn Processor>, PreprocessError> {
        Ok(Box::new(Preprocessor::load(model_dir, self, recipe.clone())?))
    }

    fn load(&self, weights: &Weights<'_>, recipe: &Recipe) -> Result<Box<dyn Backbone>, ModelError> {
        match recipe.pooling {
            Pooling::LastToken => Ok(Box::new(QwenVl::new(self, weights)?)),
        }
    }

    fn head_rows(&self, model_dir: &Path, ids: &[u32]) -> Result<Tensor, ModelError> {
        let checkpoint = Checkpoint::open(model_dir)?;
        let own = "lm_head.weight".to_owned();
        let table = match self.tied_head {
            true => format!("{}.embed_tokens.weight", checkpoint.language_prefix()),
            false if checkpoint.has(&own) => own,
            false => {
                let reason = "it has no tensor `lm_head.weight`, and `tie_word_embeddings` in its config.json is \
                              not true";
                return Err(ModelError::NoHead { path: model_dir.to_owned(), reason });
            }
        };
        checkpoint.rows(&table, [self.text.vocab_size, self.text.hidden_size], ids)
    }

    fn ties_head(&self) -> bool {
        self.tied_head
    }

    fn unknown_keys(&self) -> &[String] {
        &self.unknown_keys
    }

    fn template(&self) -> Option<&'static ChatTemplate> {
        self.variant.template()
    }

    fn random_weights(&self, weights: &mut RandomWeights) -> Result<(), ModelError> {
        self.variant.random_vision(&self.vision, weights)?;
        weights.language(&self.text)
    }
}
