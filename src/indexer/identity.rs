//! What a file is by its contents, whatever its name: one that moved, a copy, or something new.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use super::MediaFile;
use super::mounts::Mounts;
use super::prune::has_left;
use crate::cancel::{CancelToken, Cancellable};
use crate::media::MediaKind;
use crate::retrieval::{Carried, ContentHash, FileFingerprint, LibraryWriter};
use crate::store::open_regular_file;

/// A file that the library does not have in its present state.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) file: MediaFile,
    pub(super) fingerprint: FileFingerprint,
    /// What its bytes are, where they were read before.
    pub(super) content: Option<ContentHash>,
}

/// What a file turned out to be.
#[derive(Debug)]
pub(super) enum Known {
    /// Nothing that the library has.
    New,
    /// What the library has.
    Carried(Carried),
    /// What another file of this run is, which is being embedded.
    UnderWay,
}

/// What a library has, by contents.
pub(super) struct Identity {
    files: HashMap<Key, Vec<PathBuf>>,
    /// Files of before there were hashes, by their lengths: they are read once one of their length comes up.
    unread: HashMap<(u64, MediaKind), Vec<(PathBuf, FileFingerprint)>>,
    under_way: HashSet<Key>,
    mounts: Mounts,
    cancel: CancelToken,
}

type Key = (ContentHash, MediaKind);

impl Identity {
    pub(super) fn of(library: &LibraryWriter, mounts: Mounts, cancel: CancelToken) -> Self {
        let mut identity = Self { cancel, ..Self::of_nothing(mounts) };
        for (path, known) in library.files() {
            match known.content {
                Some(content) => {
                    identity.files.entry((content, known.kind)).or_default().push(path.to_owned());
                }
                None => {
                    let length = (known.fingerprint.size_bytes, known.kind);
                    identity.unread.entry(length).or_default().push((path.to_owned(), known.fingerprint));
                }
            }
        }
        identity
    }

    /// Of a library that has nothing.
    pub(super) fn of_nothing(mounts: Mounts) -> Self {
        let (files, unread, under_way) = (HashMap::new(), HashMap::new(), HashSet::new());
        Self { files, unread, under_way, mounts, cancel: CancelToken::new() }
    }

    /// Looks at a file, which is read for that. `learnt` gets the files of the library that were read
    /// besides.
    ///
    /// # Errors
    /// The file cannot be read, or cancelled.
    pub(super) fn look(
        &mut self,
        pending: &Pending,
        may_wait: bool,
        learnt: &mut Vec<Carried>,
    ) -> io::Result<(ContentHash, Known)> {
        let Pending { file, fingerprint, content } = pending;
        let content = content.map_or_else(|| self.hash(&file.path), Ok)?;
        let key = (content, file.kind);
        for (path, state) in self.unread.remove(&(fingerprint.size_bytes, file.kind)).unwrap_or_default() {
            let is_same = || FileFingerprint::of_file(&path).is_ok_and(|now| now == state);
            // It may be written to while it is read.
            if is_same()
                && let Ok(content) = self.hash(&path)
                && is_same()
            {
                self.files.entry((content, file.kind)).or_default().push(path.clone());
                let (from, to) = (path.clone(), path);
                let content = Some(content);
                learnt.push(Carried { from, to, fingerprint: state, content, is_move: false });
            }
        }
        let Some(same) = self.files.get_mut(&key) else {
            let is_first = self.under_way.insert(key);
            return Ok((content, if is_first || !may_wait { Known::New } else { Known::UnderWay }));
        };
        let carried = |from: &Path, is_move| {
            let (from, to) = (from.to_owned(), file.path.clone());
            Known::Carried(Carried { from, to, fingerprint: *fingerprint, content: Some(content), is_move })
        };
        if same.contains(&file.path) {
            return Ok((content, carried(&file.path, false)));
        }
        let left = same.iter().position(|path| has_left(path, &self.mounts));
        let known = match (left, same.first()) {
            (Some(place), _) => {
                let from = std::mem::replace(&mut same[place], file.path.clone());
                carried(&from, true)
            }
            (None, Some(first)) => carried(first, false),
            (None, None) => Known::New,
        };
        Ok((content, known))
    }

    fn hash(&self, path: &Path) -> io::Result<ContentHash> {
        ContentHash::of(Cancellable { reader: open_regular_file(path)?, cancel: &self.cancel })
    }
}
