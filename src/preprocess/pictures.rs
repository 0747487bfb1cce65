use std::path::Path;

use ::image::RgbImage;

use super::config::ImageProcessorConfig;
use super::error::Result;
use super::patchify::{Patchifier, VisualPatches, patchify_image};
use super::size::PixelBudget;

/// How pictures become patches: a checkpoint's image processor within the budget of its family.
#[derive(Debug, Clone)]
pub struct Pictures {
    /// The checkpoint's settings.
    pub processor: ImageProcessorConfig,
    /// Bounds where nobody says.
    pub budget: PixelBudget,
}

impl Pictures {
    /// Reads the settings in `model_dir`.
    ///
    /// # Errors
    /// As [`ImageProcessorConfig::load`].
    pub fn load(model_dir: &Path, budget: PixelBudget) -> Result<Self> {
        Ok(Self { processor: ImageProcessorConfig::load(model_dir)?, budget })
    }

    /// Largest area of a picture of `tokens` visual tokens that the checkpoint allows: one made for small
    /// pictures has never seen larger ones.
    pub fn max_pixels(&self, tokens: u64) -> u64 {
        self.processor.pixel_bounds().max_pixels().min(self.budget.pixels(tokens))
    }

    /// Patches of an image.
    ///
    /// # Errors
    /// As [`PixelBudget::for_image`] and [`patchify_image`].
    pub fn image(
        &self,
        image: &RgbImage,
        min_pixels: Option<u64>,
        max_pixels: Option<u64>,
    ) -> Result<VisualPatches> {
        patchify_image(&self.processor, image, self.budget.for_image(min_pixels, max_pixels)?)
    }

    /// What takes the frames of a video, one after another.
    ///
    /// # Errors
    /// As [`PixelBudget::for_video`].
    pub fn video(
        &self,
        num_frames: usize,
        min_pixels: Option<u64>,
        max_pixels: Option<u64>,
    ) -> Result<Patchifier> {
        let bounds = self.budget.for_video(min_pixels, max_pixels, num_frames)?;
        Ok(Patchifier::new(&self.processor, bounds, num_frames))
    }
}
