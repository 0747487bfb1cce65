//! The image processor's settings, as a checkpoint states them.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::companions;
use super::error::{PreprocessError, Result};
use super::fit::Fit;
use super::fixed::FixedSize;
use super::resize::Filter;
use super::size::PixelBounds;
use crate::settings_keys::{Place, judge, shown};
use crate::store::{IoError, limited_file};

pub(super) const PREPROCESSOR_FILE: &str = "preprocessor_config.json";
pub(super) const PROCESSOR_FILE: &str = "processor_config.json";
/// Bytes that a settings file may have; published ones have a few thousand.
pub(super) const MAX_BYTES: u64 = 16 << 20;

/// Settings of an image processor, validated: of that of Qwen2-VL, or of one that makes all pictures one size
/// ([`FixedSize`]).
///
/// [`Default`] gives the defaults of `Qwen2VLImageProcessor` (transformers), which are also used for keys
/// that a checkpoint's file leaves out.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageProcessorConfig {
    pub(super) patch_size: u32,
    pub(super) temporal_patch_size: u32,
    pub(super) merge_size: u32,
    pub(super) pixel_bounds: PixelBounds,
    pub(super) rescale_factor: f64,
    pub(super) image_mean: [f32; 3],
    pub(super) image_std: [f32; 3],
    pub(super) fit: Fit,
    pub(super) filter: Filter,
}

/// Which image processor a family of models has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ProcessorKind {
    /// That of Qwen2-VL, whose pictures keep their aspect.
    VisualTokens,
    /// One that makes all pictures one size.
    FixedSize(FixedSize),
}

impl ProcessorKind {
    /// Where the keys of the image processor stand.
    pub(super) fn place(self) -> Place {
        match self {
            Self::VisualTokens => Place::ImageProcessor,
            Self::FixedSize(_) => Place::FixedSizeProcessor,
        }
    }

    /// Reads the keys of an image processor, or of a video processor.
    pub(super) fn read(
        self,
        keys: Map<String, Value>,
        place: Place,
        path: &Path,
    ) -> Result<ImageProcessorConfig> {
        match self {
            Self::VisualTokens => ImageProcessorConfig::from_keys(keys, place, path),
            Self::FixedSize(fixed) => fixed.read(keys, path),
        }
    }
}

impl ImageProcessorConfig {
    /// Reads `preprocessor_config.json` in `model_dir`, or `image_processor` in `processor_config.json` where
    /// only that file exists (transformers 5). The settings for videos and tokens beside it must agree, or be
    /// what is built in.
    ///
    /// # Errors
    /// [`PreprocessError::MissingCheckpointFile`] where neither exists; unreadable files, invalid JSON,
    /// values outside their range and settings that are not supported are errors that name the file.
    pub fn load(model_dir: &Path) -> Result<Self> {
        Self::load_kind(model_dir, ProcessorKind::VisualTokens)
    }

    /// As [`load`](Self::load), by the rules of `kind`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_kind(model_dir: &Path, kind: ProcessorKind) -> Result<Self> {
        let path = model_dir.join(PREPROCESSOR_FILE);
        let config = match read_object(&path)? {
            Some(keys) => kind.read(keys, kind.place(), &path)?,
            None => {
                let missing = || PreprocessError::MissingCheckpointFile { path: path.clone() };
                let nested_path = model_dir.join(PROCESSOR_FILE);
                let mut nested = read_object(&nested_path)?.ok_or_else(missing)?;
                match nested.remove("image_processor") {
                    Some(Value::Object(keys)) => kind.read(keys, kind.place(), &nested_path)?,
                    _ => return Err(missing()),
                }
            }
        };
        companions::check(model_dir, &config, kind)?;
        Ok(config)
    }

    /// Reads the text of a `preprocessor_config.json`; `path` is used in errors only. Keys that do not
    /// concern preprocessing are ignored.
    ///
    /// # Errors
    /// [`PreprocessError::ParseConfig`], [`PreprocessError::InvalidConfig`] and
    /// [`PreprocessError::UnsupportedSetting`].
    pub fn from_json(text: &str, path: &Path) -> Result<Self> {
        Self::from_keys(parse_object(text, path)?, Place::ImageProcessor, path)
    }

    /// Reads the keys of an image processor, or of a video processor.
    pub(super) fn from_keys(keys: Map<String, Value>, place: Place, path: &Path) -> Result<Self> {
        let unsupported = |reason| PreprocessError::UnsupportedSetting { path: path.to_owned(), reason };
        judge(&keys, place).map_err(unsupported)?;
        if let Some(Value::Object(size)) = keys.get("size")
            && let Some(unknown) = judge(size, Place::PictureSize).map_err(unsupported)?.first()
        {
            return Err(unsupported(format!(
                "size has {unknown}, which is not supported (expected bounds of the area)"
            )));
        }
        ImageProcessorFile::deserialize(Value::Object(keys))
            .map_err(|reason| PreprocessError::ParseConfig { path: path.to_owned(), reason })?
            .validate(path)
    }

    /// Whether pictures of one size become the same patches by `other`.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        *self == Self { pixel_bounds: self.pixel_bounds, ..other.clone() }
    }

    /// The same without bounds on the area.
    pub(super) fn unbounded(self) -> Self {
        Self { pixel_bounds: PixelBounds::constant(1, u64::MAX), ..self }
    }

    /// How pictures are brought to size.
    pub(super) fn fit(&self) -> Fit {
        self.fit
    }

    /// The kernel that pictures are resized with.
    pub(super) fn filter(&self) -> Filter {
        self.filter
    }

    /// Side of a patch in pixels.
    pub fn patch_size(&self) -> u32 {
        self.patch_size
    }

    /// Frames in a patch.
    pub fn temporal_patch_size(&self) -> u32 {
        self.temporal_patch_size
    }

    /// Patches along each side that the vision tower merges into one visual token.
    pub fn merge_size(&self) -> u32 {
        self.merge_size
    }

    /// Bounds the checkpoint puts on the area of a picture, `min_pixels` and `max_pixels`.
    pub fn pixel_bounds(&self) -> PixelBounds {
        self.pixel_bounds
    }

    /// Side of a visual token in pixels: resized sides are multiples of it.
    pub fn resize_factor(&self) -> u32 {
        self.patch_size * self.merge_size
    }

    /// Numbers in one row of `pixel_values`: channels x frames x patch height x patch width.
    pub fn patch_values(&self) -> usize {
        3 * self.temporal_patch_size as usize * (self.patch_size as usize).pow(2)
    }

    /// Factor from an 8-bit level to `[0, 1]`.
    pub fn rescale_factor(&self) -> f64 {
        self.rescale_factor
    }

    /// Mean of each channel, red first, after rescaling.
    pub fn image_mean(&self) -> [f32; 3] {
        self.image_mean
    }

    /// Standard deviation of each channel, red first, after rescaling.
    pub fn image_std(&self) -> [f32; 3] {
        self.image_std
    }

    /// Seconds between visual tokens along time, `second_per_grid_ts` of the reference: `temporal_patch_size
    /// / sample_fps`. `sample_fps` is the real rate of the sampled frames, `num_frames / total_frames *
    /// video_fps`.
    ///
    /// # Errors
    /// [`PreprocessError::InvalidTiming`] where `sample_fps` is not positive and finite.
    pub fn second_per_grid(&self, sample_fps: f64) -> Result<f64> {
        if !(sample_fps.is_finite() && sample_fps > 0.0) {
            return Err(PreprocessError::InvalidTiming { field: "sample_fps", got: sample_fps });
        }
        Ok(f64::from(self.temporal_patch_size) / sample_fps)
    }
}

impl Default for ImageProcessorConfig {
    fn default() -> Self {
        Self {
            patch_size: 14,
            temporal_patch_size: 2,
            merge_size: 2,
            pixel_bounds: PixelBounds::constant(56 * 56, 28 * 28 * 1280),
            rescale_factor: 1.0 / 255.0,
            image_mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            image_std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
            fit: Fit::Area,
            filter: Filter::Bicubic,
        }
    }
}

/// `preprocessor_config.json`, unchecked.
#[derive(Deserialize)]
struct ImageProcessorFile {
    patch_size: Option<u32>,
    temporal_patch_size: Option<u32>,
    merge_size: Option<u32>,
    min_pixels: Option<u64>,
    max_pixels: Option<u64>,
    size: Option<SizeField>,
    rescale_factor: Option<f64>,
    image_mean: Option<Vec<f64>>,
    image_std: Option<Vec<f64>>,
}

#[derive(Deserialize)]
struct SizeField {
    shortest_edge: Option<u64>,
    longest_edge: Option<u64>,
    min_pixels: Option<u64>,
    max_pixels: Option<u64>,
}

impl ImageProcessorFile {
    fn validate(self, path: &Path) -> Result<ImageProcessorConfig> {
        let file = Checked { path };
        let defaults = ImageProcessorConfig::default();
        let bounds = self.bounds(defaults.pixel_bounds);
        let config = ImageProcessorConfig {
            patch_size: file.side("patch_size", self.patch_size, defaults.patch_size)?,
            temporal_patch_size: file.side(
                "temporal_patch_size",
                self.temporal_patch_size,
                defaults.temporal_patch_size,
            )?,
            merge_size: file.side("merge_size", self.merge_size, defaults.merge_size)?,
            pixel_bounds: defaults.pixel_bounds,
            rescale_factor: file.rescale_factor(self.rescale_factor, defaults.rescale_factor)?,
            image_mean: file.mean(self.image_mean, defaults.image_mean)?,
            image_std: file.std(self.image_std, defaults.image_std)?,
            ..defaults
        };
        let least = u64::from(config.resize_factor()).pow(2);
        let (min, max) = bounds;
        if max < least {
            return Err(file.invalid("max_pixels", "at least the area of one visual token", max));
        }
        let pixel_bounds =
            PixelBounds::new(min, max).map_err(|_| file.invalid("min_pixels", "at most max_pixels", min))?;
        Ok(ImageProcessorConfig { pixel_bounds, ..config })
    }

    /// The bounds of the area: the plain keys win over `size`, as in the reference.
    fn bounds(&self, defaults: PixelBounds) -> (u64, u64) {
        let size = self.size.as_ref();
        let min = self.min_pixels.or(size.and_then(|size| size.shortest_edge.or(size.min_pixels)));
        let max = self.max_pixels.or(size.and_then(|size| size.longest_edge.or(size.max_pixels)));
        (min.unwrap_or(defaults.min_pixels()), max.unwrap_or(defaults.max_pixels()))
    }
}

/// Range checks that know which file they speak of.
pub(super) struct Checked<'a> {
    pub(super) path: &'a Path,
}

impl Checked<'_> {
    fn invalid(&self, field: &'static str, expected: &'static str, got: impl ToString) -> PreprocessError {
        PreprocessError::InvalidConfig {
            path: self.path.to_path_buf(),
            field,
            expected,
            got: got.to_string(),
        }
    }

    fn side(&self, field: &'static str, value: Option<u32>, default: u32) -> Result<u32> {
        match value.unwrap_or(default) {
            side @ 1..=256 => Ok(side),
            other => Err(self.invalid(field, "between 1 and 256", other)),
        }
    }

    pub(super) fn rescale_factor(&self, value: Option<f64>, default: f64) -> Result<f64> {
        let factor = value.unwrap_or(default);
        if factor.is_finite() && factor > 0.0 {
            return Ok(factor);
        }
        Err(self.invalid("rescale_factor", "a positive number", factor))
    }

    pub(super) fn mean(&self, value: Option<Vec<f64>>, default: [f32; 3]) -> Result<[f32; 3]> {
        self.channels("image_mean", value, default, f32::is_finite)
    }

    pub(super) fn std(&self, value: Option<Vec<f64>>, default: [f32; 3]) -> Result<[f32; 3]> {
        self.channels("image_std", value, default, |std| std.is_normal() && std > 0.0)
    }

    fn channels(
        &self,
        field: &'static str,
        value: Option<Vec<f64>>,
        default: [f32; 3],
        accept: fn(f32) -> bool,
    ) -> Result<[f32; 3]> {
        let Some(values) = value else { return Ok(default) };
        let narrow: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        match <[f32; 3]>::try_from(narrow) {
            Ok(channels) if channels.into_iter().all(accept) => Ok(channels),
            _ => Err(self.invalid(
                field,
                "three numbers the pixels can be normalised with",
                format!("{values:?}"),
            )),
        }
    }
}

/// The keys of a settings file; none where it does not exist.
pub(super) fn read_object(path: &Path) -> Result<Option<Map<String, Value>>> {
    match limited_file::read_text(path, MAX_BYTES) {
        Ok(text) => parse_object(&text, path).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(IoError::of("read", path)(error).into()),
    }
}

fn parse_object(text: &str, path: &Path) -> Result<Map<String, Value>> {
    let path = PathBuf::from(path);
    match serde_json::from_str(text) {
        Ok(Value::Object(keys)) => Ok(keys),
        Ok(other) => {
            let reason = format!("it is {}, expected an object", shown(&other));
            Err(PreprocessError::UnsupportedSetting { path, reason })
        }
        Err(reason) => Err(PreprocessError::ParseConfig { path, reason }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ImageProcessorConfig> {
        ImageProcessorConfig::from_json(text, Path::new("m/preprocessor_config.json"))
    }

    #[test]
    fn bounds_are_read_from_every_layout() {
        for (text, expected) in [
            (r#"{"min_pixels": 3136, "max_pixels": 12845056}"#, (3136, 12_845_056)),
            (r#"{"size": {"shortest_edge": 3136, "longest_edge": 9000000}}"#, (3136, 9_000_000)),
            (r#"{"size": {"min_pixels": 3136, "max_pixels": 9000000}}"#, (3136, 9_000_000)),
            (
                r#"{"min_pixels": 784, "size": {"shortest_edge": 3136, "longest_edge": 9000000}}"#,
                (784, 9_000_000),
            ),
            (r#"{"size": null, "min_pixels": null}"#, (3136, 1_003_520)),
            ("{}", (3136, 1_003_520)),
        ] {
            let bounds = read(text).unwrap().pixel_bounds();
            assert_eq!((bounds.min_pixels(), bounds.max_pixels()), expected, "{text}");
        }
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        for (text, field) in [
            (r#"{"patch_size": 0}"#, "patch_size"),
            (r#"{"merge_size": 1000}"#, "merge_size"),
            (r#"{"temporal_patch_size": 0}"#, "temporal_patch_size"),
            (r#"{"min_pixels": 9000, "max_pixels": 8000}"#, "min_pixels"),
            (r#"{"min_pixels": 1, "max_pixels": 700}"#, "max_pixels"),
            (r#"{"image_std": [0.2, 0.0, 0.2]}"#, "image_std"),
            (r#"{"image_mean": [0.2, 0.1]}"#, "image_mean"),
            (r#"{"rescale_factor": -1}"#, "rescale_factor"),
            (r#"{"resample": 2}"#, "resample"),
            (r#"{"do_normalize": false}"#, "do_normalize"),
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(
                message.starts_with("m/preprocessor_config.json: ") && message.contains(field),
                "{message}"
            );
            assert!(!message.contains('\n'));
        }
        assert!(matches!(read("{"), Err(PreprocessError::ParseConfig { .. })));
        assert!(matches!(read(r#"{"patch_size": -1}"#), Err(PreprocessError::ParseConfig { .. })));
    }

    #[test]
    fn a_directory_without_settings_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let error = ImageProcessorConfig::load(dir.path()).unwrap_err();
        assert!(
            matches!(&error, PreprocessError::MissingCheckpointFile { path } if path.ends_with(PREPROCESSOR_FILE))
        );
        std::fs::write(dir.path().join(PROCESSOR_FILE), r#"{"processor_class": "Qwen2_5_VLProcessor"}"#)
            .unwrap();
        assert!(ImageProcessorConfig::load(dir.path()).is_err());
        std::fs::write(dir.path().join(PROCESSOR_FILE), r#"{"image_processor": {"patch_size": 16}}"#)
            .unwrap();
        assert_eq!(ImageProcessorConfig::load(dir.path()).unwrap().patch_size(), 16);
    }

    #[test]
    fn timing_must_be_a_rate() {
        let config = ImageProcessorConfig::default();
        assert_eq!(config.second_per_grid(0.5).unwrap(), 4.0);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(config.second_per_grid(bad).is_err());
        }
    }
}
