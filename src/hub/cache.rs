//! The folder of one model in the cache that Python's `huggingface_hub` and we share: `blobs/<etag>`, `snapshots/<commit>/<file>` as
//! relative links to them, `refs/<revision>` with the commit of a branch. Every file appears whole under its name.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::digest::sha256_hex;

/// How long the holder of a lock may show no progress.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(100);

/// Keeps temporary names of threads apart.
static TEMPORARY: AtomicU64 = AtomicU64::new(0);

pub(super) struct ModelFolder {
    root: PathBuf,
}

/// Held while a blob is written; the file stays, as removing it would let two in.
pub(super) struct Lock {
    _file: File,
}

impl ModelFolder {
    /// `root`: `models--<owner>--<name>` in the cache, absolute.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// Where the bytes of `file` belong that the hub calls `name`. A name that is no digest may be given to two files, by a mirror that
    /// makes it of time and size; the second then gets one of its own. `size`: bytes of the file.
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

    /// Makes `file` of a snapshot name the contents of `blob`: by a relative link, or a copy where the system has none. Replaces a
    /// link that leads nowhere.
    pub(super) fn link(&self, blob: &Path, commit: &str, file: &str) -> io::Result<()> {
        let snapshot = self.snapshot(commit);
        fs::create_dir_all(&snapshot)?;
        replace(&snapshot.join(file), |temporary| {
            // From snapshots/<commit>/<file> to blobs/<etag>; file names hold no directories (see `layout`).
            #[cfg(unix)]
            {
                let name = blob.file_name().unwrap_or_default();
                std::os::unix::fs::symlink(Path::new("../../blobs").join(name), temporary)
            }
            #[cfg(not(unix))]
            {
                fs::copy(blob, temporary).map(|_| ())
            }
        })
    }

    /// Writes down that `revision` is `commit`.
    pub(super) fn set_revision(&self, revision: &str, commit: &str) -> io::Result<()> {
        let path = self.root.join("refs").join(revision);
        if fs::read_to_string(&path).is_ok_and(|known| known == commit) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        replace(&path, |temporary| fs::write(temporary, commit))
    }

    /// The commit that `revision` was when it was last looked up.
    pub(super) fn revision(&self, revision: &str) -> io::Result<Option<String>> {
        match fs::read_to_string(self.root.join("refs").join(revision)) {
            Ok(commit) => Ok(Some(commit.trim().to_owned())),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Has `make` make a file of another name, which then takes the place of `path`.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let number = TEMPORARY.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.{number}", std::process::id()));
    make(&temporary)
        .and_then(|()| fs::rename(&temporary, path))
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// The file for what has arrived of `blob`, under the name that `hf-hub` gives it. A link in its place is not followed.
pub(super) fn open_partial(partial: &Path) -> io::Result<File> {
    if let Some(blobs) = partial.parent() {
        fs::create_dir_all(blobs)?;
    }
    open_itself(partial)
}

/// Waits for the lock on `blob`, which is that of `hf-hub`, as long as whoever has it gets on with `partial`; `None` if it does not.
pub(super) fn lock(blob: &Path, partial: &Path) -> io::Result<Option<Lock>> {
    if let Some(blobs) = blob.parent() {
        fs::create_dir_all(blobs)?;
    }
    let file = open_itself(&blob.with_extension("lock"))?;
    let size = || fs::metadata(partial).map_or(0, |found| found.len());
    let (mut seen, mut since) = (size(), Instant::now());
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(Lock { _file: file })),
            Err(fs::TryLockError::Error(e)) => return Err(e),
            Err(fs::TryLockError::WouldBlock) => {}
        }
        if size() != seen {
            (seen, since) = (size(), Instant::now());
        } else if since.elapsed() > LOCK_PATIENCE {
            return Ok(None);
        }
        std::thread::sleep(LOCK_POLL);
    }
}

/// Opens or creates a file of ours for reading and writing. A link in its place, which would lead the writing elsewhere, is removed.
fn open_itself(path: &Path) -> io::Result<File> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
        fs::remove_file(path)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NOFOLLOW);
    }
    options.open(path)
}
