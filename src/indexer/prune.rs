//! Forgetting what is gone.
//!
//! That a file is not there may mean that it was deleted, or that the drive it lies on is away. A file counts
//! as gone only where the folder that held it, or the nearest one above it, is still there and still holds
//! something.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::exclude::is_excluded;
use super::find::{Found, is_hidden};
use super::mounts::Mounts;
use crate::retrieval::{LibraryWriter, RetrievalError};

/// Files that are forgotten without asking, and the share of the library that may be more.
const FEW: usize = 10;
const SMALL_SHARE: f64 = 0.1;

/// What a [`PrunePlan`] may forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Files that are gone from folders that are there.
    Gone,
    /// Every file that cannot be found at its path, wherever that is and for whatever reason.
    NotThere,
}

/// Why it is not known whether a file is gone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Doubt {
    /// The folder that was searched is not there.
    Missing,
    /// The folder is there but holds nothing, like the place of a drive that is away.
    Empty,
    /// The folder, or the file, cannot be looked at, for this reason.
    Unreadable(String),
    /// The folder is on another mount than when it was indexed: see
    /// [`remember_mounts`](super::remember_mounts).
    OtherMount,
    /// Its folder was not searched.
    NotSearched,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it is not there"),
            Self::Empty => f.write_str("it holds nothing, as if a drive were away"),
            Self::Unreadable(reason) => write!(f, "it cannot be looked at: {reason}"),
            Self::OtherMount => f.write_str("it is on another mount than when it was indexed"),
            Self::NotSearched => f.write_str("it is outside of the folders given"),
        }
    }
}

/// Files that a library is to forget, to be looked at before: see [`plan_prune`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrunePlan {
    /// Files that are gone or [excluded](super::FindOptions::exclude), in order.
    pub gone: Vec<PathBuf>,
    /// Files that are not there and are kept: how many, by the folder in doubt.
    pub kept: BTreeMap<(PathBuf, Doubt), usize>,
    /// Files that the library has.
    pub files: usize,
}

impl PrunePlan {
    /// How much of the library is gone, from 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.gone.len() as f64 / self.files.max(1) as f64
    }

    /// Whether so much is gone that somebody should look at it first: more than ten files, and more than a
    /// tenth of the library.
    #[must_use]
    pub fn is_much(&self) -> bool {
        self.gone.len() > FEW && self.share() > SMALL_SHARE
    }

    /// Has the library forget what is gone; gives back how many files went.
    ///
    /// # Errors
    /// Those of [`LibraryWriter::remove`].
    pub fn carry_out(&self, library: &mut LibraryWriter) -> Result<usize, RetrievalError> {
        library.remove(&self.gone)
    }
}

/// Which files of `library` are no longer there, after `searched` was searched for files, and which are left out
/// there now: they count as gone, for the user has said so. To be asked once
/// they are [indexed](super::index), so that files that only moved are not among them. Nothing is done yet.
///
/// # Errors
/// [`RetrievalError::Io`] where the mounts that the library remembers cannot be read.
pub fn plan_prune(
    library: &LibraryWriter,
    searched: &[Found],
    extent: Extent,
) -> Result<PrunePlan, RetrievalError> {
    let mounts = Mounts::of(library)?;
    let mut plan = PrunePlan::default();
    for path in library.paths() {
        plan.files += 1;
        match fate(path, searched, &mounts, &Disk) {
            Fate::There => {}
            Fate::Unknown(folder, doubt) if extent == Extent::Gone => {
                *plan.kept.entry((folder.to_owned(), doubt)).or_default() += 1;
            }
            Fate::Gone | Fate::Unknown(..) => plan.gone.push(path.to_owned()),
        }
    }
    plan.gone.sort();
    Ok(plan)
}

/// Which of `paths`, of files that `library` has or may have had, are gone or left out as [`plan_prune`] has
/// it, or gone from a folder that was not searched, but is there and holds something.
///
/// # Errors
/// As [`plan_prune`].
pub fn gone<'a>(
    library: &LibraryWriter,
    searched: &[Found],
    paths: impl IntoIterator<Item = &'a Path>,
) -> Result<Vec<&'a Path>, RetrievalError> {
    let mounts = Mounts::of(library)?;
    let is_gone = |path: &&Path| match fate(path, searched, &mounts, &Disk) {
        Fate::Gone => true,
        Fate::Unknown(folder, Doubt::NotSearched) => Disk.holds_something(folder).unwrap_or_default(),
        Fate::There | Fate::Unknown(..) => false,
    };
    Ok(paths.into_iter().filter(is_gone).collect())
}

/// Which files of `library`, at `paths` and beneath them, are no longer there, where the system has told that
/// they went: a folder that is empty now was not unmounted then. `roots` are the folders that are watched.
#[cfg(feature = "watch")]
pub(super) fn plan_deleted(
    library: &LibraryWriter,
    paths: &BTreeSet<PathBuf>,
    roots: &[&Path],
) -> Result<PrunePlan, RetrievalError> {
    let mounts = Mounts::of(library)?;
    let mut plan = PrunePlan::default();
    for path in library.paths() {
        plan.files += 1;
        if !path.ancestors().any(|path| paths.contains(path)) {
            continue;
        }
        match deletion(path, roots, &mounts, &Disk) {
            Fate::There => {}
            Fate::Gone => plan.gone.push(path.to_owned()),
            Fate::Unknown(folder, doubt) => *plan.kept.entry((folder.to_owned(), doubt)).or_default() += 1,
        }
    }
    plan.gone.sort();
    Ok(plan)
}

/// Whether a file that is found elsewhere is surely no more where it was.
pub(super) fn has_left(path: &Path, mounts: &Mounts) -> bool {
    let is_there = Disk.lies_at(path).map_or_else(|error| !says_gone(&error), |()| true);
    // A folder that was to be searched and is not there may be a drive that is away.
    if is_there || mounts.other(path).is_some() || mounts.is_missing(path) {
        return false;
    }
    // An empty folder is no sign of a drive that is away where that is known to be there.
    let nearest = path.ancestors().skip(1).find_map(|folder| match Disk.holds_something(folder) {
        Ok(holds_something) => Some(holds_something),
        Err(error) if says_gone(&error) => None,
        Err(_) => Some(false),
    });
    mounts.is_same(path) || nearest == Some(true)
}

/// What has become of a file.
#[derive(Debug, PartialEq, Eq)]
enum Fate<'a> {
    There,
    Gone,
    /// The folder in doubt.
    Unknown(&'a Path, Doubt),
}

/// What is asked of the file system.
trait FileSystem {
    /// Whether something lies at a path, be it a link that leads nowhere.
    fn lies_at(&self, path: &Path) -> io::Result<()>;
    /// Whether a folder holds anything that is not hidden.
    fn holds_something(&self, folder: &Path) -> io::Result<bool>;
}

struct Disk;

impl FileSystem for Disk {
    fn lies_at(&self, path: &Path) -> io::Result<()> {
        fs::symlink_metadata(path).map(drop)
    }

    fn holds_something(&self, folder: &Path) -> io::Result<bool> {
        for entry in fs::read_dir(folder)? {
            if !is_hidden(&entry?.file_name()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What has become of a file that the system has told of.
#[cfg(any(feature = "watch", test))]
fn deletion<'a>(path: &'a Path, roots: &[&'a Path], mounts: &'a Mounts, files: &impl FileSystem) -> Fate<'a> {
    let folder = path.parent().unwrap_or(path);
    match files.lies_at(path) {
        Ok(()) => return Fate::There,
        Err(error) if !says_gone(&error) => {
            return Fate::Unknown(folder, Doubt::Unreadable(error.to_string()));
        }
        Err(_) => {}
    }
    if let Some(root) = mounts.other(path) {
        return Fate::Unknown(root, Doubt::OtherMount);
    }
    let Some(root) = roots.iter().find(|root| path.starts_with(root)) else {
        return Fate::Unknown(folder, Doubt::NotSearched);
    };
    match files.holds_something(root) {
        Ok(holds_something) if holds_something || mounts.is_same(path) => Fate::Gone,
        Ok(_) => Fate::Unknown(root, Doubt::Empty),
        Err(error) if says_gone(&error) => Fate::Unknown(root, Doubt::Missing),
        Err(error) => Fate::Unknown(root, Doubt::Unreadable(error.to_string())),
    }
}

fn fate<'a>(path: &'a Path, searched: &[Found], mounts: &'a Mounts, files: &impl FileSystem) -> Fate<'a> {
    let unreadable = |folder, error: io::Error| Fate::Unknown(folder, Doubt::Unreadable(error.to_string()));
    let folder = path.parent().unwrap_or(path);
    let mut above = searched.iter().filter(|found| path.starts_with(&found.root));
    // What one folder leaves out another may have, which lies in it and was named as well.
    let is_left_out = |found: &Found| is_excluded(path, &found.root, &found.exclude);
    if above.next().is_some_and(|first| is_left_out(first) && above.all(is_left_out)) {
        return Fate::Gone;
    }
    match files.lies_at(path) {
        Ok(()) => return Fate::There,
        Err(error) if !says_gone(&error) => return unreadable(folder, error),
        Err(_) => {}
    }
    if let Some(root) = mounts.other(path) {
        return Fate::Unknown(root, Doubt::OtherMount);
    }
    let above = searched.iter().filter(|found| path.starts_with(&found.root));
    let Some(root) = above.max_by_key(|found| found.root.components().count()) else {
        return Fate::Unknown(folder, Doubt::NotSearched);
    };
    for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(&root.root)) {
        // The folder that was searched is as good as empty if there is no video or image in it.
        let is_bare = folder == root.root && root.files.is_empty();
        match files.holds_something(folder) {
            Ok(true) if !is_bare => return Fate::Gone,
            Ok(_) => return Fate::Unknown(folder, Doubt::Empty),
            // A file has taken the folder's place.
            Err(error) if error.kind() == ErrorKind::NotADirectory && files.lies_at(folder).is_ok() => {
                return Fate::Gone;
            }
            Err(error) if says_gone(&error) => {}
            Err(error) => return unreadable(folder, error),
        }
    }
    let missing = path.ancestors().find(|ancestor| *ancestor == root.root).unwrap_or(folder);
    Fate::Unknown(missing, Doubt::Missing)
}

/// Whether an error says that nothing is there, and not that it cannot be looked at.
fn says_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::indexer::{MediaFile, PassedOver};
    use crate::media::MediaKind;

    /// Paths with what is said about them; nothing lies anywhere else.
    struct Told(HashMap<PathBuf, Result<bool, ErrorKind>>);

    type Said = (&'static str, Result<bool, ErrorKind>);

    impl Told {
        fn of(said: &[Said]) -> Self {
            Self(said.iter().map(|(path, said)| (PathBuf::from(path), *said)).collect())
        }
    }

    impl FileSystem for Told {
        fn lies_at(&self, path: &Path) -> io::Result<()> {
            self.0.get(path).copied().unwrap_or(Err(ErrorKind::NotFound)).map(drop).map_err(Into::into)
        }

        fn holds_something(&self, folder: &Path) -> io::Result<bool> {
            self.0.get(folder).copied().unwrap_or(Err(ErrorKind::NotFound)).map_err(Into::into)
        }
    }

    fn searched(root: &str, holds_media: bool) -> Found {
        let file = MediaFile { path: Path::new(root).join("other.mp4"), kind: MediaKind::Video };
        Found {
            root: root.into(),
            files: if holds_media { vec![file] } else { Vec::new() },
            failures: Vec::new(),
            passed_over: PassedOver::default(),
            exclude: Vec::new(),
        }
    }

    fn leaving_out(root: &str, pattern: &str) -> Found {
        Found { exclude: vec![pattern.parse().unwrap()], ..searched(root, true) }
    }

    #[test]
    fn only_what_is_surely_gone_is_gone() {
        let path = Path::new("/v/sub/a.mp4");
        let roots = || vec![searched("/v", true)];
        let full = [("/v", Ok(true)), ("/v/sub", Ok(true))];
        let unknown = |folder, doubt| Fate::Unknown(Path::new(folder), doubt);
        let refused = |kind: ErrorKind| Doubt::Unreadable(io::Error::from(kind).to_string());
        let with = |more: &[Said]| -> Vec<Said> { [&full[..], more].concat() };
        let cases: Vec<(Vec<Found>, Vec<Said>, Fate<'_>)> = vec![
            (roots(), with(&[("/v/sub/a.mp4", Ok(true))]), Fate::There),
            (roots(), with(&[]), Fate::Gone),
            // Its folder was removed from one that is still there.
            (roots(), vec![("/v", Ok(true))], Fate::Gone),
            // A file has taken the folder's place.
            (roots(), vec![("/v", Ok(true)), ("/v/sub", Err(ErrorKind::NotADirectory))], Fate::Gone),
            // The mount point of a drive that is away.
            (roots(), with(&[("/v/sub", Ok(false))]), unknown("/v/sub", Doubt::Empty)),
            (roots(), vec![("/v", Ok(false))], unknown("/v", Doubt::Empty)),
            // All that is left is a note that says so.
            (vec![searched("/v", false)], vec![("/v", Ok(true))], unknown("/v", Doubt::Empty)),
            (roots(), vec![], unknown("/v", Doubt::Missing)),
            (vec![searched("/v/sub", false)], vec![("/v", Ok(true))], unknown("/v/sub", Doubt::Missing)),
            // What is searched within a folder that is searched as well.
            (
                vec![searched("/v", true), searched("/v/sub", false)],
                vec![("/v", Ok(true))],
                unknown("/v/sub", Doubt::Missing),
            ),
            // What is left out counts as gone, be it there or not; not where its folder was named as well.
            (vec![leaving_out("/v", "sub")], with(&[("/v/sub/a.mp4", Ok(true))]), Fate::Gone),
            (vec![leaving_out("/v", "sub")], vec![], Fate::Gone),
            (
                vec![leaving_out("/v", "sub"), leaving_out("/v/sub", "sub")],
                with(&[("/v/sub/a.mp4", Ok(true))]),
                Fate::There,
            ),
            (vec![leaving_out("/w", "*")], with(&[]), unknown("/v/sub", Doubt::NotSearched)),
            (vec![], with(&[]), unknown("/v/sub", Doubt::NotSearched)),
            (vec![searched("/v/su", true)], with(&[]), unknown("/v/sub", Doubt::NotSearched)),
        ];
        for (number, (roots, told, expected)) in cases.into_iter().enumerate() {
            assert_eq!(fate(path, &roots, &Mounts::default(), &Told::of(&told)), expected, "case {number}");
        }
        for kind in [
            ErrorKind::PermissionDenied,
            ErrorKind::TimedOut,
            ErrorKind::StaleNetworkFileHandle,
            ErrorKind::InvalidFilename,
            ErrorKind::Other,
        ] {
            for told in [with(&[("/v/sub/a.mp4", Err(kind))]), with(&[("/v/sub", Err(kind))])] {
                let expected = unknown("/v/sub", refused(kind));
                assert_eq!(fate(path, &roots(), &Mounts::default(), &Told::of(&told)), expected, "{kind}");
            }
            let told = vec![("/v", Err(kind))];
            assert_eq!(
                fate(path, &roots(), &Mounts::default(), &Told::of(&told)),
                unknown("/v", refused(kind)),
                "{kind}"
            );
        }
        // Of those that the system has told of, a folder that became empty says nothing, but the root does.
        let deleted = |told: &[Said], mounts| {
            format!("{:?}", deletion(path, &[Path::new("/v")], mounts, &Told::of(told)))
        };
        let no_mounts = Mounts::default();
        for (told, expected) in [
            (with(&[("/v/sub/a.mp4", Ok(true))]), Fate::There),
            (with(&[]), Fate::Gone),
            (with(&[("/v/sub", Ok(false))]), Fate::Gone),
            (vec![("/v", Ok(false))], unknown("/v", Doubt::Empty)),
            (vec![], unknown("/v", Doubt::Missing)),
            (vec![("/v", Err(ErrorKind::TimedOut))], unknown("/v", refused(ErrorKind::TimedOut))),
            (
                with(&[("/v/sub/a.mp4", Err(ErrorKind::TimedOut))]),
                unknown("/v/sub", refused(ErrorKind::TimedOut)),
            ),
        ] {
            assert_eq!(deleted(&told, &no_mounts), format!("{expected:?}"));
        }
        let mounts = Mounts::with_other("/v");
        assert_eq!(deleted(&full, &mounts), format!("{:?}", unknown("/v", Doubt::OtherMount)));
        let expected = unknown("/v", Doubt::OtherMount);
        assert_eq!(fate(path, &roots(), &mounts, &Told::of(&full)), expected);
        assert_eq!(fate(path, &[], &mounts, &Told::of(&full)), expected);
        let there = with(&[("/v/sub/a.mp4", Ok(true))]);
        assert_eq!(fate(path, &roots(), &mounts, &Told::of(&there)), Fate::There);
        assert_eq!(fate(path, &roots(), &Mounts::with_other("/v/su"), &Told::of(&full)), Fate::Gone);
    }
}
