//! New checkpoints from old ones: the same files and names, with some tensors changed.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value, json};

use super::adapter::{AdapterLayout, Folding, LoraAdapter};
use super::kernels::round_to_int8;
use super::storage::{Form, Part, Storage};
use super::{Checkpoint, ModelError, cards, family};
use crate::cancel::CancelToken;
use crate::card::{BEST_FILE, CARD, CARD_BESIDE};
use crate::model::sentence_transformers::describe;
use crate::recipe::NamedRecipe;
use crate::store::{Existing, IoError, write_file, write_folder};

/// Extensions of files that belong to a model beside its weights.
const COMPANIONS: [&str; 5] = ["json", "txt", "jinja", "model", "md"];

/// Files that tell of the weights they lie beside, which others would be wrong to have.
const OF_THESE_WEIGHTS: [&str; 3] = [CARD, CARD_BESIDE, BEST_FILE];

/// Folds `adapter` into the model in `model_dir` and writes the result to `out` as a checkpoint in Hugging
/// Face layout: precision, names, shards and all other files are those of `model_dir`, but for those that tell
/// how the model embeds. It is used by `recipe`, which lies beside the weights;
/// [`EmbedderBuilder::find_recipe`](crate::EmbedderBuilder::find_recipe) finds that of model and adapter.
/// A model card says what it was made of, with what the adapter's says of its training. Returns the number of changed tensors.
///
/// `out` may not exist yet, or be empty; it appears when it is complete. One tensor at a time is in memory.
///
/// # Errors
/// [`ModelError::AdapterBinding`] and [`ModelError::AdapterShape`] when the adapter was made for another
/// model, [`ModelError::Cancelled`], and what [`write_checkpoint`] says.
pub fn merge_adapter(
    model_dir: &Path,
    adapter: &LoraAdapter,
    recipe: &NamedRecipe,
    out: &Path,
    cancel: &CancelToken,
) -> Result<usize, ModelError> {
    let folding = Folding::new(adapter);
    let mut changed = 0;
    write_folder(out, Existing::Refuse, |inside| {
        let is_described = fill(model_dir, inside, recipe, Storage::Kept, cancel, |name, shape, load| {
            let folded = folding.fold(name, shape, &Device::Cpu, load)?;
            changed += usize::from(folded.is_some());
            Ok(folded)
        })?;
        folding.require_all_bound()?;
        cards::of_merged(out, model_dir, adapter, &recipe.recipe, is_described).write(inside, inside)?;
        Ok::<_, ModelError>(())
    })?;
    Ok(changed)
}

/// Writes `adapter` anew to `out`, under the names of `layout`, with its recipe and a model card, which has what
/// the one beside `adapter` says of its training. Gives whether the card beside it is a person's: that one stays
/// the card, and the other lies beside as `README.gve.md`.
///
/// `out` may not exist yet, or be empty; it appears when it is complete.
///
/// # Errors
/// [`ModelError::Io`] when `out` is not empty or cannot be written.
pub fn rename_adapter(adapter: &LoraAdapter, layout: AdapterLayout, out: &Path) -> Result<bool, ModelError> {
    write_folder(out, Existing::Refuse, |inside| {
        adapter.write(inside, layout)?;
        let before = adapter.directory().unwrap_or(inside);
        Ok(cards::of_renamed(out, adapter, layout).write(inside, before)?)
    })
}

/// Writes a copy of the checkpoint in `model_dir` to `out` in which the tensors that `replace` knows have new
/// values, rounded to the precision they are stored in. Like [`merge_adapter`] otherwise, but without a model card: that of
/// `model_dir` tells of other weights.
///
/// # Errors
/// [`ModelError::Io`] when `out` is not empty or cannot be written, [`ModelError::Shape`] for a replacement
/// of another shape, and the errors of [`Checkpoint::open`].
pub fn write_checkpoint(
    model_dir: &Path,
    recipe: &NamedRecipe,
    out: &Path,
    mut replace: impl FnMut(&str) -> Option<Tensor>,
) -> Result<(), ModelError> {
    write_folder(out, Existing::Refuse, |inside| {
        fill(model_dir, inside, recipe, Storage::Kept, &CancelToken::new(), |name, _, _| Ok(replace(name)))
            .map(drop)
    })
}

/// Writes a copy of the checkpoint in `model_dir` to `out` that is stored as `dtype`; `Auto` is f32. `Int8`
/// stores linear layers in 8-bit integers with a scale per output, as the library compressed-tensors reads
/// them, and all else as it is. Like [`merge_adapter`] otherwise.
///
/// # Errors
/// [`ModelError::Io`] when `out` is not empty or cannot be written, [`ModelError::Cancelled`], and the errors
/// of [`Checkpoint::open`].
pub fn convert_checkpoint(
    model_dir: &Path,
    dtype: crate::device::DType,
    recipe: &NamedRecipe,
    out: &Path,
    cancel: &CancelToken,
) -> Result<(), ModelError> {
    let storage = match dtype {
        crate::device::DType::Int8 => Storage::Int8,
        dtype => Storage::Float(dtype.on(&Device::Cpu)),
    };
    write_folder(out, Existing::Refuse, |inside| {
        fill(model_dir, inside, recipe, storage, cancel, |_, _, _| Ok(None))?;
        edit_json(&inside.join("config.json"), |config| storage.tell(config))?;
        let index = inside.join("model.safetensors.index.json");
        if !index.is_file() {
            return Ok(());
        }
        let checkpoint = Checkpoint::open(inside)?;
        edit_json(&index, |index| {
            let metadata = index.entry("metadata").or_insert_with(|| json!({}));
            if !metadata.is_object() {
                *metadata = json!({});
            }
            metadata["total_size"] =
                checkpoint.shards().iter().map(|shard| shard.values().len()).sum::<usize>().into();
            index.insert("weight_map".to_owned(), checkpoint.weight_map().into());
        })
    })
}

fn edit_json(path: &Path, edit: impl FnOnce(&mut Map<String, Value>)) -> Result<(), ModelError> {
    let text = fs::read_to_string(path).map_err(IoError::of("read", path))?;
    let invalid = |error: serde_json::Error| ModelError::Checkpoint {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let mut value = serde_json::from_str(&text).map_err(invalid)?;
    edit(&mut value);
    let text = serde_json::to_string_pretty(&value).map_err(invalid)?;
    Ok(write_file(path, |file| file.write_all(text.as_bytes()))?)
}

/// Loads the tensor at hand in a given precision.
type Load<'a> = dyn Fn(DType) -> Result<Tensor, ModelError> + 'a;

/// Writes all files of a model to `out`. `change` is asked for new values by name and shape of what stays as
/// it is. Whether sentence-transformers is told how it embeds.
fn fill(
    model_dir: &Path,
    out: &Path,
    recipe: &NamedRecipe,
    storage: Storage,
    cancel: &CancelToken,
    mut change: impl FnMut(&str, &[usize], &Load<'_>) -> Result<Option<Tensor>, ModelError>,
) -> Result<bool, ModelError> {
    // Not a model: no reason to write anything.
    family::open(model_dir)?;
    let checkpoint = Checkpoint::open(model_dir)?;
    // In another precision it is the same model.
    copy_companions(model_dir, out, storage != Storage::Kept)?;
    recipe.write(out)?;
    let is_described = describe(out)?;
    for shard in checkpoint.shards() {
        let path = out.join(shard.file_name());
        let write = |reason| ModelError::from(IoError::of("write", &path)(reason));
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&path).map_err(write)?);
        let parts = storage.parts(&checkpoint, shard.tensors_in_order()?);
        match storage {
            // Names, shapes and types stay, so the header does as well.
            Storage::Kept => file.write_all(shard.header()),
            _ => file.write_all(&shard.header_of(parts.iter().map(Part::described).collect())?),
        }
        .map_err(write)?;
        for part in parts {
            if cancel.is_cancelled() {
                return Err(ModelError::Cancelled);
            }
            let Part { stored, form } = &part;
            let load = |dtype| checkpoint.tensor(&stored.name, &stored.shape, dtype, &Device::Cpu);
            let tensor = match form {
                Form::Float(dtype) => Some(load(*dtype)?),
                Form::Int8 | Form::Scales => {
                    let (values, scales) = rounded(&load(DType::F32)?)?;
                    let bytes = if *form == Form::Int8 { values } else { scales };
                    file.write_all(&bytes).map_err(write)?;
                    continue;
                }
                Form::Kept if stored.is_integer() && !checkpoint.is_int8(&stored.name) => None,
                Form::Kept => change(&stored.name, &stored.shape, &load)?,
            };
            let Some(tensor) = tensor else {
                file.write_all(stored.bytes).map_err(write)?;
                continue;
            };
            if tensor.dims() != stored.shape {
                return Err(ModelError::Shape {
                    path: path.clone(),
                    tensor: stored.name.clone(),
                    expected: stored.shape.clone(),
                    got: tensor.dims().to_vec(),
                });
            }
            let dtype = match form {
                Form::Float(dtype) => *dtype,
                _ => stored.dtype()?,
            };
            write_tensor(&tensor.to_device(&Device::Cpu)?.to_dtype(dtype)?, &mut file)?.map_err(write)?;
        }
        file.flush().map_err(write)?;
    }
    Ok(is_described)
}

/// A matrix in int8, row after row, and the scales of its rows in little-endian f32.
fn rounded(matrix: &Tensor) -> Result<(Vec<u8>, Vec<u8>), ModelError> {
    let rows = matrix.to_vec2::<f32>()?;
    let (mut values, mut scales) = (Vec::with_capacity(matrix.elem_count()), Vec::new());
    for row in &rows {
        let mut rounded = vec![0; row.len()];
        scales.extend(round_to_int8(row, &mut rounded).to_le_bytes());
        values.extend(rounded.into_iter().map(i8::cast_unsigned));
    }
    Ok((values, scales))
}

/// The values in little-endian order.
fn write_tensor(tensor: &Tensor, out: &mut impl Write) -> Result<std::io::Result<()>, ModelError> {
    let tensor = tensor.flatten_all()?;
    let halves = |bits: Vec<u16>| -> Vec<u8> { bits.into_iter().flat_map(u16::to_le_bytes).collect() };
    let bytes: Vec<u8> = match tensor.dtype() {
        DType::BF16 => halves(tensor.to_vec1::<half::bf16>()?.into_iter().map(half::bf16::to_bits).collect()),
        DType::F16 => halves(tensor.to_vec1::<half::f16>()?.into_iter().map(half::f16::to_bits).collect()),
        _ => tensor.to_dtype(DType::F32)?.to_vec1::<f32>()?.into_iter().flat_map(f32::to_le_bytes).collect(),
    };
    Ok(out.write_all(&bytes))
}

/// Copies configuration, tokenizer and the like, with or without what is said of these weights, but for an adapter's: its weights stay behind.
fn copy_companions(from: &Path, to: &Path, with_card: bool) -> Result<(), ModelError> {
    let read = |reason| IoError::of("read", from)(reason);
    for entry in fs::read_dir(from).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let is_companion = path.extension().and_then(|e| e.to_str()).is_some_and(|e| COMPANIONS.contains(&e));
        let is_adapters = |name: &&std::ffi::OsStr| name.to_string_lossy().starts_with("adapter_");
        // In the hub's cache these are links, which `is_file` and `copy` follow.
        let is_told =
            |name: &&std::ffi::OsStr| !with_card && OF_THESE_WEIGHTS.iter().any(|told| *name == *told);
        if let Some(name) = path
            .file_name()
            .filter(|name| is_companion && !is_adapters(name) && !is_told(name) && path.is_file())
        {
            let target = to.join(name);
            fs::copy(&path, &target).map_err(IoError::of("write", &target))?;
        }
    }
    Ok(())
}
