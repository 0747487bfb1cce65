//! Filling a library from folders: what `gve index` does, as a library call.
//!
//! Files are found, those the library already has in their present state are passed over, and the others are
//! embedded. What is no longer there is forgotten where that is asked for. A file is reported as done once
//! its rows are safe on disk, so a run that is killed loses nothing it has told of, and the next run goes on
//! from there.

mod estimate;
mod find;
mod moments;
mod prune;
mod thumbnail;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub use estimate::{Estimate, estimate};
pub use find::{Found, MediaFile, PassedOver, Recognition, find, find_media};
pub use prune::{Doubt, Extent, Pruned, prune};
pub use thumbnail::thumbnail;

use crate::embedder::{CancelToken, EmbedError, Embedder, Embedding};
use crate::media::TimeRange;
use crate::options::with_fields;
use crate::preprocess::PreprocessError;
use crate::retrieval::{
    FileFingerprint, LibraryEntry, LibraryManifest, LibraryRow, LibraryWriter, MANIFEST_FORMAT_VERSION,
    RetrievalError, StoreDType,
};
use crate::store::IoError;
use crate::video::VideoError;

/// How long finished rows may wait to be written together with the next ones.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// How [`index_with`] goes about it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct IndexOptions {
    /// How long finished rows may wait to be written together with the next ones: 1 second by default.
    pub flush_interval: Duration,
    /// Ends indexing in order.
    pub cancel: CancelToken,
}

with_fields!(IndexOptions {
    with_flush_interval(flush_interval: Duration),
    with_cancel(cancel: CancelToken),
});

impl Default for IndexOptions {
    fn default() -> Self {
        Self { flush_interval: FLUSH_INTERVAL, cancel: CancelToken::new() }
    }
}

/// Something that happened to one file during [`index`].
#[derive(Debug)]
#[non_exhaustive]
pub enum IndexEvent<'a> {
    /// The library has it already, unchanged.
    Unchanged(&'a Path),
    /// It is embedded and safe on disk; the strings are warnings about it.
    Done(&'a Path, &'a [String]),
    /// It could not be embedded or kept; everything else goes on.
    Failed(&'a Path, &'a IndexError),
    /// It failed because it is no longer what it was when the library got it, and the library has it no more.
    Forgotten(&'a Path),
}

/// Why indexing ended early, or could not look at a path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A path that cannot be walked.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A file given by name that is neither a video nor an image by its extension or content.
    #[error("{}: neither its ending nor its content is that of a video or image", path.display())]
    UnknownExtension {
        /// The file.
        path: PathBuf,
    },
    /// Something that has the name of a file, or was given by name, but cannot be read like one.
    #[error("{}: is {found}, expected a file", path.display())]
    NotAFile {
        /// Where it lies.
        path: PathBuf,
        /// What it is, with its article.
        found: &'static str,
    },
    /// [`IndexOptions::cancel`] was set. What is done is on disk.
    #[error("cancelled")]
    Cancelled,
    /// The library cannot be written.
    #[error(transparent)]
    Retrieval(#[from] RetrievalError),
    /// A file cannot be embedded.
    #[error(transparent)]
    Embed(#[from] EmbedError),
}

/// The manifest of a library of `embedder`'s embeddings. `model` is the hub id or directory the embedder was
/// loaded from, `revision` the commit where it came from the hub; the fingerprint of its weights stands in
/// for one.
pub fn library_manifest(embedder: &Embedder, model: &str, revision: Option<&str>) -> LibraryManifest {
    let pixels = embedder.pixels();
    LibraryManifest {
        format_version: MANIFEST_FORMAT_VERSION,
        model: model.to_owned(),
        revision: Some(revision.unwrap_or(embedder.fingerprint()).to_owned()),
        adapter: embedder.adapter().cloned(),
        recipe: Some(embedder.recipe().id()),
        dim: embedder.dim(),
        instruction: embedder.instruction().map(str::to_owned),
        sampling: embedder.sampling().clone(),
        min_pixels: pixels.min_pixels,
        max_pixels: pixels.max_pixels,
        moments: None,
        store_dtype: StoreDType::default(),
    }
}

/// Embeds the `files` that `library` does not have in their present state, with default options: see
/// [`index_with`].
///
/// # Errors
/// As [`index_with`].
pub fn index(
    embedder: &Embedder,
    library: &mut LibraryWriter,
    files: &[MediaFile],
    on_event: impl FnMut(IndexEvent<'_>),
) -> Result<(), IndexError> {
    index_with(embedder, library, files, &IndexOptions::default(), on_event)
}

/// Embeds the `files` that `library` does not have in their present state.
///
/// Where the library's manifest says so, videos are cut into moments, which have rows of their own.
///
/// A file that was good once and is not any more is removed from the library, which would go on finding what
/// is not there; one that cannot be read at present is not.
///
/// # Errors
/// [`IndexError::Retrieval`] when the library cannot be written, [`IndexError::Cancelled`]. A file that
/// cannot be embedded is no error of the whole but an [`IndexEvent::Failed`].
pub fn index_with(
    embedder: &Embedder,
    library: &mut LibraryWriter,
    files: &[MediaFile],
    options: &IndexOptions,
    mut on_event: impl FnMut(IndexEvent<'_>),
) -> Result<(), IndexError> {
    let mut pending = Vec::new();
    for file in files {
        let fingerprint = match file.path.to_str() {
            Some(_) => FileFingerprint::of_file(&file.path),
            None => Err(RetrievalError::PathNotUtf8 { path: file.path.clone() }),
        };
        match fingerprint {
            Ok(fingerprint) if library.is_current(&file.path, fingerprint) => {
                on_event(IndexEvent::Unchanged(&file.path));
            }
            Ok(fingerprint) => pending.push((file, fingerprint)),
            Err(error) => on_event(IndexEvent::Failed(&file.path, &error.into())),
        }
    }
    let cut = moments::Cut {
        moments: library.manifest().moments,
        embedder: embedder.clone(),
        cancel: options.cancel.clone(),
    };
    let (plans, planned) = mpsc::channel();
    let inputs = cut.inputs(pending.iter().map(|(file, _)| (*file).clone()).collect(), plans);
    let mut unwritten: Vec<(&Path, Vec<String>)> = Vec::new();
    let mut turned_bad: HashSet<&Path> = HashSet::new();
    let mut last_flush = Instant::now();
    let mut embeddings = embedder.embed_iter(inputs);
    let mut next = || embeddings.next().unwrap_or_else(|| Err(EmbedError::Job("no result".to_owned())));
    for (file, fingerprint) in pending {
        if options.cancel.is_cancelled() {
            break;
        }
        // It is there before the first of the file's embeddings.
        let plan = planned.recv().unwrap_or_else(|_| Ok(Vec::new()));
        // Without its moments the file would be there, and nobody would ask for them again.
        if matches!(plan, Err(VideoError::Cancelled)) {
            break;
        }
        let whole = next();
        let ranges = plan.as_deref().unwrap_or_default();
        let mut parts: Vec<_> = ranges.iter().map(|&range| (range, next())).collect();
        // As above: where the job is at fault and not a moment, the file is to be taken up again.
        let broken = parts.iter().position(|(_, part)| matches!(part, Err(EmbedError::Job(_))));
        let whole = match broken {
            Some(place) => whole.and(parts.swap_remove(place).1),
            None => whole,
        };
        match whole {
            Ok(embedding) => {
                let mut warnings = embedding.warnings().to_vec();
                warnings.extend(plan.err().map(|error| format!("not cut into moments: {error}")));
                let mut rows = vec![row_of(file, fingerprint, embedding)];
                for (range, part) in parts {
                    match part {
                        Ok(part) => rows.push(moment_of(file, fingerprint, range, part)),
                        Err(error) => warnings.push(format!("{} is left out: {error}", stretch(range))),
                    }
                }
                library.append(&rows)?;
                unwritten.push((&file.path, warnings));
            }
            Err(error) => {
                if library.has(&file.path) && is_of_content(&error) && can_be_read(&file.path) {
                    turned_bad.insert(&file.path);
                }
                on_event(IndexEvent::Failed(&file.path, &error.into()));
            }
        }
        if last_flush.elapsed() >= options.flush_interval {
            flush(library, &mut unwritten, &mut on_event)?;
            last_flush = Instant::now();
        }
    }
    flush(library, &mut unwritten, &mut on_event)?;
    if !turned_bad.is_empty() {
        library.prune(|path| !turned_bad.contains(path))?;
        turned_bad.into_iter().for_each(|path| on_event(IndexEvent::Forgotten(path)));
    }
    if options.cancel.is_cancelled() { Err(IndexError::Cancelled) } else { Ok(()) }
}

/// Whether what a file holds is at fault, and not the way to it, the settings or the machine.
fn is_of_content(error: &EmbedError) -> bool {
    match error {
        EmbedError::Preprocess(error) => matches!(
            error,
            PreprocessError::DecodeImage { .. }
                | PreprocessError::ImageByteLimit { .. }
                | PreprocessError::ImagePixelLimit { .. }
                | PreprocessError::EmptyPicture { .. }
        ),
        EmbedError::Video(error) => matches!(
            error,
            VideoError::EmptyFile { .. }
                | VideoError::UnknownContainer { .. }
                | VideoError::Container { .. }
                | VideoError::NoVideoStream { .. }
                | VideoError::NothingDecodable { .. }
                | VideoError::Decode { .. }
                | VideoError::PixelFormat { .. }
                | VideoError::Limit { .. }
        ),
        EmbedError::File { reason, .. } => is_of_content(reason),
        EmbedError::Panicked => true,
        _ => false,
    }
}

/// Whether all bytes of a file can be read: decoders tell a fault of the disk like one of the contents.
fn can_be_read(path: &Path) -> bool {
    File::open(path).and_then(|mut file| io::copy(&mut file, &mut io::sink())).is_ok()
}

fn flush(
    library: &mut LibraryWriter,
    unwritten: &mut Vec<(&Path, Vec<String>)>,
    on_event: &mut impl FnMut(IndexEvent<'_>),
) -> Result<(), IndexError> {
    library.flush()?;
    for (path, warnings) in unwritten.drain(..) {
        on_event(IndexEvent::Done(path, &warnings));
    }
    Ok(())
}

fn row_of(file: &MediaFile, fingerprint: FileFingerprint, embedding: Embedding) -> LibraryRow {
    let time_range = embedding.time_range();
    LibraryRow {
        entry: LibraryEntry::new(&file.path, file.kind, fingerprint).with_time_range(time_range),
        embedding: embedding.into_vec(),
    }
}

fn moment_of(
    file: &MediaFile,
    fingerprint: FileFingerprint,
    range: TimeRange,
    embedding: Embedding,
) -> LibraryRow {
    let mut row = row_of(file, fingerprint, embedding);
    row.entry.time_range = Some(range);
    row
}

/// A stretch in words.
fn stretch(range: TimeRange) -> String {
    let (start, end) = range.bounds().unwrap_or_default();
    format!("the moment from {start:.1} to {end:.1} s")
}
