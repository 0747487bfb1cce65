use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use super::moments::Cut;
use super::probe::{Cost, Probe};
use super::{IndexError, MediaFile};
use crate::embedder::{CancelToken, Embedder};
use crate::media::MediaKind;
use crate::retrieval::{
    ContentHash, FileFingerprint, Library, LibraryEntry, LibraryManifest, RetrievalError,
};
use crate::store::open_regular_file;

/// Files whose length is looked up, at most; of the others the mean is taken.
const LENGTHS: usize = 200;
/// Files of either kind that are embedded to see how long that takes, at most.
const PROBED: usize = 4;
/// Files that are read to see whether the library has them, at most, and bytes of them together.
const HASHED_FILES: usize = 1000;
const HASHED_BYTES: u64 = 8 << 30;

/// What indexing would cost: see [`estimate`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Estimate {
    /// Videos that the library does not have in their present state.
    pub videos: usize,
    /// Images likewise.
    pub images: usize,
    /// Files that it has under another name, or with another date, and that are not embedded again.
    pub known: usize,
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
    /// Files that were embedded to learn tokens and time. Where there are none, or none of the videos or of the
    /// images that were tried could be embedded while there are more, this is 0, and so are these.
    pub probed: usize,
}

/// What it would cost to [`index`](super::index) `files`, with videos cut as the `manifest` has it: those that
/// `library`, if there is one yet, does not have are counted, the lengths of some of them are looked up, and a few,
/// evenly spread, are embedded; of videos some moments are, out of a stretch that is cut as all of the video
/// would be. Nothing is written.
///
/// Files that are as long as one of the library are read, to see whether they only moved; where that is much,
/// only some are, and if they are all known, so are the others.
///
/// # Errors
/// [`IndexError::Cancelled`]; [`IndexError::Moments`]. A file that cannot be read counts as one of mean length.
pub fn estimate(
    embedder: &Embedder,
    library: Option<&Library>,
    manifest: &LibraryManifest,
    files: &[MediaFile],
    cancel: &CancelToken,
) -> Result<Estimate, IndexError> {
    let moments = manifest.moments;
    if let Some(reason) = moments.and_then(|moments| moments.fault()) {
        return Err(IndexError::Moments { reason });
    }
    let entries = library.map(whole_entries).unwrap_or_default();
    let known: HashMap<&Path, FileFingerprint> =
        entries.iter().map(|entry| (entry.path.as_path(), entry.fingerprint)).collect();
    let changed = files.iter().filter_map(|file| {
        let state = FileFingerprint::of_file(&file.path).ok()?;
        (known.get(file.path.as_path()) != Some(&state)).then_some((file, state.size_bytes))
    });
    let changed: Vec<(&MediaFile, u64)> = changed.collect();
    let pending = new_ones(&changed, &entries, cancel);
    let moved = changed.len() - pending.len();
    let (videos, images): (Vec<&MediaFile>, Vec<&MediaFile>) =
        pending.iter().partition(|file| file.kind == MediaKind::Video);
    let cut = Cut { moments, embedder: embedder.clone(), cancel: cancel.clone() };
    let lengths: Vec<f64> = spread(&videos, LENGTHS).filter_map(|file| cut.header_seconds(file)).collect();
    let image = Probe::of(&cut, spread(&images, PROBED))?;
    let video = Probe::of(&cut, spread(&videos, PROBED))?;
    let per_file = videos.len() as f64 / lengths.len().max(1) as f64;
    // The sum of nothing is -0.0.
    let video_seconds = 0.0 + lengths.iter().sum::<f64>() * per_file;
    let count = |&seconds: &f64| cut.count(seconds, video.moment_seconds) as f64;
    let moments = (lengths.iter().map(count).sum::<f64>() * per_file).round() as usize;
    let rows = pending.len() + moments;
    let costs = [
        image.whole.times(images.len()),
        video.whole.times(videos.len()),
        video.opening.times(videos.len()),
        video.moment.times(moments),
        Cost { seconds: video.cutting * video_seconds, ..Cost::default() },
    ];
    // One that a library was made with stays.
    let store_dtype = library.map_or(manifest.store_dtype, |library| library.manifest().store_dtype);
    let probed = image.whole.count + video.whole.count;
    // Files that were all tried in vain will cost nothing.
    let is_told = |of: &Probe, files: &[&MediaFile]| files.len() <= PROBED || of.whole.count > 0.0;
    let is_known = probed > 0.0 && is_told(&image, &images) && is_told(&video, &videos);
    let total = |of: fn(&Cost) -> f64| if is_known { costs.iter().map(of).sum() } else { 0.0 };
    Ok(Estimate {
        videos: videos.len(),
        images: images.len(),
        known: moved,
        video_seconds,
        rows,
        tokens: total(|cost| cost.tokens).round() as u64,
        time: Duration::from_secs_f64(total(|cost| cost.seconds)),
        bytes: (rows * manifest.dim * store_dtype.value_bytes()) as u64,
        probed: if is_known { probed as usize } else { 0 },
    })
}

/// The rows of a library but for those of videos that have lost others: these are embedded anew.
fn whole_entries(library: &Library) -> Cow<'_, [LibraryEntry]> {
    let damaged = library.damage().iter().filter_map(|error| match error {
        RetrievalError::DamagedRows { file, .. } => file.as_deref(),
        _ => None,
    });
    let damaged: HashSet<&Path> = damaged.collect();
    if damaged.is_empty() {
        return Cow::Borrowed(library.entries());
    }
    // What an image has it has in one row: one that is there has lost none.
    let is_whole =
        |entry: &&LibraryEntry| entry.kind == MediaKind::Image || !damaged.contains(entry.path.as_path());
    Cow::Owned(library.entries().iter().filter(is_whole).cloned().collect())
}

/// Of these files and their lengths those that the library does not have under another name or with another
/// date, as far as that can be told soon.
fn new_ones<'a>(
    files: &[(&'a MediaFile, u64)],
    entries: &[LibraryEntry],
    cancel: &CancelToken,
) -> Vec<&'a MediaFile> {
    let contents = entries.iter().filter_map(|entry| {
        let length = (entry.fingerprint.size_bytes, entry.kind);
        Some((length, entry.content?))
    });
    let contents: HashSet<_> = contents.collect();
    let lengths: HashSet<_> = contents.iter().map(|(length, _)| *length).collect();
    let length = |&(file, bytes): &(&MediaFile, u64)| (bytes, file.kind);
    let (alike, mut new): (Vec<_>, Vec<_>) = files.iter().partition(|file| lengths.contains(&length(file)));
    let has = |file: &&(&MediaFile, u64)| {
        let content = open_regular_file(&file.0.path).and_then(ContentHash::of);
        content.is_ok_and(|content| contents.contains(&(length(file), content)))
    };
    // Spread over all of them, as long as that does not take long.
    let (mut left, mut all_known, mut looked_at) = (HASHED_BYTES, true, HashSet::new());
    for file in spread(&alike, alike.len().min(HASHED_FILES)).collect::<Vec<_>>() {
        if cancel.is_cancelled() || file.1 > left {
            break;
        }
        left -= file.1;
        looked_at.insert(file.0.path.as_path());
        if !has(&file) {
            all_known = false;
            new.push(file);
        }
    }
    let unseen = alike.iter().copied().filter(|file| !looked_at.contains(file.0.path.as_path()));
    if !all_known || looked_at.is_empty() {
        new.extend(unseen);
    }
    new.into_iter().map(|(file, _)| *file).collect()
}

/// At most `most` of `files`, evenly spread.
fn spread<'a, T>(files: &'a [&'a T], most: usize) -> impl Iterator<Item = &'a T> {
    let count = files.len().min(most);
    // The middle of each of as many stretches.
    (0..count).map(move |i| files[(2 * i + 1) * files.len() / (2 * count)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_the_library_has_by_other_names_are_not_new() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            MediaFile { path, kind: MediaKind::Image }
        };
        let entry = |content: &str| {
            let file = put("gone.png", content);
            let content = ContentHash::of(content.as_bytes()).unwrap();
            let state = FileFingerprint::of_file(&file.path).unwrap();
            LibraryEntry::new(&file.path, file.kind, state).with_content(Some(content))
        };
        let entries = [entry("a cat"), entry("a donkey")];
        let files = [
            put("moved.png", "a cat"),
            put("other.png", "a dog"),
            put("longer.png", "a horse"),
            put("copy.png", "a donkey"),
            MediaFile { kind: MediaKind::Video, ..put("as_video.mp4", "a cat") },
        ];
        let sized: Vec<_> = files.iter().map(|file| (file, file.path.metadata().unwrap().len())).collect();
        let new = |sized, entries| -> Vec<String> {
            let new = new_ones(sized, entries, &CancelToken::new());
            let mut names: Vec<_> = new
                .iter()
                .map(|file| file.path.file_name().unwrap().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        };
        assert_eq!(new(&sized, &entries), ["as_video.mp4", "longer.png", "other.png"]);
        assert_eq!(new(&sized, &[]).len(), 5);
        // More than can be looked at in time: known as long as all that is looked at are.
        let many: Vec<_> = std::iter::repeat_n(sized[0], HASHED_FILES + 10).collect();
        assert!(new(&many, &entries).is_empty());
        let huge = [(sized[0].0, 5), (sized[1].0, 5), (sized[0].0, 5)];
        assert_eq!(new(&huge, &entries), ["other.png"]);
        let vast = [(&files[0], u64::MAX)];
        assert_eq!(new(&vast, &entries).len(), 1);
    }

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
        assert_eq!(spread::<MediaFile>(&[], 4).count(), 0);
    }
}
