use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::moments::Cut;
use super::{IndexError, MediaFile};
use crate::embedder::{CancelToken, EmbedError, Embedder};
use crate::media::{MediaKind, Moments};
use crate::retrieval::{FileFingerprint, Library};

/// Files whose length is looked up, at most; of the others the mean is taken.
const LENGTHS: usize = 200;
/// Files that are embedded to see how long that takes, at most.
const PROBED: usize = 4;
/// Moments of each of them that are, at most.
const MOMENTS_PROBED: usize = 3;

/// What indexing would cost: see [`estimate`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Estimate {
    /// Videos that the library does not have in their present state.
    pub videos: usize,
    /// Images likewise.
    pub images: usize,
    /// Length of the videos together, by their headers.
    pub video_seconds: f64,
    /// Rows that the library would get.
    pub rows: usize,
    /// Tokens that the model would read.
    pub tokens: u64,
    /// How long it would take on this machine.
    pub time: Duration,
    /// What the embeddings would take on disk.
    pub bytes: u64,
    /// Files that were embedded to learn tokens and time; where there are none, these are 0.
    pub probed: usize,
}

/// What it would cost to [`index`](super::index) `files`, with videos cut by `moments`: those that `library`, if there is one
/// yet, does not have are counted, the lengths of some of them are looked up, and a few, evenly spread, are
/// embedded. Nothing is written.
///
/// # Errors
/// [`IndexError::Cancelled`]. A file that cannot be read counts as one of mean length.
pub fn estimate(
    embedder: &Embedder,
    library: Option<&Library>,
    moments: Option<Moments>,
    files: &[MediaFile],
    cancel: &CancelToken,
) -> Result<Estimate, IndexError> {
    let entries = library.map(Library::entries).unwrap_or_default();
    let known: HashMap<&Path, FileFingerprint> =
        entries.iter().map(|entry| (entry.path.as_path(), entry.fingerprint)).collect();
    let is_new = |file: &&MediaFile| {
        FileFingerprint::of_file(&file.path).is_ok_and(|state| known.get(file.path.as_path()) != Some(&state))
    };
    let pending: Vec<&MediaFile> = files.iter().filter(is_new).collect();
    let (videos, images): (Vec<&MediaFile>, Vec<&MediaFile>) =
        pending.iter().partition(|file| file.kind == MediaKind::Video);
    let cut = Cut { moments, embedder: embedder.clone(), cancel: cancel.clone() };
    let lengths: Vec<f64> = spread(&videos, LENGTHS).filter_map(|file| cut.header_seconds(file)).collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let moments: Vec<f64> = lengths.iter().map(|&seconds| cut.count(seconds) as f64).collect();
    let rows = (pending.len() as f64 + mean(&moments) * videos.len() as f64).round() as usize;

    let probes: Vec<&MediaFile> = spread(&pending, PROBED).collect();
    let inputs: Vec<_> = probes.iter().flat_map(|file| cut.probe(file, MOMENTS_PROBED)).collect();
    let start = Instant::now();
    let embedded = embedder.embed_with(&inputs, cancel, |_| {});
    let seconds = start.elapsed().as_secs_f64();
    if cancel.is_cancelled() || embedded.iter().any(|one| matches!(one, Err(EmbedError::Cancelled))) {
        return Err(IndexError::Cancelled);
    }
    let tokens: Vec<f64> = embedded.iter().flatten().map(|one| one.num_tokens() as f64).collect();
    let share = rows as f64 / tokens.len().max(1) as f64;
    let is_known = !tokens.is_empty();
    Ok(Estimate {
        videos: videos.len(),
        images: images.len(),
        video_seconds: mean(&lengths) * videos.len() as f64,
        rows,
        tokens: (mean(&tokens) * rows as f64).round() as u64,
        time: if is_known { Duration::from_secs_f64(seconds * share) } else { Duration::ZERO },
        bytes: (rows * embedder.dim() * size_of::<f32>()) as u64,
        probed: if is_known { probes.len() } else { 0 },
    })
}

/// At most `most` of `files`, evenly spread.
fn spread<'a>(files: &'a [&'a MediaFile], most: usize) -> impl Iterator<Item = &'a MediaFile> {
    let count = files.len().min(most);
    // The middle of each of as many stretches.
    (0..count).map(move |i| files[(2 * i + 1) * files.len() / (2 * count)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_evenly_spread() {
        let files: Vec<MediaFile> =
            (0..10).map(|i| MediaFile { path: i.to_string().into(), kind: MediaKind::Image }).collect();
        let all: Vec<&MediaFile> = files.iter().collect();
        let names = |most| -> Vec<String> {
            spread(&all, most).map(|file| file.path.display().to_string()).collect()
        };
        assert_eq!(names(2), ["2", "7"]);
        assert_eq!(names(3), ["1", "5", "8"]);
        assert_eq!(names(99).len(), 10);
        assert_eq!(spread(&[], 4).count(), 0);
    }
}
