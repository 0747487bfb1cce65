//! From a prompt to the ids and positions the language model reads.

use std::path::Path;

use super::positions::mrope_positions;
use super::prompt::Layout;
use super::{Config, Result};
use crate::model::family::Processor;
use crate::preprocess::{
    Encoding, IMAGE_PAD, ImageProcessorConfig, Pictures, PreprocessError, PromptPart, PromptTokenizer,
    Sequence, VIDEO_PAD, VISION_START,
};
use crate::recipe::{EndOfText, Positions, Recipe};

/// The settings and the tokenizer of one checkpoint.
///
/// It has no state that changes, so one may serve many threads.
#[derive(Debug)]
pub struct Preprocessor {
    pictures: Pictures,
    layout: Layout,
    tokens_per_second: f64,
    tokenizer: PromptTokenizer,
}

impl Preprocessor {
    /// Reads `preprocessor_config.json` and `tokenizer.json` in `model_dir` and checks that they agree with
    /// `config`. How a prompt is laid out, and its length, are a matter of `recipe`.
    ///
    /// # Errors
    /// Missing, unreadable or damaged files; special tokens that are missing or whose ids disagree; settings
    /// that cannot be run with. Each names the file and the key.
    pub fn load(model_dir: &Path, config: &Config, recipe: Recipe) -> Result<Self> {
        let variant = config.variant;
        let pictures = Pictures::load(model_dir, variant.budget(), &recipe.pictures)?;
        check(config, &recipe, &pictures.processor)?;
        let tokenizer = PromptTokenizer::load(
            model_dir,
            &[
                ("image_token_id", IMAGE_PAD, config.image_token_id),
                ("video_token_id", VIDEO_PAD, config.video_token_id),
                ("vision_start_token_id", VISION_START, config.vision_start_token_id),
            ],
        )?;
        let layout = Layout {
            recipe,
            steps: variant.steps(),
            spatial_merge_size: config.vision.spatial_merge_size,
            temporal_patch_size: config.vision.temporal_patch_size,
        };
        // A step of a video that is counted is a second of one token.
        let tokens_per_second = config.vision.tokens_per_second.unwrap_or(1.0);
        Ok(Self { pictures, layout, tokens_per_second, tokenizer })
    }

    /// How pictures become patches.
    pub fn image_processor(&self) -> &ImageProcessorConfig {
        &self.pictures.processor
    }

    /// Encodes the prompt of `parts` under `instruction` (or the recipe's where it is missing or empty), cut to
    /// the longest sequence.
    ///
    /// # Errors
    /// [`PreprocessError::VisualTokenLimit`] where the cut would lose visual tokens (text is cut silently,
    /// see [`Encoding::truncated_tokens`]); [`PreprocessError::InvalidGrid`] and
    /// [`PreprocessError::InvalidTiming`] for parts that no checkpoint can read;
    /// [`PreprocessError::EmptyPrompt`] where nothing is left of them; [`PreprocessError::PositionLimit`].
    pub fn encode(&self, parts: &[PromptPart<'_>], instruction: Option<&str>) -> Result<Encoding> {
        let recipe = &self.layout.recipe;
        let pieces = self.layout.render(parts, instruction)?;
        let append = recipe.prompt.end_of_text == EndOfText::Kept;
        self.number(Sequence::of(&pieces, &self.tokenizer, recipe.max_length, append)?)
    }

    /// As [`encode`](Self::encode), of a query and a candidate by the recipe's `reranking`; the parts of the
    /// candidate are numbered on from the query's. Of a pair that is too long the last of the text is left out,
    /// and neither pictures nor the end of the prompt.
    ///
    /// # Errors
    /// Also [`PreprocessError::InvalidPromptConfig`] where the recipe is not one of a reranker.
    pub fn encode_pair(
        &self,
        query: &[PromptPart<'_>],
        candidate: &[PromptPart<'_>],
        instruction: Option<&str>,
    ) -> Result<Encoding> {
        let recipe = &self.layout.recipe;
        let Some(reranking) = &recipe.reranking else {
            let (field, expected) = ("reranking", "in the recipe of a model that scores pairs");
            return Err(PreprocessError::InvalidPromptConfig { field, expected, got: "nothing".to_owned() });
        };
        let pieces = self.layout.render_pair(reranking, query, candidate, instruction)?;
        self.number(Sequence::keeping_end(&pieces, &self.tokenizer, recipe.max_length)?)
    }

    /// A sequence with its positions.
    fn number(&self, sequence: Sequence) -> Result<Encoding> {
        let recipe = &self.layout.recipe;
        let position_ids = match (recipe.prompt.positions, u32::try_from(sequence.ids.len())) {
            (_, Ok(0)) => return Err(PreprocessError::EmptyPrompt),
            (Positions::Linear, Ok(tokens)) => std::array::from_fn(|_| (0..tokens).collect()),
            _ => mrope_positions(&sequence.spans, self.tokens_per_second)?,
        };
        Ok(Encoding {
            position_ids,
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

    fn encode_pair(
        &self,
        query: &[PromptPart<'_>],
        candidate: &[PromptPart<'_>],
        instruction: Option<&str>,
    ) -> Result<Encoding> {
        self.encode_pair(query, candidate, instruction)
    }

    fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_id(token)
    }
}

fn check(config: &Config, recipe: &Recipe, image_processor: &ImageProcessorConfig) -> Result<()> {
    let vision = &config.vision;
    let invalid =
        |field, expected, got: String| Err(PreprocessError::InvalidPromptConfig { field, expected, got });
    if recipe.max_length < 2 {
        return invalid("max_length", "at least 2", recipe.max_length.to_string());
    }
    if let Some(rate) = vision.tokens_per_second.filter(|rate| !(rate.is_finite() && *rate > 0.0)) {
        return invalid("tokens_per_second", "a positive number", rate.to_string());
    }
    let sides = [
        (
            "spatial_merge_size",
            vision.spatial_merge_size,
            image_processor.merge_size(),
            "the merge_size of preprocessor_config.json",
        ),
        (
            "patch_size",
            vision.patch_size,
            image_processor.patch_size(),
            "the patch_size of preprocessor_config.json",
        ),
        (
            "temporal_patch_size",
            vision.temporal_patch_size,
            image_processor.temporal_patch_size(),
            "the temporal_patch_size of preprocessor_config.json",
        ),
    ];
    match sides.into_iter().find(|&(_, of_model, of_pictures, _)| of_model != of_pictures as usize) {
        Some((field, got, _, expected)) => invalid(field, expected, got.to_string()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::PromptRecipe;

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
        let ending = |end_of_text| PromptRecipe { end_of_text, ..PromptRecipe::default() };
        let (instruction, prompt) = ("Judge.".to_owned(), ending(EndOfText::None));
        let other = Recipe { instruction, prompt, ..gve.clone() };
        let bare = ids(&other, None);
        assert_eq!([&bare[..], &default[default.len() - 1..]].concat(), ids(&gve, Some("Judge.")));
        // Without an end, the whole length is the prompt's.
        let short = Recipe { max_length: bare.len(), ..other };
        assert_eq!(ids(&short, None), bare);
        assert_eq!(ids(&Recipe { prompt: ending(EndOfText::Kept), ..short }, None).len(), bare.len());
    }
}
