//! Embeddings made elsewhere, so that a model in any language can be scored.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gve::retrieval::{EmbeddingTable, read_embeddings};
use gve::store::IoError;
use gve::text::{IdListError, find_ids, id_list_of, read_ids};
use half::{bf16, f16};
use ndarray::Array2;
use safetensors::{Dtype, SafeTensors};

use super::{Emit, EncodeError, Encoder, EncoderInfo, Request, Role, check};
use crate::Error;

const EXTENSIONS: [&str; 4] = ["npy", "parquet", "safetensors", "jsonl"];
/// What others call such files, and is named where it lies instead of one.
const UNREAD: [&str; 8] = ["npz", "pt", "pkl", "pickle", "feather", "arrow", "csv", "json"];
/// Name of the tensor in a safetensors file.
const EMBEDDINGS: &str = "embeddings";

/// Looks embeddings up in files, by data set and id:
///
/// ```text
/// <directory>/<DATA SET>/queries.npy      with the ids in queries.ids.json, a JSON array
/// <directory>/<DATA SET>/corpus.parquet   with columns `id` and `embedding`
/// ```
///
/// Each of the two is one of `.npy`, `.parquet` and `.jsonl`, as [`gve::retrieval::read_embeddings`] reads
/// them, or `.safetensors` with a tensor `embeddings`, rows x dim in f64, f32, f16 or bf16, and the ids as a
/// JSON array under `ids` in its metadata or beside it. Beside an array lie its ids in `<name>.ids.json` or
/// `<name>.ids.txt`, an id a line.
pub struct PrecomputedEncoder {
    info: EncoderInfo,
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The file read last: one call is rarely alone.
    loaded: Option<Arc<Table>>,
    /// The width of the first file, which all must have.
    dim: Option<(usize, PathBuf)>,
}

/// A file of embeddings.
struct Table {
    path: PathBuf,
    rows: HashMap<String, usize>,
    embeddings: Array2<f32>,
}

impl PrecomputedEncoder {
    /// The embeddings under `directory`, made by `revision` of the model `name`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where `directory` is none. Files are opened when they are asked for.
    pub fn open(
        directory: impl Into<PathBuf>,
        name: impl Into<String>,
        revision: impl Into<String>,
    ) -> Result<Self, Error> {
        let directory = directory.into();
        if !directory.is_dir() {
            return Err(Error::invalid(
                directory,
                None,
                "not a directory; expected one with a folder per data set, such as MSRVTT/queries.npy",
            ));
        }
        let info = EncoderInfo {
            name: name.into(),
            revision: revision.into(),
            settings: BTreeMap::new(),
            recipe: None,
            cacheable: false,
        };
        Ok(Self { info, directory, state: Mutex::default() })
    }

    fn table(&self, request: Request<'_>) -> Result<Arc<Table>, Error> {
        let stem = match request.role {
            Role::Query => "queries",
            Role::Document => "corpus",
        };
        let path = find(&self.directory.join(request.dataset), stem)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = state.loaded.as_ref().filter(|table| table.path == path) {
            return Ok(loaded.clone());
        }
        // Gives its memory back before the next one takes as much.
        state.loaded = None;
        let table = Arc::new(Table::read(path)?);
        let dim = table.embeddings.ncols();
        if let Some((expected, first)) = state.dim.as_ref().filter(|(expected, _)| *expected != dim) {
            let reason = format!(
                "its embeddings have dimension {dim}, those of {} have {expected}: all must come from one \
                 model",
                first.display()
            );
            return Err(Error::invalid(&table.path, None, reason));
        }
        state.dim.get_or_insert((dim, table.path.clone()));
        state.loaded = Some(table.clone());
        Ok(table)
    }
}

impl Encoder for PrecomputedEncoder {
    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    /// An id that its file does not hold is that item's error; ids that no item has are passed over.
    ///
    /// # Errors
    /// A file that is missing, there in two formats, damaged, of another width than the others, or names an
    /// id twice; what `emit` fails with.
    fn encode(&self, request: Request<'_>, emit: &mut Emit<'_>) -> Result<(), Error> {
        if request.items.is_empty() {
            return Ok(());
        }
        let table = self.table(request)?;
        request.items.iter().enumerate().try_for_each(|(index, item)| emit(index, table.get(item.id)))
    }
}

impl Table {
    fn read(path: PathBuf) -> Result<Self, Error> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let EmbeddingTable { ids, embeddings } = match extension {
            Some("safetensors") => read_safetensors(&path)?,
            // Without ids its rows would be numbered, and no data set has such ids by intention.
            Some("npy") => {
                find_ids(&path).map_err(|missing| Error::invalid(&path, None, missing))?;
                read_embeddings(&path)?
            }
            _ => read_embeddings(&path)?,
        };
        let mut rows = HashMap::with_capacity(ids.len());
        for (row, id) in ids.into_iter().enumerate() {
            if let Some(first) = rows.get(&id) {
                let reason = format!("rows {first} and {row} both have the id `{id}`");
                return Err(Error::invalid(path, None, reason));
            }
            rows.insert(id, row);
        }
        Ok(Self { path, rows, embeddings })
    }

    fn get(&self, id: &str) -> Result<Vec<f32>, EncodeError> {
        let fault = |reason: &str| EncodeError(format!("{}: {reason} `{id}`", self.path.display()));
        let row = self.rows.get(id).ok_or_else(|| fault("no embedding with the id"))?;
        let values = self.embeddings.row(*row).to_vec();
        check(&values).map_err(|error| fault(&format!("{error} under the id")))?;
        Ok(values)
    }
}

/// The one file of that stem in a known format.
fn find(folder: &Path, stem: &str) -> Result<PathBuf, Error> {
    let candidates = EXTENSIONS.map(|extension| folder.join(format!("{stem}.{extension}")));
    let mut found = candidates.into_iter().filter(|path| path.is_file());
    match (found.next(), found.next()) {
        (Some(path), None) => Ok(path),
        (Some(one), Some(other)) => {
            let reason = format!("{} is there too: remove the one that is out of date", other.display());
            Err(Error::invalid(one, None, reason))
        }
        (None, _) => {
            let unread = UNREAD.map(|extension| folder.join(format!("{stem}.{extension}")));
            let unread = unread.into_iter().find(|path| path.exists());
            let unread = unread.map_or_else(String::new, |path| format!("; {} is not read", path.display()));
            let reason = format!("no file {stem}.npy, .parquet, .safetensors or .jsonl in it{unread}");
            Err(Error::invalid(folder, None, reason))
        }
    }
}

fn ids_beside(path: &Path, rows: usize) -> Result<Vec<String>, Error> {
    read_ids(path, rows).map_err(|error| match error {
        IdListError::Io(error) => error.into(),
        IdListError::Content { path, reason } => Error::invalid(path, None, reason),
        missing => Error::invalid(path, None, missing),
    })
}

fn read_safetensors(path: &Path) -> Result<EmbeddingTable, Error> {
    let bytes = fs::read(path).map_err(IoError::of("read", path))?;
    let invalid = |reason: String| Error::invalid(path, None, reason);
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| invalid(e.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| invalid(e.to_string()))?;
    let tensor = file
        .tensor(EMBEDDINGS)
        .map_err(|_| invalid(format!("no tensor `{EMBEDDINGS}`; it holds {}", file.names().join(", "))))?;
    let [rows, dim] = *tensor.shape() else {
        return Err(invalid(format!("`{EMBEDDINGS}` has shape {:?}, expected [rows, dim]", tensor.shape())));
    };
    let pairs = || tensor.data().as_chunks().0.iter().map(|&pair| u16::from_le_bytes(pair));
    let values: Vec<f32> = match tensor.dtype() {
        Dtype::F32 => tensor.data().as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect(),
        Dtype::F16 => pairs().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        Dtype::BF16 => pairs().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        Dtype::F64 => {
            tensor.data().as_chunks().0.iter().map(|&value| f64::from_le_bytes(value) as f32).collect()
        }
        other => return Err(invalid(format!("`{EMBEDDINGS}` is {other:?}, expected F64, F32, F16 or BF16"))),
    };
    let embeddings = Array2::from_shape_vec((rows, dim), values).map_err(|e| invalid(e.to_string()))?;
    let in_header = metadata.metadata().as_ref().and_then(|metadata| metadata.get("ids"));
    let ids: Vec<String> = match in_header {
        Some(ids) => id_list_of(ids).map_err(|reason| invalid(format!("`ids` in its metadata: {reason}")))?,
        None => ids_beside(path, rows)?,
    };
    if ids.len() != rows {
        return Err(invalid(format!("{} ids for {rows} embeddings", ids.len())));
    }
    Ok(EmbeddingTable { ids, embeddings })
}
