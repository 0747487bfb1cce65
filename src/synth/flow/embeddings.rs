use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ndarray::Axis;

use super::clip::Clip;
use crate::embedder::{CancelToken, Embedder, Input, Progress};
use crate::media::{MediaKind, TimeRange};
use crate::retrieval::{
    FileFingerprint, Library, LibraryEntry, LibraryManifest, LibraryOptions, LibraryRow, LibraryWriter,
    RetrievalError,
};
use crate::synth::SynthError;

/// The embeddings of clips and their frames, which lie in a library that can also be searched.
pub(super) struct Embeddings {
    library: Library,
    rows: HashMap<Key, usize>,
    failures: HashMap<Key, String>,
}

/// A file, and the bits of the time range in it.
type Key = (PathBuf, Option<[Option<u64>; 2]>);

/// Inputs of one file, which become rows of the library together.
struct Group {
    path: PathBuf,
    fingerprint: FileFingerprint,
    kind: MediaKind,
    parts: Vec<(Option<TimeRange>, Input)>,
}

impl Embeddings {
    /// Embeds those clips, and their frames, that the library in `directory` does not have. `on_progress`
    /// hears of every file.
    ///
    /// # Errors
    /// [`SynthError::Retrieval`]; [`SynthError::Cancelled`], with what is embedded safe on disk. A clip that
    /// cannot be embedded is missing afterwards, and tried again by the next run.
    pub(super) fn make(
        embedder: &Embedder,
        directory: &Path,
        manifest: &LibraryManifest,
        clips: &[&Clip],
        cancel: &CancelToken,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<Self, SynthError> {
        let mut writer = LibraryWriter::create_or_open(directory, manifest.clone())?;
        let there = rows_of(&open(directory)?);
        let mut groups = groups_of(clips)?;
        for group in &mut groups {
            let is_current = writer.is_current(&group.path, group.fingerprint);
            group.parts.retain(|(range, _)| !is_current || !there.contains_key(&key(&group.path, *range)));
        }
        groups.retain(|group| !group.parts.is_empty());
        let total = groups.len();
        let mut failures = HashMap::new();
        let inputs: Vec<Input> =
            groups.iter().flat_map(|group| &group.parts).map(|(_, input)| input.clone()).collect();
        let mut embeddings = embedder.embed_iter(inputs);
        for (done, group) in (1..).zip(groups) {
            let mut rows = Vec::new();
            for (time_range, _) in group.parts {
                match embeddings.next() {
                    Some(Ok(embedding)) => rows.push(LibraryRow {
                        entry: LibraryEntry::new(&group.path, group.kind, group.fingerprint)
                            .with_time_range(time_range),
                        embedding: embedding.into_vec(),
                    }),
                    Some(Err(error)) => {
                        drop(failures.insert(key(&group.path, time_range), error.to_string()))
                    }
                    None => {}
                }
            }
            writer.append(&rows)?;
            on_progress(Progress { done, total });
            if cancel.is_cancelled() {
                writer.flush()?;
                return Err(SynthError::Cancelled);
            }
        }
        writer.finish()?;
        let library = open(directory)?;
        Ok(Self { rows: rows_of(&library), library, failures })
    }

    /// The embedding of a clip, or why there is none.
    pub(super) fn of_clip(&self, clip: &Clip) -> Result<&[f32], String> {
        self.find(&clip.path, time_range(clip))
    }

    /// The embedding of a clip's frame, or why there is none.
    pub(super) fn of_frame(&self, clip: &Clip) -> Result<&[f32], String> {
        self.find(&clip.frame, None)
    }

    fn find(&self, path: &Path, range: Option<TimeRange>) -> Result<&[f32], String> {
        let key = key(path, range);
        let row = self.rows.get(&key);
        let embeddings = self.library.embeddings();
        let row = row.zip(embeddings).and_then(|(row, all)| all.index_axis_move(Axis(0), *row).to_slice());
        row.ok_or_else(|| match self.failures.get(&key) {
            Some(reason) => reason.clone(),
            None => format!("{} was not embedded", path.display()),
        })
    }
}

/// The library in memory, whatever its size: each embedding is asked for many times.
fn open(directory: &Path) -> Result<Library, RetrievalError> {
    let options = LibraryOptions::default().with_memory_bytes(u64::MAX);
    Library::open_with(directory, &options, |_, _| {})
}

/// Where in the library the embedding of a file's range is.
fn rows_of(library: &Library) -> HashMap<Key, usize> {
    let rows = library.entries().iter().enumerate();
    rows.map(|(row, entry)| (key(&entry.path, entry.time_range), row)).collect()
}

/// Files in order, each video before the frames of its clips.
fn groups_of(clips: &[&Clip]) -> Result<Vec<Group>, SynthError> {
    let mut groups = Vec::new();
    for clips in clips.chunk_by(|a, b| a.place.0 == b.place.0) {
        let Some(first) = clips.first() else { continue };
        let parts = clips.iter().map(|clip| (time_range(clip), clip.input())).collect();
        groups.push(Group::new(&first.path, MediaKind::Video, parts)?);
        for clip in clips {
            let frame = vec![(None, Input::image(&clip.frame))];
            groups.push(Group::new(&clip.frame, MediaKind::Image, frame)?);
        }
    }
    Ok(groups)
}

impl Group {
    fn new(path: &Path, kind: MediaKind, parts: Vec<(Option<TimeRange>, Input)>) -> Result<Self, SynthError> {
        Ok(Self { path: path.to_owned(), fingerprint: FileFingerprint::of_file(path)?, kind, parts })
    }
}

/// The clip's range as a library has it; `None` where it is the whole video.
fn time_range(clip: &Clip) -> Option<TimeRange> {
    let (start, end) = (clip.range.start_seconds, clip.range.end_seconds);
    (start.is_some() || end.is_some()).then(|| {
        let start_seconds = start.unwrap_or(0.0);
        TimeRange::between(start_seconds, end.unwrap_or(start_seconds + clip.seconds))
    })
}

fn key(path: &Path, range: Option<TimeRange>) -> Key {
    (path.to_owned(), range.map(TimeRange::to_bits))
}
