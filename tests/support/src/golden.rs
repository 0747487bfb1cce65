//! The reference's numbers: see `tests/golden/make_golden.py`, which made them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

/// The root of the repository: where this was built, or `GVE_REPOSITORY` for tests that run on another
/// machine.
pub fn repository_dir() -> &'static Path {
    static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var_os("GVE_REPOSITORY") {
        Some(directory) => directory.into(),
        None => concat!(env!("CARGO_MANIFEST_DIR"), "/../..").into(),
    });
    &DIRECTORY
}

/// Directory of fixtures, `tests/golden`.
pub fn golden_dir() -> PathBuf {
    repository_dir().join("tests/golden")
}

/// The committed checkpoint.
pub fn model() -> PathBuf {
    golden_dir().join("tiny-a/model")
}

/// A clip or an image of the cases.
pub fn media(name: &str) -> PathBuf {
    golden_dir().join("media").join(name)
}

/// Checkpoints of Qwen2.5-VL to test, as [`fixtures`].
pub fn fixture_dirs() -> Vec<PathBuf> {
    fixtures("tiny-a")
}

/// Checkpoints to test: the one that is committed as `name`, and others of its architecture named in
/// `GVE_GOLDEN_EXTRA` (directories made by the generators, separated by `:`).
pub fn fixtures(name: &str) -> Vec<PathBuf> {
    let committed = golden_dir().join(name);
    let extra = std::env::var("GVE_GOLDEN_EXTRA").unwrap_or_default();
    let extra = extra.split(':').filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let extra = extra.filter(|dir| model_type(dir) == model_type(&committed));
    std::iter::once(committed.clone()).chain(extra).collect()
}

fn model_type(fixture: &Path) -> Value {
    let config = std::fs::read(fixture.join("model/config.json")).unwrap();
    serde_json::from_slice::<Value>(&config).unwrap()["model_type"].clone()
}

/// One reference case: its record in `cases.json` and its tensors.
pub struct Case {
    /// As the files call it.
    pub name: String,
    /// Its entry in `cases.json`.
    pub record: Value,
    /// What the reference gave at every stage.
    pub tensors: HashMap<String, Tensor>,
}

impl Case {
    /// Those of a fixture.
    pub fn all(fixture: &Path) -> Vec<Self> {
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

    /// Tokens of the prompt.
    pub fn input_ids(&self) -> Vec<u32> {
        let ids = self.tensors["input_ids"].to_dtype(DType::U32).unwrap();
        ids.to_vec1().unwrap()
    }

    /// Temporal, height and width positions.
    pub fn position_ids(&self) -> [Vec<u32>; 3] {
        let ids = self.tensors["position_ids"].to_dtype(DType::U32).unwrap();
        let ids: Vec<Vec<u32>> = ids.to_vec2().unwrap();
        ids.try_into().unwrap()
    }

    /// Grids of the images, then of the videos.
    pub fn grids(&self) -> Vec<[usize; 3]> {
        ["image_grid_thw", "video_grid_thw"]
            .iter()
            .flat_map(|key| self.record[key].as_array().cloned().unwrap_or_default())
            .map(|grid| serde_json::from_value(grid).unwrap())
            .collect()
    }

    /// What the reference embeds it as.
    pub fn embedding(&self) -> Vec<f32> {
        self.tensors["embedding"].to_vec1().unwrap()
    }

    /// The case as a line of `gve embed --input`, with paths relative to the media folder.
    pub fn json_line(&self) -> String {
        let keys = [
            "type",
            "text",
            "image",
            "video",
            "nframes",
            "fps",
            "min_frames",
            "max_frames",
            "max_pixels",
            "min_pixels",
        ];
        let content: Vec<Value> = self.record["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(|part| {
                let kept = part.as_object().unwrap().iter().filter(|(key, _)| keys.contains(&key.as_str()));
                Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
            })
            .collect();
        let mut line = json!({"id": self.name, "content": content});
        if let Some(system) = self.record["system"].as_str() {
            line["instruction"] = system.into();
        }
        line.to_string()
    }

    /// The agreement asked for: exact inputs must give the reference's numbers, decoding and resizing
    /// of our own may differ by a level of grey here and there.
    pub fn least_cosine(&self) -> f64 {
        if self.grids().is_empty() { 0.99999 } else { 0.9995 }
    }
}

/// Of two embeddings of any length.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot =
        |x: &[f32], y: &[f32]| -> f64 { x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Between values of two tensors of one shape, wherever they are.
pub fn max_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let [a, b] = [a, b].map(|x| x.to_device(&Device::Cpu).unwrap());
    let difference = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
    difference.max(0).unwrap().to_scalar().unwrap()
}

/// The bytes of a golden picture or MP4 with an empty box at the end: the same to look at, and another file
/// for each `mark`.
pub fn marked(name: &str, mark: impl std::fmt::Display) -> Vec<u8> {
    let mark = mark.to_string().into_bytes();
    let length = (8 + mark.len() as u32).to_be_bytes();
    [std::fs::read(media(name)).unwrap(), length.to_vec(), b"free".to_vec(), mark].concat()
}
