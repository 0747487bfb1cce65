//! Filling a library from folders: what `gve index` does, as a library call.
//!
//! Files are found, and those the library already has in their present state are passed over. The others are
//! read once from end to end: what the library has by its contents, under another name or an older date,
//! keeps its rows, and the rest is embedded. What is no longer there is forgotten where that is asked for. A
//! file is reported as done once its rows are safe on disk, so a run that is killed loses nothing it has told
//! of, and the next run goes on from there.

mod estimate;
mod event;
mod exclude;
mod find;
mod form;
mod identity;
mod moments;
mod mounts;
mod passed_over;
mod probe;
mod prune;
mod run;
mod settings;
mod thumbnail;
#[cfg(feature = "watch")]
mod watch;

use std::path::PathBuf;
use std::time::Duration;

pub use estimate::{Estimate, estimate};
pub use event::{IndexEvent, IndexTotals};
pub use find::{FindOptions, Found, MediaFile, Recognition, absolute, find, find_media, find_with};
pub use mounts::remember_mounts;
pub use passed_over::PassedOver;
pub use prune::{Doubt, Extent, PrunePlan, gone, plan_prune};
pub use settings::{library_manifest, with_settings_of};
pub use thumbnail::thumbnail;
#[cfg(feature = "watch")]
pub use watch::{WatchEvent, WatchOptions, watch};

use crate::embedder::{CancelToken, EmbedError, Embedder};
use crate::options::with_fields;
use crate::retrieval::{FileFingerprint, LibraryWriter, RetrievalError};
use crate::store::IoError;

use identity::Pending;
use run::Run;

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
    /// Where the files were searched for: [`Found::root`]. A folder that is not there may be a drive that is
    /// away, and what is found elsewhere of its files is a copy. None by default.
    pub searched: Vec<PathBuf>,
}

with_fields!(IndexOptions {
    with_flush_interval(flush_interval: Duration),
    with_cancel(cancel: CancelToken),
    with_searched(searched: Vec<PathBuf>),
});

impl Default for IndexOptions {
    fn default() -> Self {
        Self { flush_interval: FLUSH_INTERVAL, cancel: CancelToken::new(), searched: Vec::new() }
    }
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
    /// Moments that no video can be cut into.
    #[error("moments: {reason}")]
    Moments {
        /// [Why](crate::Moments::fault).
        reason: String,
    },
    /// [`IndexOptions::cancel`] was set. What is done is on disk.
    #[error("cancelled")]
    Cancelled,
    /// A file that is no longer what it was when it was looked at: the next run embeds it.
    #[error("{}: it changed while it was being read; index it again once it rests", path.display())]
    Changed {
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

/// Embeds the `files` that `library` does not have in their present state, with default options: see
/// [`index_with`].
///
/// # Errors
/// As [`index_with`].
pub fn index(
    embedder: &Embedder,
    library: &mut LibraryWriter,
    files: &[MediaFile],
    on_event: impl FnMut(IndexEvent),
) -> Result<IndexTotals, IndexError> {
    index_with(embedder, library, files, &IndexOptions::default(), on_event)
}

/// Embeds the `files` that `library` does not have in their present state, by what they hold: each of them is
/// read, ahead of the model, for a hash of its contents, and a file that moved, a copy and one with a new
/// date take over the rows there are. Rows of before there were such hashes get theirs once a file of the
/// same length comes up, as long as their own file is there; without one a file that moved is embedded anew.
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
    mut on_event: impl FnMut(IndexEvent),
) -> Result<IndexTotals, IndexError> {
    let mut totals = IndexTotals::default();
    let mut on_event = |event| {
        totals.count(&event);
        on_event(event);
    };
    let mut pending = Vec::new();
    for file in files {
        if options.cancel.is_cancelled() {
            return Err(IndexError::Cancelled);
        }
        let fingerprint = match file.path.to_str() {
            Some(_) => FileFingerprint::of_file(&file.path),
            None => Err(RetrievalError::PathNotUtf8 { path: file.path.clone() }),
        };
        match fingerprint {
            Ok(fingerprint) if library.is_current(&file.path, fingerprint) => {
                on_event(IndexEvent::Unchanged(file.path.clone()));
            }
            Ok(fingerprint) => pending.push(Pending { file: file.clone(), fingerprint, content: None }),
            Err(error) => on_event(IndexEvent::failed(file.path.clone(), error)),
        }
    }
    Run::new(embedder, library, options, &mut on_event).index(pending)?;
    Ok(totals)
}
