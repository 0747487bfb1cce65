//! That rows are brought to disk before they count, in the order that makes them safe when the power fails:
//! the data, then the name, then the folder that holds the name. Seen by standing between this program and
//! the C library.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int};
use std::path::{Path, PathBuf};

use gve::retrieval::{EmbeddingFormat, EmbeddingWriter, LibraryWriter};
use gve::store::{Existing, IoError, write_folder};

use super::library::{manifest, row, segments};

#[derive(Debug, Clone, PartialEq)]
enum Call {
    Sync(PathBuf),
    /// To this name.
    Rename(PathBuf),
}

thread_local! {
    /// The calls of this thread, while somebody wants to know.
    static CALLS: RefCell<Option<Vec<Call>>> = const { RefCell::new(None) };
}

fn note(call: impl FnOnce() -> Call) {
    CALLS.with_borrow_mut(|calls| {
        if let Some(calls) = calls {
            calls.push(call());
        }
    });
}

/// Takes the place of the C library's function of that name in this program.
#[unsafe(no_mangle)]
extern "C" fn fsync(file: c_int) -> c_int {
    note(|| Call::Sync(std::fs::read_link(format!("/proc/self/fd/{file}")).unwrap()));
    // SAFETY: the system call has no requirements.
    unsafe { libc::syscall(libc::SYS_fsync, file) as c_int }
}

/// Takes the place of the C library's function of that name in this program.
///
/// # Safety
/// As the C library's: both point to strings that end in zero.
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(to) };
    note(|| Call::Rename(name.to_str().unwrap().into()));
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) as c_int }
}

fn calls_of(work: impl FnOnce()) -> Vec<Call> {
    CALLS.set(Some(Vec::new()));
    work();
    CALLS.take().unwrap()
}

fn safe_file(path: &Path) -> [Call; 3] {
    let folder = path.parent().unwrap().to_owned();
    let temporary = folder.join(format!(".{}.tmp", path.file_name().unwrap().display()));
    [Call::Sync(temporary), Call::Rename(path.to_owned()), Call::Sync(folder)]
}

#[test]
fn rows_are_on_disk_before_they_count() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().canonicalize().unwrap();
    let made = calls_of(|| drop(LibraryWriter::create_or_open(&directory, manifest()).unwrap()));
    assert_eq!(made, safe_file(&directory.join("library.json")));

    let mut writer = LibraryWriter::create_or_open(&directory, manifest()).unwrap();
    writer.append(&[row("a", 0, 1)]).unwrap();
    let flushed = calls_of(|| writer.flush().unwrap());
    // Then it is written down that the segment is there.
    let segment =
        || [safe_file(&segments(&directory)[0]), safe_file(&directory.join("library.newest"))].concat();
    assert_eq!(flushed, segment());

    let compacted = calls_of(|| writer.compact().unwrap());
    assert_eq!(compacted, segment(), "the old segment goes only afterwards");
}

#[test]
fn embedding_files_are_on_disk_before_they_have_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap().join("e.jsonl");
    let mut writer = EmbeddingWriter::create(&path, EmbeddingFormat::JsonLines, 2).unwrap();
    writer.write("a", &[1.0, 0.0]).unwrap();
    assert_eq!(calls_of(|| writer.finish().unwrap()), safe_file(&path));
}

#[test]
fn what_is_in_a_folder_is_on_disk_before_it_has_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let parent = directory.path().canonicalize().unwrap();
    let (path, new, old) = (parent.join("final"), parent.join(".final.tmp"), parent.join(".final.old"));
    let write = || {
        write_folder(&path, Existing::Replace, |inside| {
            std::fs::create_dir(inside.join("deep")).map_err(IoError::of("create", inside))?;
            std::fs::write(inside.join("deep/a"), "a").map_err(IoError::of("write", inside))
        })
    };
    let filled = [new.join("deep/a"), new.join("deep"), new].map(Call::Sync);
    let named = [Call::Rename(path.clone()), Call::Sync(parent.clone())];
    assert_eq!(calls_of(|| write().unwrap()), [&filled[..], &named].concat());
    let aside = [Call::Rename(old), Call::Sync(parent.clone())];
    assert_eq!(calls_of(|| write().unwrap()), [&filled[..], &aside, &named].concat());
}
