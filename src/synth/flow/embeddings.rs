use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ndarray::Axis;

use super::clip::Clip;
use crate::embedder::{CancelToken, Embedder, Input, Progress};
use crate::retrieval::{
    FileFingerprint, Library, LibraryEntry, LibraryManifest, LibraryRow, LibraryWriter, MediaKind, TimeRange,
};
use crate::synth::SynthError;

/// The embeddings of clips and their frames, which lie in a library that can also be searched.
pub(super) struct Embeddings {
    library: Library,
    rows: HashMap<Key, usize>,
    failures: HashMap<PathBuf, String>,
}

/// A file, and the bits of the time range in it.
type Key = (PathBuf, Option<(u64, u64)>);

/// Inputs of one file, which become rows of the library together.
struct Group {
    path: PathBuf,
    fingerprint: FileFingerprint,
    kind: MediaKind,
    ranges: Vec<Option<TimeRange>>,
}

impl Embeddings {
    /// Embeds those clips, and their frames, that the library in `directory` does not have. `on_progress` hears of
    /// every file.
    ///
    /// # Errors
    /// [`SynthError::Retrieval`]; [`SynthError::Cancelled`], with what is embedded safe on disk. A clip that
    /// cannot be embedded is missing afterwards.
    pub(super) fn make(
        embedder: &Embedder,
        directory: &Path,
        manifest: &LibraryManifest,
        clips: &[&Clip],
        cancel: &CancelToken,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<Self, SynthError> {
        let mut writer = LibraryWriter::create_or_open(directory, manifest.clone())?;
        let (mut groups, mut inputs) = (Vec::new(), Vec::new());
        for (group, group_inputs) in groups_of(clips)? {
            if !writer.is_current(&group.path, group.fingerprint) {
                groups.push(group);
                inputs.extend(group_inputs);
            }
        }
        let total = groups.len();
        let mut failures = HashMap::new();
        let mut embeddings = embedder.embed_iter(inputs);
        for (done, group) in (1..).zip(groups) {
            let mut rows = Vec::new();
            for time_range in group.ranges {
                match embeddings.next() {
                    Some(Ok(embedding)) => rows.push(LibraryRow {
                        entry: LibraryEntry {
                            path: group.path.clone(),
                            kind: group.kind,
                            time_range,
                            fingerprint: group.fingerprint,
                        },
                        embedding: embedding.into_vec(),
                    }),
                    Some(Err(error)) => drop(failures.insert(group.path.clone(), error.to_string())),
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
        let library = Library::open(directory)?;
        let rows = library.entries().iter().enumerate();
        let rows = rows.map(|(row, entry)| (key(&entry.path, entry.time_range), row)).collect();
        Ok(Self { library, rows, failures })
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
        let row = self.rows.get(&key(path, range));
        let row = row.and_then(|row| self.library.embeddings().index_axis_move(Axis(0), *row).to_slice());
        row.ok_or_else(|| match self.failures.get(path) {
            Some(reason) => reason.clone(),
            None => format!("{} could not be embedded in an earlier run", path.display()),
        })
    }
}

/// Files in order, each video before the frames of its clips, with the inputs of each.
fn groups_of(clips: &[&Clip]) -> Result<Vec<(Group, Vec<Input>)>, SynthError> {
    let mut groups = Vec::new();
    for clips in clips.chunk_by(|a, b| a.place.0 == b.place.0) {
        let Some(first) = clips.first() else { continue };
        let ranges = clips.iter().map(|clip| time_range(clip)).collect();
        let video = Group::new(&first.path, MediaKind::Video, ranges)?;
        groups.push((video, clips.iter().map(|clip| clip.input()).collect()));
        for clip in clips {
            let frame = Group::new(&clip.frame, MediaKind::Image, vec![None])?;
            groups.push((frame, vec![Input::image(&clip.frame)]));
        }
    }
    Ok(groups)
}

impl Group {
    fn new(path: &Path, kind: MediaKind, ranges: Vec<Option<TimeRange>>) -> Result<Self, SynthError> {
        Ok(Self { path: path.to_owned(), fingerprint: FileFingerprint::of_file(path)?, kind, ranges })
    }
}

/// The clip's range as a library has it; `None` where it is the whole video.
fn time_range(clip: &Clip) -> Option<TimeRange> {
    let (start, end) = (clip.range.start_seconds, clip.range.end_seconds);
    (start.is_some() || end.is_some()).then(|| {
        let start_seconds = start.unwrap_or(0.0);
        TimeRange { start_seconds, end_seconds: end.unwrap_or(start_seconds + clip.seconds) }
    })
}

fn key(path: &Path, range: Option<TimeRange>) -> Key {
    (path.to_owned(), range.map(|range| (range.start_seconds.to_bits(), range.end_seconds.to_bits())))
}
