use std::borrow::Cow;
use std::path::Path;

use ::image::RgbImage;

use super::config::{ImageProcessorConfig, ProcessorKind};
use super::error::{PreprocessError, Result};
use super::fixed::FixedSize;
use super::patchify::{FrameRules, Patchifier, VisualPatches};
use super::resize::{Placement, Resizer, Rounding};
use super::size::{PixelBounds, PixelBudget, PixelSize, smart_resize};
use crate::recipe::{FirstResize, FramesAs, PassOrder, PictureRecipe};

/// How pictures become patches: a checkpoint's image processor within the budget of its family, by its recipe.
#[derive(Debug, Clone)]
pub struct Pictures {
    /// The checkpoint's settings.
    pub processor: ImageProcessorConfig,
    /// Bounds where nobody says.
    pub budget: PixelBudget,
    /// How the checkpoint is used.
    pub recipe: PictureRecipe,
}

impl Pictures {
    /// Reads the settings in `model_dir`; what `recipe` leaves open of the budget is `budget`.
    ///
    /// # Errors
    /// As [`ImageProcessorConfig::load`].
    pub fn load(model_dir: &Path, budget: PixelBudget, recipe: &PictureRecipe) -> Result<Self> {
        let processor = ImageProcessorConfig::load(model_dir)?;
        let budget = PixelBudget {
            image_tokens: recipe.image_tokens.unwrap_or(budget.image_tokens),
            frame_tokens: recipe.frame_tokens.unwrap_or(budget.frame_tokens),
            video_tokens: recipe.video_tokens.unwrap_or(budget.video_tokens),
            ..budget
        };
        let processor = if recipe.checkpoint_bounds { processor } else { processor.unbounded() };
        Ok(Self { processor, budget, recipe: recipe.clone() })
    }

    /// Reads the settings in `model_dir` of a model whose pictures are of one size, which is one token of the
    /// budget: there is nothing to spend.
    ///
    /// # Errors
    /// As [`ImageProcessorConfig::load`].
    pub fn load_fixed(model_dir: &Path, fixed: FixedSize, recipe: &PictureRecipe) -> Result<Self> {
        let processor = ImageProcessorConfig::load_kind(model_dir, ProcessorKind::FixedSize(fixed))?;
        let budget = PixelBudget {
            pixels_per_token: processor.pixel_bounds().max_pixels(),
            image_tokens: (1, 1),
            frame_tokens: (1, 1),
            video_tokens: u64::MAX,
            frame_factor: 1,
        };
        Ok(Self { processor, budget, recipe: recipe.clone() })
    }

    /// Largest area of a picture of `tokens` visual tokens that the checkpoint allows: one made for small
    /// pictures has never seen larger ones.
    pub fn max_pixels(&self, tokens: u64) -> u64 {
        self.processor.pixel_bounds().max_pixels().min(self.budget.pixels(tokens))
    }

    /// Patches of an image.
    ///
    /// # Errors
    /// As [`PixelBudget::for_image`] and [`Patchifier::push_image`].
    pub fn image(
        &self,
        image: &RgbImage,
        min_pixels: Option<u64>,
        max_pixels: Option<u64>,
    ) -> Result<VisualPatches> {
        let bounds = self.budget.for_image(min_pixels, max_pixels)?;
        let rules = FrameRules { rounding: self.rounding(), alone: true };
        let mut patchifier = Patchifier::by(&self.processor, bounds, 1, rules);
        patchifier.push_image(&*self.first_resized(image)?)?;
        patchifier.finish()
    }

    /// What takes the frames of a video, one after another. `total_pixels` is the area that all of them may
    /// have together.
    ///
    /// # Errors
    /// As [`PixelBudget::for_video`].
    pub fn video(
        &self,
        num_frames: usize,
        min_pixels: Option<u64>,
        max_pixels: Option<u64>,
        total_pixels: Option<u64>,
    ) -> Result<Patchifier> {
        let as_images = self.recipe.frames_as == FramesAs::Images;
        let bounds = if as_images {
            let image_tokens = self.recipe.frame_tokens.unwrap_or(self.budget.image_tokens);
            PixelBudget { image_tokens, ..self.budget }.for_image(min_pixels, max_pixels)?
        } else {
            self.budget.for_video(min_pixels, max_pixels, total_pixels, num_frames)?
        };
        let rounding =
            if as_images || self.recipe.frames_like_images { Rounding::EachPass } else { Rounding::Once };
        Ok(Patchifier::by(&self.processor, bounds, num_frames, FrameRules { rounding, alone: as_images }))
    }

    /// A frame that came as a picture, as it goes on to a [`Patchifier`].
    ///
    /// # Errors
    /// As [`smart_resize`].
    pub fn listed_frame<'a>(
        &self,
        frame: &'a RgbImage,
        min_pixels: Option<u64>,
        max_pixels: Option<u64>,
    ) -> Result<Cow<'a, RgbImage>> {
        if !self.recipe.resize_listed_frames_first {
            return Ok(Cow::Borrowed(frame));
        }
        // The function that is called for each frame takes the side of a token for that of a patch.
        let factor = 2 * self.processor.resize_factor();
        let area = |tokens: u64| tokens * u64::from(factor).pow(2);
        let max = max_pixels.unwrap_or(area(16_384));
        let bounds = PixelBounds::new(min_pixels.unwrap_or(area(4)).min(max), max)?;
        self.resized(frame, smart_resize(size_of(frame), factor, bounds)?)
    }

    fn first_resized<'a>(&self, image: &'a RgbImage) -> Result<Cow<'a, RgbImage>> {
        let token = self.processor.resize_factor();
        let size = size_of(image);
        match self.recipe.first_resize {
            FirstResize::Tokens => {
                let bounds = PixelBounds::new(self.budget.pixels(4), self.budget.pixels(16_384))?;
                self.resized(image, smart_resize(size, token, bounds)?)
            }
            FirstResize::Small if size.width.min(size.height) < token => {
                self.resized(image, PixelSize::new(2 * token, 2 * token))
            }
            FirstResize::None | FirstResize::Small => Ok(Cow::Borrowed(image)),
        }
    }

    /// `image` in `size`, as images are resized.
    fn resized<'a>(&self, image: &'a RgbImage, size: PixelSize) -> Result<Cow<'a, RgbImage>> {
        let from = size_of(image);
        if from == size {
            return Ok(Cow::Borrowed(image));
        }
        let mut pixels = Vec::new();
        let mut resizer = Resizer::new(self.processor.filter(), self.rounding());
        resizer.resize(image.as_raw(), from, Placement::whole(size), &mut pixels)?;
        let resized = RgbImage::from_raw(size.width, size.height, pixels);
        Ok(Cow::Owned(resized.ok_or(PreprocessError::EmptyPicture { size })?))
    }

    fn rounding(&self) -> Rounding {
        match self.recipe.pass_order {
            PassOrder::ColumnsFirst => Rounding::EachPass,
            PassOrder::ByShape => Rounding::EachPassByShape,
        }
    }
}

fn size_of(image: &RgbImage) -> PixelSize {
    PixelSize::new(image.width(), image.height())
}
