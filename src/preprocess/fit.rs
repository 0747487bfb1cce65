//! How pictures of any size become pictures that a model reads.

use super::config::ImageProcessorConfig;
use super::error::{PreprocessError, Result};
use super::resize::Placement;
use super::size::{PixelBounds, PixelSize, target_size};

/// The rule of an image processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// The aspect stays, and the area lies within bounds: see [`target_size`].
    Area,
    /// Both sides are told, whatever becomes of the aspect.
    Stretch(PixelSize),
    /// The shorter side is told, and `size` is cut out of the middle.
    Crop {
        /// The shorter side in pixels, none of those of `size` being longer.
        shortest_edge: u32,
        /// What is cut out.
        size: PixelSize,
    },
}

impl Fit {
    /// The one size of all pictures, where there is one.
    pub(super) fn size(self) -> Option<PixelSize> {
        match self {
            Self::Area => None,
            Self::Stretch(size) | Self::Crop { size, .. } => Some(size),
        }
    }

    /// What is made of a picture of size `source`.
    ///
    /// # Errors
    /// As [`target_size`]; [`PreprocessError::FixedSize`] where `bounds` exclude the one size there is.
    pub(super) fn place(
        self,
        source: PixelSize,
        bounds: PixelBounds,
        config: &ImageProcessorConfig,
    ) -> Result<Placement> {
        let Some(size) = self.size() else {
            return Ok(Placement::whole(target_size(source, bounds, config)?));
        };
        if source.area() == 0 {
            return Err(PreprocessError::EmptyPicture { size: source });
        }
        let (min_pixels, max_pixels) = (bounds.min_pixels(), bounds.max_pixels());
        if !(min_pixels..=max_pixels).contains(&size.area()) {
            return Err(PreprocessError::FixedSize { size, min_pixels, max_pixels });
        }
        let Self::Crop { shortest_edge, .. } = self else { return Ok(Placement::whole(size)) };
        let (short, long) = (source.width.min(source.height), source.width.max(source.height));
        // As Python's `int` cuts what float division gives.
        let longest = (f64::from(shortest_edge) * f64::from(long) / f64::from(short)) as u32;
        let resized = if source.width <= source.height {
            PixelSize::new(shortest_edge, longest)
        } else {
            PixelSize::new(longest, shortest_edge)
        };
        let (left, top) = ((resized.width - size.width) / 2, (resized.height - size.height) / 2);
        Ok(Placement { resized, left, top, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_cut_out_of_what_the_shorter_side_makes() {
        let config = ImageProcessorConfig::default();
        let bounds = PixelBounds::new(1, 1 << 20).unwrap();
        let fit = Fit::Crop { shortest_edge: 37, size: PixelSize::new(32, 32) };
        let place = |width, height| fit.place(PixelSize::new(width, height), bounds, &config).unwrap();
        // 37 x 426 / 240 is 65.675.
        for (width, height, resized, left, top) in [
            (426, 240, (65, 37), 16, 2),
            (240, 426, (37, 65), 2, 16),
            (37, 37, (37, 37), 2, 2),
            (1, 90, (37, 3330), 2, 1649),
        ] {
            let placement = place(width, height);
            assert_eq!(placement.resized, PixelSize::new(resized.0, resized.1));
            assert_eq!((placement.left, placement.top), (left, top));
            assert_eq!(placement.size, PixelSize::new(32, 32));
        }
        let stretched = Fit::Stretch(PixelSize::new(9, 7)).place(PixelSize::new(1, 1), bounds, &config);
        assert_eq!(stretched.unwrap(), Placement::whole(PixelSize::new(9, 7)));
    }

    #[test]
    fn bounds_that_exclude_the_one_size_are_refused() {
        let config = ImageProcessorConfig::default();
        let fit = Fit::Stretch(PixelSize::new(30, 30));
        let place =
            |least, most| fit.place(PixelSize::new(64, 64), PixelBounds::new(least, most).unwrap(), &config);
        assert!(place(900, 900).is_ok());
        for (least, most) in [(901, 2000), (1, 899)] {
            let error = place(least, most).unwrap_err().to_string();
            assert!(error.contains("30x30") && error.contains(&most.to_string()), "{error}");
        }
        let empty = fit.place(PixelSize::new(0, 4), PixelBounds::new(1, 900).unwrap(), &config);
        assert!(matches!(empty, Err(PreprocessError::EmptyPicture { .. })));
    }
}
