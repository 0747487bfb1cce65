//! A family in few lines, for tests: towers of bytes and of frames side by side, which mean what they see.

use std::path::Path;

use candle_core::{Error, Tensor};

use super::adapter::ModuleNames;
use super::family::{Backbone, Family, Processor, VisualRows};
use super::packed::{Item, Visual, part_of_graph, pixel_rows};
use super::{ModelError, ModelShape, layers::Training, loader::Weights, ops::Linear};
use crate::media::Sampling;
use crate::preprocess::{Encoding, ImageProcessorConfig, Pictures, PixelBudget, PreprocessError, PromptPart};
use crate::recipe::Recipe;

pub(crate) const DIM: usize = 8;
pub(crate) const PATCH_LEN: usize = 3 * 4 * 4;
const PICTURES: &str = r#"{"patch_size": 4, "temporal_patch_size": 1, "merge_size": 1, "min_pixels": 16,
    "max_pixels": 1024, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}"#;
#[rustfmt::skip]
const BUDGET: PixelBudget = PixelBudget {
    pixels_per_token: 16, image_tokens: (1, 64), frame_tokens: (1, 64), video_tokens: 999, frame_factor: 1,
};

#[derive(Debug)]
pub(crate) struct Skeleton;

impl Family for Skeleton {
    fn shape(&self) -> ModelShape {
        ModelShape { dim: DIM, ..ModelShape::default() }
    }
    fn pictures(&self, dir: &Path, recipe: &Recipe) -> Result<Pictures, PreprocessError> {
        let processor = ImageProcessorConfig::from_json(PICTURES, dir)?;
        Ok(Pictures { processor, budget: BUDGET, recipe: recipe.pictures.clone() })
    }
    fn processor(&self, dir: &Path, recipe: &Recipe) -> Result<Box<dyn Processor>, PreprocessError> {
        Ok(Box::new(Bytes(self.pictures(dir, recipe)?, recipe.instruction.clone())))
    }
    fn load(&self, weights: &Weights<'_>, _: &Recipe) -> Result<Box<dyn Backbone>, ModelError> {
        Ok(Box::new(Towers {
            bytes: weights.at("text.bytes").weight("weight", &[256, DIM])?,
            q_proj: Linear::load(&weights.at("text.q_proj"), DIM, DIM, false)?,
            patch: Linear::load(&weights.at("vision.patch"), PATCH_LEN, DIM, false)?,
        }))
    }
    fn recipe(&self) -> Recipe {
        Recipe { instruction: "a".to_owned(), sampling: Sampling::Uniform { frames: 3 }, ..Recipe::default() }
    }
    fn module_names(&self) -> ModuleNames {
        ModuleNames { vision: &["vision."], adapted: &["text."], projections: &["q_proj"], left_out: &[] }
    }
}

struct Bytes(Pictures, String);

impl Processor for Bytes {
    fn pictures(&self) -> &Pictures {
        &self.0
    }
    fn encode(&self, parts: &[PromptPart<'_>], system: Option<&str>) -> Result<Encoding, PreprocessError> {
        let (field, expected) = ("an input", "one text or one video");
        let text = match parts {
            [PromptPart::Text(text)] => [system.filter(|s| !s.is_empty()).unwrap_or(&self.1), text].concat(),
            [_] => String::new(),
            _ => return Err(PreprocessError::InvalidPromptConfig { field, expected, got: "more".into() }),
        };
        Ok(Encoding { input_ids: text.bytes().map(u32::from).collect(), ..Encoding::default() })
    }
}

struct Towers {
    bytes: Tensor,
    q_proj: Linear,
    patch: Linear,
}

impl Backbone for Towers {
    fn visual_rows(&self, items: &[&Item], _: bool) -> Result<Option<VisualRows>, ModelError> {
        let mean_of_frames = |video: &Visual| {
            let pixels = pixel_rows(&[video], PATCH_LEN, 1, self.bytes.dtype(), self.bytes.device())?;
            let frames = self.patch.forward(&pixels)?.reshape((video.grid_thw[0], (), DIM))?.mean(1)?;
            Ok(frames.mean_keepdim(0)?)
        };
        items.iter().flat_map(|item| &item.visuals).map(mean_of_frames).collect::<Result<_, _>>().map(Some)
    }
    #[rustfmt::skip]
    fn pooled(&self, items: &[&Item], videos: Option<&VisualRows>, record: bool, _: &Training)
        -> Result<Tensor, ModelError> {
        let mut videos = videos.into_iter().flatten();
        let row = |item: &&Item| match item.encoding.input_ids.as_slice() {
            [] => videos.next().cloned().ok_or_else(|| Error::msg("a video without its row")),
            ids => {
                let ids = Tensor::new(ids, self.bytes.device())?;
                let mean = self.bytes.index_select(&ids, 0)?.mean_keepdim(0)?;
                self.q_proj.forward(&if record { part_of_graph(mean)? } else { mean })
            }
        };
        Ok(Tensor::cat(&items.iter().map(row).collect::<Result<Vec<_>, _>>()?, 0)?)
    }
}
