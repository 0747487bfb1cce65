//! The ids of the rows of an array, in a file beside it.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Id, LineError, Lines, decode};
use crate::store::IoError;

/// Why there are no ids.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdListError {
    /// Neither file is there.
    #[error(
        "no ids: expected them as a JSON array in {}, or one a line in {}",
        json.display(), lines.display()
    )]
    Missing {
        /// The file that was looked for first.
        json: PathBuf,
        /// The other.
        lines: PathBuf,
    },
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The file is no list of ids.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        reason: String,
    },
}

/// The file of ids beside the array at `path`: `<name>.ids.json`, a JSON array, or `<name>.ids.txt`, an id a
/// line.
///
/// # Errors
/// [`IdListError::Missing`] where neither is there.
pub fn find_ids(path: &Path) -> Result<PathBuf, IdListError> {
    let (json, lines) = (path.with_extension("ids.json"), path.with_extension("ids.txt"));
    if json.exists() {
        Ok(json)
    } else if lines.exists() {
        Ok(lines)
    } else {
        Err(IdListError::Missing { json, lines })
    }
}

/// The ids beside the array at `path`, in the file that [`find_ids`] finds.
///
/// # Errors
/// [`IdListError`]: there is no such file, or it is no list of `rows` ids.
pub fn read_ids(path: &Path, rows: usize) -> Result<Vec<String>, IdListError> {
    let path = find_ids(path)?;
    let ids = if path.extension().is_some_and(|ending| ending == "json") {
        let bytes = fs::read(&path).map_err(IoError::of("read", &path))?;
        decode(bytes).and_then(|text| id_list_of(&text))
    } else {
        read_lines(&path)?
    };
    match ids {
        Ok(ids) if ids.len() != rows => {
            let reason = format!("{} ids for {rows} embeddings", ids.len());
            Err(IdListError::Content { path, reason })
        }
        Ok(ids) => Ok(ids),
        Err(reason) => Err(IdListError::Content { path, reason }),
    }
}

/// The ids in a JSON array. A comma behind the last one, as hands and templates leave it, says nothing.
///
/// # Errors
/// In words, where it is no such array.
pub fn id_list_of(text: &str) -> Result<Vec<String>, String> {
    let text = text.trim();
    let listed = text.strip_suffix(']').and_then(|rest| rest.trim_end().strip_suffix(','));
    let parsed = match listed {
        Some(listed) => serde_json::from_str::<Vec<Id>>(&format!("{listed}]")),
        None => serde_json::from_str(text),
    };
    match parsed {
        Ok(ids) => Ok(ids.into_iter().map(|id| id.0).collect()),
        Err(error) => Err(format!("expected a JSON array of ids: {error}")),
    }
}

fn read_lines(path: &Path) -> Result<Result<Vec<String>, String>, IdListError> {
    let mut ids = Vec::new();
    for line in Lines::open(path).map_err(IoError::of("read", path))? {
        match line {
            Ok(line) => ids.push(line.text.trim().to_owned()),
            Err(LineError::Io(source)) => return Err(IoError::of("read", path)(source).into()),
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
    // Where all lines but the last end in one, it parts them; else it belongs to the id.
    let parted = ids.len() > 1 && ids[..ids.len() - 1].iter().all(|id| id.len() > 1 && id.ends_with(','));
    if parted {
        for id in &mut ids {
            id.truncate(id.strip_suffix(',').unwrap_or(id).len());
        }
    }
    Ok(Ok(ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_programs_and_people_write_them() {
        let directory = tempfile::tempdir().unwrap();
        let array = directory.path().join("queries.npy");
        let read = |name: &str, bytes: &[u8], rows| {
            for ending in ["ids.json", "ids.txt"] {
                drop(fs::remove_file(array.with_extension(ending)));
            }
            fs::write(array.with_extension(name), bytes).unwrap();
            read_ids(&array, rows).map_err(|error| error.to_string())
        };
        for (name, bytes) in [
            ("ids.json", &b"[\"1\",\"b,\"]"[..]),
            ("ids.json", b"\xef\xbb\xbf[1, \"b,\"]\r\n"),
            ("ids.json", b"[\r\n 1.0,\r\n \"b,\",\r\n]\r\n"),
            ("ids.txt", b"1\nb,\n"),
            ("ids.txt", b"\xef\xbb\xbf1\r\n\r\nb,"),
            ("ids.txt", b"1,\nb,,\n"),
        ] {
            assert_eq!(read(name, bytes, 2), Ok(vec!["1".to_owned(), "b,".to_owned()]), "{bytes:?}");
        }
        for (name, bytes, said) in [
            ("ids.json", &b"[1]"[..], "1 ids for 2"),
            ("ids.json", b"[1, null]", "JSON array of ids"),
            ("ids.json", b"[1,, 2]", "JSON array of ids"),
            ("ids.json", b"{}", "JSON array of ids"),
            ("ids.json", b"\xff\xfe[\0]\0", "save it as UTF-8"),
            ("ids.txt", b"1\n\xff\n", "line 2: not UTF-8"),
        ] {
            let error = read(name, bytes, 2).unwrap_err();
            assert!(error.contains(said) && error.contains(name), "{error}");
        }
        fs::remove_file(array.with_extension("ids.txt")).unwrap();
        let error = read_ids(&array, 1).unwrap_err().to_string();
        assert!(error.contains("queries.ids.json") && error.contains("queries.ids.txt"), "{error}");
    }
}
