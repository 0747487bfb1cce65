//! The folder of one model in the cache that Python's `huggingface_hub` and we share: `blobs/<etag>`,
//! `snapshots/<commit>/<file>` as relative links to them, `refs/<revision>` with the commit of a branch.
//! Every file appears whole under its name.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::HubError;
use super::digest::sha256_hex;
use crate::cancel::CancelToken;
use crate::store::{IoError, Lock, create_folder_of, is_file_name, open_own, write_file, write_link};

/// How long the holder of a lock may show no progress.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(100);

pub(super) struct ModelFolder {
    root: PathBuf,
}

impl ModelFolder {
    /// `root`: `models--<owner>--<name>` in the cache, absolute.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// Where the bytes of `file` belong that the hub calls `name`. A name that is no digest may be given to
    /// two files, by a mirror that makes it of time and size; the second then gets one of its own. `size`:
    /// bytes of the file.
    pub(super) fn blob(&self, name: &str, is_digest: bool, file: &str, size: u64) -> PathBuf {
        let blob = self.root.join("blobs").join(name);
        let has_other_size = fs::metadata(&blob).is_ok_and(|found| found.len() != size);
        if is_digest || !(has_other_size || self.is_of_another(name, file)) {
            return blob;
        }
        let own = sha256_hex(format!("{file} {size} {name}").as_bytes());
        self.root.join("blobs").join(format!("etag-{}", &own[..32]))
    }

    /// Whether a snapshot has this blob under another name than `file`.
    fn is_of_another(&self, name: &str, file: &str) -> bool {
        let entries = |directory: &Path| fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
        entries(&self.root.join("snapshots")).flat_map(|snapshot| entries(&snapshot.path())).any(|entry| {
            entry.file_name() != file
                && fs::read_link(entry.path())
                    .is_ok_and(|target| target.file_name().is_some_and(|f| f == name))
        })
    }

    /// Makes `file` of a snapshot name the contents of `blob`: by a relative link, or a copy where the system
    /// has none. Replaces a link that leads nowhere. For the holder of the lock on `blob`.
    pub(super) fn link(&self, blob: &Path, commit: &str, file: &str) -> Result<(), HubError> {
        let path = self.snapshot(commit).join(file);
        create_folder_of(&path)?;
        // From snapshots/<commit>/<file> to blobs/<etag>; files of a model lie in no folders, those of data sets may.
        let up = "../".repeat(file.split('/').count() - 1);
        let name = blob.file_name().unwrap_or_default();
        Ok(write_link(&Path::new(&up).join("../../blobs").join(name), &path)?)
    }

    /// Writes down that `revision` is `commit`.
    pub(super) fn set_revision(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        let path = self.root.join("refs").join(revision);
        if fs::read_to_string(&path).is_ok_and(|known| known == commit) {
            return Ok(());
        }
        create_folder_of(&path)?;
        Ok(write_file(path, |file| file.write_all(commit.as_bytes()))?)
    }

    /// The commit that `revision` was when it was last looked up.
    ///
    /// # Errors
    /// [`HubError::DamagedRevision`], and a file that cannot be read.
    pub(super) fn revision(&self, revision: &str) -> Result<Option<String>, HubError> {
        let path = self.root.join("refs").join(revision);
        match fs::read(&path) {
            Ok(bytes) => {
                let commit = str::from_utf8(&bytes).ok().map(str::trim).filter(|commit| is_file_name(commit));
                commit.map(|commit| Some(commit.to_owned())).ok_or(HubError::DamagedRevision { path })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(IoError::of("read", path)(e).into()),
        }
    }
}

/// The file for what has arrived of `blob`, under the name that `hf-hub` gives it. A link in its place is not
/// followed.
pub(super) fn open_partial(partial: &Path) -> Result<File, IoError> {
    create_folder_of(partial)?;
    open_own(partial).map_err(IoError::of("open", partial))
}

/// Waits for the lock on `blob`, which is that of `hf-hub`, as long as whoever has it gets on with `partial`
/// and nobody cancels; `None` then.
pub(super) fn lock(blob: &Path, partial: &Path, cancel: &CancelToken) -> Result<Option<Lock>, IoError> {
    create_folder_of(blob)?;
    let path = blob.with_extension("lock");
    let size = || fs::metadata(partial).map_or(0, |found| found.len());
    let (mut seen, mut since) = (size(), Instant::now());
    loop {
        if let Some(lock) = Lock::take(&path)? {
            return Ok(Some(lock));
        }
        if cancel.is_cancelled() {
            return Ok(None);
        }
        if size() != seen {
            (seen, since) = (size(), Instant::now());
        } else if since.elapsed() > LOCK_PATIENCE {
            return Ok(None);
        }
        std::thread::sleep(LOCK_POLL);
    }
}
