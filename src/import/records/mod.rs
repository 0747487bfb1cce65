//! How rows are stored: one file for each kind of storage. Every row comes as a JSON object with its place.

mod csv;
mod folder;
mod json;
#[cfg(feature = "library")]
mod tables;
mod tar;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::Halt;
use super::reading::Row;
use super::vault::Vault;
use crate::store::{IoError, open_regular_file};

pub(super) use folder::{expand, is_data};

/// Under which a row has its name, where it has one: the key of a sample, of an entry.
pub(super) const NAME: &str = "__key__";
/// What files begin with that are packed with gzip.
const GZIP_MAGIC: &[u8] = b"\x1f\x8b";
/// Bytes of a file that tell what it is.
const HEAD_BYTES: usize = 512;

/// A row that cannot be used, or a file from which none come any more.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) place: String,
    pub(super) reason: String,
}

/// Takes a row; an error ends the reading.
pub(super) type OnRow<'a> = dyn FnMut(Result<Row, Refused>) -> Result<(), Halt> + 'a;

/// A kind of storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    Lines,
    Json,
    Csv(u8),
    Parquet,
    Arrow,
    Tar,
    Folder,
}

impl Storage {
    /// What lies at `path`, by its name and else by its first bytes.
    ///
    /// # Errors
    /// In words, for what is none.
    fn of(path: &Path) -> Result<Self, String> {
        if path.is_dir() {
            return Ok(Self::Folder);
        }
        if let Some(storage) = Self::of_name(path) {
            return Ok(storage);
        }
        let mut head = Vec::new();
        let file = open_regular_file(path).map_err(|error| error.to_string())?;
        file.take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(|error| error.to_string())?;
        match head.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{' | b'[') => Ok(Self::Json),
            _ if head.starts_with(b"PAR1") => Ok(Self::Parquet),
            _ if head.starts_with(b"ARROW1") || head.starts_with(b"\xff\xff\xff\xff") => Ok(Self::Arrow),
            _ if head.get(257..262) == Some(b"ustar") => Ok(Self::Tar),
            _ if head.starts_with(GZIP_MAGIC) => Err("packed with gzip: only tar files are read so, as .tar.gz or .tgz; \
                      unpack it first"
                .to_owned()),
            _ => Err("not known how rows are stored in it: expected JSON lines, JSON, CSV, TSV, Parquet, Arrow, tar or \
                      tar.gz, by the ending of its name"
                .to_owned()),
        }
    }

    /// The kind of storage that such a name is of.
    fn of_name(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        Some(match name.rsplit_once('.')?.1 {
            "jsonl" | "ndjson" => Self::Lines,
            "json" => Self::Json,
            "csv" => Self::Csv(b','),
            "tsv" => Self::Csv(b'\t'),
            "parquet" => Self::Parquet,
            "arrow" | "feather" | "ipc" => Self::Arrow,
            "tar" | "tgz" => Self::Tar,
            "gz" if name.ends_with(".tar.gz") => Self::Tar,
            _ => return None,
        })
    }
}

/// Calls `on` with each row of the file at `path`, or of the media in a folder. What is wrong with the file as a
/// whole is said in the same way.
pub(super) fn each(path: &Path, vault: &Vault, done: &Cell<u64>, on: &mut OnRow<'_>) -> Result<(), Halt> {
    let read = match Storage::of(path) {
        Ok(Storage::Folder) => folder::each(path, on),
        Ok(Storage::Lines) => json::lines(path, done, on),
        Ok(Storage::Json) => json::whole(path, done, on),
        Ok(Storage::Csv(delimiter)) => csv::each(path, delimiter, done, on),
        Ok(Storage::Tar) => tar::each(path, vault, done, on),
        #[cfg(feature = "library")]
        Ok(Storage::Parquet) => tables::each(path, crate::retrieval::RowFile::Parquet, vault, on),
        #[cfg(feature = "library")]
        Ok(Storage::Arrow) => tables::each(path, crate::retrieval::RowFile::Arrow, vault, on),
        #[cfg(not(feature = "library"))]
        Ok(Storage::Parquet | Storage::Arrow) => Err(Broken::File(
            "Parquet and Arrow are read with the feature `library`, which is not built in".to_owned(),
        )),
        Err(reason) => Err(Broken::File(reason)),
    };
    match read {
        Ok(()) => Ok(()),
        Err(Broken::Halt(halt)) => Err(halt),
        Err(Broken::File(reason)) => {
            let place = path.display().to_string();
            on(Err(Refused { place, reason }))
        }
    }
}

/// What ends the reading of a file.
enum Broken {
    /// Nothing more comes of this file, for this reason.
    File(String),
    /// Nothing more is wanted.
    Halt(Halt),
}

impl From<Halt> for Broken {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

impl From<IoError> for Broken {
    fn from(error: IoError) -> Self {
        Self::File(error.to_string())
    }
}

/// A row at `place` from an object.
fn row(place: String, value: Value) -> Result<Row, Refused> {
    match value {
        Value::Object(fields) => Ok(Row { place, fields }),
        other => {
            let reason = format!("{} where an object was expected", super::reading::kind_of(&other));
            Err(Refused { place, reason })
        }
    }
}

/// Opens a file whose bytes are counted as they are read.
fn open<'a>(path: &Path, done: &'a Cell<u64>) -> Result<Counted<'a>, IoError> {
    let file = open_regular_file(path).map_err(IoError::of("open", path))?;
    Ok(Counted { file, done })
}

struct Counted<'a> {
    file: File,
    done: &'a Cell<u64>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.done.set(self.done.get() + read as u64);
        Ok(read)
    }
}

/// All files below a folder, in order; a file is itself.
pub(super) fn walk(folder: &Path) -> Result<Vec<PathBuf>, IoError> {
    if !folder.is_dir() {
        return Ok(vec![folder.to_owned()]);
    }
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).map_err(IoError::of("read", &folder))? {
            let path = entry.map_err(IoError::of("read", &folder))?.path();
            let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            let is_link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
            if path.is_dir() && !is_hidden && !is_link {
                open.push(path);
            } else if path.is_file() && !is_hidden {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Calls `on` with every text in the rows of the file at `path`, wherever in a row it stands; nothing of a file that
/// holds none.
pub(super) fn each_text(path: &Path, on: &mut dyn FnMut(&str)) -> Result<(), (String, String)> {
    fn texts(value: &Value, on: &mut dyn FnMut(&str)) {
        match value {
            Value::String(text) => on(text),
            Value::Array(values) => values.iter().for_each(|value| texts(value, on)),
            Value::Object(fields) => fields.values().for_each(|value| texts(value, on)),
            _ => {}
        }
    }
    let is_text = path.extension().is_some_and(|ending| ending == "txt" || ending == "caption");
    if is_text {
        let read = std::fs::read(path).map_err(|error| error.to_string()).and_then(crate::text::decode);
        on(&read.map_err(|reason| (path.display().to_string(), reason))?);
    }
    if Storage::of_name(path).is_none() {
        return Ok(());
    }
    let mut fault = None;
    let vault = Vault::new(Path::new(""), true);
    let read = each(path, &vault, &Cell::new(0), &mut |row| {
        match row {
            Ok(row) => row.fields.values().for_each(|value| texts(value, on)),
            Err(Refused { place, reason }) => drop(fault.get_or_insert((place, reason))),
        }
        Ok(())
    });
    match (read, fault) {
        (Ok(()), None) => Ok(()),
        (_, Some(fault)) => Err(fault),
        (Err(_), None) => Ok(()),
    }
}
