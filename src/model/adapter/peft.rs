//! The two files of an adapter.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, TensorView};

use super::targets::target_modules;
use super::{AdapterLayout, LoraAdapter, LoraPair, LoraSettings, module_name};
use crate::model::ModelError;
use crate::recipe::NamedRecipe;
use crate::store::{IoError, limited_file, write_file};

const CONFIG: &str = "adapter_config.json";
const TENSORS: &str = "adapter_model.safetensors";
/// Bytes that these may have: far more than any adapter.
const MAX_CONFIG_BYTES: u64 = 16 << 20;
const MAX_TENSOR_BYTES: u64 = 16 << 30;

pub(super) fn read(directory: &Path) -> Result<LoraAdapter, ModelError> {
    let settings = read_settings(directory)?;
    let recipe = NamedRecipe::beside(directory)?;
    let path = directory.join(TENSORS);
    let bytes = limited_file::read(&path, MAX_TENSOR_BYTES).map_err(IoError::of("read", &path))?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|e| {
        ModelError::Adapter { path: path.clone(), reason: format!("not a safetensors file: {e}") }
    })?;
    let adapter = collect(&path, settings, tensors)?;
    Ok(LoraAdapter { directory: directory.to_owned(), recipe, ..adapter })
}

pub(super) fn read_settings(directory: &Path) -> Result<LoraSettings, ModelError> {
    let path = directory.join(CONFIG);
    let text = limited_file::read_text(&path, MAX_CONFIG_BYTES).map_err(IoError::of("read", &path))?;
    LoraSettings::parse(&text).map_err(|reason| ModelError::Adapter { path, reason })
}

/// Pairs up the factors of every module. `path` is for messages.
pub(super) fn collect(
    path: &Path,
    settings: LoraSettings,
    tensors: impl IntoIterator<Item = (String, Tensor)>,
) -> Result<LoraAdapter, ModelError> {
    let wrong = |reason| ModelError::Adapter { path: path.to_owned(), reason };
    let mut factors: BTreeMap<String, [Option<Tensor>; 2]> = BTreeMap::new();
    for (name, tensor) in tensors {
        let Some((module, factor)) = parse_name(&name) else {
            return Err(wrong(format!(
                "tensor `{name}` is no LoRA factor (expected `...lora_A.weight` or `...lora_B.weight`)"
            )));
        };
        let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let dims = tensor.dims();
        if dims.len() != 2 || dims[factor] != settings.r {
            return Err(wrong(format!(
                "tensor `{name}` has shape {dims:?}, but the rank r of {CONFIG} is {}",
                settings.r
            )));
        }
        if factors.entry(module.to_owned()).or_default()[factor].replace(tensor).is_some() {
            return Err(wrong(format!("tensor `{name}` is there twice, under two names")));
        }
    }
    if factors.is_empty() {
        return Err(wrong("it has no tensors".to_owned()));
    }
    let modules = factors
        .into_iter()
        .map(|(module, factors)| match factors {
            [Some(a), Some(b)] => Ok((module, LoraPair { a, b })),
            [None, _] => Err(wrong(format!("module `{module}` has no lora_A"))),
            [_, None] => Err(wrong(format!("module `{module}` has no lora_B"))),
        })
        .collect::<Result<_, _>>()?;
    Ok(LoraAdapter { directory: path.to_owned(), settings, recipe: None, modules })
}

/// The module that a tensor belongs to, and 0 for `A` or 1 for `B`, which is also the dimension that the rank
/// has.
fn parse_name(name: &str) -> Option<(&str, usize)> {
    let name = name.strip_suffix(".weight").unwrap_or(name);
    let (module, rest, factor) = [(".lora_A", 0), (".lora_B", 1)]
        .into_iter()
        .find_map(|(mark, factor)| name.rsplit_once(mark).map(|(module, rest)| (module, rest, factor)))?;
    // What may follow is the adapter's name, as in `lora_A.default`.
    let adapter = rest.strip_prefix('.').unwrap_or(rest);
    let is_name = rest.is_empty() || (rest.starts_with('.') && !adapter.is_empty() && !adapter.contains('.'));
    is_name.then_some((module_name(module), factor))
}

pub(super) fn write(
    adapter: &LoraAdapter,
    directory: &Path,
    layout: AdapterLayout,
) -> Result<(), ModelError> {
    fs::create_dir_all(directory).map_err(IoError::of("create the folder", directory))?;
    let mut bytes = BTreeMap::new();
    for (name, tensor) in adapter.tensors(layout) {
        let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
        let values: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        bytes.insert(name, (tensor.dims().to_vec(), values));
    }
    let path = directory.join(TENSORS);
    let broken =
        |e: safetensors::SafeTensorError| ModelError::Adapter { path: path.clone(), reason: e.to_string() };
    let views = bytes
        .iter()
        .map(|(name, (shape, bytes))| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(broken)?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let file = safetensors::serialize(views, Some(metadata)).map_err(broken)?;
    write_file(&path, |out| out.write_all(&file))?;
    if let Some(recipe) = &adapter.recipe {
        recipe.write(directory)?;
    }
    let config = format!("{:#}\n", adapter.settings.to_json(&target_modules(adapter.module_names())));
    Ok(write_file(directory.join(CONFIG), |out| out.write_all(config.as_bytes()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_libraries_are_taken_apart() {
        for (name, expected) in [
            ("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", Some(("layers.0.mlp.up_proj", 0))),
            (
                "base_model.model.model.layers.0.mlp.up_proj.lora_B.default.weight",
                Some(("layers.0.mlp.up_proj", 1)),
            ),
            (
                "base_model.model.model.language_model.layers.0.mlp.up_proj.lora_B.weight",
                Some(("layers.0.mlp.up_proj", 1)),
            ),
            ("base_model.model.model.layers.0.mlp.up_proj.lora_magnitude_vector", None),
            ("base_model.model.model.embed_tokens.lora_embedding_A", None),
            ("base_model.model.model.layers.0.mlp.up_proj.lora_A.a.b.weight", None),
            ("model.layers.0.mlp.up_proj.weight", None),
        ] {
            assert_eq!(parse_name(name), expected, "{name}");
        }
    }
}
