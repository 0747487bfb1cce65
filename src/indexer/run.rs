//! One run of indexing: files are looked at ahead of the model, and reported once they are safe on disk.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Instant;

use super::identity::{Identity, Pending};
use super::moments::{Cut, Plan, Step};
use super::mounts::Mounts;
use super::{IndexError, IndexEvent, IndexOptions, MediaFile};
use crate::embedder::{EmbedError, EmbedIter, Embedder, Embedding};
use crate::media::TimeRange;
use crate::preprocess::PreprocessError;
use crate::retrieval::{Carried, FileFingerprint, LibraryEntry, LibraryRow, LibraryWriter};
use crate::video::VideoError;

/// Files whose rows are written down again in one step, at most.
const MOST_CARRIED: usize = 1024;
/// Times that files are looked at again: what waited for others is known afterwards, and what the library has
/// lost in the meantime is embedded.
const LAST_ROUND: usize = 2;

/// What is to be told once it is on disk.
enum Report {
    Done(PathBuf, Vec<String>),
    Carried(Carried),
}

pub(super) struct Run<'a, F> {
    embedder: &'a Embedder,
    library: &'a mut LibraryWriter,
    options: &'a IndexOptions,
    on_event: F,
    /// What waits to be written.
    carried: Vec<Carried>,
    unwritten: Vec<Report>,
    last_flush: Instant,
    turned_bad: HashSet<PathBuf>,
}

impl<'a, F: FnMut(IndexEvent)> Run<'a, F> {
    pub(super) fn new(
        embedder: &'a Embedder,
        library: &'a mut LibraryWriter,
        options: &'a IndexOptions,
        on_event: F,
    ) -> Self {
        let (carried, unwritten, turned_bad) = (Vec::new(), Vec::new(), HashSet::new());
        let last_flush = Instant::now();
        Self { embedder, library, options, on_event, carried, unwritten, last_flush, turned_bad }
    }

    pub(super) fn index(mut self, mut pending: Vec<Pending>) -> Result<(), IndexError> {
        for round in 0..=LAST_ROUND {
            pending = self.round(pending, round)?;
            self.flush()?;
            if pending.is_empty() || self.is_cancelled() {
                break;
            }
        }
        if !self.turned_bad.is_empty() {
            let paths: Vec<PathBuf> = self.turned_bad.drain().collect();
            self.library.remove(&paths)?;
            paths.into_iter().for_each(|path| (self.on_event)(IndexEvent::Forgotten(path)));
        }
        if self.is_cancelled() { Err(IndexError::Cancelled) } else { Ok(()) }
    }

    fn is_cancelled(&self) -> bool {
        self.options.cancel.is_cancelled()
    }

    /// Takes the files as they come, and gives back those that are to be looked at again.
    fn round(&mut self, pending: Vec<Pending>, round: usize) -> Result<Vec<Pending>, IndexError> {
        let mounts = Mounts::of(self.library)?.with_searched(&self.options.searched);
        let cancel = self.options.cancel.clone();
        let identity = if round == LAST_ROUND {
            Identity::of_nothing(mounts)
        } else {
            Identity::of(self.library, mounts, cancel.clone())
        };
        let cut = Cut { moments: self.library.manifest().moments, embedder: self.embedder.clone(), cancel };
        let (plans, planned) = mpsc::channel();
        let mut embeddings =
            self.embedder.embed_iter(cut.inputs(pending.clone(), identity, round == 0, plans));
        let (mut pending, mut again) = (VecDeque::from(pending), Vec::new());
        while let Some(next) = pending.pop_front() {
            if self.is_cancelled() {
                break;
            }
            // It is there before the first of the file's embeddings. Without one the iterator has ended.
            let Ok(Plan { learnt, fingerprint, content, step }) = planned.recv() else {
                let error = EmbedError::Job("no result".to_owned());
                (self.on_event)(IndexEvent::failed(next.file.path, error));
                continue;
            };
            let next = Pending { fingerprint, content, ..next };
            // Written with what comes next, at the latest when it is asked for.
            self.carried.extend(learnt);
            match step {
                // Without its moments the file would be there, and nobody would ask for them again.
                Step::Stop | Step::Embed(Err(VideoError::Cancelled)) => break,
                Step::Wait => again.push(next),
                Step::Carry(carried) => {
                    if self.take(carried)? {
                        continue;
                    }
                    again.push(next);
                }
                Step::Embed(ranges) => self.embed(&next, ranges, &mut embeddings)?,
            }
            if self.last_flush.elapsed() >= self.options.flush_interval {
                self.flush()?;
            }
        }
        Ok(again)
    }

    /// Has rows written down again, unless the library has others by now.
    fn take(&mut self, carried: Carried) -> Result<bool, IndexError> {
        let has = |library: &LibraryWriter| {
            library.known(&carried.from).is_some_and(|known| known.content == carried.content)
        };
        if !has(self.library) {
            // They may be among what waits.
            self.flush()?;
            if !has(self.library) {
                return Ok(false);
            }
        }
        self.carried.push(carried.clone());
        self.unwritten.push(Report::Carried(carried));
        if self.carried.len() >= MOST_CARRIED || self.last_flush.elapsed() >= self.options.flush_interval {
            self.flush()?;
        }
        Ok(true)
    }

    fn embed(
        &mut self,
        pending: &Pending,
        ranges: Result<Vec<TimeRange>, VideoError>,
        embeddings: &mut EmbedIter,
    ) -> Result<(), IndexError> {
        let path = &pending.file.path;
        let mut next = || embeddings.next().unwrap_or_else(|| Err(EmbedError::Job("no result".to_owned())));
        let whole = next();
        let known = ranges.as_deref().unwrap_or_default();
        let mut parts = Vec::with_capacity(known.len());
        for &range in known {
            if self.options.cancel.is_cancelled() {
                // Without all of its moments the file is not to be there.
                return Ok(());
            }
            parts.push((range, next()));
        }
        // As above: where a moment is not at fault itself, the file is to be taken up again.
        let is_passing = |part: &Result<_, _>| part.as_ref().is_err_and(is_of_machine);
        let whole = match parts.iter().position(|(_, part)| is_passing(part)) {
            Some(place) => whole.and(parts.swap_remove(place).1),
            None => whole,
        };
        let (whole, ranges) = match ranges.map_err(EmbedError::Video) {
            Err(error) if is_of_machine(&error) => (whole.and(Err(error)), Ok(Vec::new())),
            ranges => (whole, ranges),
        };
        // What was embedded, or could not be, may be another state than that whose hash is known.
        let fault = match FileFingerprint::of_file(path) {
            Ok(now) if now == pending.fingerprint => None,
            Ok(_) => Some(IndexError::Changed { path: path.clone() }),
            Err(error) => whole.is_ok().then(|| error.into()),
        };
        if let Some(error) = fault {
            (self.on_event)(IndexEvent::failed(path.clone(), error));
            return Ok(());
        }
        match whole {
            Ok(embedding) => {
                let mut warnings = embedding.warnings().to_vec();
                warnings.extend(ranges.err().map(|error| format!("not cut into moments: {error}")));
                let mut rows = vec![row_of(pending, embedding)];
                for (range, part) in parts {
                    match part {
                        Ok(part) => {
                            let LibraryRow { entry, embedding } = row_of(pending, part);
                            rows.push(LibraryRow { entry: entry.with_time_range(Some(range)), embedding });
                        }
                        Err(error) => warnings.push(format!("{} is left out: {error}", stretch(range))),
                    }
                }
                if self.carried.iter().any(|carried| carried.from == *path) {
                    // Those are of the old state.
                    self.flush()?;
                }
                self.library.append(&rows)?;
                self.unwritten.push(Report::Done(path.clone(), warnings));
            }
            Err(error) => {
                if self.library.has(path) && is_of_content(&error) && can_be_read(path) {
                    self.turned_bad.insert(path.clone());
                }
                (self.on_event)(IndexEvent::failed(path.clone(), error));
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), IndexError> {
        self.library.flush()?;
        self.library.carry(&std::mem::take(&mut self.carried))?;
        for report in self.unwritten.drain(..) {
            (self.on_event)(match report {
                Report::Done(path, warnings) => IndexEvent::Done(path, warnings),
                Report::Carried(Carried { from, to, .. }) if from == to => IndexEvent::Unchanged(to),
                Report::Carried(Carried { from, to, is_move: true, .. }) => IndexEvent::Moved { from, to },
                Report::Carried(Carried { from, to, .. }) => IndexEvent::Copied { from, to },
            });
        }
        self.last_flush = Instant::now();
        Ok(())
    }
}

/// Whether what a file holds is at fault, and not the way to it, the settings or the machine.
pub(super) fn is_of_content(error: &EmbedError) -> bool {
    match error {
        EmbedError::Preprocess(error) => matches!(
            error,
            PreprocessError::DecodeImage { .. }
                | PreprocessError::EmptyImage { .. }
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
                | VideoError::PixelFormat { .. }
                | VideoError::Limit { .. }
        ),
        EmbedError::File { reason, .. } => is_of_content(reason),
        EmbedError::Panicked => true,
        _ => false,
    }
}

/// Whether the machine is at fault, and the same may go well another time.
fn is_of_machine(error: &EmbedError) -> bool {
    match error {
        EmbedError::Job(_) => true,
        EmbedError::Video(error) => matches!(error, VideoError::Io { .. } | VideoError::Decode { .. }),
        EmbedError::File { reason, .. } => is_of_machine(reason),
        _ => false,
    }
}

/// Whether all bytes of a file can be read: decoders tell a fault of the disk like one of the contents.
fn can_be_read(path: &Path) -> bool {
    File::open(path).and_then(|mut file| io::copy(&mut file, &mut io::sink())).is_ok()
}

fn row_of(pending: &Pending, embedding: Embedding) -> LibraryRow {
    let Pending { file: MediaFile { path, kind }, fingerprint, content } = pending;
    let source = embedding.source();
    let entry = LibraryEntry::new(path, *kind, *fingerprint)
        .with_time_range(embedding.time_range())
        .with_content(*content)
        .with_captured_seconds(source.and_then(|source| source.captured_seconds))
        .with_width(source.map(|source| source.width))
        .with_height(source.map(|source| source.height));
    LibraryRow { entry, embedding: embedding.into_vec() }
}

/// A stretch in words.
fn stretch(range: TimeRange) -> String {
    let (start, end) = range.bounds().unwrap_or_default();
    format!("the moment from {start:.1} to {end:.1} s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::IoError;

    #[test]
    fn the_machine_the_content_or_neither_is_at_fault() {
        let path = || PathBuf::from("/v/a.mp4");
        let slow = IoError::of("read", path())(io::ErrorKind::TimedOut.into());
        let decode = VideoError::Decode { path: path(), stream: 0, seconds: 1.5, reason: "no memory".into() };
        let empty = || EmbedError::Video(VideoError::EmptyFile { path: path() });
        let job = || EmbedError::Job("no result".into());
        let of_file = |reason| EmbedError::File { path: path(), reason: Box::new(reason) };
        for (error, is_machine, is_content) in [
            (job(), true, false),
            (of_file(job()), true, false),
            (EmbedError::Video(VideoError::Io(slow)), true, false),
            (EmbedError::Video(decode), true, false),
            (empty(), false, true),
            (of_file(empty()), false, true),
            (EmbedError::Panicked, false, true),
            (EmbedError::Video(VideoError::NotFound { path: path() }), false, false),
            (EmbedError::NotFinite, false, false),
            (EmbedError::Cancelled, false, false),
        ] {
            assert_eq!((is_of_machine(&error), is_of_content(&error)), (is_machine, is_content), "{error}");
        }
    }
}
