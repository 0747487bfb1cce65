//! Turns pictures into the rows of `pixel_values` that the vision tower reads.

use std::ops::Range;

use ::image::RgbImage;
use rayon::prelude::*;

use super::config::ImageProcessorConfig;
use super::error::{PreprocessError, Result};
use super::resize::{Placement, Resizer, Rounding};
use super::size::{PixelBounds, PixelSize};

const CHANNELS: usize = 3;

/// Input of the vision tower for one image or one video.
#[derive(Debug, Clone, PartialEq)]
pub struct VisualPatches {
    /// Normalised pixels, `num_patches x patch_values` row after row. Rows run over
    /// (time, merged row, merged column, row in the merge, column in the merge), the numbers of a row over
    /// (channel, frame in the patch, row, column).
    pub pixel_values: Vec<f32>,
    /// Patches along time, height and width.
    pub grid_thw: [usize; 3],
}

impl VisualPatches {
    /// Rows of `pixel_values`.
    pub fn num_patches(&self) -> usize {
        self.grid_thw.iter().product()
    }
}

/// Patches of one image. It fills all frames of its single step in time, so `grid_thw` is `[1, height,
/// width]`.
///
/// # Errors
/// As [`Patchifier::push_image`].
pub fn patchify_image(
    config: &ImageProcessorConfig,
    image: &RgbImage,
    bounds: PixelBounds,
) -> Result<VisualPatches> {
    let rules = FrameRules { rounding: Rounding::EachPass, alone: true };
    let mut patchifier = Patchifier::by(config, bounds, 1, rules);
    patchifier.push_image(image)?;
    patchifier.finish()
}

/// Builds the patches of a video from frames that arrive one after another.
///
/// Each frame is resized and written to its patches at once, so that no more than one frame is held beside
/// the result. The first frame fixes the size. Where the number of frames is no multiple of
/// `temporal_patch_size`, the last frame is repeated (`Qwen2VLImageProcessor._preprocess`).
#[derive(Debug)]
pub struct Patchifier {
    layout: PatchLayout,
    levels: Box<LevelTable>,
    config: ImageProcessorConfig,
    bounds: PixelBounds,
    expected_frames: usize,
    /// Frames that share a step in time; one that is alone there fills it.
    frames_per_step: usize,
    num_frames: usize,
    sizes: Option<FrameSizes>,
    resizer: Resizer,
    resized: Vec<u8>,
    pixel_values: Vec<f32>,
}

/// What is done to frames besides.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameRules {
    pub(super) rounding: Rounding,
    /// Whether each frame fills a step in time of its own, as an image does.
    pub(super) alone: bool,
}

/// Size of the frames as they come and as they are embedded.
#[derive(Debug, Clone, Copy)]
struct FrameSizes {
    source: PixelSize,
    placement: Placement,
}

impl Patchifier {
    /// A builder for frames of one video. `bounds` are those of the prompt part, to which the checkpoint's
    /// are added; memory is set aside for `expected_frames`, but more or fewer may come.
    pub fn new(config: &ImageProcessorConfig, bounds: PixelBounds, expected_frames: usize) -> Self {
        let rules = FrameRules { rounding: Rounding::Once, alone: false };
        Self::by(config, bounds, expected_frames, rules)
    }

    pub(super) fn by(
        config: &ImageProcessorConfig,
        bounds: PixelBounds,
        expected_frames: usize,
        FrameRules { rounding, alone }: FrameRules,
    ) -> Self {
        Self {
            layout: PatchLayout::new(config),
            levels: Box::new(level_table(config)),
            config: config.clone(),
            bounds,
            expected_frames,
            frames_per_step: if alone { 1 } else { config.temporal_patch_size() as usize },
            num_frames: 0,
            sizes: None,
            resizer: Resizer::new(config.filter(), rounding),
            resized: Vec::new(),
            pixel_values: Vec::new(),
        }
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// As [`Patchifier::push`].
    pub fn push_image(&mut self, frame: &RgbImage) -> Result<()> {
        self.push(PixelSize::new(frame.width(), frame.height()), frame.as_raw())
    }

    /// Adds a frame given as `size.height x size.width x 3` bytes of RGB.
    ///
    /// # Errors
    /// [`PreprocessError::PixelBufferLength`] for a buffer that is shorter or longer,
    /// [`PreprocessError::FrameSizeMismatch`] for a size that is not the first frame's,
    /// [`PreprocessError::EmptyPicture`] and [`PreprocessError::InvalidPixelBounds`] where no target size
    /// exists.
    pub fn push(&mut self, size: PixelSize, rgb: &[u8]) -> Result<()> {
        let expected_bytes = size.area().saturating_mul(CHANNELS as u64);
        if rgb.len() as u64 != expected_bytes {
            let frame_index = self.num_frames;
            return Err(PreprocessError::PixelBufferLength {
                frame_index,
                size,
                expected_bytes,
                got_bytes: rgb.len(),
            });
        }
        let FrameSizes { source, placement } = self.sizes_for(size)?;
        let pixels = if placement == Placement::whole(source) {
            rgb
        } else {
            self.resizer.resize(rgb, source, placement, &mut self.resized)?;
            &self.resized
        };
        let step_values = self.layout.step_values(placement.size);
        let slot = self.num_frames % self.frames_per_step;
        if slot == 0 {
            let steps =
                self.expected_frames.saturating_sub(self.num_frames).div_ceil(self.frames_per_step).max(1);
            self.pixel_values.reserve(steps.saturating_mul(step_values));
            self.pixel_values.resize(self.pixel_values.len() + step_values, 0.0);
        }
        let start = self.pixel_values.len() - step_values;
        self.layout.write_frame(&mut self.pixel_values[start..], pixels, placement.size, &self.levels, slot);
        self.num_frames += 1;
        if self.frames_per_step == 1 {
            let rest = 1..self.layout.temporal;
            self.layout.repeat_frame(&mut self.pixel_values[start..], 0, rest);
        }
        Ok(())
    }

    /// Ends the video.
    ///
    /// # Errors
    /// [`PreprocessError::NoFrames`] where none came.
    pub fn finish(mut self) -> Result<VisualPatches> {
        let target = self.sizes.ok_or(PreprocessError::NoFrames)?.placement.size;
        let filled = self.num_frames % self.frames_per_step;
        if filled != 0 {
            let start = self.pixel_values.len() - self.layout.step_values(target);
            self.layout.repeat_frame(
                &mut self.pixel_values[start..],
                filled - 1,
                filled..self.layout.temporal,
            );
        }
        let [rows, columns] = self.layout.grid(target);
        let steps = self.num_frames.div_ceil(self.frames_per_step);
        Ok(VisualPatches { pixel_values: self.pixel_values, grid_thw: [steps, rows, columns] })
    }

    fn sizes_for(&mut self, source: PixelSize) -> Result<FrameSizes> {
        match self.sizes {
            Some(sizes) if sizes.source == source => Ok(sizes),
            Some(sizes) => Err(PreprocessError::FrameSizeMismatch {
                frame_index: self.num_frames,
                expected: sizes.source,
                got: source,
            }),
            None => {
                let placement = self.config.fit().place(source, self.bounds, &self.config)?;
                Ok(*self.sizes.insert(FrameSizes { source, placement }))
            }
        }
    }
}

/// Normalised value of each 8-bit level, for each channel.
type LevelTable = [[f32; 256]; CHANNELS];

/// `(level * rescale_factor - mean) / std`, rounded to single precision where the reference rounds.
fn level_table(config: &ImageProcessorConfig) -> LevelTable {
    let mut table = [[0.0; 256]; CHANNELS];
    for ((levels, mean), std) in table.iter_mut().zip(config.image_mean()).zip(config.image_std()) {
        for (level, value) in levels.iter_mut().enumerate() {
            let rescaled = (level as f64 * config.rescale_factor()) as f32;
            *value = (rescaled - mean) / std;
        }
    }
    table
}

/// Where the pixels of a frame go.
#[derive(Debug, Clone, Copy)]
struct PatchLayout {
    patch: usize,
    temporal: usize,
    merge: usize,
}

impl PatchLayout {
    fn new(config: &ImageProcessorConfig) -> Self {
        Self {
            patch: config.patch_size() as usize,
            temporal: config.temporal_patch_size() as usize,
            merge: config.merge_size() as usize,
        }
    }

    /// Rows and columns of patches.
    fn grid(&self, size: PixelSize) -> [usize; 2] {
        [size.height as usize / self.patch, size.width as usize / self.patch]
    }

    /// Numbers of one patch that come from one channel of one frame.
    fn plane_values(&self) -> usize {
        self.patch * self.patch
    }

    fn patch_values(&self) -> usize {
        CHANNELS * self.temporal * self.plane_values()
    }

    /// Numbers of all patches of one step in time.
    fn step_values(&self, size: PixelSize) -> usize {
        let [rows, columns] = self.grid(size);
        rows * columns * self.patch_values()
    }

    /// Writes a frame of `size` into place `slot` of the patches of its step.
    fn write_frame(&self, step: &mut [f32], rgb: &[u8], size: PixelSize, levels: &LevelTable, slot: usize) {
        let Self { patch, temporal, merge } = *self;
        let [_, columns] = self.grid(size);
        let stride = size.width as usize * CHANNELS;
        let plane = self.plane_values();
        // One band is a row of merged patches: the largest run of output that comes from a run of input rows.
        let band_values = merge * columns * self.patch_values();
        step.par_chunks_mut(band_values).enumerate().for_each(|(band, patches)| {
            for (index, row) in patches.chunks_mut(self.patch_values()).enumerate() {
                let (merged, inner) = (index / (merge * merge), index % (merge * merge));
                let top = (band * merge + inner / merge) * patch;
                let left = (merged * merge + inner % merge) * patch;
                for y in 0..patch {
                    let start = (top + y) * stride + left * CHANNELS;
                    let pixels = &rgb[start..start + patch * CHANNELS];
                    for (channel, table) in levels.iter().enumerate() {
                        let place = (channel * temporal + slot) * plane + y * patch;
                        for (value, pixel) in
                            row[place..place + patch].iter_mut().zip(pixels.chunks_exact(CHANNELS))
                        {
                            *value = table[usize::from(pixel[channel])];
                        }
                    }
                }
            }
        });
    }

    /// Copies the frame in place `from` to the places `to` of every patch.
    fn repeat_frame(&self, step: &mut [f32], from: usize, to: Range<usize>) {
        let plane = self.plane_values();
        step.par_chunks_mut(self.temporal * plane).for_each(|channel| {
            for slot in to.clone() {
                channel.copy_within(from * plane..(from + 1) * plane, slot * plane);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config() -> ImageProcessorConfig {
        let text = r#"{"patch_size": 2, "merge_size": 2, "temporal_patch_size": 3, "min_pixels": 16, "max_pixels": 4096,
            "rescale_factor": 1.0, "image_mean": [0, 1, 2], "image_std": [1, 2, 4]}"#;
        ImageProcessorConfig::from_json(text, Path::new("test")).unwrap()
    }

    fn frame(size: PixelSize, salt: u32) -> Vec<u8> {
        (0..size.area() as u32 * 3)
            .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(salt * 97) >> 13) as u8)
            .collect()
    }

    /// The reference's reshape and transpose, one number at a time.
    fn expected(frames: &[Vec<u8>], size: PixelSize) -> Vec<f32> {
        let (p, m, t) = (2, 2, 3);
        let (gh, gw) = (size.height as usize / p, size.width as usize / p);
        let mut out = Vec::new();
        for step in 0..frames.len().div_ceil(t) {
            for (bh, bw, mh, mw) in product([gh / m, gw / m, m, m]) {
                for (c, tp, y, x) in product([3, t, p, p]) {
                    let rgb = &frames[(step * t + tp).min(frames.len() - 1)];
                    let (row, column) = ((bh * m + mh) * p + y, (bw * m + mw) * p + x);
                    let level = f32::from(rgb[(row * size.width as usize + column) * 3 + c]);
                    out.push((level - c as f32) / [1.0, 2.0, 4.0][c]);
                }
            }
        }
        out
    }

    fn product(n: [usize; 4]) -> impl Iterator<Item = (usize, usize, usize, usize)> {
        (0..n.iter().product::<usize>())
            .map(move |i| (i / (n[1] * n[2] * n[3]), i / (n[2] * n[3]) % n[1], i / n[3] % n[2], i % n[3]))
    }

    #[test]
    fn rows_are_in_the_order_of_the_reference() {
        let size = PixelSize::new(12, 8);
        for num_frames in 1..=7 {
            let frames: Vec<_> = (0..num_frames).map(|salt| frame(size, salt)).collect();
            let bounds = PixelBounds::new(16, 4096).unwrap();
            for expected_frames in [0, num_frames as usize, 20] {
                let mut patchifier = Patchifier::new(&config(), bounds, expected_frames);
                for rgb in &frames {
                    patchifier.push(size, rgb).unwrap();
                }
                let patches = patchifier.finish().unwrap();
                assert_eq!(patches.grid_thw, [(num_frames as usize).div_ceil(3), 4, 6]);
                assert_eq!(patches.pixel_values.len(), patches.num_patches() * config().patch_values());
                assert_eq!(patches.pixel_values, expected(&frames, size));
            }
        }
    }

    #[test]
    fn an_image_is_a_still_video() {
        let size = PixelSize::new(37, 21);
        let image = RgbImage::from_raw(37, 21, frame(size, 5)).unwrap();
        let bounds = PixelBounds::new(16, 4096).unwrap();
        let still = patchify_image(&config(), &image, bounds).unwrap();
        let mut patchifier =
            Patchifier::by(&config(), bounds, 3, FrameRules { rounding: Rounding::EachPass, alone: false });
        for _ in 0..3 {
            patchifier.push_image(&image).unwrap();
        }
        assert!(still == patchifier.finish().unwrap());
        assert_eq!(still.grid_thw, [1, 10, 18]);
    }

    #[test]
    fn bad_frames_are_refused() {
        let bounds = PixelBounds::new(16, 4096).unwrap();
        let mut patchifier = Patchifier::new(&config(), bounds, 2);
        let size = PixelSize::new(8, 8);
        assert!(matches!(
            patchifier.push(size, &[0; 191]),
            Err(PreprocessError::PixelBufferLength {
                frame_index: 0,
                expected_bytes: 192,
                got_bytes: 191,
                ..
            })
        ));
        assert!(matches!(
            patchifier.push(PixelSize::new(0, 8), &[]),
            Err(PreprocessError::EmptyPicture { .. })
        ));
        patchifier.push(size, &[0; 192]).unwrap();
        let other = PixelSize::new(4, 16);
        assert!(matches!(
            patchifier.push(other, &[0; 192]),
            Err(PreprocessError::FrameSizeMismatch { frame_index: 1, expected, got }) if expected == size && got == other
        ));
        assert!(matches!(Patchifier::new(&config(), bounds, 2).finish(), Err(PreprocessError::NoFrames)));
    }
}
