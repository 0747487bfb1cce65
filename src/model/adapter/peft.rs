//! The two files of an adapter.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, TensorView};

use super::patterns::ByName;
use super::saved::modules_to_save;
use super::targets::{escape, target_modules};
use super::{AdapterLayout, LoraAdapter, LoraModule, LoraSettings, Part, module_name};
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

/// What is found of a module's tensors.
#[derive(Default)]
struct Found {
    factors: [Option<Tensor>; 2],
    magnitude: Option<Tensor>,
    /// What the model that it was trained on calls it.
    name: String,
}

/// Brings together the tensors of every module. `path` is for messages.
pub(super) fn collect(
    path: &Path,
    settings: LoraSettings,
    tensors: impl IntoIterator<Item = (String, Tensor)>,
) -> Result<LoraAdapter, ModelError> {
    let wrong = |reason| ModelError::Adapter { path: path.to_owned(), reason };
    let ranks = ByName::new("rank_pattern", &settings.rank_pattern, settings.r).map_err(wrong)?;
    let alphas = ByName::new("alpha_pattern", &settings.alpha_pattern, settings.alpha).map_err(wrong)?;
    let (mut modules, mut saved) = (BTreeMap::<String, Found>::new(), BTreeMap::new());
    for (name, tensor) in tensors {
        let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let Some((module, part)) = parse_name(&name) else {
            let is_saved = settings.modules_to_save.iter().any(|target| is_of(&name, target));
            if !is_saved {
                return Err(wrong(format!(
                    "tensor `{name}` is no LoRA factor (expected `...lora_A.weight` or `...lora_B.weight`), and in \
                     no module of modules_to_save"
                )));
            }
            if saved.insert(module_name(&name).to_owned(), tensor).is_some() {
                return Err(wrong(format!("tensor `{name}` is there twice, under two names")));
            }
            continue;
        };
        let rank = ranks.of(module).map_err(wrong)?;
        let found = modules.entry(module_name(module).to_owned()).or_default();
        module.clone_into(&mut found.name);
        let dims = tensor.dims();
        let (fits, place) = match part {
            Part::A => (dims.len() == 2 && dims[0] == rank, &mut found.factors[0]),
            Part::B => (dims.len() == 2 && dims[1] == rank, &mut found.factors[1]),
            Part::Magnitude => (dims.len() == 1 && settings.use_dora, &mut found.magnitude),
        };
        if !fits {
            return Err(wrong(match part {
                Part::Magnitude if !settings.use_dora => {
                    format!("tensor `{name}` is one of DoRA, but use_dora of {CONFIG} is false")
                }
                Part::Magnitude => {
                    format!("tensor `{name}` has shape {dims:?}, expected one length for each output")
                }
                _ => format!("tensor `{name}` has shape {dims:?}, but the rank r of {CONFIG} is {rank}"),
            }));
        }
        if place.replace(tensor).is_some() {
            return Err(wrong(format!("tensor `{name}` is there twice, under two names")));
        }
    }
    if modules.is_empty() && saved.is_empty() {
        return Err(wrong("it has no tensors".to_owned()));
    }
    if let Some(target) =
        settings.modules_to_save.iter().find(|t| !saved.keys().any(|name| is_of(name, module_name(t))))
    {
        return Err(wrong(format!(
            "modules_to_save of {CONFIG} names `{target}`, of which it has no tensor"
        )));
    }
    let modules = modules
        .into_iter()
        .map(|(module, found)| {
            let alpha = alphas.of(&found.name).map_err(wrong)?;
            match (found.factors, found.magnitude) {
                ([None, _], _) => Err(wrong(format!("module `{module}` has no lora_A"))),
                ([_, None], _) => Err(wrong(format!("module `{module}` has no lora_B"))),
                (_, None) if settings.use_dora => {
                    Err(wrong(format!("module `{module}` has no lora_magnitude_vector, but use_dora is set")))
                }
                ([Some(a), Some(b)], magnitude) => {
                    let (got, expected) = (magnitude.as_ref().map(Tensor::elem_count), b.dim(0)?);
                    match got.filter(|got| *got != expected) {
                        Some(got) => Err(wrong(format!(
                            "module `{module}` has {got} lengths in lora_magnitude_vector, but {expected} outputs"
                        ))),
                        None => Ok((module, LoraModule { a, b, alpha, magnitude })),
                    }
                }
            }
        })
        .collect::<Result<_, _>>()?;
    Ok(LoraAdapter { directory: path.to_owned(), settings, recipe: None, modules, saved })
}

/// Whether a tensor is of a module that PEFT takes for `target` in `modules_to_save`: whose name ends so.
fn is_of(tensor: &str, target: &str) -> bool {
    tensor.match_indices('.').any(|(dot, _)| tensor[..dot].ends_with(target))
}

/// The module that a tensor belongs to, by the name that the model has for it, and what of it the tensor is.
fn parse_name(name: &str) -> Option<(&str, Part)> {
    let name = name.strip_prefix("base_model.model.").unwrap_or(name);
    let name = name.strip_suffix(".weight").unwrap_or(name);
    let marks = [(".lora_A", Part::A), (".lora_B", Part::B), (".lora_magnitude_vector", Part::Magnitude)];
    let (module, rest, part) = marks
        .into_iter()
        .find_map(|(mark, part)| name.rsplit_once(mark).map(|(module, rest)| (module, rest, part)))?;
    // What may follow is the adapter's name, as in `lora_A.default`.
    let adapter = rest.strip_prefix('.').unwrap_or(rest);
    let is_name = rest.is_empty() || (rest.starts_with('.') && !adapter.is_empty() && !adapter.contains('.'));
    is_name.then_some((module, part))
}

/// The settings of `adapter` for a file in the layout `layout`: what it says of some modules, it says by their
/// names here.
fn settings_for(adapter: &LoraAdapter, layout: AdapterLayout) -> LoraSettings {
    let settings = &adapter.settings;
    let modules = || adapter.modules.iter().map(|(name, module)| (escape(name), module));
    let ranks = modules().filter_map(|(name, module)| Some((name, module.a.dim(0).ok()?)));
    let alphas = modules().map(|(name, module)| (name, module.alpha));
    LoraSettings {
        rank_pattern: ranks.filter(|(_, rank)| *rank != settings.r).collect(),
        alpha_pattern: alphas.filter(|(_, alpha)| *alpha != settings.alpha).collect(),
        modules_to_save: modules_to_save(adapter.saved_modules(), layout),
        ..settings.clone()
    }
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
    let targets = target_modules(adapter.module_names());
    let config = format!("{:#}\n", settings_for(adapter, layout).to_json(&targets));
    Ok(write_file(directory.join(CONFIG), |out| out.write_all(config.as_bytes()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_libraries_are_taken_apart() {
        for (name, expected) in [
            (
                "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight",
                Some(("model.layers.0.mlp.up_proj", Part::A)),
            ),
            (
                "base_model.model.model.layers.0.mlp.up_proj.lora_B.default.weight",
                Some(("model.layers.0.mlp.up_proj", Part::B)),
            ),
            ("layers.0.mlp.up_proj.lora_B.weight", Some(("layers.0.mlp.up_proj", Part::B))),
            (
                "base_model.model.model.layers.0.mlp.up_proj.lora_magnitude_vector",
                Some(("model.layers.0.mlp.up_proj", Part::Magnitude)),
            ),
            (
                "base_model.model.visual.blocks.0.attn.qkv.lora_magnitude_vector.default.weight",
                Some(("visual.blocks.0.attn.qkv", Part::Magnitude)),
            ),
            ("base_model.model.model.embed_tokens.lora_embedding_A", None),
            ("base_model.model.model.layers.0.mlp.up_proj.lora_A.a.b.weight", None),
            ("model.layers.0.mlp.up_proj.weight", None),
        ] {
            assert_eq!(parse_name(name), expected, "{name}");
        }
    }
}
