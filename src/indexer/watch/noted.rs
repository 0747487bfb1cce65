//! What has changed, until it rests.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::retrieval::FileFingerprint;

/// Paths that are kept, at most. Where more change at a time, everything is searched instead.
const MOST: usize = 100_000;

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Nothing,
    Folder,
    File(FileFingerprint),
    /// It cannot be looked at.
    Unknown,
}

impl Seen {
    pub(super) fn at(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(there) if there.is_dir() => Self::Folder,
            Ok(_) => FileFingerprint::of_file(path).map_or(Self::Unknown, Self::File),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Self::Nothing
            }
            Err(_) => Self::Unknown,
        }
    }
}

/// Paths of which was heard that something changes there. Told by one thread, asked by another.
#[derive(Debug, Default)]
pub(super) struct Noted {
    changes: Mutex<Changes>,
    woken: Condvar,
}

#[derive(Debug, Default)]
struct Changes {
    /// By path: since when nothing was heard of it, and what was there then.
    paths: HashMap<PathBuf, (Instant, Option<Seen>)>,
    /// Whether there was more than is known.
    is_too_much: bool,
}

impl Noted {
    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, path: PathBuf) {
        self.changes().note(path, Instant::now());
        self.woken.notify_one();
    }

    /// More has changed than is told.
    pub(super) fn note_all(&self) {
        self.changes().is_too_much = true;
        self.woken.notify_one();
    }

    /// Whether everything is to be searched, since this was last asked.
    pub(super) fn take_too_much(&self) -> bool {
        std::mem::take(&mut self.changes().is_too_much)
    }

    /// What has rested for so long, with what is there.
    pub(super) fn take_rested(&self, settle: Duration) -> Vec<(PathBuf, Seen)> {
        let mut paths = std::mem::take(&mut self.changes().paths);
        // What is heard in the meantime is newer.
        let rested = take_rested(&mut paths, Instant::now(), settle, Seen::at);
        let mut changes = self.changes();
        for (path, mark) in paths {
            changes.paths.entry(path).or_insert(mark);
        }
        rested
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes().paths.is_empty()
    }

    /// Waits until something is noted, or for so long.
    pub(super) fn wait(&self, longest: Duration) {
        let changes = self.changes();
        let waited = self.woken.wait_timeout(changes, longest);
        drop(waited);
    }
}

impl Changes {
    fn note(&mut self, path: PathBuf, now: Instant) {
        if self.paths.len() >= MOST && !self.paths.contains_key(&path) {
            self.paths.clear();
            self.is_too_much = true;
        } else {
            self.paths.insert(path, (now, None));
        }
    }
}

/// Takes those paths out of which nothing was heard for so long, and at which the same lies as at first.
fn take_rested(
    paths: &mut HashMap<PathBuf, (Instant, Option<Seen>)>,
    now: Instant,
    settle: Duration,
    look: impl Fn(&Path) -> Seen,
) -> Vec<(PathBuf, Seen)> {
    let mut rested = Vec::new();
    paths.retain(|path, (since, before)| {
        let has_time_passed = now.duration_since(*since) >= settle;
        if before.is_some() && !has_time_passed {
            return true;
        }
        let seen = look(path);
        if *before == Some(seen) {
            rested.push((path.clone(), seen));
            return false;
        }
        (*since, *before) = (now, Some(seen));
        true
    });
    rested.sort_by(|(a, _), (b, _)| a.cmp(b));
    rested
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_secs(2);

    fn file(size_bytes: u64) -> Seen {
        Seen::File(FileFingerprint { size_bytes, modified_nanoseconds: 1 })
    }

    #[test]
    fn what_grows_does_not_rest() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut changes = Changes::default();
        let look = |changes: &mut Changes, seconds, seen| {
            take_rested(&mut changes.paths, at(seconds), SETTLE, |_| seen)
                .into_iter()
                .map(|(_, seen)| seen)
                .collect::<Vec<_>>()
        };
        changes.note("a.mp4".into(), at(0.0));
        assert_eq!(look(&mut changes, 0.1, file(1)), []);
        // Nothing is heard, but it has grown.
        assert_eq!(look(&mut changes, 2.5, file(2)), []);
        assert_eq!(look(&mut changes, 4.0, file(2)), []);
        // It is heard of again.
        changes.note("a.mp4".into(), at(4.1));
        assert_eq!(look(&mut changes, 4.6, file(2)), []);
        assert_eq!(look(&mut changes, 6.5, file(2)), []);
        assert_eq!(look(&mut changes, 6.7, file(2)), [file(2)]);
        assert_eq!(look(&mut changes, 9.0, file(2)), []);
        // What is gone rests as well.
        changes.note("a.mp4".into(), at(10.0));
        assert_eq!(look(&mut changes, 10.0, Seen::Nothing), []);
        assert_eq!(look(&mut changes, 12.0, Seen::Nothing), [Seen::Nothing]);
    }

    #[test]
    fn where_too_much_changes_everything_is_searched() {
        let now = Instant::now();
        let mut changes = Changes::default();
        (0..MOST).for_each(|i| changes.note(i.to_string().into(), now));
        changes.note("0".into(), now);
        assert!(!changes.is_too_much && changes.paths.len() == MOST);
        changes.note("one more".into(), now);
        assert!(changes.is_too_much && changes.paths.is_empty());
    }

    #[test]
    fn what_is_heard_while_it_is_looked_at_counts() {
        let noted = Noted::default();
        noted.note("nowhere".into());
        assert_eq!(noted.take_rested(Duration::ZERO), []);
        assert_eq!(noted.take_rested(Duration::ZERO), [(PathBuf::from("nowhere"), Seen::Nothing)]);
        assert!(noted.is_empty() && !noted.take_too_much());
        noted.note_all();
        assert!(noted.take_too_much() && !noted.take_too_much());
    }
}
