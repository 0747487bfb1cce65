//! Processes that are killed at any instant, that run out of room, or that want to write to the same library:
//! what was finished is there, once, and the next one goes on.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use gve::retrieval::{Library, LibraryOptions, LibraryRow, LibraryWriter, RetrievalError};

use super::library::{manifest, row};

const DIRECTORY: &str = "GVE_TEST_KILLED_LIBRARY";
const WORK: &str = "GVE_TEST_KILLED_WORK";
const INSTANTS: u64 = 20;
/// Files of the library that is compacted and pruned.
const FILES: usize = 1500;

fn name(number: usize) -> String {
    format!("/v/{number:05}")
}

/// Run as a process of its own by the tests below. Says on standard error what is finished.
#[test]
#[ignore = "the child process of others"]
fn child() {
    let (Some(directory), Ok(work)) = (std::env::var_os(DIRECTORY), std::env::var(WORK)) else { return };
    let mut writer = LibraryWriter::create_or_open(PathBuf::from(directory), manifest()).unwrap();
    eprintln!("finished 0");
    match work.as_str() {
        "index" => {
            for number in 0.. {
                let row = row(&name(number), number, 1);
                if !writer.is_current(&row.entry.path, row.entry.fingerprint) {
                    writer.append(&[row]).unwrap();
                    writer.flush().unwrap();
                }
                eprintln!("finished {}", number + 1);
            }
        }
        "compact" => loop {
            writer.compact().unwrap();
        },
        "prune" => {
            // In tens, from the first that is there.
            let first = (0..FILES).find(|number| writer.has(name(*number).as_ref())).unwrap();
            for start in (first..FILES).step_by(10) {
                let gone: Vec<String> = (start..start + 10).map(name).collect();
                assert_eq!(writer.remove(&gone).unwrap(), 10);
                eprintln!("finished {}", start + 10);
            }
        }
        "join" => {
            let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
            let first = writer.paths().count();
            for number in first.. {
                writer.append(&[row(&name(number), number, 1)]).unwrap();
                writer.flush().unwrap();
                eprintln!("finished {}", number + 1);
                if number % 35 == 34 {
                    writer.finish().unwrap();
                    writer = LibraryWriter::create_or_open(&directory, manifest()).unwrap();
                }
            }
        }
        "codes" => {
            let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
            loop {
                on_disk(&directory);
                let all = super::library::segments(&directory).into_iter();
                all.filter(|path| path.extension().is_some_and(|e| e == "codes"))
                    .for_each(|path| std::fs::remove_file(path).unwrap());
            }
        }
        _ => full_disk(writer),
    }
}

/// Writes more and more at a time until there is no room for it.
fn full_disk(mut writer: LibraryWriter) {
    // SAFETY: plain system calls; nothing else in this process depends on either.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let limit = libc::rlimit { rlim_cur: 40_000, rlim_max: libc::RLIM_INFINITY };
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
    }
    let mut number = 0;
    for size in (20..).step_by(20) {
        let rows: Vec<LibraryRow> = (number..number + size).map(|i| row(&name(i), i, 1)).collect();
        let failed = writer.append(&rows).and_then(|()| writer.flush());
        if let Err(error) = failed {
            assert!(matches!(error, RetrievalError::Io(_)), "{error}");
            break;
        }
        number += size;
        eprintln!("finished {number}");
    }
    assert!(matches!(writer.compact(), Err(RetrievalError::Io(_))), "all are more than there is room for");
}

fn start(directory: &Path, work: &str) -> (Child, std::io::Lines<BufReader<ChildStderr>>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "retrieval::killed::child", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(WORK, work)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    (child, lines)
}

/// The last that a child says is finished.
fn finished(lines: impl Iterator<Item = std::io::Result<String>>, so_far: usize) -> usize {
    lines.map_while(Result::ok).fold(so_far, |finished, line| {
        line.strip_prefix("finished ").and_then(|number| number.parse().ok()).unwrap_or(finished)
    })
}

/// Has a child begin with its work and kills it a little later; gives back what it had finished.
fn killed(directory: &Path, work: &str, instant: u64) -> usize {
    let (mut child, mut lines) = start(directory, work);
    // The last one gets something done, however slow the machine is.
    let least = if instant + 1 == INSTANTS && ["index", "join"].contains(&work) { 2 } else { 1 };
    let begun = finished(lines.by_ref().take(least), 0);
    // Spread over the work, and never the same.
    std::thread::sleep(Duration::from_micros(150 * instant * instant + 700 * instant));
    child.kill().unwrap();
    child.wait().unwrap();
    finished(lines, begun)
}

/// The numbers of the files, each of which is there once.
#[track_caller]
fn numbers(directory: &Path) -> BTreeSet<usize> {
    let library = Library::open(directory).unwrap();
    assert!(library.damage().is_empty(), "{:?}", library.damage());
    let paths = library.entries().iter().map(|entry| entry.path.to_str().unwrap().to_owned());
    let numbers: BTreeSet<usize> = paths.map(|path| path["/v/".len()..].parse().unwrap()).collect();
    assert_eq!(numbers.len(), library.entries().len(), "one is there twice");
    for (entry, embedding) in library.entries().iter().zip(library.embeddings().unwrap().rows()) {
        let number: usize = entry.path.to_str().unwrap()["/v/".len()..].parse().unwrap();
        assert_eq!(embedding.to_vec(), row("", number, 0).embedding);
    }
    numbers
}

fn on_disk(directory: &Path) -> Library {
    let options = LibraryOptions::default().with_memory_bytes(0);
    Library::open_with(directory, &options, |_, _| {}).unwrap()
}

fn library() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    for start in (0..FILES).step_by(100) {
        let rows: Vec<LibraryRow> = (start..start + 100).map(|i| row(&name(i), i, 1)).collect();
        writer.append(&rows).unwrap();
        writer.flush().unwrap();
    }
    directory
}

#[test]
fn killed_while_adding() {
    let directory = tempfile::tempdir().unwrap();
    let mut least = 0;
    for instant in 0..INSTANTS {
        least = killed(directory.path(), "index", instant).max(least);
        let found = numbers(directory.path());
        assert!(
            found.len() >= least && found.iter().copied().eq(0..found.len()),
            "{} of {least}",
            found.len()
        );
    }
    assert!(least > 0, "{least} were finished");
}

#[test]
fn killed_while_compacting() {
    let directory = library();
    for instant in 0..INSTANTS {
        killed(directory.path(), "compact", instant);
        assert_eq!(numbers(directory.path()).len(), FILES);
    }
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    writer.compact().unwrap();
    writer.finish().unwrap();
    assert_eq!(numbers(directory.path()).len(), FILES);
    let segments = super::library::segments(directory.path());
    assert_eq!(segments.len(), 1, "{segments:?}");
}

#[test]
fn killed_while_joining_the_newest() {
    let directory = library();
    LibraryWriter::create_or_open(directory.path(), manifest()).unwrap().compact().unwrap();
    let mut least = FILES;
    for instant in 0..INSTANTS {
        least = killed(directory.path(), "join", instant).max(least);
        let found = numbers(directory.path());
        assert!(
            found.len() >= least && found.iter().copied().eq(0..found.len()),
            "{} of {least}",
            found.len()
        );
    }
    assert!(least > FILES, "{least} were finished");
    LibraryWriter::create_or_open(directory.path(), manifest()).unwrap().finish().unwrap();
    let segments = super::library::segments(directory.path());
    assert!(segments.len() <= 32, "{segments:?}");
}

#[test]
fn killed_while_making_codes() {
    let directory = library();
    for instant in 0..INSTANTS {
        killed(directory.path(), "codes", instant);
        let library = on_disk(directory.path());
        assert!(library.damage().is_empty(), "{:?}", library.damage());
        assert_eq!(library.entries().len(), FILES);
        let hits = library.search(ndarray::aview1(&row("", 3, 1).embedding), FILES).unwrap();
        assert_eq!((hits.len(), hits[0].score, library.take_damage().len()), (FILES, 1.0, 0));
    }
}

#[test]
fn killed_while_forgetting() {
    let mut directory = library();
    let mut gone = 0;
    for instant in 0..INSTANTS {
        gone = killed(directory.path(), "prune", instant).max(gone);
        let found = numbers(directory.path());
        let first = found.first().copied().unwrap_or(FILES);
        assert!(first >= gone && first % 10 == 0, "{first} is there, {gone} were forgotten");
        assert!(found.iter().copied().eq(first..FILES), "what was not to be forgotten is there");
        if first > FILES - 500 {
            (directory, gone) = (library(), 0);
        }
    }
}

#[test]
fn a_full_disk_loses_nothing_that_was_finished() {
    let directory = tempfile::tempdir().unwrap();
    let (mut child, lines) = start(directory.path(), "full disk");
    let finished = finished(lines, 0);
    assert!(child.wait().unwrap().success());
    assert!(finished > 100, "{finished}");
    assert!(numbers(directory.path()).into_iter().eq(0..finished));
    let mut writer = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
    writer.append(&[row(&name(finished), finished, 1)]).unwrap();
    writer.compact().unwrap();
    assert!(numbers(directory.path()).into_iter().eq(0..finished + 1));
}

#[test]
fn a_second_writer_is_told_who_writes_and_others_search() {
    let directory = tempfile::tempdir().unwrap();
    let (mut child, mut lines) = start(directory.path(), "index");
    finished(lines.by_ref().take(5), 0);
    let error = LibraryWriter::create_or_open(directory.path(), manifest()).unwrap_err();
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut rows = 0;
    while rows < 50 && Instant::now() < deadline {
        let library = Library::open(directory.path()).unwrap();
        assert!(library.damage().is_empty() && library.entries().len() >= rows, "{:?}", library.damage());
        rows = library.entries().len();
        assert!(library.search(ndarray::aview1(&row("", 0, 1).embedding), 1).unwrap()[0].score > 0.99);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(rows >= 50, "{rows}");
    let RetrievalError::Locked { holder: Some(holder), .. } = &error else { panic!("{error}") };
    assert_eq!(holder.process, child.id());
    let said = error.to_string();
    assert!(said.contains(&format!("(process {}, since 20", child.id())) && said.contains(" UTC)"), "{said}");
    LibraryWriter::create_or_open(directory.path(), manifest()).unwrap();
}
