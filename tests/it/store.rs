//! Files and folders that are there whole or not at all, whoever else writes and whatever ends the writer.

use std::error::Error;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gve::store::{
    AtomicFile, Existing, IoError, Lock, create_folder_of, remove_folder, write_file, write_folder,
};

/// What another process is to do, and where.
const TASK: &str = "GVE_STORE_TASK";
const FOLDER: &str = "GVE_STORE_FOLDER";

/// A process that is in the middle of something until it is killed.
struct Other(Child);

impl Other {
    fn in_the_middle_of(task: &str, folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "store::the_other_process", "--ignored"])
            .env(TASK, task)
            .env(FOLDER, folder);
        let mut other = Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        while !folder.join("ready").exists() {
            assert!(other.0.try_wait().unwrap().is_none(), "the other process ended early");
            std::thread::sleep(Duration::from_millis(5));
        }
        fs::remove_file(folder.join("ready")).unwrap();
        other
    }
}

impl Drop for Other {
    /// As the kernel kills, or the power fails.
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
#[ignore = "is what the other tests here run as another process"]
fn the_other_process() {
    let (Ok(task), Some(folder)) = (std::env::var(TASK), std::env::var_os(FOLDER).map(PathBuf::from)) else {
        return;
    };
    let wait = || -> ! {
        fs::write(folder.join("ready"), "").unwrap();
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    };
    match task.as_str() {
        "lock" => {
            let _lock = Lock::take(&folder.join("lock")).unwrap().unwrap();
            wait()
        }
        "file" => {
            let mut file = AtomicFile::create(folder.join("a")).unwrap();
            file.write_all(b"half of the ne").unwrap();
            file.flush().unwrap();
            wait()
        }
        "folder" => write_folder(&folder.join("final"), Existing::Replace, |inside| -> Result<(), IoError> {
            fs::write(inside.join("w"), "half of the ne").unwrap();
            wait()
        })
        .unwrap(),
        _ => panic!("no such task: {task}"),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn write(path: &Path, text: &str) -> Result<(), IoError> {
    write_file(path, |file| file.write_all(text.as_bytes()))
}

fn make(path: &Path, existing: Existing, text: &str) -> Result<(), IoError> {
    write_folder(path, existing, |inside| {
        fs::write(inside.join("w"), text).map_err(IoError::of("write", inside.join("w")))
    })
}

fn full_disk() -> std::io::Error {
    ErrorKind::StorageFull.into()
}

#[test]
fn a_file_is_the_old_one_until_it_is_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    write(&path, "old").unwrap();
    let failed = write_file(&path, |file| {
        file.write_all(b"half of the ne")?;
        Err(full_disk())
    });
    let message = failed.unwrap_err().to_string();
    assert_eq!(message, format!("cannot write {}: no storage space", path.display()));
    let mut dropped = AtomicFile::create(&path).unwrap();
    dropped.write_all(b"new").unwrap();
    drop(dropped);
    assert_eq!(
        (fs::read_to_string(&path).unwrap().as_str(), names(folder.path())),
        ("old", vec!["a".into()])
    );
    write(&path, "new").unwrap();
    assert_eq!(
        (fs::read_to_string(&path).unwrap().as_str(), names(folder.path())),
        ("new", vec!["a".into()])
    );
    let mut unsynced = AtomicFile::create(&path).unwrap();
    unsynced.write_all(b"newer").unwrap();
    assert_eq!(unsynced.path(), path);
    unsynced.finish_unsynced().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "newer");
}

#[test]
fn a_writer_of_a_file_that_is_killed_leaves_nothing_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    write(&path, "old").unwrap();
    let other = Other::in_the_middle_of("file", folder.path());
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    // Both write, and neither into the other's.
    write(&path, "ours").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
    assert_eq!(fs::read_to_string(folder.path().join(".a.tmp")).unwrap(), "half of the ne");
    drop(other);
    assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
    assert_eq!(names(folder.path()), [".a.tmp", "a"]);
    write(&path, "new").unwrap();
    assert_eq!(
        (fs::read_to_string(&path).unwrap().as_str(), names(folder.path())),
        ("new", vec!["a".into()])
    );
}

#[test]
fn many_writers_of_one_file_leave_one_of_their_texts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let text = |writer: usize| writer.to_string().repeat(10_000);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = &path;
            scope.spawn(move || (0..25).for_each(|_| write(path, &text(writer)).unwrap()));
        }
        for _ in 0..100 {
            let read = fs::read_to_string(&path).unwrap_or_else(|_| text(0));
            assert!((0..4).any(|writer| read == text(writer)), "{} bytes", read.len());
        }
    });
    assert_eq!(names(folder.path()), ["a"]);
}

#[test]
fn a_folder_is_the_old_one_until_it_is_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("final");
    let read = || fs::read_to_string(path.join("w")).unwrap();
    make(&path, Existing::Replace, "old").unwrap();
    let failed = write_folder(&path, Existing::Replace, |inside| {
        fs::write(inside.join("w"), "half of the ne").unwrap();
        Err::<(), _>(IoError::of("write", "w")(full_disk()))
    });
    assert_eq!(failed.unwrap_err().to_string(), "cannot write w: no storage space");
    assert_eq!((read().as_str(), names(folder.path())), ("old", vec!["final".into()]));

    let other = Other::in_the_middle_of("folder", folder.path());
    let message = make(&path, Existing::Replace, "ours").unwrap_err().to_string();
    assert_eq!(message, format!("cannot write {}: another process is writing it", path.display()));
    drop(other);
    assert_eq!((read().as_str(), names(folder.path())), ("old", vec![".final.tmp".into(), "final".into()]));
    make(&path, Existing::Replace, "new").unwrap();
    assert_eq!((read().as_str(), names(folder.path())), ("new", vec!["final".into()]));

    // Killed when the old one had gone and the new one was yet to come: the old one is back before anything
    // is written.
    fs::rename(&path, folder.path().join(".final.old")).unwrap();
    let failed =
        write_folder(&path, Existing::Replace, |_| Err::<(), _>(IoError::of("write", "w")(full_disk())));
    assert!(failed.is_err() && read() == "new", "{:?}", names(folder.path()));
    // And when only the old one was yet to go.
    fs::create_dir(folder.path().join(".final.old")).unwrap();
    make(&path, Existing::Replace, "newer").unwrap();
    assert_eq!((read().as_str(), names(folder.path())), ("newer", vec!["final".into()]));

    remove_folder(&path).unwrap();
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn a_folder_that_is_not_to_be_replaced_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    fs::create_dir_all(&path).unwrap();
    // What only looks like a leftover is somebody's; and a shell puts a slash behind a folder that is there.
    let neighbour = folder.path().join("out.tmp");
    fs::create_dir(&neighbour).unwrap();
    make(&folder.path().join("out/"), Existing::Refuse, "new").unwrap();
    assert!(neighbour.is_dir());
    let message = make(&path, Existing::Refuse, "newer").unwrap_err().to_string();
    assert_eq!(message, format!("cannot write {}: the folder is not empty", path.display()));
    assert_eq!(fs::read_to_string(path.join("w")).unwrap(), "new");
    assert_eq!(names(folder.path()), ["out", "out.tmp"]);
}

#[test]
fn a_lock_ends_with_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let other = Other::in_the_middle_of("lock", folder.path());
    assert!(Lock::take(&path).unwrap().is_none());
    drop(other);
    let ours = Lock::take(&path).unwrap().unwrap();
    assert!(Lock::take(&path).unwrap().is_none(), "one in a process");
    drop(ours);
    assert!(Lock::take(&path).unwrap().is_some());
    assert!(path.exists(), "it would let two in, were it removed");
}

#[test]
fn what_cannot_be_written_is_said_once_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let gone = folder.path().join("gone/a");
    let not_found = fs::File::open(&gone).unwrap_err();
    let in_a_file = fs::File::open(file.join("a")).unwrap_err();
    for (error, expected) in [
        (write(&gone, "").unwrap_err(), format!("cannot create {}: {not_found}", gone.display())),
        (
            write(&file.join("a"), "").unwrap_err(),
            format!("cannot replace {}: {in_a_file}", file.join("a").display()),
        ),
        (
            write(folder.path(), "").unwrap_err(),
            format!("cannot replace {}: it is a directory, expected a regular file", folder.path().display()),
        ),
        (
            create_folder_of(&file.join("b/c")).unwrap_err(),
            format!("cannot create the folder {}: {in_a_file}", file.join("b").display()),
        ),
        (
            make(&file.join("b"), Existing::Replace, "").unwrap_err(),
            format!("cannot write {}: {in_a_file}", file.join("b").display()),
        ),
        (Lock::take(&gone).unwrap_err(), format!("cannot open {}: {not_found}", gone.display())),
    ] {
        assert_eq!(error.to_string(), expected);
        assert!(error.source().is_none() && !expected.contains('\n'));
        assert_eq!(error.kind(), error.reason.kind());
        // Whoever passes it on says it no second time.
        let passed_on = gve::Error::from(error);
        assert!(passed_on.to_string() == expected && passed_on.source().is_none());
    }
    assert_eq!(names(folder.path()), ["file"]);
}

#[cfg(unix)]
#[test]
fn links_lead_no_writing_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let [path, target, pipe, planted] =
        ["a", "target", "pipe", ".a.tmp"].map(|name| folder.path().join(name));
    fs::write(&target, "theirs").unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    std::os::unix::fs::symlink(&target, &planted).unwrap();
    write(&path, "ours").unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
    std::os::unix::fs::symlink(&target, folder.path().join("lock")).unwrap();
    assert!(Lock::take(&folder.path().join("lock")).unwrap().is_some());
    assert_eq!(fs::read_to_string(&target).unwrap(), "theirs");

    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&pipe, &path).unwrap();
    for path in [&path, &pipe] {
        let message = write(path, "").unwrap_err().to_string();
        assert_eq!(
            message,
            format!("cannot replace {}: it is a named pipe, expected a regular file", path.display())
        );
        let message = Lock::take(&pipe).unwrap_err().to_string();
        assert_eq!(
            message,
            format!("cannot open {}: it is a named pipe, expected a regular file", pipe.display())
        );
    }
}

/// The text of an error that holds another says all of that, and whoever prints the chain of sources would
/// say it again.
#[test]
fn no_error_says_its_source_twice() {
    let root = gve_test_support::golden::repository_dir();
    let mut errors = 0;
    for folder in ["src", "cli/src", "benchmark/src"] {
        for (path, bytes) in gve_test_support::files::files(&root.join(folder)) {
            let text = String::from_utf8(bytes).unwrap();
            for (place, _) in text.match_indices("#[error(") {
                let (message, rest) = text[place..].split_once(")]").unwrap();
                let fields = rest.split("#[error(").next().unwrap();
                let fields = fields.split("///").next().unwrap_or(fields);
                let is_told = message.contains("{source") || message.contains("{0");
                let is_source =
                    message.contains("{source") || fields.contains("#[from]") || fields.contains("#[source]");
                assert!(!(is_told && is_source), "{folder}/{path}: {message}{fields}");
                errors += 1;
            }
        }
    }
    assert!(errors > 150, "{errors}");
}
