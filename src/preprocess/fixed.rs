//! Image processors that make all pictures one size: those of CLIP and SigLIP.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::config::{Checked, ImageProcessorConfig};
use super::error::{PreprocessError, Result};
use super::fit::Fit;
use super::resize::Filter;
use super::size::{PixelBounds, PixelSize};
use crate::settings_keys::{Place, judge, shown};

/// Longest side of a picture.
const MAX_SIDE: u32 = 1 << 12;

/// The image processor of a family of models whose pictures are of one size: what its tower reads, and what
/// holds where the file does not say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FixedSize {
    /// How names of the processor in transformers begin.
    pub name: &'static str,
    /// Whether the shorter side is told and the middle is cut out, rather than both sides.
    pub crops: bool,
    /// Side in pixels, unless told otherwise.
    pub default_side: u32,
    /// Mean of each channel, unless told otherwise.
    pub image_mean: [f32; 3],
    /// Standard deviation of each channel, unless told otherwise.
    pub image_std: [f32; 3],
    /// Side of the tower's pictures in pixels.
    pub image_size: u32,
    /// Side of its patches in pixels.
    pub patch_size: u32,
}

/// `preprocessor_config.json`, unchecked.
#[derive(Deserialize)]
struct FixedSizeFile {
    image_processor_type: Option<String>,
    feature_extractor_type: Option<String>,
    size: Option<Sides>,
    do_center_crop: Option<bool>,
    crop_size: Option<Sides>,
    resample: Option<Value>,
    rescale_factor: Option<f64>,
    image_mean: Option<Vec<f64>>,
    image_std: Option<Vec<f64>>,
}

/// A size as files state it: old ones have a bare number.
#[derive(Deserialize, Clone, Copy)]
#[serde(untagged)]
enum Sides {
    One(u32),
    Named { height: Option<u32>, width: Option<u32>, shortest_edge: Option<u32> },
}

impl Sides {
    fn both(self) -> Option<PixelSize> {
        match self {
            Self::Named { height: Some(height), width: Some(width), shortest_edge: None } => {
                Some(PixelSize::new(width, height))
            }
            _ => None,
        }
    }

    fn shortest(self) -> Option<u32> {
        match self {
            Self::One(side) => Some(side),
            Self::Named { height: None, width: None, shortest_edge } => shortest_edge,
            Self::Named { .. } => None,
        }
    }
}

impl FixedSize {
    /// Reads the keys of the image processor in `path`.
    ///
    /// # Errors
    /// As [`ImageProcessorConfig::load`].
    pub(super) fn read(&self, keys: Map<String, Value>, path: &Path) -> Result<ImageProcessorConfig> {
        let unsupported = |reason| PreprocessError::UnsupportedSetting { path: path.to_owned(), reason };
        judge(&keys, Place::FixedSizeProcessor).map_err(unsupported)?;
        for name in ["size", "crop_size"] {
            if let Some(Value::Object(size)) = keys.get(name)
                && let Some(unknown) = judge(size, Place::FixedSizeSides).map_err(unsupported)?.first()
            {
                return Err(unsupported(format!("{name} has {unknown}, which is not supported")));
            }
        }
        let file = FixedSizeFile::deserialize(Value::Object(keys))
            .map_err(|reason| PreprocessError::ParseConfig { path: path.to_owned(), reason })?;
        let kind = file.image_processor_type.as_deref().or(file.feature_extractor_type.as_deref());
        if let Some(kind) = kind.filter(|kind| !kind.starts_with(self.name)) {
            let name = self.name;
            return Err(unsupported(format!(
                "the image processor is {kind:?}, expected a {name}ImageProcessor"
            )));
        }
        let fit = self.fit(&file).map_err(unsupported)?;
        let filter = filter(file.resample.as_ref()).map_err(unsupported)?;
        let checked = Checked { path };
        let area = u64::from(self.image_size).pow(2);
        let defaults = ImageProcessorConfig::default();
        Ok(ImageProcessorConfig {
            patch_size: self.patch_size,
            temporal_patch_size: 1,
            merge_size: 1,
            pixel_bounds: PixelBounds::constant(area, area),
            rescale_factor: checked.rescale_factor(file.rescale_factor, defaults.rescale_factor)?,
            image_mean: checked.mean(file.image_mean, self.image_mean)?,
            image_std: checked.std(file.image_std, self.image_std)?,
            fit,
            filter,
        })
    }

    /// The rule of resizing, whose result must be what the tower reads.
    fn fit(&self, file: &FixedSizeFile) -> Result<Fit, String> {
        let side = self.default_side;
        let default = if self.crops {
            Sides::One(side)
        } else {
            Sides::Named { height: Some(side), width: Some(side), shortest_edge: None }
        };
        let size = file.size.unwrap_or(default);
        let crop = match (file.do_center_crop.unwrap_or(self.crops), self.crops) {
            (true, false) => return Err("do_center_crop is true, which is not supported here".to_owned()),
            (true, true) => Some(match file.crop_size.unwrap_or(Sides::One(side)) {
                Sides::One(side) => PixelSize::new(side, side),
                named => named.both().ok_or("crop_size must have a height and a width")?,
            }),
            (false, _) => None,
        };
        let (fit, told) = match (size.both(), size.shortest().filter(|_| self.crops), crop) {
            (Some(size), _, None) => (Fit::Stretch(size), size),
            (Some(size), _, Some(crop)) if size == crop => (Fit::Stretch(size), size),
            (_, Some(shortest_edge), Some(size)) if shortest_edge >= size.width.max(size.height) => {
                (Fit::Crop { shortest_edge, size }, size)
            }
            _ => {
                let expected = if self.crops {
                    "a height and a width, or a shortest_edge and a crop_size that is not larger"
                } else {
                    "a height and a width"
                };
                return Err(format!(
                    "size, crop_size and do_center_crop make no pictures of one size here; expected {expected}"
                ));
            }
        };
        let longest = match fit {
            Fit::Crop { shortest_edge, .. } => shortest_edge,
            _ => 0,
        };
        if longest > MAX_SIDE {
            return Err(format!("shortest_edge is {longest}, expected at most {MAX_SIDE}"));
        }
        let expected = PixelSize::new(self.image_size, self.image_size);
        if told != expected {
            return Err(format!(
                "pictures become {told} pixels, but image_size of config.json is {expected}"
            ));
        }
        Ok(fit)
    }
}

/// By Pillow's numbers, or their names.
fn filter(resample: Option<&Value>) -> Result<Filter, String> {
    let Some(resample) = resample.filter(|value| !value.is_null()) else { return Ok(Filter::Bicubic) };
    match resample.as_u64() {
        Some(2) => Ok(Filter::Bilinear),
        Some(3) => Ok(Filter::Bicubic),
        _ => Err(format!("resample is {}, expected 2 (bilinear) or 3 (bicubic)", shown(resample))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn clip() -> FixedSize {
        FixedSize {
            name: "CLIP",
            crops: true,
            default_side: 224,
            image_mean: [0.5; 3],
            image_std: [0.5; 3],
            image_size: 32,
            patch_size: 8,
        }
    }

    fn siglip() -> FixedSize {
        FixedSize { name: "Siglip", crops: false, ..clip() }
    }

    fn read(kind: FixedSize, value: Value) -> Result<ImageProcessorConfig> {
        kind.read(value.as_object().unwrap().clone(), Path::new("m/preprocessor_config.json"))
    }

    #[test]
    fn sizes_are_read_from_every_layout() {
        let size = PixelSize::new(32, 32);
        let both = json!({"height": 32, "width": 32});
        let crop = |shortest_edge| Fit::Crop { shortest_edge, size };
        for (kind, value, expected) in [
            (clip(), json!({"size": 32, "crop_size": 32}), crop(32)),
            (clip(), json!({"size": {"shortest_edge": 40}, "crop_size": both}), crop(40)),
            (clip(), json!({"size": both, "crop_size": both}), Fit::Stretch(size)),
            (clip(), json!({"size": both, "do_center_crop": false, "crop_size": 7}), Fit::Stretch(size)),
            (siglip(), json!({"size": both}), Fit::Stretch(size)),
            (FixedSize { image_size: 224, ..siglip() }, json!({}), Fit::Stretch(PixelSize::new(224, 224))),
        ] {
            assert_eq!(read(kind, value.clone()).unwrap().fit, expected, "{value}");
        }
        let config =
            read(siglip(), json!({"size": both, "resample": 2, "image_mean": [0, 0.1, 0.2]})).unwrap();
        assert_eq!((config.filter, config.image_mean), (Filter::Bilinear, [0.0, 0.1, 0.2]));
        assert_eq!((config.patch_size, config.merge_size, config.pixel_bounds.max_pixels()), (8, 1, 1024));
    }

    #[test]
    fn what_changes_pictures_and_is_not_built_in_is_refused_by_name() {
        let both = json!({"height": 32, "width": 32});
        for (kind, key, value) in [
            (siglip(), "size", json!(32)),
            (siglip(), "size", json!({"shortest_edge": 32})),
            (siglip(), "size", json!({"height": 32, "width": 30})),
            (siglip(), "do_center_crop", json!(true)),
            (clip(), "crop_size", json!(33)),
            (clip(), "crop_size", json!({"height": 30, "width": 32})),
            (clip(), "do_center_crop", json!(false)),
            (clip(), "size", json!({"shortest_edge": 32, "longest_edge": 64})),
            (clip(), "size", json!({"shortest_edge": 1 << 20})),
            (siglip(), "resample", json!(1)),
            (siglip(), "do_rescale", json!(false)),
            (siglip(), "do_pad", json!(true)),
            (siglip(), "image_std", json!([0, 1, 1])),
            (siglip(), "rescale_factor", json!(-1)),
            (siglip(), "image_processor_type", json!("ViTImageProcessor")),
        ] {
            let mut settings = json!({"size": if kind.crops { json!(32) } else { both.clone() }});
            if kind.crops {
                settings["crop_size"] = both.clone();
            }
            assert!(read(kind, settings.clone()).is_ok());
            settings[key] = value;
            let error = read(kind, settings.clone()).unwrap_err().to_string();
            let named = if key == "image_processor_type" { "image processor" } else { key };
            let is_named = [named, "image_size", "shortest_edge"].iter().any(|name| error.contains(name));
            assert!(is_named, "{settings}: {error}");
            assert!(error.starts_with("m/preprocessor_config.json"), "{error}");
        }
    }
}
