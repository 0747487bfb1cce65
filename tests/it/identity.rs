//! Files are known by what they hold: what becomes of those that move, are copied, are touched or turn bad,
//! and of whole folders that are away.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use gve::indexer::{
    Doubt, Extent, IndexEvent, IndexOptions, PrunePlan, Recognition, find, index_with, library_manifest,
    plan_prune, remember_mounts,
};
use gve::media::MediaKind;
use gve::retrieval::{FileFingerprint, Library, LibraryEntry, LibraryRow, LibraryWriter};
use gve::{Embedder, Input};
use gve_test_support::golden::golden_dir;

/// A folder of pictures, and a library of them.
struct Bench {
    folder: tempfile::TempDir,
    embedder: Embedder,
}

/// What happened, in the order of the files' names.
type Events = Vec<String>;

impl Bench {
    /// Three pictures in `v/`, indexed.
    fn new() -> Self {
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
            embedder: Embedder::load(golden_dir().join("tiny-a/model")).unwrap(),
        };
        for name in ["rabbit.png", "tall.png", "tiny.png"] {
            bench.add(name, &format!("v/{name}"));
        }
        assert_eq!(bench.index("v"), ["done v/rabbit.png", "done v/tall.png", "done v/tiny.png"]);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn add(&self, picture: &str, to: &str) {
        let path = self.path(to);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if picture == "wide.png" {
            let wide = image::RgbImage::from_fn(64, 32, |x, y| image::Rgb([4 * x as u8, 8 * y as u8, 90]));
            return wide.save(path).unwrap();
        }
        fs::copy(golden_dir().join("media").join(picture), path).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::create_dir_all(self.path(to).parent().unwrap()).unwrap();
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn writer(&self) -> LibraryWriter {
        let manifest = library_manifest(&self.embedder);
        LibraryWriter::create_or_open(self.path("library"), manifest).unwrap()
    }

    /// Indexes a folder, and remembers what it is mounted from.
    fn index(&self, folder: &str) -> Events {
        let mut library = self.writer();
        let found = find(&self.path(folder), Recognition::ByName);
        let name = |path: &Path| path.strip_prefix(self.path("")).unwrap().display().to_string();
        let mut events = Vec::new();
        remember_mounts(&library, std::slice::from_ref(&found)).unwrap();
        index_with(&self.embedder, &mut library, &found.files, &IndexOptions::default(), |event| {
            events.push(match event {
                IndexEvent::Done(path, _) => format!("done {}", name(&path)),
                IndexEvent::Unchanged(path) => format!("same {}", name(&path)),
                IndexEvent::Moved { from, to } => format!("moved {} {}", name(&from), name(&to)),
                IndexEvent::Copied { from, to } => format!("copied {} {}", name(&from), name(&to)),
                IndexEvent::Failed(path, _) => format!("failed {}", name(&path)),
                IndexEvent::Forgotten(path) => format!("forgotten {}", name(&path)),
                other => panic!("{other:?}"),
            });
        })
        .unwrap();
        library.finish().unwrap();
        events.sort();
        events
    }

    fn plan(&self, folder: &str) -> PrunePlan {
        plan_prune(&self.writer(), &[find(&self.path(folder), Recognition::ByName)], Extent::Gone).unwrap()
    }

    /// The names of the files; the embedding of each that is there is that of what it holds.
    #[track_caller]
    fn names(&self) -> Vec<String> {
        let library = Library::open(self.path("library")).unwrap();
        assert!(library.damage().is_empty(), "{:?}", library.damage());
        let mut names = Vec::new();
        for (entry, found) in library.entries().iter().zip(library.embeddings().unwrap().rows()) {
            let name = entry.path.strip_prefix(self.path("")).unwrap().display().to_string();
            if entry.path.exists() {
                let expected = self.embedder.embed_one(&Input::image(&entry.path)).unwrap();
                let same: f32 = expected.as_slice().iter().zip(found).map(|(a, b)| a * b).sum();
                assert!(same > 0.9999, "{name}: {same}");
                assert_eq!(FileFingerprint::of_file(&entry.path).unwrap(), entry.fingerprint, "{name}");
                assert!(entry.width.is_some() && entry.height.is_some());
            }
            names.push(name);
        }
        names.sort();
        names
    }
}

#[test]
fn a_file_that_was_renamed_keeps_its_rows() {
    let bench = Bench::new();
    bench.rename("v/tall.png", "v/deep/new.png");
    assert_eq!(bench.index("v"), ["moved v/tall.png v/deep/new.png", "same v/rabbit.png", "same v/tiny.png"]);
    assert_eq!(bench.names(), ["v/deep/new.png", "v/rabbit.png", "v/tiny.png"]);
    assert_eq!(bench.plan("v").gone, [""; 0].map(PathBuf::from));
    // Out of a folder that is empty then.
    bench.rename("v/deep/new.png", "v/old.png");
    assert_eq!(bench.index("v")[0], "moved v/deep/new.png v/old.png");
    // Two that have changed places.
    bench.rename("v/rabbit.png", "v/x.png");
    bench.rename("v/tiny.png", "v/rabbit.png");
    bench.rename("v/x.png", "v/tiny.png");
    let events = bench.index("v");
    assert!(events.iter().all(|event| !event.starts_with("failed")), "{events:?}");
    assert_eq!(bench.names(), ["v/old.png", "v/rabbit.png", "v/tiny.png"]);
    assert!(bench.index("v").iter().all(|event| event.starts_with("same")));
}

#[test]
fn a_copy_is_a_second_path() {
    let bench = Bench::new();
    bench.add("tall.png", "v/copy.png");
    assert_eq!(bench.index("v")[0], "copied v/tall.png v/copy.png");
    assert_eq!(bench.names(), ["v/copy.png", "v/rabbit.png", "v/tall.png", "v/tiny.png"]);
    // The first goes on to be another file, and what it was is copied once more.
    bench.add("tall.png", "v/more.png");
    bench.add("alpha.png", "v/tall.png");
    let events = bench.index("v");
    assert!(events.contains(&"done v/tall.png".to_owned()), "{events:?}");
    assert!(
        events.iter().any(|event| event.starts_with("copied") && event.ends_with("v/more.png")),
        "{events:?}"
    );
    assert_eq!(bench.names(), ["v/copy.png", "v/more.png", "v/rabbit.png", "v/tall.png", "v/tiny.png"]);
    // Both are new.
    for name in ["w/1.png", "w/2.png", "w/3.png"] {
        bench.add("wide.png", name);
    }
    assert_eq!(bench.index("w"), ["copied w/1.png w/2.png", "copied w/1.png w/3.png", "done w/1.png"]);
    assert_eq!(bench.names().len(), 8);
    // Neither can be embedded, and neither waits for the other for ever.
    for name in ["w/4.png", "w/5.png"] {
        fs::write(bench.path(name), "garbage").unwrap();
    }
    assert_eq!(bench.index("w")[..2], ["failed w/4.png", "failed w/5.png"]);
}

#[test]
fn a_new_date_alone_is_no_change() {
    let bench = Bench::new();
    let file = fs::File::options().write(true).open(bench.path("v/tall.png")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(60)).unwrap();
    let all = ["same v/rabbit.png", "same v/tall.png", "same v/tiny.png"];
    assert_eq!(bench.index("v"), all);
    assert_eq!(bench.names().len(), 3, "the new date is written down");
    let segments = || fs::read_dir(bench.path("library/segments")).unwrap().count();
    let before = segments();
    assert_eq!((bench.index("v"), segments()), (all.map(str::to_owned).to_vec(), before));
}

#[test]
fn a_file_that_turned_bad_keeps_no_entry_and_its_copy_does() {
    let bench = Bench::new();
    bench.add("tall.png", "v/copy.png");
    bench.index("v");
    fs::write(bench.path("v/tall.png"), "garbage").unwrap();
    let events = bench.index("v");
    assert_eq!(events[..2], ["failed v/tall.png", "forgotten v/tall.png"]);
    assert_eq!(bench.names(), ["v/copy.png", "v/rabbit.png", "v/tiny.png"]);
}

#[test]
fn a_folder_that_was_renamed_keeps_all_rows() {
    let bench = Bench::new();
    bench.rename("v", "elsewhere/w");
    let events = bench.index("elsewhere/w");
    assert!(events.iter().all(|event| event.starts_with("moved v/")) && events.len() == 3, "{events:?}");
    assert_eq!(bench.names(), ["elsewhere/w/rabbit.png", "elsewhere/w/tall.png", "elsewhere/w/tiny.png"]);
    let plan = bench.plan("elsewhere/w");
    assert_eq!((plan.gone.len(), plan.kept.len(), plan.files), (0, 0, 3));
}

#[test]
fn a_folder_that_is_away_is_not_forgotten() {
    let bench = Bench::new();
    let kept = |doubt: Doubt| {
        let plan = bench.plan("v");
        assert_eq!((plan.gone.len(), plan.kept.get(&(bench.path("v"), doubt))), (0, Some(&3)), "{plan:?}");
        assert_eq!(plan.carry_out(&mut bench.writer()).unwrap(), 0);
        assert_eq!(bench.names().len(), 3);
    };
    bench.rename("v", "away");
    kept(Doubt::Missing);
    // The mount point of a drive that is away; what is found on another one is a copy then.
    fs::create_dir(bench.path("v")).unwrap();
    kept(Doubt::Empty);
    // Another drive lies there.
    if cfg!(target_os = "linux") {
        let file = bench.path("library/library.mounts");
        let text = fs::read_to_string(&file).unwrap();
        let point = text.split("\"point\": \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let other = text.replace(&format!("\"point\": \"{point}\""), "\"point\": \"/media/drive\"");
        fs::write(&file, other).unwrap();
        bench.add("wide.png", "v/other.png");
        kept(Doubt::OtherMount);
        // What it is mounted from now is not what holds the files.
        assert_eq!(bench.index("v"), ["done v/other.png"]);
        assert_eq!(bench.plan("v").gone.len(), 0);
        // Not even when it holds more by now.
        (1..9).for_each(|number| bench.add("wide.png", &format!("v/other{number}.png")));
        bench.index("v");
        assert_eq!(bench.plan("v").gone.len(), 0);
        assert!(bench.index("away").iter().all(|event| event.starts_with("copied")));
        // The same files on another mount are the same files.
        for name in ["rabbit.png", "tall.png", "tiny.png"] {
            bench.rename(&format!("away/{name}"), &format!("v/{name}"));
        }
        bench.index("v");
        fs::remove_file(bench.path("v/tiny.png")).unwrap();
        assert_eq!(bench.plan("v").gone, [bench.path("v/tiny.png")]);
        fs::write(&file, "garbage").unwrap();
        let searched = [find(&bench.path("v"), Recognition::ByName)];
        let error = plan_prune(&bench.writer(), &searched, Extent::Gone).unwrap_err().to_string();
        assert!(error.contains("library.mounts"), "{error}");
    }
}

/// Of before there were hashes: they are read once there is a reason, and while they are what they were.
#[test]
fn rows_without_a_hash_get_one_when_a_file_of_their_length_comes_up() {
    let bench = Bench::new();
    let library = Library::open(bench.path("library")).unwrap();
    let rows: Vec<LibraryRow> = library
        .entries()
        .iter()
        .zip(library.embeddings().unwrap().rows())
        .map(|(entry, embedding)| {
            assert!(entry.content.is_some() && entry.kind == MediaKind::Image);
            let entry = LibraryEntry::new(&entry.path, entry.kind, entry.fingerprint)
                .with_width(entry.width)
                .with_height(entry.height);
            LibraryRow { entry, embedding: embedding.to_vec() }
        })
        .collect();
    fs::remove_dir_all(bench.path("library")).unwrap();
    let mut writer = bench.writer();
    writer.append(&rows).unwrap();
    writer.finish().unwrap();
    let hashed = || {
        let library = Library::open(bench.path("library")).unwrap();
        library.entries().iter().filter(|entry| entry.content.is_some()).count()
    };
    assert!(bench.index("v").iter().all(|event| event.starts_with("same")));
    assert_eq!(hashed(), 0, "a library is not read through at every run");
    bench.add("tall.png", "v/copy.png");
    assert_eq!(bench.index("v")[0], "copied v/tall.png v/copy.png");
    assert_eq!(hashed(), 2);
    assert_eq!(bench.names().len(), 4);
}

/// When it was taken, by EXIF data and by a container, and how large it is.
#[cfg(feature = "video")]
#[test]
fn what_a_file_says_of_itself_comes_with_it() {
    const TAKEN: u32 = 1_780_250_401;
    let bench = Bench::new();
    let short = u16::to_le_bytes;
    let long = u32::to_le_bytes;
    let directory = |tag, kind, count, value| {
        [&short(1)[..], &short(tag), &short(kind), &long(count), &long(value), &long(0)].concat()
    };
    // The directory of details lies at 26, and the time behind it.
    let exif =
        [&b"Exif\0\0II\x2a\0"[..], &long(8), &directory(0x8769, 4, 1, 26), &directory(0x9003, 2, 20, 44)];
    let exif = [&exif.concat()[..], b"2026:05:31 18:00:01\0"].concat();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    let jpeg = fs::read(golden_dir().join("../fixtures/hostile/grey.jpg")).unwrap();
    let jpeg = [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat();
    fs::create_dir(bench.path("w")).unwrap();
    fs::write(bench.path("w/taken.jpg"), jpeg).unwrap();
    let mut film = fs::read(golden_dir().join("media/ntsc.mp4")).unwrap();
    let header = film.windows(4).position(|window| window == b"mvhd").unwrap();
    // Seconds since 1904.
    film[header + 8..header + 12].copy_from_slice(&(TAKEN + 2_082_844_800).to_be_bytes());
    fs::write(bench.path("w/film.mp4"), film).unwrap();
    fs::copy(golden_dir().join("media/bunny.mp4"), bench.path("w/unknown.mp4")).unwrap();
    assert_eq!(bench.index("w"), ["done w/film.mp4", "done w/taken.jpg", "done w/unknown.mp4"]);

    let library = Library::open(bench.path("library")).unwrap();
    let found = |name: &str| library.entries().iter().find(|entry| entry.path.ends_with(name)).unwrap();
    let (film, taken, unknown) = (found("film.mp4"), found("taken.jpg"), found("unknown.mp4"));
    assert_eq!(taken.captured_seconds, Some(i64::from(TAKEN)));
    assert_eq!(film.captured_seconds, Some(i64::from(TAKEN)));
    assert_eq!(unknown.captured_seconds, None, "the beginning of 1970 is no date");
    let size = image::image_dimensions(bench.path("w/taken.jpg")).unwrap();
    assert_eq!((taken.width, taken.height), (Some(size.0), Some(size.1)));
    let video = gve::video::VideoReader::open(bench.path("w/film.mp4")).unwrap();
    let (width, height) = (video.metadata().width, video.metadata().height);
    assert_eq!((film.width, film.height), (Some(width), Some(height)));
    // As telephones and cameras say it.
    for name in ["lossy_turned.heic", "raw.dng", "raw.cr3", "raw.raf"] {
        let path = bench.path(&format!("x/{name}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(golden_dir().join("../images").join(name), path).unwrap();
    }
    assert!(bench.index("x").iter().all(|event| event.starts_with("done")));
    for entry in Library::open(bench.path("library")).unwrap().entries() {
        let is_new = entry.path.parent().is_some_and(|folder| folder.ends_with("x"));
        assert!(!is_new || entry.captured_seconds == Some(i64::from(TAKEN)), "{entry:?}");
    }
    // A change of place keeps what is known.
    bench.rename("w/taken.jpg", "w/moved.jpg");
    assert_eq!(bench.index("w")[0], "moved w/taken.jpg w/moved.jpg");
    let library = Library::open(bench.path("library")).unwrap();
    let moved = library.entries().iter().find(|entry| entry.path.ends_with("moved.jpg")).unwrap();
    assert_eq!((moved.captured_seconds, moved.width), (Some(i64::from(TAKEN)), Some(size.0)));
}
