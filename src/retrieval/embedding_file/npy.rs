//! Embeddings as a NumPy array, with the ids in a JSON array beside it.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>. Written are two
//! dimensions of f32, little endian, in C order; read are f16, f32, f64 and whole numbers of 32 and 64 bits,
//! in either byte order, in C and in Fortran order.

use std::io::{BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use half::f16;

use super::{EmbeddingTable, invalid, table};
use crate::retrieval::RetrievalError;
use crate::store::{AtomicFile, IoError, open_regular_file, write_file};
use crate::text::{IdListError, read_ids};

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
        file.write_all(&header(0, dim)).map_err(IoError::of("write", path))?;
        Ok(Self { file, dim, ids: Vec::new() })
    }

    pub(super) fn write(&mut self, id: &str, embedding: &[f32]) -> Result<(), RetrievalError> {
        let bytes: Vec<u8> = embedding.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.file.write_all(&bytes).map_err(IoError::of("write", self.file.path()))?;
        self.ids.push(id.to_owned());
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), RetrievalError> {
        let header = header(self.ids.len(), self.dim);
        let overwritten = self.file.rewind().and_then(|()| self.file.write_all(&header));
        overwritten.map_err(IoError::of("write", self.file.path()))?;
        write_file(ids_path(self.file.path()), |file| Ok(serde_json::to_writer(file, &self.ids)?))?;
        Ok(self.file.finish()?)
    }
}

pub(super) fn read(path: &Path) -> Result<EmbeddingTable, RetrievalError> {
    let file = open_regular_file(path).map_err(IoError::of("open", path))?;
    let file_bytes = file.metadata().map_err(IoError::of("read", path))?.len();
    let mut file = BufReader::new(file);
    let (text, header_bytes) = read_header(&mut file).map_err(|reason| invalid(path, reason))?;
    let array = parse_header(&text).map_err(|reason| invalid(path, reason))?;
    let (rows, dim) = array.shape;
    // Checked against the file before anything of that size is allocated.
    let data_bytes =
        rows.checked_mul(dim).and_then(|n| n.checked_mul(array.number.bytes())).map(|n| n as u64);
    let found = file_bytes.saturating_sub(header_bytes as u64);
    if data_bytes != Some(found) || (dim == 0 && rows > 0) {
        return Err(invalid(
            path,
            format!("the shape ({rows}, {dim}) does not fit the {found} bytes of data"),
        ));
    }
    let values = read_values(&mut file, &array).map_err(IoError::of("read", path))?;
    let ids = match read_ids(path, rows) {
        Ok(ids) => ids,
        Err(IdListError::Missing { .. }) => (0..rows).map(|i| i.to_string()).collect(),
        Err(IdListError::Io(error)) => return Err(error.into()),
        Err(IdListError::Content { path, reason }) => return Err(invalid(&path, reason)),
    };
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

/// What the header says of the array.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Array {
    number: Number,
    big_endian: bool,
    /// Whether the rows lie side by side, column after column.
    fortran_order: bool,
    /// Rows and columns.
    shape: (usize, usize),
}

/// How a value is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    F16,
    F32,
    F64,
    I32,
    I64,
}

impl Number {
    fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }

    /// The value of as many bytes as it has, little endian.
    fn read(self, bytes: &[u8]) -> f32 {
        fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
            bytes.first_chunk().copied().unwrap_or([0; N])
        }
        match self {
            Self::F16 => f16::from_le_bytes(array(bytes)).to_f32(),
            Self::F32 => f32::from_le_bytes(array(bytes)),
            Self::F64 => f64::from_le_bytes(array(bytes)) as f32,
            Self::I32 => i32::from_le_bytes(array(bytes)) as f32,
            Self::I64 => i64::from_le_bytes(array(bytes)) as f32,
        }
    }
}

/// Reads the Python dictionary in the header.
fn parse_header(text: &str) -> Result<Array, String> {
    let value = |key: &str| {
        let start = text.find(&format!("'{key}':")).ok_or_else(|| format!("no {key} in the header"))?;
        Ok::<_, String>(text[start + key.len() + 3..].trim_start())
    };
    let descr = value("descr")?;
    let name = descr.strip_prefix('\'').and_then(|rest| rest.split('\'').next()).unwrap_or_default();
    let number = match name.trim_start_matches(['<', '>', '=', '|']) {
        "f2" => Number::F16,
        "f4" => Number::F32,
        "f8" => Number::F64,
        "i4" => Number::I32,
        "i8" => Number::I64,
        "O" => {
            return Err("it holds Python objects: save numpy.stack(rows).astype(\"float32\")".to_owned());
        }
        // Of bytes it cannot be told whether they are numbers, or bits that were packed.
        _ => return Err(format!("its numbers are not f16, f32, f64, i32 or i64: {}", text.trim())),
    };
    let order = value("fortran_order")?;
    if !order.starts_with("True") && !order.starts_with("False") {
        return Err("its header does not say whether it is in Fortran order".to_owned());
    }
    Ok(Array {
        number,
        big_endian: name.starts_with('>'),
        fortran_order: order.starts_with("True"),
        shape: parse_shape(value("shape")?)?,
    })
}

fn parse_shape(text: &str) -> Result<(usize, usize), String> {
    let shape = text.strip_prefix('(').and_then(|s| s.split(')').next()).ok_or("no shape in the header")?;
    let sizes: Vec<usize> = shape
        .split(',')
        // Python 2 wrote 3L.
        .map(|size| size.trim().trim_end_matches('L'))
        .filter(|s| !s.is_empty())
        .map(|s| s.parse().map_err(|_| format!("the shape ({shape}) is no list of numbers")))
        .collect::<Result<_, _>>()?;
    match sizes[..] {
        [rows, dim] => Ok((rows, dim)),
        _ => Err(format!("its shape is ({shape}), expected (rows, dim)")),
    }
}

/// The values in C order.
fn read_values(file: &mut impl Read, array: &Array) -> std::io::Result<Vec<f32>> {
    let (rows, dim) = array.shape;
    let (count, width) = (rows * dim, array.number.bytes());
    let mut values = vec![0.0; count];
    let mut bytes = vec![0; READ_VALUES.min(count) * width];
    let mut done = 0;
    while done < count {
        let chunk = bytes.len().min((count - done) * width);
        file.read_exact(&mut bytes[..chunk])?;
        for value in bytes[..chunk].chunks_exact_mut(width) {
            if array.big_endian {
                value.reverse();
            }
            let at = if array.fortran_order { done % rows * dim + done / rows } else { done };
            values[at] = array.number.read(value);
            done += 1;
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_or_refused() {
        let text =
            |shape: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}   \n");
        let array =
            |number, big_endian, fortran_order, shape| Array { number, big_endian, fortran_order, shape };
        let shape = text("(3, 4)");
        assert_eq!(parse_header(&shape), Ok(array(Number::F32, false, false, (3, 4))));
        assert_eq!(parse_header(&text("(0, 4)")), Ok(array(Number::F32, false, false, (0, 4))));
        assert_eq!(parse_header(&text("(3L, 4L)")), Ok(array(Number::F32, false, false, (3, 4))));
        let other = shape.replace("<f4", ">f8").replace("False", "True");
        assert_eq!(parse_header(&other), Ok(array(Number::F64, true, true, (3, 4))));
        for (bad, expected) in [
            (text("(3,)"), "expected (rows, dim)"),
            (text("()"), "expected (rows, dim)"),
            (text("(3, 4, 5)"), "expected (rows, dim)"),
            (text("(3, -4)"), "no list of numbers"),
            (shape.replace("<f4", "|u1"), "not f16"),
            (shape.replace("<f4", "<c8"), "not f16"),
            (shape.replace("<f4", "|O"), "Python objects"),
            (shape.replace("'<f4'", "[('a', '<f4')]"), "not f16"),
            (shape.replace("False", "Maybe"), "Fortran"),
            (shape.replace("shape", "form"), "no shape"),
        ] {
            let error = parse_header(&bad).unwrap_err();
            assert!(error.contains(expected), "{error} should say {expected}");
        }
        assert_eq!(header(usize::MAX, usize::MAX).len(), HEADER_BYTES);
    }
}
