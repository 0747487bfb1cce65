//! Finding videos and images in folders.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use image::{ImageFormat, ImageReader};
use walkdir::{DirEntry, WalkDir};

use super::IndexError;
use super::exclude::is_excluded;
use super::passed_over::PassedOver;
use crate::media::{MediaKind, MediaSource};
use crate::options::with_fields;
use crate::preprocess::{has_decoder, is_picture};
use crate::retrieval::PathPattern;
use crate::store::{IoError, irregular};

/// A video or image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaFile {
    /// Absolute path without links, see [`absolute`].
    pub path: PathBuf,
    /// What its name, or its content, says it is.
    pub kind: MediaKind,
}

/// What makes a file in a folder a video or an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recognition {
    /// Its [name](MediaKind::of_name).
    #[default]
    ByName,
    /// Such a name, or a content that opens as one.
    ByContent,
}

/// How [`find_with`] goes about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FindOptions {
    /// What makes a file a video or an image.
    pub recognition: Recognition,
    /// What is left out: files that look like one of these, and folders with all that lies in them. A folder
    /// that is searched is not left out itself, whatever it and those above it are called; a file that is
    /// named by itself is.
    pub exclude: Vec<PathPattern>,
}

with_fields!(FindOptions {
    with_recognition(recognition: Recognition),
    with_exclude(exclude: Vec<PathPattern>),
});

/// What lies at a path that was searched.
#[derive(Debug)]
#[non_exhaustive]
pub struct Found {
    /// Where it was searched: the absolute path, without links as far as there is something.
    pub root: PathBuf,
    /// The videos and images, in the order of their names.
    pub files: Vec<MediaFile>,
    /// What could not be looked at.
    pub failures: Vec<IndexError>,
    /// What was not taken.
    pub passed_over: PassedOver,
    /// What was to be left out.
    pub exclude: Vec<PathPattern>,
}

/// Finds the videos and images at `root`, a file or a folder. A file that is named by itself may be
/// recognised by its content in any case.
///
/// Passed over, and counted, are hidden files and folders, links to folders, what is not recognised, and what
/// is no regular file. Only a pipe, socket or device with the name of a video or image is among the failures.
pub fn find(root: &Path, recognition: Recognition) -> Found {
    find_with(root, &FindOptions::default().with_recognition(recognition))
}

/// As [`find`], but for what `options` say. What is excluded is passed over and counted as well.
pub fn find_with(root: &Path, options: &FindOptions) -> Found {
    let FindOptions { recognition, exclude } = options;
    let recognition = *recognition;
    let mut found = Found {
        root: absolute(root),
        files: Vec::new(),
        failures: Vec::new(),
        passed_over: PassedOver::default(),
        exclude: exclude.clone(),
    };
    let path = match fs::canonicalize(root) {
        Ok(path) => path,
        Err(error) => {
            found.failures.push(IoError::of("find", root)(error).into());
            return found;
        }
    };
    if !path.is_dir() {
        if is_excluded(&path, &path, exclude) {
            found.passed_over.excluded = 1;
            found.passed_over.paths.push(path);
            return found;
        }
        match look(&path, Recognition::ByContent) {
            Ok(Look::Media(kind)) => found.files.push(MediaFile { path, kind }),
            Ok(Look::Unknown) => found.failures.push(IndexError::UnknownExtension { path }),
            Ok(Look::Special(found_there)) => {
                found.failures.push(IndexError::NotAFile { path, found: found_there });
            }
            Err(error) => found.failures.push(IoError::of("read", path)(error).into()),
        }
        return found;
    }
    let (mut hidden, mut excluded) = (Vec::new(), Vec::new());
    let entries = WalkDir::new(&path).sort_by_file_name().into_iter().filter_entry(|entry| {
        let left_out = if entry.depth() == 0 {
            None
        } else if is_hidden(entry.file_name()) {
            Some(&mut hidden)
        } else {
            // What lies above it is not, or it would not be come to.
            exclude.iter().any(|pattern| pattern.matches(entry.path())).then_some(&mut excluded)
        };
        left_out.map(|left_out| left_out.push(entry.path().to_owned())).is_none()
    });
    for entry in entries {
        match entry {
            Ok(entry) => found.take_entry(entry, recognition),
            Err(error) => {
                let path = error.path().unwrap_or(&path).to_owned();
                // By itself it says the path again.
                let reason =
                    error.into_io_error().unwrap_or_else(|| io::Error::other("it leads back to itself"));
                found.failures.push(IoError::of("read", path)(reason).into());
            }
        }
    }
    (found.passed_over.hidden, found.passed_over.excluded) = (hidden.len(), excluded.len());
    found.passed_over.paths.extend(hidden.into_iter().chain(excluded));
    found.passed_over.paths.sort();
    found
}

/// The video or image at a path in a folder; `None` of what a search would pass over.
#[cfg(feature = "watch")]
pub(super) fn look_at(path: &Path, recognition: Recognition) -> Result<Option<MediaFile>, IndexError> {
    let (path, has_name_of_media) = (path.to_owned(), MediaKind::of_name(path).is_some());
    match look(&path, recognition) {
        Ok(Look::Media(kind)) => Ok(Some(MediaFile { path, kind })),
        Ok(Look::Special(found)) if has_name_of_media => Err(IndexError::NotAFile { path, found }),
        Err(error) if has_name_of_media => Err(IoError::of("read", path)(error).into()),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Finds the videos and images at `root` by their names: those, and what could not be looked at, of [`find`].
pub fn find_media(root: &Path) -> Vec<Result<MediaFile, IndexError>> {
    let Found { files, failures, .. } = find(root, Recognition::ByName);
    failures.into_iter().map(Err).chain(files.into_iter().map(Ok)).collect()
}

impl Found {
    fn take_entry(&mut self, entry: DirEntry, recognition: Recognition) {
        if entry.file_type().is_dir() {
            return;
        }
        if entry.path_is_symlink() && entry.path().is_dir() {
            self.passed_over.folder_links += 1;
            self.passed_over.paths.push(entry.into_path());
            return;
        }
        let path = entry.into_path();
        let has_name_of_media = MediaKind::of_name(&path).is_some();
        let extension = || path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        match look(&path, recognition) {
            Ok(Look::Media(MediaKind::Image)) if !has_decoder(&extension()) => {
                *self.passed_over.undecodable.entry(extension()).or_default() += 1;
                self.passed_over.paths.push(path);
            }
            Ok(Look::Media(kind)) => self.files.push(MediaFile { path, kind }),
            Ok(Look::Special(found)) if has_name_of_media => {
                self.failures.push(IndexError::NotAFile { path, found });
            }
            Ok(Look::Special(_)) => {
                self.passed_over.special += 1;
                self.passed_over.paths.push(path);
            }
            Err(error) if has_name_of_media => self.failures.push(IoError::of("read", path)(error).into()),
            Ok(Look::Unknown) | Err(_) => {
                *self.passed_over.unknown.entry(extension()).or_default() += 1;
                self.passed_over.paths.push(path);
            }
        }
    }
}

/// What something that is no folder is.
enum Look {
    Media(MediaKind),
    Unknown,
    /// What it is instead of a file, with its article.
    Special(&'static str),
}

fn look(path: &Path, recognition: Recognition) -> io::Result<Look> {
    if let Some(found) = irregular(&fs::metadata(path)?) {
        return Ok(Look::Special(found));
    }
    let by_content = || match recognition {
        Recognition::ByName => None,
        Recognition::ByContent => kind_by_content(path),
    };
    Ok(MediaKind::of_name(path).or_else(by_content).map_or(Look::Unknown, Look::Media))
}

/// What a file opens as. An animation is a video, as by its name.
fn kind_by_content(path: &Path) -> Option<MediaKind> {
    let mut source = BufReader::new(MediaSource::from(path).open().ok()?);
    if is_picture(source.fill_buf().ok()?) {
        return Some(MediaKind::Image);
    }
    let reader = ImageReader::new(source).with_guessed_format().ok()?;
    let is_gif = reader.format() == Some(ImageFormat::Gif);
    if !is_gif && reader.into_dimensions().is_ok() {
        return Some(MediaKind::Image);
    }
    opens_as_video(path).then_some(MediaKind::Video)
}

#[cfg(feature = "video")]
fn opens_as_video(path: &Path) -> bool {
    use crate::video::{Seeking, VideoOptions, VideoReader};

    VideoReader::open_with(path, VideoOptions { seeking: Seeking::Approximate, ..Default::default() }).is_ok()
}

#[cfg(not(feature = "video"))]
fn opens_as_video(_: &Path) -> bool {
    false
}

/// The absolute path without links, as far as there is something: what libraries know files by. A file that
/// is gone keeps the rest of its path.
pub fn absolute(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = path.ancestors().find_map(|ancestor| {
        let rest = path.strip_prefix(ancestor).ok()?;
        let there = fs::canonicalize(ancestor).ok()?;
        // Joined with nothing it would end in a separator.
        Some(if rest.as_os_str().is_empty() { there } else { there.join(rest) })
    });
    existing.unwrap_or(path)
}

/// Whether a file of this name is passed over.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &Found) -> Vec<&str> {
        found.files.iter().map(|f| f.path.strip_prefix(&found.root).unwrap().to_str().unwrap()).collect()
    }

    #[test]
    fn media_is_found_by_extension_in_order_and_the_rest_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            "b.MP4",
            "a.png",
            "notes.txt",
            "n.TXT",
            "CAM1",
            ".hidden.mp4",
            "c/d.webm",
            ".git/e.png",
            "x.xcf",
        ];
        for name in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let found = find(folder.path(), Recognition::ByName);
        assert_eq!(found.root, folder.path().canonicalize().unwrap());
        assert_eq!(names(&found), ["a.png", "b.MP4", "c/d.webm"]);
        assert_eq!(found.files[0].kind, MediaKind::Image);
        assert_eq!(found.files[1].kind, MediaKind::Video);
        assert!(found.failures.is_empty());
        assert_eq!(found.passed_over.to_string(), "2 .txt, 1 without an ending, 1 .xcf, 2 hidden");
        let names: Vec<_> = found.passed_over.paths.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, [".git", ".hidden.mp4", "CAM1", "n.TXT", "notes.txt", "x.xcf"]);
        let mut twice = found.passed_over.clone();
        twice.add(&found.passed_over);
        assert_eq!(twice.to_string(), "4 .txt, 2 without an ending, 2 .xcf, 4 hidden");

        let text = find(&folder.path().join("notes.txt"), Recognition::ByName);
        assert!(matches!(text.failures.as_slice(), [IndexError::UnknownExtension { .. }]));
        let missing = find(&folder.path().join("nowhere/at/all"), Recognition::ByName);
        assert!(matches!(missing.failures.as_slice(), [IndexError::Io(_)]));
        assert_eq!(missing.root, found.root.join("nowhere/at/all"));
        assert_eq!(
            find_media(folder.path()).into_iter().filter_map(Result::ok).collect::<Vec<_>>(),
            found.files
        );
    }

    #[test]
    fn what_is_excluded_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.png", "a-draft.png", "notes-draft.txt", "cache/b.png", "c/Cache/d.png", "c/e.png"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let exclude: Vec<PathPattern> = ["*-draft.*", "cache"].map(|text| text.parse().unwrap()).into();
        let options = FindOptions::default().with_exclude(exclude);
        let found = find_with(folder.path(), &options);
        assert_eq!(names(&found), ["a.png", "c/e.png"]);
        assert_eq!(found.passed_over.to_string(), "4 excluded");
        assert_eq!(found.passed_over.paths.len(), 4);
        // A folder that is named is searched, a file that is named is not taken.
        assert_eq!(names(&find_with(&folder.path().join("cache"), &options)), ["b.png"]);
        let draft = find_with(&folder.path().join("a-draft.png"), &options);
        assert!(draft.files.is_empty() && draft.passed_over.excluded == 1, "{draft:?}");
    }

    #[test]
    fn pictures_without_a_decoder_are_counted_by_themselves() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.HEIC", "b.heic", "c.avif", "d.jxl", "e.nef"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let found = find(folder.path(), Recognition::ByName);
        let (all, known, said) = (["a.HEIC", "b.heic", "c.avif", "d.jxl", "e.nef"], ["d.jxl", "e.nef"], {
            let none = "for which there is no decoder in FFmpeg here";
            format!("1 .avif, {none}, 2 .heic, {none}")
        });
        if cfg!(feature = "video") {
            assert_eq!(names(&found), all);
            assert!(found.passed_over.is_empty());
        } else {
            assert_eq!(names(&found), known);
            assert_eq!(found.passed_over.to_string(), said);
        }
    }

    #[test]
    fn content_tells_what_a_name_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/media");
        for (from, to) in [("tiny.png", "CAM1"), ("ntsc.mp4", "CAM2.dat"), ("tiny.png", "d.mp4")] {
            fs::copy(media.join(from), folder.path().join(to)).unwrap();
        }
        fs::write(folder.path().join("BM.txt"), "BM is how a bitmap begins").unwrap();
        assert_eq!(names(&find(folder.path(), Recognition::ByName)), ["d.mp4"]);
        let found = find(folder.path(), Recognition::ByContent);
        let expected =
            if cfg!(feature = "video") { vec!["CAM1", "CAM2.dat", "d.mp4"] } else { vec!["CAM1", "d.mp4"] };
        assert_eq!(names(&found), expected);
        assert_eq!(found.files[0].kind, MediaKind::Image);
        let by_name = find(&folder.path().join("CAM1"), Recognition::ByName);
        assert_eq!(by_name.files.len(), 1, "whoever names a file means it");
    }

    /// Nobody may read it, root included: the path of the folder is longer than the system takes.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_that_cannot_be_read_is_named_once() {
        let folder = tempfile::tempdir().unwrap();
        let long = |name: &str| {
            let root = folder.path().join(name);
            let last = (0..12).fold(root.clone(), |path, _| path.join("x".repeat(200)));
            fs::create_dir_all(&last).unwrap();
            (root, last)
        };
        let ((searched, last), (moved, _)) = (long("a"), long("b"));
        fs::write(searched.join("a.png"), "x").unwrap();
        fs::rename(moved, last.join("moved")).unwrap();
        let found = find(&searched, Recognition::ByName);
        assert_eq!(names(&found), ["a.png"]);
        let failures: Vec<String> = found.failures.iter().map(ToString::to_string).collect();
        let [failure] = &failures[..] else { panic!("{failures:?}") };
        assert!(failure.starts_with("cannot read /") && failure.matches("moved").count() == 1, "{failure}");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for pipe in ["pipe.mp4", "pipe"] {
            assert!(std::process::Command::new("mkfifo").arg(path(pipe)).status().unwrap().success());
        }
        let _socket = std::os::unix::net::UnixListener::bind(path("socket.png")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("zero.jpg")).unwrap();
        std::os::unix::fs::symlink("/", path("root")).unwrap();
        std::os::unix::fs::symlink("/", path("root.mp4")).unwrap();
        std::os::unix::fs::symlink("nowhere", path("dangling.png")).unwrap();
        std::os::unix::fs::symlink("loop.png", path("loop.png")).unwrap();
        fs::write(path("a.png"), "x").unwrap();
        for recognition in [Recognition::ByName, Recognition::ByContent] {
            let found = find(folder.path(), recognition);
            assert_eq!(names(&found), ["a.png"]);
            let failures: Vec<String> = found.failures.iter().map(ToString::to_string).collect();
            for (failure, says) in failures.iter().zip(["dangling", "loop", "named pipe", "socket", "device"])
            {
                assert!(failure.contains(says), "{failure}");
            }
            assert_eq!(failures.len(), 5, "{failures:?}");
            assert_eq!(found.passed_over.to_string(), "2 links to folders, 1 pipe, socket or device");
        }
        let named = find(&path("pipe"), Recognition::ByName);
        assert!(matches!(named.failures.as_slice(), [IndexError::NotAFile { .. }]));
    }
}
