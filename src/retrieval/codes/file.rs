//! Codes on disk: written once beside what they are of, read as a whole: a drive that goes away is an error
//! then and no crash.
//!
//! A head of fixed size, the mean, the codes. They can be made again at any time, so that a file that is of
//! other rows, of another version, or has decayed, is as good as none.

use std::hash::Hasher;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use twox_hash::XxHash64;

use super::{CodeSet, Layout, bits_of};
use crate::store::{AtomicFile, IoError, open_regular_file};

/// What a file begins with. The last digit is the version.
const MAGIC: &[u8; 8] = b"gvecode1";
/// Of the head: the magic, then as u64 the width of the vectors, rows, key and checksum.
const HEAD: usize = 5 * 8;

/// Writes the codes to `path`, whole or not at all.
pub(in super::super) fn write(set: &CodeSet, path: &Path) -> Result<(), IoError> {
    let mean: Vec<u8> = set.mean.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut file = AtomicFile::create(path)?;
    let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(IoError::of("write", path));
    put(MAGIC)?;
    for number in [set.dim as u64, set.rows as u64, set.key, checksum(&mean, &set.body)] {
        put(&number.to_le_bytes())?;
    }
    put(&mean)?;
    put(&set.body)?;
    file.finish_unsynced()
}

/// The codes of `rows` vectors of width `dim`, if there are any at `path` and they are whole.
pub(in super::super) fn read(path: &Path, dim: usize, rows: usize) -> io::Result<Option<CodeSet>> {
    let mut file = match open_regular_file(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let start = HEAD + 4 * bits_of(dim);
    let expected = start as u64 + Layout::new(rows, dim).bytes() as u64;
    if file.metadata()?.len() != expected {
        return Ok(None);
    }
    let (mut head, mut mean) = ([0; HEAD], vec![0; start - HEAD]);
    file.read_exact(&mut head)?;
    file.read_exact(&mut mean)?;
    let mut body = vec![0; Layout::new(rows, dim).bytes()];
    file.read_exact(&mut body)?;
    let (magic, numbers) = head.split_at(MAGIC.len());
    let numbers: Vec<u64> = numbers.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
    let &[found_dim, found_rows, key, found_checksum] = &numbers[..] else { return Ok(None) };
    if magic != MAGIC
        || [found_dim, found_rows, found_checksum] != [dim as u64, rows as u64, checksum(&mean, &body)]
    {
        return Ok(None);
    }
    let mean = mean.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Ok(Some(CodeSet { dim, rows, key, mean, body }))
}

fn checksum(mean: &[u8], body: &[u8]) -> u64 {
    let mut hash = XxHash64::with_seed(0);
    hash.write(mean);
    hash.write(body);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::super::{Encoder, SetQuery, TurnedQuery};
    use super::*;

    #[test]
    fn codes_come_back_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("codes");
        let dim = 700;
        assert!(read(&path, dim, 9).unwrap().is_none());
        let vector =
            |row: usize| -> Vec<f32> { (0..dim).map(|i| ((row * 31 + i * 17) % 23) as f32 - 11.0).collect() };
        let mut encoder = Encoder::new(dim, &vector(99));
        (0..9).for_each(|row| encoder.push(&vector(row)));
        let made = encoder.finish(1);
        write(&made, &path).unwrap();
        let found = read(&path, dim, 9).unwrap().unwrap();
        assert_eq!(found.key(), 1);
        let query = TurnedQuery::new(&vector(3));
        for row in 0..9 {
            let [a, b] = [&made, &found].map(|set| SetQuery::new(&query, set).whole(row));
            assert_eq!(a, b);
        }
        for (dim, rows) in [(dim, 8), (dim + 1, 9)] {
            assert!(read(&path, dim, rows).unwrap().is_none(), "{dim} {rows}");
        }
        let whole = std::fs::read(&path).unwrap();
        for place in (0..whole.len()).step_by(97) {
            let mut other = whole.clone();
            other[place] ^= 4;
            std::fs::write(&path, other).unwrap();
            assert!(read(&path, dim, 9).unwrap().is_none(), "byte {place}");
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(read(&path, dim, 9).unwrap().is_none());
    }
}
