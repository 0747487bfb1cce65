//! The folders that are watched, which may go away and come back.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::noted::Noted;
use crate::indexer::IndexError;
use crate::indexer::find::{absolute, is_hidden};
use crate::store::IoError;

/// What has become of a folder.
#[derive(Debug)]
pub(super) enum Change {
    /// It is there, and was not before, or another is there: it is to be searched.
    Here(PathBuf),
    Away(PathBuf),
    /// The system does not tell what changes in it, for this reason.
    Unwatched(PathBuf, String),
}

pub(super) struct Roots {
    watcher: RecommendedWatcher,
    roots: Vec<Root>,
}

struct Root {
    path: PathBuf,
    /// Which folder, or file, was there; `None` where there was none, or nobody has looked.
    here: Option<Identity>,
    was_looked_at: bool,
    is_watched: bool,
}

/// Tells whether a folder is another than before: one that was mounted over it, say.
#[cfg(unix)]
type Identity = (u64, u64);
#[cfg(not(unix))]
type Identity = Option<std::time::SystemTime>;

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;

    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(metadata: &Metadata) -> Identity {
    metadata.created().ok()
}

impl Roots {
    /// What changes at and beneath `paths` is told to `noted`, once they were [looked at](Self::look).
    pub(super) fn new(paths: &[PathBuf], noted: &Arc<Noted>) -> Result<Self, IndexError> {
        let mut paths: Vec<PathBuf> = paths.iter().map(|path| absolute(path)).collect();
        paths.sort();
        paths.dedup();
        let roots = paths.clone();
        let noted = Arc::clone(noted);
        let hear = move |event: notify::Result<Event>| match event {
            Ok(event) if event.need_rescan() => noted.note_all(),
            Ok(event) if changes_something(event.kind) => {
                let paths = event.paths.into_iter().filter(|path| is_within(path, &roots));
                paths.for_each(|path| noted.note(path));
            }
            Ok(_) => {}
            // Something was not heard.
            Err(_) => noted.note_all(),
        };
        let config = Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(hear, config).map_err(|error| {
            let path = paths.first().cloned().unwrap_or_default();
            IndexError::Io(IoError::of("watch", path)(std::io::Error::other(reason(&error))))
        })?;
        let root = |path| Root { path, here: None, was_looked_at: false, is_watched: false };
        Ok(Self { watcher, roots: paths.into_iter().map(root).collect() })
    }

    /// Looks which of them are there, and has those watched that have come.
    pub(super) fn look(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        let all: Vec<PathBuf> = self.roots.iter().map(|root| root.path.clone()).collect();
        for root in &mut self.roots {
            let metadata = fs::metadata(&root.path).ok();
            let now = metadata.as_ref().map(identity);
            if now == root.here && root.was_looked_at {
                continue;
            }
            root.was_looked_at = true;
            root.here = now;
            let path = &root.path;
            // A file may be replaced by another: that is seen in its folder, which may be watched with all
            // beneath it, and would not be any more.
            let is_file = metadata.is_some_and(|metadata| !metadata.is_dir());
            if is_file && all.iter().any(|other| other != path && path.starts_with(other)) {
                root.is_watched = true;
                changes.push(Change::Here(path.clone()));
                continue;
            }
            let (watched, mode) = match path.parent().filter(|_| is_file) {
                Some(folder) => (folder, RecursiveMode::NonRecursive),
                None => (path.as_path(), RecursiveMode::Recursive),
            };
            // What was watched there is gone, as a rule, and then this is an error.
            let _was_not_watched = self.watcher.unwatch(watched);
            if now.is_none() {
                root.is_watched = true;
                changes.push(Change::Away(path.clone()));
                continue;
            }
            let watching = self.watcher.watch(watched, mode);
            root.is_watched = watching.is_ok();
            if let Err(error) = watching {
                changes.push(Change::Unwatched(path.clone(), reason(&error)));
            }
            changes.push(Change::Here(path.clone()));
        }
        changes
    }

    /// All of them.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.roots.iter().map(|root| root.path.as_path())
    }

    /// Those that are there.
    pub(super) fn here(&self) -> impl Iterator<Item = &Path> {
        self.roots.iter().filter(|root| root.here.is_some()).map(|root| root.path.as_path())
    }

    /// Has those that could not be watched looked at anew.
    pub(super) fn retry(&mut self) {
        self.roots.iter_mut().for_each(|root| root.was_looked_at &= root.is_watched);
    }

    /// Whether a path is that of a root.
    pub(super) fn contains(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| root.path == path)
    }
}

/// Reading changes nothing; and we do read.
fn changes_something(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))
}

/// Whether a path is a root or beneath one, and nothing on the way from there is hidden.
fn is_within(path: &Path, roots: &[PathBuf]) -> bool {
    let mut beneath = roots.iter().filter_map(|root| path.strip_prefix(root).ok());
    beneath.any(|rest| !rest.iter().any(is_hidden))
}

fn reason(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => "it has more folders than the system watches at a time: on \
                                             Linux, sysctl fs.inotify.max_user_watches raises that"
            .to_owned(),
        notify::ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_is_what_has_a_hidden_folder_beneath_the_root() {
        let roots = [PathBuf::from("/home/me/.videos"), PathBuf::from("/home/me/a.mp4")];
        for (path, expected) in [
            ("/home/me/.videos", true),
            ("/home/me/.videos/a/b.mp4", true),
            ("/home/me/.videos/.a/b.mp4", false),
            ("/home/me/.videos/a/.b.mp4", false),
            ("/home/me/a.mp4", true),
            ("/home/me/b.mp4", false),
        ] {
            assert_eq!(is_within(Path::new(path), &roots), expected, "{path}");
        }
    }
}
