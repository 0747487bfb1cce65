//! From a prompt to the ids and positions the language model reads.

use std::path::Path;

use super::positions::mrope_positions;
use super::prompt::render;
use super::{Config, PIXEL_BUDGET, Result};
use crate::model::family::Processor;
use crate::preprocess::{
    Encoding, IMAGE_PAD, ImageProcessorConfig, Pictures, PreprocessError, PromptPart, PromptTokenizer,
    Sequence, VIDEO_PAD, VISION_START,
};
use crate::recipe::Recipe;

/// The settings and the tokenizer of one checkpoint.
///
/// It has no state that changes, so one may serve many threads.
#[derive(Debug)]
pub struct Preprocessor {
    pictures: Pictures,
    config: Config,
    recipe: Recipe,
    tokenizer: PromptTokenizer,
}

impl Preprocessor {
    /// Reads `preprocessor_config.json` and `tokenizer.json` in `model_dir` and checks that they agree with
    /// `config`. System turn, end and length of a prompt are those of `recipe`.
    ///
    /// # Errors
    /// Missing, unreadable or damaged files; special tokens that are missing or whose ids disagree; settings
    /// that cannot be run with. Each names the file and the key.
    pub fn load(model_dir: &Path, config: &Config, recipe: Recipe) -> Result<Self> {
        let pictures = Pictures::load(model_dir, PIXEL_BUDGET)?;
        check(config, &recipe, &pictures.processor)?;
        let tokenizer = PromptTokenizer::load(
            model_dir,
            &[
                ("image_token_id", IMAGE_PAD, config.image_token_id),
                ("video_token_id", VIDEO_PAD, config.video_token_id),
                ("vision_start_token_id", VISION_START, config.vision_start_token_id),
            ],
        )?;
        Ok(Self { pictures, config: config.clone(), recipe, tokenizer })
    }

    /// How pictures become patches.
    pub fn image_processor(&self) -> &ImageProcessorConfig {
        &self.pictures.processor
    }

    /// Encodes a prompt: a system turn holding `instruction` (or the recipe's where it is missing or empty),
    /// a user turn holding `parts`, the start of the answer, cut to `max_length - 1` tokens, and
    /// `<|endoftext|>`.
    ///
    /// # Errors
    /// [`PreprocessError::VisualTokenLimit`] where the cut would lose visual tokens (text is cut silently,
    /// see [`Encoding::truncated_tokens`]); [`PreprocessError::InvalidGrid`] and
    /// [`PreprocessError::InvalidTiming`] for parts that no checkpoint can read;
    /// [`PreprocessError::PositionLimit`].
    pub fn encode(&self, parts: &[PromptPart<'_>], instruction: Option<&str>) -> Result<Encoding> {
        let Recipe { instruction: default, append_end_of_text, max_length, .. } = &self.recipe;
        let system = instruction.filter(|text| !text.is_empty()).unwrap_or(default);
        let pieces = render(parts, system, self.config.vision.spatial_merge_size)?;
        let sequence = Sequence::of(&pieces, &self.tokenizer, *max_length, *append_end_of_text)?;
        Ok(Encoding {
            position_ids: mrope_positions(&sequence.spans, self.config.vision.tokens_per_second)?,
            input_ids: sequence.ids,
            visual_spans: sequence.visuals,
            truncated_tokens: sequence.truncated_tokens,
        })
    }
}

impl Processor for Preprocessor {
    fn pictures(&self) -> &Pictures {
        &self.pictures
    }

    fn encode(&self, parts: &[PromptPart<'_>], instruction: Option<&str>) -> Result<Encoding> {
        self.encode(parts, instruction)
    }
}

fn check(config: &Config, recipe: &Recipe, image_processor: &ImageProcessorConfig) -> Result<()> {
    let vision = &config.vision;
    let invalid =
        |field, expected, got: String| Err(PreprocessError::InvalidPromptConfig { field, expected, got });
    if recipe.max_length < 2 {
        return invalid("max_length", "at least 2", recipe.max_length.to_string());
    }
    if !(vision.tokens_per_second.is_finite() && vision.tokens_per_second > 0.0) {
        return invalid("tokens_per_second", "a positive number", vision.tokens_per_second.to_string());
    }
    if vision.spatial_merge_size != image_processor.merge_size() as usize {
        let expected = "the merge_size of preprocessor_config.json";
        return invalid("spatial_merge_size", expected, vision.spatial_merge_size.to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_gives_the_system_turn_and_the_end() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny-a/model");
        let config = Config::load(&model).unwrap();
        let ids = |recipe: &Recipe, instruction| {
            let processor = Preprocessor::load(&model, &config, recipe.clone()).unwrap();
            processor.encode(&[PromptPart::Text("a fox")], instruction).unwrap().input_ids
        };
        let gve = Recipe::default();
        let default = ids(&gve, None);
        assert_eq!(default, ids(&gve, Some("")));
        assert_eq!(default, ids(&gve, Some("You are a helpful assistant.")));
        let other = Recipe { instruction: "Judge.".to_owned(), append_end_of_text: false, ..gve.clone() };
        let bare = ids(&other, None);
        assert_eq!([&bare[..], &default[default.len() - 1..]].concat(), ids(&gve, Some("Judge.")));
        // Without an end, the whole length is the prompt's.
        let short = Recipe { max_length: bare.len(), ..other };
        assert_eq!(ids(&short, None), bare);
        assert_eq!(ids(&Recipe { append_end_of_text: true, ..short }, None).len(), bare.len());
    }
}
