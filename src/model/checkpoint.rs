//! Weights of a checkpoint: one memory-mapped `model.safetensors`, or shards with their index.
//!
//! Tensors are copied out one at a time in the precision asked for, or laid out straight from the file, and the mapped
//! pages are given back at once, so that loading never holds a checkpoint twice.

mod int8;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::Deserialize;

use super::ModelError;
use super::WeightPrecision;
use super::kernels::Floats;
use super::memory::MemoryNeed;
use crate::options::shown_by;
use crate::store::{IoError, is_file_name, limited_file, open_regular_file};
pub(super) use int8::{is_linear, scale_name};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Bytes that it may have; that of the 7B shape has 60 thousand.
const MAX_INDEX_BYTES: u64 = 64 << 20;

/// The weights of one model directory, by tensor name.
pub struct Checkpoint {
    directory: PathBuf,
    shards: Vec<Shard>,
    /// Tensor name to the shard that holds it.
    shard_of: HashMap<String, usize>,
    layout: Layout,
}

shown_by!(Checkpoint |it| { directory: it.directory, tensors: it.shard_of.len() });

/// One memory-mapped safetensors file.
pub(super) struct Shard {
    path: PathBuf,
    bytes: Mmap,
    data_start: usize,
    metadata: Metadata,
}

/// How transformers named the two halves of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `visual.*` and `model.*`, up to transformers 4.51.
    Flat,
    /// `model.visual.*` and `model.language_model.*`, since 4.52.
    Nested,
}

impl Checkpoint {
    /// Maps the weights in `directory` and reads their headers.
    ///
    /// # Errors
    /// [`ModelError::Io`] for a missing file, [`ModelError::Checkpoint`] for a damaged one.
    pub fn open(directory: &Path) -> Result<Self, ModelError> {
        let index = directory.join(INDEX);
        // As transformers does, the single file is preferred where both are there.
        let is_single = directory.join(SINGLE).is_file() || !index.is_file();
        let names = if is_single { vec![SINGLE.to_owned()] } else { shard_names(&index)? };
        let shards =
            names.iter().map(|name| Shard::open(directory.join(name))).collect::<Result<Vec<_>, _>>()?;
        let mut shard_of = HashMap::new();
        for (i, shard) in shards.iter().enumerate() {
            for name in shard.metadata.tensors().into_keys() {
                if shard_of.insert(name.clone(), i).is_some() {
                    return Err(shard.damaged(format!("tensor `{name}` is in another file as well")));
                }
            }
        }
        let nested = shard_of.keys().any(|name| name.starts_with("model.language_model."));
        let layout = if nested { Layout::Nested } else { Layout::Flat };
        Ok(Self { directory: directory.to_owned(), shards, shard_of, layout })
    }

    /// Prefix of the vision tower's tensors.
    pub fn vision_prefix(&self) -> &'static str {
        match self.layout {
            Layout::Flat => "visual",
            Layout::Nested => "model.visual",
        }
    }

    /// Prefix of the language model's tensors.
    pub fn language_prefix(&self) -> &'static str {
        match self.layout {
            Layout::Flat => "model",
            Layout::Nested => "model.language_model",
        }
    }

    /// Number of values in all tensors. The scales of what is stored in int8 do not count.
    pub fn num_parameters(&self) -> usize {
        let tensors = self.shards.iter().flat_map(|shard| shard.metadata.tensors());
        let values = tensors.filter(|(name, _)| !self.is_scale(name));
        values.map(|(_, tensor)| tensor.shape.iter().product::<usize>()).sum()
    }

    /// Types the tensors are stored as, each once, sorted.
    pub fn dtypes(&self) -> Vec<String> {
        let tensors = self.shards.iter().flat_map(|shard| shard.metadata.tensors().into_values());
        let names: BTreeSet<String> = tensors.map(|t| t.dtype.to_string().to_lowercase()).collect();
        names.into_iter().collect()
    }

    /// Bytes that the weights take in the memory of the CPU when they are loaded as `dtype`, and what loading
    /// them takes on top for a while. [`DType::Auto`](crate::device::DType::Auto) keeps what is stored.
    pub fn memory_as(&self, dtype: crate::device::DType) -> MemoryNeed {
        self.memory(dtype.into(), &|_| false)
    }

    /// As [`memory_as`](Self::memory_as), where the tensors that `widened` knows by their names are held in
    /// f32.
    pub(super) fn memory(&self, precision: WeightPrecision, widened: &dyn Fn(&str) -> bool) -> MemoryNeed {
        let mut need = MemoryNeed::default();
        for (name, info) in self.shards.iter().flat_map(|shard| shard.metadata.tensors()) {
            if name.starts_with("lm_head.") || self.is_scale(&name) {
                // Not loaded, or counted with what it is of.
                continue;
            }
            let values = info.shape.iter().product::<usize>() as u64;
            let stored = float_type(info.dtype).unwrap_or(DType::F32);
            let held = match precision {
                // What is added to activations or scales them.
                _ if info.shape.len() < 2 || widened(&name) => DType::F32,
                WeightPrecision::As(dtype) => dtype,
                WeightPrecision::Stored | WeightPrecision::Int8 => stored,
            };
            let is_int8 = match precision {
                WeightPrecision::Stored | WeightPrecision::Int8 if self.is_int8(&name) => !widened(&name),
                precision => precision == WeightPrecision::Int8 && is_linear(&name, &info.shape),
            };
            need.weights_bytes += if is_int8 {
                values + 4 * info.shape[0] as u64
            } else {
                values * held.size_in_bytes() as u64
            };
            let stored_bytes = (info.data_offsets.1 - info.data_offsets.0) as u64;
            // The copy of what is stored, and of what is laid out anew.
            let copies = if held == DType::F32 { stored_bytes + 4 * values } else { stored_bytes };
            need.loading_bytes = need.loading_bytes.max(copies);
        }
        need
    }

    /// The precision in which tensor `name` is stored.
    pub(super) fn stored_as(&self, name: &str) -> Option<DType> {
        let shard = self.shards.get(*self.shard_of.get(name)?)?;
        float_type(shard.metadata.info(name)?.dtype)
    }

    /// Names of all tensors, sorted.
    pub fn tensor_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.shard_of.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The name of the file that holds each tensor.
    pub(super) fn weight_map(&self) -> serde_json::Map<String, serde_json::Value> {
        let file_of = |shard: &usize| self.shards[*shard].file_name().to_string_lossy().into_owned().into();
        self.shard_of.iter().map(|(name, shard)| (name.clone(), file_of(shard))).collect()
    }

    /// Where the weights are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The files that hold the tensors.
    pub(super) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Whether tensor `name` is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.shard_of.contains_key(name)
    }

    /// Copies tensor `name` to `device` as `dtype`; its shape must be `expected`.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] and [`ModelError::Shape`], each naming the tensor.
    pub fn tensor(
        &self,
        name: &str,
        expected: &[usize],
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor, ModelError> {
        let (shard, info) = self.find(name, expected)?;
        if self.is_int8(name) {
            return Ok(self.widened(name, shard, info, device)?.to_dtype(dtype)?);
        }
        let stored = shard.float_type(name, info.dtype)?;
        let (begin, end) = (shard.data_start + info.data_offsets.0, shard.data_start + info.data_offsets.1);
        let bytes = shard.bytes_of(name, info)?;
        let tensor = Tensor::from_raw_buffer(bytes, stored, expected, device)?.to_dtype(dtype)?;
        shard.forget_pages(begin, end);
        Ok(tensor)
    }

    /// What `make` makes of the values of the matrix `name`, whose shape must be `expected`, as they are stored: in
    /// place, without a copy. `None` where that is not in floating point, or at an address that is none of such values.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    pub(super) fn floats<T>(
        &self,
        name: &str,
        expected: &[usize],
        make: impl FnOnce(Floats<'_>) -> T,
    ) -> Result<Option<T>, ModelError> {
        let (shard, info) = self.find(name, expected)?;
        let bytes = shard.bytes_of(name, info)?;
        // SAFETY: any bits are such a value.
        let floats = unsafe {
            match info.dtype {
                Dtype::F32 => whole(bytes.align_to()).map(Floats::F32),
                Dtype::BF16 => whole(bytes.align_to()).map(Floats::Bf16),
                Dtype::F16 => whole(bytes.align_to()).map(Floats::F16),
                _ => None,
            }
        };
        let made = floats.map(make);
        shard.forget_pages(shard.data_start + info.data_offsets.0, shard.data_start + info.data_offsets.1);
        Ok(made)
    }

    /// Copies `rows` of the matrix `name`, whose shape must be `expected`, as f32.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    pub(super) fn rows(&self, name: &str, expected: [usize; 2], rows: &[u32]) -> Result<Tensor, ModelError> {
        let (shard, info) = self.find(name, &expected)?;
        let stored = shard.float_type(name, info.dtype)?;
        let (bytes, width) = (shard.bytes_of(name, info)?, expected[1] * stored.size_in_bytes());
        let row = |&row: &u32| {
            let begin = row as usize * width;
            bytes.get(begin..begin + width).ok_or_else(|| shard.damaged(format!("`{name}` has no row {row}")))
        };
        let bytes = rows.iter().map(row).collect::<Result<Vec<_>, _>>()?.concat();
        let shape = [rows.len(), expected[1]];
        Ok(Tensor::from_raw_buffer(&bytes, stored, &shape, &Device::Cpu)?.to_dtype(DType::F32)?)
    }

    /// Tensor `name` and the file that holds it; its shape must be `expected`.
    fn find(&self, name: &str, expected: &[usize]) -> Result<(&Shard, &TensorInfo), ModelError> {
        let shard = self.shard_of.get(name).and_then(|i| self.shards.get(*i));
        let Some((shard, info)) = shard.and_then(|s| s.metadata.info(name).map(|info| (s, info))) else {
            return Err(ModelError::MissingTensor {
                path: self.directory.clone(),
                tensor: name.to_owned(),
                expected: expected.to_vec(),
            });
        };
        if info.shape != expected {
            return Err(ModelError::Shape {
                path: shard.path.clone(),
                tensor: name.to_owned(),
                expected: expected.to_vec(),
                got: info.shape.clone(),
            });
        }
        Ok((shard, info))
    }
}

impl Shard {
    fn open(path: PathBuf) -> Result<Self, ModelError> {
        let read = |reason| ModelError::from(IoError::of("read", &path)(reason));
        let file = open_regular_file(&path).map_err(read)?;
        // SAFETY: the mapping is private and read-only. A file that another process truncates
        // while it is loaded can raise SIGBUS; every memory-mapping loader shares that limit.
        let bytes = unsafe { Mmap::map(&file) }.map_err(read)?;
        let (header_len, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| {
            ModelError::Checkpoint { path: path.clone(), reason: format!("not a safetensors file: {e}") }
        })?;
        Ok(Self { path, bytes, data_start: header_len + 8, metadata })
    }

    /// Name of the file.
    pub(super) fn file_name(&self) -> &Path {
        self.path.file_name().map_or(&self.path, Path::new)
    }

    /// Everything before the tensors' values.
    pub(super) fn header(&self) -> &[u8] {
        &self.bytes[..self.data_start]
    }

    /// The tensors' values, one behind the other.
    pub(super) fn values(&self) -> &[u8] {
        &self.bytes[self.data_start..]
    }

    /// What would stand in the header if these tensors were stored in this order, by name, type and shape.
    pub(super) fn header_of(&self, tensors: Vec<(String, Dtype, Vec<usize>)>) -> Result<Vec<u8>, ModelError> {
        let mut end = 0;
        let tensors = tensors.into_iter().map(|(name, dtype, shape)| {
            let begin = end;
            end += shape.iter().product::<usize>() * dtype.bitsize() / 8;
            (name, TensorInfo { dtype, shape, data_offsets: (begin, end) })
        });
        let tensors = tensors.collect();
        let metadata = Metadata::new(self.metadata.metadata().clone(), tensors)
            .map_err(|error| self.damaged(error.to_string()))?;
        let mut json = serde_json::to_string(&metadata).map_err(|error| self.damaged(error.to_string()))?;
        // Values begin at a multiple of 8.
        json.extend(std::iter::repeat_n(' ', json.len().next_multiple_of(8) - json.len()));
        Ok([&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat())
    }

    /// The tensors in the order of their values in the file.
    pub(super) fn tensors_in_order(&self) -> Result<Vec<StoredTensor<'_>>, ModelError> {
        let mut tensors: Vec<_> = self.metadata.tensors().into_iter().collect();
        tensors.sort_by_key(|(_, info)| info.data_offsets);
        tensors
            .into_iter()
            .map(|(name, info)| {
                let bytes = self.bytes_of(&name, info)?;
                Ok(StoredTensor { shard: self, shape: info.shape.clone(), bytes, stored: info.dtype, name })
            })
            .collect()
    }

    fn bytes_of(&self, name: &str, info: &TensorInfo) -> Result<&[u8], ModelError> {
        let (begin, end) = (self.data_start + info.data_offsets.0, self.data_start + info.data_offsets.1);
        self.bytes.get(begin..end).ok_or_else(|| {
            self.damaged(format!("truncated: tensor `{name}` ends at byte {end} of {}", self.bytes.len()))
        })
    }

    fn float_type(&self, name: &str, stored: Dtype) -> Result<DType, ModelError> {
        float_type(stored).ok_or_else(|| {
            self.damaged(format!("tensor `{name}` is stored as {stored:?}; f32, bf16 and f16 are supported"))
        })
    }

    fn damaged(&self, reason: String) -> ModelError {
        ModelError::Checkpoint { path: self.path.clone(), reason }
    }

    /// Tells the system that the copied pages need not stay in memory.
    #[cfg(unix)]
    fn forget_pages(&self, begin: usize, end: usize) {
        // SAFETY: the mapping is a read-only view of a file: dropped pages are read again on the
        // next access, nothing is lost.
        let advised = unsafe {
            self.bytes.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, begin, end - begin)
        };
        // Only advice: a system that does not take it holds the pages a little longer.
        drop(advised);
    }

    #[cfg(not(unix))]
    fn forget_pages(&self, _begin: usize, _end: usize) {}
}

/// The values of bytes, if these are whole values.
fn whole<'a, T>((before, values, behind): (&'a [u8], &'a [T], &'a [u8])) -> Option<&'a [T]> {
    (before.is_empty() && behind.is_empty()).then_some(values)
}

fn is_integer(stored: Dtype) -> bool {
    matches!(stored, Dtype::I64 | Dtype::I32 | Dtype::I16 | Dtype::I8 | Dtype::U8 | Dtype::BOOL)
}

fn float_type(stored: Dtype) -> Option<DType> {
    match stored {
        Dtype::F32 => Some(DType::F32),
        Dtype::BF16 => Some(DType::BF16),
        Dtype::F16 => Some(DType::F16),
        _ => None,
    }
}

/// A tensor as its file has it.
#[derive(Clone)]
pub(super) struct StoredTensor<'a> {
    shard: &'a Shard,
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: &'a [u8],
    pub(super) stored: Dtype,
}

impl StoredTensor<'_> {
    /// Whether it holds integers, such as the numbers of positions or weights in int8.
    pub(super) fn is_integer(&self) -> bool {
        is_integer(self.stored)
    }

    /// The precision in floating point that its values are stored in.
    pub(super) fn dtype(&self) -> Result<DType, ModelError> {
        self.shard.float_type(&self.name, self.stored)
    }
}

/// The shard files that an index names, each once.
fn shard_names(index: &Path) -> Result<Vec<String>, ModelError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: HashMap<String, String>,
    }
    let text = limited_file::read_text(index, MAX_INDEX_BYTES).map_err(IoError::of("read", index))?;
    let Index { weight_map } = serde_json::from_str(&text).map_err(|e| ModelError::Checkpoint {
        path: index.to_owned(),
        reason: format!("not a safetensors index: {e}"),
    })?;
    let mut names: Vec<String> = weight_map.into_values().collect();
    names.sort_unstable();
    names.dedup();
    match names.iter().find(|name| !is_file_name(name)) {
        Some(name) => Err(ModelError::Checkpoint {
            path: index.to_owned(),
            reason: format!("shard {name:?} is not the name of a file in this folder"),
        }),
        None => Ok(names),
    }
}
