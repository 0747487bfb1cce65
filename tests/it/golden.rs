//! The reference's numbers: see `tests/golden/make_golden.py`, which made them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

/// Directory of fixtures, `tests/golden`.
pub(crate) fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Checkpoints to test: the committed one, and others of the family named in
/// `GVE_GOLDEN_EXTRA` (directories made by the generator, separated by `:`).
pub(crate) fn fixture_dirs() -> Vec<PathBuf> {
    let extra = std::env::var("GVE_GOLDEN_EXTRA").unwrap_or_default();
    let extra = extra.split(':').filter(|dir| !dir.is_empty()).map(PathBuf::from);
    std::iter::once(golden_dir().join("tiny-a")).chain(extra).collect()
}

/// One reference case: its record in `cases.json` and its tensors.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) record: Value,
    pub(crate) tensors: HashMap<String, Tensor>,
}

impl Case {
    pub(crate) fn all(fixture: &Path) -> Vec<Self> {
        let text = std::fs::read_to_string(fixture.join("cases.json")).unwrap();
        let records: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert!(!records.is_empty());
        records
            .into_iter()
            .map(|record| {
                let name = record["name"].as_str().unwrap().to_owned();
                let path = fixture.join(format!("cases/{name}.safetensors"));
                let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
                Self { name, record, tensors }
            })
            .collect()
    }

    pub(crate) fn input_ids(&self) -> Vec<u32> {
        let ids = self.tensors["input_ids"].to_dtype(DType::U32).unwrap();
        ids.to_vec1().unwrap()
    }

    /// Temporal, height and width positions.
    pub(crate) fn position_ids(&self) -> [Vec<u32>; 3] {
        let ids = self.tensors["position_ids"].to_dtype(DType::U32).unwrap();
        let ids: Vec<Vec<u32>> = ids.to_vec2().unwrap();
        ids.try_into().unwrap()
    }

    /// Grids of the images, then of the videos.
    pub(crate) fn grids(&self) -> Vec<[usize; 3]> {
        ["image_grid_thw", "video_grid_thw"]
            .iter()
            .flat_map(|key| self.record[key].as_array().cloned().unwrap_or_default())
            .map(|grid| serde_json::from_value(grid).unwrap())
            .collect()
    }

    pub(crate) fn embedding(&self) -> Vec<f32> {
        self.tensors["embedding"].to_vec1().unwrap()
    }
}

pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot =
        |x: &[f32], y: &[f32]| -> f64 { x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

pub(crate) fn max_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let difference = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
    difference.max(0).unwrap().to_scalar().unwrap()
}
