//! Filling a library from folders: what `gve index` does, as a library call.
//!
//! Files are found, those the library already has in their present state are passed over, and the others are
//! embedded. A file is told of as done once its rows are safe on disk, so a run that is killed
//! loses nothing it has told of, and the next run goes on from there.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use walkdir::WalkDir;

use crate::embedder::{EmbedError, Embedder, Embedding, Input};
use crate::retrieval::{
    FileFingerprint, LibraryEntry, LibraryManifest, LibraryRow, LibraryWriter, MANIFEST_FORMAT_VERSION,
    MediaKind, RetrievalError, TimeRange,
};

/// File name extensions taken for videos, in lower case.
pub const VIDEO_EXTENSIONS: &[&str] = &[
    "3gp", "avi", "flv", "gif", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "ogv", "ts",
    "webm", "wmv", "y4m",
];
/// File name extensions taken for images, in lower case.
pub const IMAGE_EXTENSIONS: &[&str] = &["bmp", "jpeg", "jpg", "png", "tif", "tiff", "webp"];

/// How long finished rows may wait to be written together with the next ones.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// A video or image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaFile {
    /// Absolute path.
    pub path: PathBuf,
    /// What its name says it is.
    pub kind: MediaKind,
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
}

/// Why indexing ended early, or could not look at a path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A path that cannot be walked.
    #[error("{}: {source}", path.display())]
    Walk {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file given by name that is neither a video nor an image by its extension.
    #[error("{}: not a known video or image extension", path.display())]
    UnknownExtension {
        /// The file.
        path: PathBuf,
    },
    /// The library cannot be written.
    #[error(transparent)]
    Retrieval(#[from] RetrievalError),
    /// A file cannot be embedded.
    #[error(transparent)]
    Embed(#[from] EmbedError),
}

/// The manifest of a library of `embedder`'s embeddings. `model` is the hub id or directory the embedder was
/// loaded from, `revision` the commit where it came from the hub; the fingerprint of its weights stands in for one.
pub fn library_manifest(embedder: &Embedder, model: &str, revision: Option<&str>) -> LibraryManifest {
    let pixels = embedder.pixels();
    LibraryManifest {
        format_version: MANIFEST_FORMAT_VERSION,
        model: model.to_owned(),
        revision: Some(revision.unwrap_or(embedder.fingerprint()).to_owned()),
        adapter: embedder.adapter().cloned(),
        dim: embedder.dim(),
        instruction: embedder.instruction().map(str::to_owned),
        sampling: embedder.sampling().clone(),
        min_pixels: pixels.min_pixels,
        max_pixels: pixels.max_pixels,
    }
}

/// Finds the videos and images at `root`, a file or a folder, in the order of their names.
/// Hidden files and folders are passed over.
pub fn find_media(root: &Path) -> Vec<Result<MediaFile, IndexError>> {
    let walk = |path: &Path, source| IndexError::Walk { path: path.to_owned(), source };
    let absolute = match std::fs::canonicalize(root) {
        Ok(path) => path,
        Err(source) => return vec![Err(walk(root, source))],
    };
    if absolute.is_file() {
        let kind = kind_of(&absolute);
        return vec![match kind {
            Some(kind) => Ok(MediaFile { path: absolute, kind }),
            None => Err(IndexError::UnknownExtension { path: absolute }),
        }];
    }
    let hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
    WalkDir::new(&absolute)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !hidden(entry.file_name()))
        .filter_map(|entry| match entry {
            Ok(entry) if entry.file_type().is_dir() => None,
            Ok(entry) => kind_of(entry.path()).map(|kind| Ok(MediaFile { path: entry.into_path(), kind })),
            Err(error) => {
                let path = error.path().unwrap_or(&absolute).to_owned();
                Some(Err(IndexError::Walk { path, source: error.into() }))
            }
        })
        .collect()
}

fn kind_of(path: &Path) -> Option<MediaKind> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    if VIDEO_EXTENSIONS.contains(&extension.as_str()) {
        Some(MediaKind::Video)
    } else if IMAGE_EXTENSIONS.contains(&extension.as_str()) {
        Some(MediaKind::Image)
    } else {
        None
    }
}

/// Embeds the `files` that `library` does not have in their present state.
///
/// # Errors
/// [`IndexError::Retrieval`] when the library cannot be written. A file that cannot be embedded is
/// no error of the whole but an [`IndexEvent::Failed`].
pub fn index(
    embedder: &Embedder,
    library: &mut LibraryWriter,
    files: &[MediaFile],
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
    let inputs: Vec<Input> = pending.iter().map(|(file, _)| input_of(file)).collect();
    let mut unwritten: Vec<(&Path, Vec<String>)> = Vec::new();
    let mut last_flush = Instant::now();
    let mut embeddings = embedder.embed_iter(inputs);
    for (file, fingerprint) in pending {
        match embeddings.next().unwrap_or_else(|| Err(EmbedError::Job("no result".to_owned()))) {
            Ok(embedding) => {
                let warnings = embedding.warnings().to_vec();
                library.append(&[row_of(file, fingerprint, embedding)])?;
                unwritten.push((&file.path, warnings));
            }
            Err(error) => on_event(IndexEvent::Failed(&file.path, &error.into())),
        }
        if last_flush.elapsed() >= FLUSH_INTERVAL {
            flush(library, &mut unwritten, &mut on_event)?;
            last_flush = Instant::now();
        }
    }
    flush(library, &mut unwritten, &mut on_event)
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

fn input_of(file: &MediaFile) -> Input {
    match file.kind {
        MediaKind::Image => Input::image(&file.path),
        MediaKind::Video => Input::video(&file.path),
    }
}

fn row_of(file: &MediaFile, fingerprint: FileFingerprint, embedding: Embedding) -> LibraryRow {
    let time_range =
        embedding.time_range().map(|(start_seconds, end_seconds)| TimeRange { start_seconds, end_seconds });
    LibraryRow {
        entry: LibraryEntry { path: file.path.clone(), kind: file.kind, time_range, fingerprint },
        embedding: embedding.into_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_is_found_by_extension_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.MP4", "a.png", "notes.txt", ".hidden.mp4", "c/d.webm", ".git/e.png"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let found: Vec<MediaFile> = find_media(folder.path()).into_iter().map(Result::unwrap).collect();
        let root = folder.path().canonicalize().unwrap();
        let names: Vec<_> =
            found.iter().map(|f| f.path.strip_prefix(&root).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.png", "b.MP4", "c/d.webm"]);
        assert_eq!(found[0].kind, MediaKind::Image);
        assert_eq!(found[1].kind, MediaKind::Video);

        let text = find_media(&folder.path().join("notes.txt"));
        assert!(matches!(text.as_slice(), [Err(IndexError::UnknownExtension { .. })]));
        let missing = find_media(&folder.path().join("nowhere"));
        assert!(matches!(missing.as_slice(), [Err(IndexError::Walk { .. })]));
    }
}
