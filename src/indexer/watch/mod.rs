//! Keeping a library in step with folders.
//!
//! What the system tells of changes is a hint where to look, and nothing more: files are taken for what they
//! are found to be, once they rest. All folders are searched at first, when one comes back, when the system
//! could not keep up, and from time to time, for there are drives of which it tells nothing.

mod known;
mod noted;
mod rest;
mod roots;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exclude::is_excluded;
use super::find::look_at;
use super::prune::plan_deleted;
use super::run::is_of_content;
use super::{
    Doubt, FindOptions, Found, IndexError, IndexEvent, IndexOptions, IndexTotals, MediaFile, Recognition,
    find_with, index_with, remember_mounts,
};
use crate::embedder::{CancelToken, Embedder};
use crate::options::with_fields;
use crate::retrieval::{FileFingerprint, LibraryManifest, LibraryWriter, PathPattern, RetrievalError};

use known::take_gone;
use noted::{Noted, Seen};
use rest::{after, is_at_rest};
use roots::{Change, Roots};

/// How often is looked whether to stop, and whether the folders are there.
const TICK: Duration = Duration::from_millis(200);
/// What is gone waits for what may have come of it, in rests.
const PATIENCE: u32 = 10;

/// How [`watch`] goes about it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WatchOptions {
    /// A file is taken up once it has not changed for so long: 2 seconds by default.
    pub settle: Duration,
    /// All folders are searched so often, whatever the system tells: every 15 minutes by default.
    pub rescan: Duration,
    /// When it is tried again where the library could not be written: after 30 seconds by default.
    pub retry: Duration,
    /// What makes a file a video or an image.
    pub recognition: Recognition,
    /// What is [left out](FindOptions::exclude). Files of the library that are stay there until they are deleted,
    /// or [pruned](super::plan_prune).
    pub exclude: Vec<PathPattern>,
    /// Whether [much](super::PrunePlan::is_much) of the library may be forgotten in one step. Not, by
    /// default: it is kept, and told.
    pub forget_much: bool,
    /// Ends watching.
    pub cancel: CancelToken,
}

with_fields!(WatchOptions {
    with_settle(settle: Duration),
    with_rescan(rescan: Duration),
    with_retry(retry: Duration),
    with_recognition(recognition: Recognition),
    with_exclude(exclude: Vec<PathPattern>),
    with_forget_much(forget_much: bool),
    with_cancel(cancel: CancelToken),
});

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(2),
            rescan: Duration::from_secs(15 * 60),
            retry: Duration::from_secs(30),
            recognition: Recognition::default(),
            exclude: Vec::new(),
            forget_much: false,
            cancel: CancelToken::new(),
        }
    }
}

/// Something that happened while folders were watched.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum WatchEvent {
    /// What became of a file.
    File(IndexEvent),
    /// Something cannot be looked at. It is told once.
    Failed(Arc<IndexError>),
    /// The library is in step with the folders, after these files.
    UpToDate(IndexTotals),
    /// A folder is not there. Its files stay in the library.
    Away(PathBuf),
    /// A folder that was not there is there again, or another is in its place: it is searched.
    Back(PathBuf),
    /// The system does not tell what changes in a folder, for this reason: it is searched from time to time.
    Unwatched(PathBuf, String),
    /// So many files are not there and stay in the library, because of what is in doubt about a folder.
    Kept(PathBuf, Doubt, usize),
    /// So many files are gone, of so many in the library, and stay there because that is much:
    /// [`plan_prune`](super::plan_prune) plans what forgets them.
    TooMany(usize, usize),
    /// A part of the library is damaged, for this reason: it is set aside, and what was lost with it is embedded
    /// anew where it is found.
    Damaged(String),
    /// The library cannot be written at present. It is tried again, and nothing is lost.
    Hindered(Arc<RetrievalError>),
}

/// Keeps the library in `directory`, which is made if need be, in step with what lies in `folders`, until
/// [`WatchOptions::cancel`] is set: files that come or change are embedded once they rest, those that move
/// keep their rows, and those that are deleted are forgotten. Nothing is forgotten with a folder that goes
/// away, or is empty all at once. The library is open for writing while there is something to embed or to
/// forget; files are tagged meanwhile by [`Library::tag`](crate::retrieval::Library::tag).
///
/// # Errors
/// Folders cannot be watched at all, or the library cannot be made, read or continued with this manifest.
/// Another writer is none of them, but [`WatchEvent::Hindered`], from the beginning; neither is a full disk
/// or a library that is away, once it was there.
pub fn watch(
    embedder: &Embedder,
    directory: impl AsRef<Path>,
    manifest: &LibraryManifest,
    folders: &[PathBuf],
    options: &WatchOptions,
    on_event: impl FnMut(WatchEvent),
) -> Result<(), IndexError> {
    let directory = directory.as_ref();
    let noted = Arc::new(Noted::default());
    let roots = Roots::new(folders, &noted)?;
    let mut watch = Watch {
        embedder,
        directory,
        manifest,
        options,
        on_event,
        noted,
        roots,
        found: Vec::new(),
        files: BTreeMap::new(),
        known: BTreeSet::new(),
        deleted: BTreeSet::new(),
        deleted_since: Instant::now(),
        refused: HashMap::new(),
        told: HashSet::new(),
        next_search: None,
        hindered_until: None,
    };
    watch.begin()?;
    while !options.cancel.is_cancelled() {
        watch.step()?;
    }
    Ok(())
}

struct Watch<'a, F> {
    embedder: &'a Embedder,
    directory: &'a Path,
    manifest: &'a LibraryManifest,
    options: &'a WatchOptions,
    on_event: F,
    noted: Arc<Noted>,
    roots: Roots,
    /// What the last search has found, for the mounts to be remembered.
    found: Vec<Found>,
    /// What is to be indexed.
    files: BTreeMap<PathBuf, MediaFile>,
    /// Files that were there once, as far as they have not been found to be gone.
    known: BTreeSet<PathBuf>,
    /// Where something was and is no more.
    deleted: BTreeSet<PathBuf>,
    deleted_since: Instant,
    /// Files that hold nothing that can be embedded, in the state in which they do.
    refused: HashMap<PathBuf, FileFingerprint>,
    /// Failures that were told.
    told: HashSet<String>,
    next_search: Option<Instant>,
    hindered_until: Option<Instant>,
}

impl<F: FnMut(WatchEvent)> Watch<'_, F> {
    /// Makes the library if need be, or finds that it can be continued, once no other writer has it.
    fn begin(&mut self) -> Result<(), IndexError> {
        while !self.options.cancel.is_cancelled() {
            if self.is_hindered() {
                self.noted.wait(TICK);
                continue;
            }
            let opened = LibraryWriter::create_or_open(self.directory, self.manifest.clone());
            opened.iter().for_each(|library| self.tell_damage(library));
            match opened.and_then(LibraryWriter::finish) {
                Err(error @ RetrievalError::Locked { .. }) => self.hinder(error),
                opened => return Ok(opened?),
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), IndexError> {
        let is_due = self.next_search.is_none_or(|time| Instant::now() >= time);
        if is_due {
            self.roots.retry();
        }
        let have_changed = self.look_at_folders();
        if is_due | have_changed | self.noted.take_too_much() {
            self.search();
        }
        for (path, seen) in self.noted.take_rested(self.options.settle) {
            self.take_up(path, seen);
        }
        let now = Instant::now();
        let is_patient = self.noted.is_empty()
            || now >= after(self.deleted_since, self.options.settle.saturating_mul(PATIENCE));
        let has_work = !self.files.is_empty() || !self.deleted.is_empty() && is_patient;
        if has_work && !self.is_hindered() {
            self.bring_in_step(is_patient)
        } else {
            self.noted.wait(TICK);
            Ok(())
        }
    }

    /// Tells which folders went or came; gives back whether one came.
    fn look_at_folders(&mut self) -> bool {
        let mut has_come = false;
        for change in self.roots.look() {
            match change {
                Change::Away(path) => (self.on_event)(WatchEvent::Away(path)),
                Change::Here(path) => {
                    has_come = true;
                    if self.next_search.is_some() {
                        (self.on_event)(WatchEvent::Back(path));
                    }
                }
                Change::Unwatched(path, reason) => {
                    if self.told.insert(format!("{}: {reason}", path.display())) {
                        (self.on_event)(WatchEvent::Unwatched(path, reason));
                    }
                }
            }
        }
        has_come
    }

    /// Searches all folders that are there.
    fn search(&mut self) {
        let here: Vec<PathBuf> = self.roots.here().map(Path::to_owned).collect();
        let mut searched: Vec<Found> = Vec::with_capacity(here.len());
        for root in &here {
            let found = self.find(root);
            found.files.iter().for_each(|file| self.take(file.clone()));
            searched.push(found);
        }
        // What is deleted was perhaps not heard of.
        let gone = take_gone(&mut self.known, &here, &searched);
        if !gone.is_empty() {
            self.deleted.extend(gone);
            self.deleted_since = Instant::now();
        }
        let failures = searched.iter_mut().flat_map(|found| std::mem::take(&mut found.failures));
        for error in failures.collect::<Vec<_>>() {
            self.tell(error);
        }
        self.found = searched;
        self.next_search = Some(after(Instant::now(), self.options.rescan.max(TICK)));
    }

    /// Tells what cannot be looked at, once.
    fn tell(&mut self, error: IndexError) {
        if self.told.insert(error.to_string()) {
            (self.on_event)(WatchEvent::Failed(error.into()));
        }
    }

    /// What was noted rests: the file is to be indexed, those of a folder to be looked at one by one.
    fn take_up(&mut self, path: PathBuf, seen: Seen) {
        match seen {
            // Of a folder that is watched this says nothing of its files.
            Seen::Nothing if !self.roots.contains(&path) => {
                self.known.remove(&path);
                self.deleted.insert(path);
                self.deleted_since = Instant::now();
            }
            Seen::Folder | Seen::File(_) if self.is_left_out(&path) => {}
            // A link to a folder is passed over, as searches pass it over.
            Seen::Folder if !self.roots.contains(&path) && !path.is_symlink() => {
                let found = self.find(&path);
                found.files.into_iter().for_each(|file| self.take(file));
                found.failures.into_iter().for_each(|error| self.tell(error));
            }
            Seen::File(_) => match look_at(&path, self.recognition_of(&path)) {
                Ok(Some(file)) => self.keep(file),
                Ok(None) => {}
                Err(_) if is_gone(&path) => {}
                Err(error) => self.tell(error),
            },
            _ => {}
        }
    }

    /// What is named by itself is recognised by its content in any case, as searches do it.
    fn recognition_of(&self, path: &Path) -> Recognition {
        if self.roots.contains(path) { Recognition::ByContent } else { self.options.recognition }
    }

    fn find(&self, path: &Path) -> Found {
        let WatchOptions { recognition, exclude, .. } = self.options;
        find_with(path, &FindOptions { recognition: *recognition, exclude: exclude.clone() })
    }

    fn is_left_out(&self, path: &Path) -> bool {
        let mut roots = self.roots.here().filter(|root| path.starts_with(root));
        // What one folder leaves out another may have, which lies in it and was named as well.
        let is_left_out = |root: &Path| is_excluded(path, root, &self.options.exclude);
        roots.next().is_some_and(|first| is_left_out(first) && roots.all(is_left_out))
    }

    /// A file that was found is to be indexed: at once if it has not changed for long, else once it rests.
    fn take(&mut self, file: MediaFile) {
        if is_at_rest(&file.path, self.options.settle) {
            self.keep(file);
        } else {
            self.noted.note(file.path);
        }
    }

    /// A file that rests is to be indexed.
    fn keep(&mut self, file: MediaFile) {
        self.known.insert(file.path.clone());
        self.files.insert(file.path.clone(), file);
    }

    /// Indexes what is to be, and then forgets what was deleted, if `forget`.
    fn bring_in_step(&mut self, forget: bool) -> Result<(), IndexError> {
        match self.write(forget) {
            Ok(totals) => {
                self.files.clear();
                self.hindered_until = None;
                (self.on_event)(WatchEvent::UpToDate(totals));
                Ok(())
            }
            Err(IndexError::Cancelled) => Ok(()),
            Err(IndexError::Retrieval(error)) if may_pass(&error) => {
                self.hinder(error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Tells what of the library is damaged, once, which its writer leaves behind: what was lost is embedded anew
    /// where a search finds it.
    fn tell_damage(&mut self, library: &LibraryWriter) {
        for error in library.damage() {
            let reason = error.to_string();
            if self.told.insert(reason.clone()) {
                (self.on_event)(WatchEvent::Damaged(reason));
            }
            self.noted.note_all();
        }
    }

    /// Tells that the library cannot be written, which is tried again.
    fn hinder(&mut self, error: RetrievalError) {
        self.hindered_until = Some(after(Instant::now(), self.options.retry));
        (self.on_event)(WatchEvent::Hindered(error.into()));
    }

    fn is_hindered(&self) -> bool {
        self.hindered_until.is_some_and(|time| Instant::now() < time)
    }

    fn write(&mut self, forget: bool) -> Result<IndexTotals, IndexError> {
        // A library that lies on a drive that went away is not to be made anew there.
        let mut library = LibraryWriter::open(self.directory, self.manifest.clone())?;
        self.tell_damage(&library);
        remember_mounts(&library, &self.found)?;
        let state = |path: &Path| FileFingerprint::of_file(path).ok();
        let is_refused =
            |path: &Path| self.refused.get(path).is_some_and(|before| state(path).as_ref() == Some(before));
        let files: Vec<MediaFile> =
            self.files.values().filter(|file| !is_refused(&file.path)).cloned().collect();
        // One that changes meanwhile is another.
        let states: HashMap<PathBuf, FileFingerprint> =
            files.iter().filter_map(|file| Some((file.path.clone(), state(&file.path)?))).collect();
        let options = IndexOptions::default()
            .with_cancel(self.options.cancel.clone())
            .with_searched(self.roots.paths().map(Path::to_owned).collect());
        let (on_event, told, mut refused, mut gone) = (&mut self.on_event, &mut self.told, Vec::new(), 0);
        let mut totals = index_with(self.embedder, &mut library, &files, &options, |event| {
            if let IndexEvent::Failed(path, error) = &event {
                if is_gone(path) {
                    gone += 1;
                    return;
                }
                if matches!(&**error, IndexError::Embed(error) if is_of_content(error)) {
                    refused.extend(states.get_key_value(path).map(|(path, state)| (path.clone(), *state)));
                } else if !told.insert(error.to_string()) {
                    // It is tried again when something is heard of it, and at every search.
                    return;
                }
            }
            on_event(WatchEvent::File(event));
        })?;
        totals.failed -= gone;
        self.refused.extend(refused);
        if forget {
            totals.forgotten += self.forget(&mut library)?;
        }
        library.finish()?;
        Ok(totals)
    }

    /// Forgets what was deleted; gives back how many files went.
    fn forget(&mut self, library: &mut LibraryWriter) -> Result<usize, IndexError> {
        let roots: Vec<&Path> = self.roots.here().collect();
        let plan = plan_deleted(library, &self.deleted, &roots)?;
        let is_much = plan.is_much() && !self.options.forget_much;
        let forgotten = if is_much { 0 } else { plan.carry_out(library)? };
        self.deleted.clear();
        for ((folder, doubt), files) in plan.kept {
            (self.on_event)(WatchEvent::Kept(folder, doubt, files));
        }
        if is_much {
            (self.on_event)(WatchEvent::TooMany(plan.gone.len(), plan.files));
        } else {
            plan.gone.into_iter().for_each(|path| {
                (self.on_event)(WatchEvent::File(IndexEvent::Forgotten(path)));
            });
        }
        Ok(forgotten)
    }
}

/// Whether a library that cannot be written now may be later.
fn may_pass(error: &RetrievalError) -> bool {
    matches!(
        error,
        RetrievalError::Io(_) | RetrievalError::Locked { .. } | RetrievalError::NotALibrary { .. }
    )
}

/// Whether a file is not there any more, which is no failure: it is forgotten, or found where it went.
fn is_gone(path: &Path) -> bool {
    matches!(Seen::at(path), Seen::Nothing)
}
