//! What folders are mounted from: that a file is not there means nothing where another drive is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Found;
use crate::retrieval::{LibraryWriter, RetrievalError};
use crate::store::{IoError, open_regular_file, write_file};

/// In the library's directory: the folders that were indexed, with their mounts.
const FILE_NAME: &str = "library.mounts";

/// What a folder is mounted from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mount {
    /// The mount point, above the folder or the folder itself.
    point: PathBuf,
    /// File system, device or share, and the part of it.
    source: String,
}

/// The folders that were indexed, and those of them that are on another mount now. Where the system does not
/// tell mounts, nothing is known of any.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    known: BTreeMap<PathBuf, Mount>,
    others: Vec<PathBuf>,
}

impl Mounts {
    /// Those of a library.
    pub(super) fn of(library: &LibraryWriter) -> Result<Self, RetrievalError> {
        let known = read(library)?;
        let now = mount_table();
        let others =
            known.iter().filter(|(root, mount)| mount_of(root, &now).is_some_and(|now| now != **mount));
        let others = others.map(|(root, _)| root.clone()).collect();
        Ok(Self { known, others })
    }

    /// The folder around a file that is on another mount than when it was indexed.
    pub(super) fn other<'a>(&'a self, path: &Path) -> Option<&'a Path> {
        self.others.iter().map(PathBuf::as_path).find(|root| path.starts_with(root))
    }

    /// Whether the file is on the mount that it was on.
    pub(super) fn is_same(&self, path: &Path) -> bool {
        self.other(path).is_none() && self.known.keys().any(|root| path.starts_with(root))
    }

    #[cfg(test)]
    pub(super) fn with_other(root: &str) -> Self {
        Self { known: BTreeMap::new(), others: vec![root.into()] }
    }
}

/// Of the files of a folder one in so many may be missing on another mount for it to be the folder's from now
/// on.
const MISSING_SHARE: usize = 10;

/// Writes down what the folders that were searched, and mount points beneath them, are mounted from, for
/// [`plan_prune`](super::plan_prune) to tell later whether a drive is away. To be called before they are
/// indexed, as what the library has tells whether the mount is the one that it knows: what was written down
/// before stays where another mount has more than a tenth of the files missing. Does nothing on systems that
/// do not tell.
///
/// # Errors
/// [`RetrievalError::Io`].
pub fn remember_mounts(library: &LibraryWriter, searched: &[Found]) -> Result<(), RetrievalError> {
    let mut known = read(library)?;
    let (before, table) = (known.clone(), mount_table());
    let mut now: BTreeMap<PathBuf, Mount> = BTreeMap::new();
    for Found { root, files, .. } in searched {
        let folders: BTreeSet<&Path> = files.iter().filter_map(|file| file.path.parent()).collect();
        for mount in folders.into_iter().filter_map(|folder| mount_of(folder, &table)) {
            let folder = if mount.point.starts_with(root) { &mount.point } else { root };
            now.insert(folder.clone(), mount);
        }
    }
    for (folder, mount) in now {
        if known.get(&folder).is_some_and(|before| *before != mount) {
            let all: Vec<&Path> = library.paths().filter(|path| path.starts_with(&folder)).collect();
            let gone = all.iter().filter(|path| !path.exists()).count();
            if gone * MISSING_SHARE > all.len() {
                continue;
            }
        }
        known.insert(folder, mount);
    }
    if known == before {
        return Ok(());
    }
    let path = library.directory().join(FILE_NAME);
    let text = serde_json::to_string_pretty(&known).map_err(io::Error::other);
    let text = text.map_err(IoError::of("write", &path))?;
    Ok(write_file(path, |file| writeln!(file, "{text}"))?)
}

fn read(library: &LibraryWriter) -> Result<BTreeMap<PathBuf, Mount>, RetrievalError> {
    let path = library.directory().join(FILE_NAME);
    let text = match open_regular_file(&path).and_then(io::read_to_string) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(IoError::of("read", path)(error).into()),
    };
    let known = serde_json::from_str(&text).map_err(|error| io::Error::new(ErrorKind::InvalidData, error));
    Ok(known.map_err(IoError::of("read", path))?)
}

/// What the system tells of its mounts, in the form of `/proc/self/mountinfo`; nothing on systems that tell
/// otherwise.
fn mount_table() -> String {
    if cfg!(target_os = "linux") {
        fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
    } else {
        String::new()
    }
}

/// The mount that a path lies on: of the longest mount point above it the last.
fn mount_of(path: &Path, table: &str) -> Option<Mount> {
    let mounts = table.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let (mut before, mut after) = (before.split(' ').skip(3), after.split(' '));
        let (part, point) = (before.next()?, PathBuf::from(unescaped(before.next()?)));
        let source = format!("{} {} {part}", after.next()?, after.next()?);
        path.starts_with(&point).then_some(Mount { point, source })
    });
    mounts.max_by_key(|mount| mount.point.components().count())
}

/// The kernel writes spaces and the like as three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                plain.extend_from_slice(&part.as_bytes()[3..]);
            }
            None => plain.extend_from_slice(&[b"\\", part.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /media/my\\040drive rw shared:2 - vfat /dev/sdb1 rw
31 22 0:26 /videos /media/share rw - cifs //nas/all rw
32 22 0:27 / /media/share rw - tmpfs tmpfs rw
broken";

    #[test]
    fn a_folder_is_on_the_nearest_mount() {
        let mount = |path: &str| mount_of(Path::new(path), TABLE).map(|mount| (mount.point, mount.source));
        let expect = |point: &str, source: &str| Some((PathBuf::from(point), source.to_owned()));
        assert_eq!(mount("/home/me"), expect("/", "ext4 /dev/sda1 /"));
        assert_eq!(mount("/media/my drive/a/b.mp4"), expect("/media/my drive", "vfat /dev/sdb1 /"));
        assert_eq!(mount("/media/my drives"), expect("/", "ext4 /dev/sda1 /"));
        // What was mounted last covers the other.
        assert_eq!(mount("/media/share/x"), expect("/media/share", "tmpfs tmpfs /"));
        assert_eq!(mount_of(Path::new("/x"), ""), None);
    }
}
