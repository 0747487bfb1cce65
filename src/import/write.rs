//! From files to lines, whole or not at all.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::{Fault, Halt};
use super::layout::unknown;
use super::reading::{Reading, Row};
use super::records::{self, Refused, expand};
use super::vault::Vault;
use super::{Format, ImportError, ImportSettings};
use crate::embedder::CancelToken;
use crate::pairs::Pair;
use crate::store::{AtomicFile, IoError, create_folder_of};

/// Where pairs go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// The file of pairs. Paths beneath its folder are written relative to it.
    pub pairs: PathBuf,
    /// Folder for media whose bytes lie inside of what is read.
    pub media: PathBuf,
    /// Whether all is read and nothing written.
    pub is_dry: bool,
}

impl Output {
    /// `pairs`, with media in a folder beside it that is called alike: `train.media` beside `train.jsonl`.
    pub fn at(pairs: impl Into<PathBuf>) -> Self {
        let pairs = pairs.into();
        Self { media: pairs.with_extension("media"), pairs, is_dry: false }
    }

    /// The same with another folder for media.
    #[must_use]
    pub fn with_media(mut self, media: PathBuf) -> Self {
        self.media = media;
        self
    }

    /// The same, and nothing is written.
    #[must_use]
    pub fn dry(mut self) -> Self {
        self.is_dry = true;
        self
    }
}

/// What happens on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportEvent<'a> {
    /// A row is no pair, or a file is not to be read; the others go on.
    Refused {
        /// File and line.
        place: &'a str,
        /// What is wrong with it.
        reason: &'a str,
    },
    /// A negative is of another kind than the positive and left out; the pair is kept.
    LeftOut {
        /// File and line.
        place: &'a str,
        /// Which one, and why.
        reason: &'a str,
    },
    /// So many bytes of all files were read.
    Read {
        /// Until now.
        done_bytes: u64,
        /// Of all files.
        total_bytes: u64,
    },
}

/// What was imported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Pairs by task.
    pub tasks: BTreeMap<String, usize>,
    /// Rows and files that were refused.
    pub refused: usize,
    /// Rows of two sides that their score says to be none, and of other splits.
    pub passed_over: usize,
    /// Negatives that were left out.
    pub left_out: usize,
    /// Formats of the rows, by name.
    pub formats: BTreeSet<&'static str>,
}

impl Imported {
    /// Pairs of all tasks.
    pub fn pairs(&self) -> usize {
        self.tasks.values().sum()
    }
}

/// The files that are read where `path` is named: of a folder of data those it holds, of the split that `settings`
/// name.
///
/// # Errors
/// [`ImportError`]: a folder of several splits of which none is named, or that cannot be listed.
pub fn sources(path: &Path, settings: &ImportSettings) -> Result<Vec<PathBuf>, ImportError> {
    expand(path, settings.split.as_deref())
}

/// Reads `sources`, files or folders, and writes their pairs. Without a pair nothing is written.
///
/// # Errors
/// [`ImportError`]: a setting is missing or makes no sense, something cannot be written, or `cancel` was asked for.
/// The file of pairs is as it was then. What is wrong with a row or one of the files is told to `on`.
pub fn import(
    sources: &[PathBuf],
    output: &Output,
    settings: &ImportSettings,
    cancel: &CancelToken,
    on: &mut dyn FnMut(ImportEvent<'_>),
) -> Result<Imported, ImportError> {
    let whole = std::path::absolute(&output.pairs).map_err(IoError::of("find", &output.pairs))?;
    let media = std::path::absolute(&output.media).map_err(IoError::of("find", &output.media))?;
    let root =
        settings.media.as_deref().map(|root| std::path::absolute(root).map_err(IoError::of("find", root)));
    let settings = ImportSettings { media: root.transpose()?, ..settings.clone() };
    if let Some(root) = settings.media.as_deref().filter(|root| !root.is_dir()) {
        return Err(ImportError::Setting {
            place: root.display().to_string(),
            reason: "is no folder, and `media` (--media) has relative paths begin there".to_owned(),
        });
    }
    let mut files = Vec::new();
    for source in sources {
        files.extend(self::sources(source, &settings)?);
    }
    let size = |path: &PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
    let total_bytes = files.iter().map(size).sum();
    let file = match output.is_dry {
        true => None,
        false => {
            create_folder_of(&whole)?;
            Some(AtomicFile::create(&whole)?)
        }
    };
    let mut job = Job {
        base: whole.parent().unwrap_or(Path::new("")).to_owned(),
        file,
        settings: &settings,
        vault: Vault::new(&media, output.is_dry),
        there: HashSet::new(),
        imported: Imported::default(),
        on,
    };
    let (done, mut before) = (Cell::new(0), 0);
    for path in &files {
        let read = job.read(path, cancel, &done, total_bytes);
        before += size(path);
        done.set(before);
        match read {
            Ok(()) => {}
            Err(Halt::Enough) => break,
            Err(Halt::Failed(error)) => return Err(error),
        }
    }
    let Job { file, imported, .. } = job;
    if let Some(file) = file.filter(|_| imported.pairs() > 0) {
        file.finish()?;
    }
    Ok(imported)
}

/// An import under way.
struct Job<'a> {
    base: PathBuf,
    file: Option<AtomicFile>,
    settings: &'a ImportSettings,
    vault: Vault,
    /// Files that were looked for and found.
    there: HashSet<PathBuf>,
    imported: Imported,
    on: &'a mut dyn FnMut(ImportEvent<'_>),
}

/// Rows between two looks at the progress.
const PROGRESS_ROWS: usize = 64;

impl Job<'_> {
    fn read(
        &mut self,
        path: &Path,
        cancel: &CancelToken,
        done: &Cell<u64>,
        total_bytes: u64,
    ) -> Result<(), Halt> {
        let whole = std::path::absolute(path).map_err(IoError::of("find", path))?;
        let folder = if path.is_dir() { whole.as_path() } else { whole.parent().unwrap_or(Path::new("")) };
        let vault = std::mem::replace(&mut self.vault, Vault::new(Path::new(""), true));
        let reading = Reading { settings: self.settings, base: folder.to_owned(), vault: &vault };
        let source = whole.file_stem().map(|stem| stem.to_string_lossy());
        let source = source.map(|stem| stem.strip_suffix(".tar").unwrap_or(&stem).to_owned());
        let source = self.settings.source.clone().or(source);
        // The rows of a file are of one format, which the first that is of any tells.
        let mut format = self.settings.format;
        let mut rows = 0;
        let read = records::each(path, &vault, done, &mut |row| {
            rows += 1;
            if rows % PROGRESS_ROWS == 1 {
                if cancel.is_cancelled() {
                    return Err(ImportError::Cancelled.into());
                }
                (self.on)(ImportEvent::Read { done_bytes: done.get(), total_bytes });
            }
            if let Some(error) = vault.failure() {
                return Err(error.into());
            }
            let row = match row {
                Ok(row) => row,
                Err(Refused { place, reason }) => return self.refuse(&place, &reason),
            };
            let Some(found) = format.of_row(&row.fields) else {
                return self.refuse(&row.place, &unknown(&row.fields));
            };
            format = found;
            self.row(&row, found, &reading, source.as_deref())
        });
        self.vault = vault;
        read
    }

    /// Tells of a row that is no pair, and goes on.
    fn refuse(&mut self, place: &str, reason: &str) -> Result<(), Halt> {
        self.imported.refused += 1;
        (self.on)(ImportEvent::Refused { place, reason });
        Ok(())
    }

    /// Writes the pairs of a row: all of them or none.
    fn row(
        &mut self,
        row: &Row,
        format: Format,
        reading: &Reading<'_>,
        source: Option<&str>,
    ) -> Result<(), Halt> {
        let pairs = match format.read(row, reading) {
            Ok(pairs) => pairs,
            Err(Fault::Row(reason)) => return self.refuse(&row.place, &reason),
            Err(Fault::All(error)) => return Err(Halt::Failed(error)),
        };
        if pairs.is_empty() {
            self.imported.passed_over += 1;
        }
        let mut lines = Vec::new();
        for pair in pairs {
            let pair = self.finished(pair, row, source);
            match self.require_files(&pair, reading.vault).and_then(|()| pair.to_json(&self.base)) {
                Ok(line) => lines.push((pair.task.to_string(), line)),
                Err(reason) => return self.refuse(&row.place, &reason),
            }
        }
        for (task, line) in lines {
            if self.settings.limit.is_some_and(|limit| self.imported.pairs() >= limit) {
                return Err(Halt::Enough);
            }
            if let Some(file) = &mut self.file {
                writeln!(file, "{line}").map_err(IoError::of("write", file.path().to_owned()))?;
            }
            self.imported.formats.insert(format.name());
            *self.imported.tasks.entry(task).or_default() += 1;
        }
        Ok(())
    }

    /// A pair with what the settings add, and without negatives of another kind than its positive.
    fn finished(&mut self, mut pair: Pair, row: &Row, source: Option<&str>) -> Pair {
        let (kept, others): (Vec<_>, Vec<_>) =
            pair.negatives.into_iter().enumerate().partition(|(_, negative)| pair.task.is_target(negative));
        pair.negatives = kept.into_iter().map(|(_, negative)| negative).collect();
        for (number, _) in others {
            self.imported.left_out += 1;
            let reason = format!("negative {} is of another kind than the positive", number + 1);
            (self.on)(ImportEvent::LeftOut { place: &row.place, reason: &reason });
        }
        pair.source = pair.source.or_else(|| source.map(str::to_owned));
        pair.query.instruction = pair.query.instruction.or_else(|| self.settings.instruction.clone());
        pair
    }

    fn require_files(&mut self, pair: &Pair, vault: &Vault) -> Result<(), String> {
        for path in pair.files() {
            if vault.has(path) || self.there.contains(path) {
                continue;
            }
            if !path.is_file() {
                return Err(format!("{} is not there", path.display()));
            }
            self.there.insert(path.to_owned());
        }
        Ok(())
    }
}
