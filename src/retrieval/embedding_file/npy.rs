//! Embeddings as a NumPy array, with the ids in a JSON array beside it.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>. Only what embeddings need:
//! two dimensions, f32, little endian, C order.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::{EmbeddingTable, invalid, table};
use crate::retrieval::RetrievalError;
use crate::retrieval::atomic_file::AtomicFile;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Length of the header we write, large enough for any shape and a multiple of 64 as NumPy wants.
const HEADER_BYTES: usize = 128;
/// Magic, version and length of the text, in format version 1.
const PRELUDE_BYTES: usize = 10;
/// No sane header is longer; a hostile one could claim 4 GiB.
const MAX_HEADER_TEXT_BYTES: usize = 1 << 16;
/// Values converted at once while reading.
const READ_VALUES: usize = 1 << 16;

fn ids_path(path: &Path) -> PathBuf {
    path.with_extension("ids.json")
}

fn header(rows: usize, dim: usize) -> Vec<u8> {
    let text_bytes = HEADER_BYTES - PRELUDE_BYTES;
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
    let mut header = MAGIC.to_vec();
    header.extend([1, 0, text_bytes as u8, 0]);
    header.extend(format!("{text:<width$}\n", width = text_bytes - 1).bytes());
    header
}

pub(super) struct NpySink {
    file: AtomicFile,
    dim: usize,
    ids: Vec<String>,
}

impl NpySink {
    pub(super) fn create(path: &Path, dim: usize) -> Result<Self, RetrievalError> {
        let mut file = AtomicFile::create(path)?;
        // The number of rows is filled in at the end.
        file.write_all(&header(0, dim)).map_err(RetrievalError::io("write", path))?;
        Ok(Self { file, dim, ids: Vec::new() })
    }

    pub(super) fn write(&mut self, id: &str, embedding: &[f32]) -> Result<(), RetrievalError> {
        let bytes: Vec<u8> = embedding.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.file.write_all(&bytes).map_err(RetrievalError::io("write", self.file.path()))?;
        self.ids.push(id.to_owned());
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), RetrievalError> {
        self.file.overwrite_start(&header(self.ids.len(), self.dim))?;
        let path = ids_path(self.file.path());
        let mut ids = AtomicFile::create(&path)?;
        serde_json::to_writer(&mut ids, &self.ids)
            .map_err(|e| RetrievalError::io("write", &path)(e.into()))?;
        ids.finish()?;
        self.file.finish()
    }
}

pub(super) fn read(path: &Path) -> Result<EmbeddingTable, RetrievalError> {
    let file = File::open(path).map_err(RetrievalError::io("open", path))?;
    let file_bytes = file.metadata().map_err(RetrievalError::io("read", path))?.len();
    let mut file = BufReader::new(file);
    let (text, header_bytes) = read_header(&mut file).map_err(|reason| invalid(path, reason))?;
    let (rows, dim) = parse_shape(&text).map_err(|reason| invalid(path, reason))?;
    // Checked against the file before anything of that size is allocated.
    let data_bytes = rows.checked_mul(dim).and_then(|n| n.checked_mul(4)).map(|n| n as u64);
    let found = file_bytes.saturating_sub(header_bytes as u64);
    if data_bytes != Some(found) {
        return Err(invalid(
            path,
            format!("the shape ({rows}, {dim}) does not fit the {found} bytes of data"),
        ));
    }
    let values = read_values(&mut file, rows * dim).map_err(RetrievalError::io("read", path))?;
    let ids = read_ids(path, rows)?;
    table(path, ids, values, dim)
}

/// The text of the header, and the bytes up to the data.
fn read_header(file: &mut impl Read) -> Result<(String, usize), String> {
    let mut prelude = [0; 8];
    file.read_exact(&mut prelude).map_err(|_| "it is too short for a .npy file")?;
    if !prelude.starts_with(MAGIC) {
        return Err("it does not begin like a .npy file".into());
    }
    let length_bytes = match prelude[6] {
        1 => 2,
        2 | 3 => 4,
        version => return Err(format!("unknown .npy version {version}")),
    };
    let mut length = [0; 4];
    file.read_exact(&mut length[..length_bytes]).map_err(|_| "its header is cut off")?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_HEADER_TEXT_BYTES {
        return Err(format!("its header claims {length} bytes"));
    }
    let mut text = vec![0; length];
    file.read_exact(&mut text).map_err(|_| "its header is cut off")?;
    let text = String::from_utf8(text).map_err(|_| "its header is not text")?;
    Ok((text, prelude.len() + length_bytes + length))
}

/// Rows and columns of the Python dictionary in the header.
fn parse_shape(text: &str) -> Result<(usize, usize), String> {
    let value = |key: &str| {
        let start = text.find(&format!("'{key}':")).ok_or_else(|| format!("no {key} in the header"))?;
        Ok::<_, String>(text[start + key.len() + 3..].trim_start())
    };
    if !value("descr")?.starts_with("'<f4'") {
        return Err(format!("its numbers are not little-endian f32: {}", text.trim()));
    }
    if !value("fortran_order")?.starts_with("False") {
        return Err("it is in Fortran order: save numpy.ascontiguousarray(array)".into());
    }
    let shape = value("shape")?
        .strip_prefix('(')
        .and_then(|s| s.split(')').next())
        .ok_or("no shape in the header")?;
    let sizes: Vec<usize> = shape
        .split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(|s| s.parse().map_err(|_| format!("the shape ({shape}) is no list of numbers")))
        .collect::<Result<_, _>>()?;
    match sizes[..] {
        [rows, dim] => Ok((rows, dim)),
        _ => Err(format!("its shape is ({shape}), expected (rows, dim)")),
    }
}

fn read_values(file: &mut impl Read, count: usize) -> std::io::Result<Vec<f32>> {
    let mut values = Vec::with_capacity(count);
    let mut bytes = vec![0; READ_VALUES.min(count) * 4];
    while values.len() < count {
        let chunk = bytes.len().min((count - values.len()) * 4);
        file.read_exact(&mut bytes[..chunk])?;
        values.extend(bytes[..chunk].as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)));
    }
    Ok(values)
}

fn read_ids(path: &Path, rows: usize) -> Result<Vec<String>, RetrievalError> {
    let path = ids_path(path);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok((0..rows).map(|i| i.to_string()).collect());
        }
        Err(e) => return Err(RetrievalError::io("read", path)(e)),
    };
    let ids: Vec<String> = serde_json::from_str(&text).map_err(|e| invalid(&path, e))?;
    if ids.len() != rows {
        return Err(invalid(&path, format!("{} ids for {rows} embeddings", ids.len())));
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_or_refused() {
        let text =
            |shape: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}   \n");
        assert_eq!(parse_shape(&text("(3, 4)")), Ok((3, 4)));
        assert_eq!(parse_shape(&text("(0, 4)")), Ok((0, 4)));
        for (bad, expected) in [
            (text("(3,)"), "expected (rows, dim)"),
            (text("(3, -4)"), "no list of numbers"),
            (text("(3, 4)").replace("<f4", "<f8"), "not little-endian f32"),
            (text("(3, 4)").replace("False", "True"), "Fortran"),
            (text("(3, 4)").replace("shape", "form"), "no shape"),
        ] {
            let error = parse_shape(&bad).unwrap_err();
            assert!(error.contains(expected), "{error} should say {expected}");
        }
        assert_eq!(header(usize::MAX, usize::MAX).len(), HEADER_BYTES);
    }
}
