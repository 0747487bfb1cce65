//! What folders are mounted from: that a file is not there means nothing where another drive is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
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
    /// The number that the file system on the device has been given, where it has one: the next drive gets
    /// the same device. Nothing was written down of it at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
}

impl Mount {
    /// Whether the same is mounted in the same place.
    fn is_same(&self, other: &Self) -> bool {
        let part = |mount: &Self| mount.source.rsplit(' ').next().map(str::to_owned);
        let same_source = match (&self.uuid, &other.uuid) {
            // It may have another device today.
            (Some(own), Some(others)) => own == others && part(self) == part(other),
            _ => self.source == other.source,
        };
        same_source && self.point == other.point
    }
}

/// The folders that were indexed, and those of them that are on another mount now. Where the system does not
/// tell mounts, nothing is known of any.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    known: BTreeMap<PathBuf, Mount>,
    others: Vec<PathBuf>,
    /// Folders that were to be searched and are not there.
    missing: Vec<PathBuf>,
}

impl Mounts {
    /// Those of a library.
    pub(super) fn of(library: &LibraryWriter) -> Result<Self, RetrievalError> {
        let known = read(library)?;
        let now = MountTable::now();
        let others =
            known.iter().filter(|(root, mount)| now.mount_of(root).is_some_and(|now| !now.is_same(mount)));
        let others = others.map(|(root, _)| root.clone()).collect();
        Ok(Self { known, others, missing: Vec::new() })
    }

    /// The same where these folders were to be searched.
    pub(super) fn with_searched(self, searched: &[PathBuf]) -> Self {
        let missing = searched.iter().filter(|root| fs::symlink_metadata(root).is_err());
        Self { missing: missing.cloned().collect(), ..self }
    }

    /// Whether the file lay in a folder that was to be searched and is not there.
    pub(super) fn is_missing(&self, path: &Path) -> bool {
        // A file that was named by itself is no folder.
        self.missing.iter().any(|root| path.starts_with(root) && path != root)
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
        Self { others: vec![root.into()], ..Self::default() }
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
    let (before, table) = (known.clone(), MountTable::now());
    let mut now: BTreeMap<PathBuf, Mount> = BTreeMap::new();
    for Found { root, files, .. } in searched {
        let folders: BTreeSet<&Path> = files.iter().filter_map(|file| file.path.parent()).collect();
        for mount in folders.into_iter().filter_map(|folder| table.mount_of(folder)) {
            let folder = if mount.point.starts_with(root) { &mount.point } else { root };
            // A library has no files in folders whose names are no text.
            if folder.to_str().is_some() && mount.point.to_str().is_some() {
                now.insert(folder.clone(), mount);
            }
        }
    }
    for (folder, mount) in now {
        if known.get(&folder).is_some_and(|before| !before.is_same(&mount)) {
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
    let mut bytes = Vec::new();
    match open_regular_file(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(IoError::of("read", path)(error).into()),
    }
    let known = serde_json::from_slice(&bytes).map_err(|error| {
        // Of another drive in the place of one it would be written down that it is the one.
        let reason = format!(
            "{error}: delete the file while the drives of all indexed folders are there, and what folders are \
             mounted from is written down anew"
        );
        io::Error::new(ErrorKind::InvalidData, reason)
    });
    Ok(known.map_err(IoError::of("read", path))?)
}

/// Where the system has, as links to devices, the numbers of the file systems on them.
const UUIDS: &str = "/dev/disk/by-uuid";

/// What the system tells of its mounts; nothing on systems that tell otherwise.
#[derive(Default)]
struct MountTable {
    /// In the form of `/proc/self/mountinfo`.
    lines: String,
    /// The number of the file system on each device.
    uuids: BTreeMap<PathBuf, String>,
}

impl MountTable {
    fn now() -> Self {
        if !cfg!(target_os = "linux") {
            return Self::default();
        }
        let lines = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self { lines, uuids: uuids(Path::new(UUIDS)) }
    }

    /// The mount that a path lies on: of the longest mount point above it the last.
    fn mount_of(&self, path: &Path) -> Option<Mount> {
        let mounts = self.lines.lines().filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let (mut before, mut after) = (before.split(' ').skip(3), after.split(' '));
            let (part, point) = (before.next()?, PathBuf::from(unescaped(before.next()?)));
            let (kind, device) = (after.next()?, after.next()?);
            path.starts_with(&point).then_some((point, format!("{kind} {device} {part}"), device))
        });
        let (point, source, device) = mounts.max_by_key(|(point, ..)| point.components().count())?;
        // Names of volumes are links to devices.
        let device = PathBuf::from(unescaped(device));
        let device = if device.is_absolute() { fs::canonicalize(&device).unwrap_or(device) } else { device };
        Some(Mount { point, source, uuid: self.uuids.get(&device).cloned() })
    }
}

/// The devices that the links of a folder lead to, and what the links are called.
fn uuids(folder: &Path) -> BTreeMap<PathBuf, String> {
    let links = fs::read_dir(folder).into_iter().flatten().flatten();
    let device = |link: fs::DirEntry| Some((fs::canonicalize(link.path()).ok()?, link.file_name()));
    links.filter_map(device).map(|(device, name)| (device, name.to_string_lossy().into_owned())).collect()
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
        let table = MountTable { lines: TABLE.to_owned(), ..MountTable::default() };
        let mount = |path: &str| table.mount_of(Path::new(path)).map(|mount| (mount.point, mount.source));
        let expect = |point: &str, source: &str| Some((PathBuf::from(point), source.to_owned()));
        assert_eq!(mount("/home/me"), expect("/", "ext4 /dev/sda1 /"));
        assert_eq!(mount("/media/my drive/a/b.mp4"), expect("/media/my drive", "vfat /dev/sdb1 /"));
        assert_eq!(mount("/media/my drives"), expect("/", "ext4 /dev/sda1 /"));
        // What was mounted last covers the other.
        assert_eq!(mount("/media/share/x"), expect("/media/share", "tmpfs tmpfs /"));
        assert_eq!(MountTable::default().mount_of(Path::new("/x")), None);
    }

    #[cfg(unix)]
    #[test]
    fn drives_are_told_apart_by_the_numbers_of_their_file_systems() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().canonicalize().unwrap().join(name);
        // With these drives on these devices, what is mounted in the place is this.
        let mounted = |drives: &[(&str, &str)], device: &str| {
            let links = path("by-uuid");
            drop(fs::remove_dir_all(&links));
            fs::create_dir(&links).unwrap();
            for (uuid, device) in drives {
                fs::write(path(device), "").unwrap();
                std::os::unix::fs::symlink(path(device), links.join(uuid)).unwrap();
            }
            let lines = format!("30 22 0:25 / /media/films rw - exfat {} rw", path(device).display());
            MountTable { lines, uuids: uuids(&links) }.mount_of(Path::new("/media/films/a.mp4")).unwrap()
        };
        let (one, other) = (mounted(&[("AAAA", "sdb1")], "sdb1"), mounted(&[("BBBB", "sdb1")], "sdb1"));
        assert_eq!(one.uuid.as_deref(), Some("AAAA"));
        assert!(!one.is_same(&other), "another drive with the same device");
        let moved = mounted(&[("BBBB", "sdb1"), ("AAAA", "sdc1")], "sdc1");
        assert!(one.is_same(&moved), "the same drive with another device");
        // A volume has a name that leads to its device.
        std::os::unix::fs::symlink(path("sdc1"), path("films")).unwrap();
        assert_eq!(mounted(&[("AAAA", "sdc1")], "films").uuid.as_deref(), Some("AAAA"));

        // What was written down without numbers is known by the device.
        let written = format!(r#"{{"point": "/media/films", "source": "{}"}}"#, one.source);
        let known: Mount = serde_json::from_str(&written).unwrap();
        assert!(known.is_same(&one) && known.is_same(&other) && !known.is_same(&moved));
        let nameless = mounted(&[], "sdb1");
        assert!(nameless.uuid.is_none() && nameless.is_same(&one));
        assert_eq!(serde_json::from_str::<Mount>(&serde_json::to_string(&one).unwrap()).unwrap(), one);
        assert!(!serde_json::to_string(&nameless).unwrap().contains("uuid"));
    }
}
