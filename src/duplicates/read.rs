use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;

use rayon::prelude::*;

use super::cache::FingerprintCache;
use super::error::DuplicatesError;
use super::fingerprint::{Fingerprint, fingerprint, fingerprint_clip, fingerprint_image};
use super::pool;
use crate::cancel::CancelToken;
use crate::indexer::MediaFile;
use crate::media::MediaKind;
use crate::preprocess::{ImageLimits, load_image};
use crate::retrieval::FileFingerprint;
use crate::store::IoError;
use crate::video::{VideoError, VideoOptions};

/// The fingerprints of files, several at a time, each handed to `take` as it is ready, with the place of its
/// file. What `cache` has is not looked at again, and what it has not is kept there, where that is possible:
/// [`FingerprintCache::failure`] tells. A file that cannot be read is an error of its own.
///
/// # Errors
/// [`DuplicatesError::Cancelled`]; what is done was handed over and kept.
pub fn read_fingerprints(
    files: &[MediaFile],
    cache: Option<&FingerprintCache>,
    cancel: &CancelToken,
    mut take: impl FnMut(usize, Result<Fingerprint, DuplicatesError>),
) -> Result<(), DuplicatesError> {
    // Files side by side are faster than threads within one, unless there are too few.
    let threads = if files.len() < rayon::current_num_threads() { None } else { NonZeroUsize::new(1) };
    let options = VideoOptions::default().with_threads(threads);
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        scope.spawn(move || {
            pool::install(|| {
                files.par_iter().enumerate().for_each_with(sender, |sender, (place, file)| {
                    if !cancel.is_cancelled() {
                        // The receiver lives as long as this thread.
                        drop(sender.send((place, guarded(|| read(file, cache, options, cancel)))));
                    }
                });
            });
        });
        for (place, read) in receiver {
            if !matches!(read, Err(DuplicatesError::Cancelled)) {
                take(place, read);
            }
        }
    });
    if cancel.is_cancelled() { Err(DuplicatesError::Cancelled) } else { Ok(()) }
}

/// What `read` gives. A panic, which can only come out of a library for files, is an error of its file.
fn guarded<T>(read: impl FnOnce() -> Result<T, DuplicatesError>) -> Result<T, DuplicatesError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or(Err(DuplicatesError::Panicked))
}

/// Hours that a video may last: pictures are laid beside each other by quarters of a second.
const MOST_HOURS: f64 = 240.0;

fn read(
    file: &MediaFile,
    cache: Option<&FingerprintCache>,
    options: VideoOptions,
    cancel: &CancelToken,
) -> Result<Fingerprint, DuplicatesError> {
    let state = state_of(&file.path)?;
    if let Some(kept) = cache.and_then(|cache| cache.get(&file.path, state)) {
        return Ok(kept);
    }
    let look = |path: &Path| Ok(vec![fingerprint(path, options, cancel)?]);
    let Some(mut made) = made_of(file, look)?.pop() else { return Err(DuplicatesError::Cancelled) };
    made.size_bytes = state.size_bytes;
    // A name that is no text is kept nowhere.
    if let Some(cache) = cache.filter(|_| file.path.to_str().is_some()) {
        cache.try_put(&file.path, state, &made);
    }
    Ok(made)
}

/// A clip for [`Fingerprints::locate`](super::Fingerprints::locate): of a video what [`fingerprint_clip`] makes,
/// of an image its one fingerprint.
///
/// # Errors
/// [`DuplicatesError`], where it cannot be read; [`DuplicatesError::Cancelled`] where `cancel` is set.
pub fn read_clip(file: &MediaFile, cancel: &CancelToken) -> Result<Vec<Fingerprint>, DuplicatesError> {
    guarded(|| made_of(file, |path| fingerprint_clip(path, VideoOptions::default(), cancel)))
}

fn made_of(
    file: &MediaFile,
    look: impl FnOnce(&Path) -> Result<Vec<Fingerprint>, VideoError>,
) -> Result<Vec<Fingerprint>, DuplicatesError> {
    if file.kind == MediaKind::Image {
        return Ok(vec![fingerprint_image(&load_image(&file.path, &ImageLimits::default())?)]);
    }
    let made = match look(&file.path) {
        Err(VideoError::Cancelled) => return Err(DuplicatesError::Cancelled),
        made => made?,
    };
    let hours = made.first().map_or(0.0, |made| made.duration_seconds / 3600.0);
    if hours > MOST_HOURS {
        return Err(DuplicatesError::TooLong { hours, most: MOST_HOURS });
    }
    Ok(made)
}

fn state_of(path: &Path) -> Result<FileFingerprint, DuplicatesError> {
    use crate::retrieval::RetrievalError;
    FileFingerprint::of_file(path).map_err(|error| match error {
        RetrievalError::Io(error) => error.into(),
        other => IoError::of("read", path)(std::io::Error::other(other)).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_of_one_file() {
        let panicked = guarded(|| if 1 + 1 == 2 { panic!("of a decoder") } else { Ok(()) });
        assert!(matches!(panicked, Err(DuplicatesError::Panicked)), "{panicked:?}");
        assert!(guarded(|| Ok(7)).is_ok_and(|read| read == 7));
    }

    #[test]
    fn what_is_kept_is_not_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.png");
        image::RgbImage::new(40, 40).save(&path).unwrap();
        let file = MediaFile { path, kind: MediaKind::Image };
        let cache = FingerprintCache::new(folder.path().join("cache"));
        let read = || read(&file, Some(&cache), VideoOptions::default(), &CancelToken::new()).unwrap();
        let mut made = read();
        made.picture_share = 0.25;
        cache.put(&file.path, state_of(&file.path).unwrap(), &made).unwrap();
        assert_eq!(read().picture_share, 0.25);
    }
}
