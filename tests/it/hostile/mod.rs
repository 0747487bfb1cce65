//! Files that were changed in some bytes, in numbers: each is read or refused, without a panic, in time and
//! within memory.
//!
//! A program of its own reads them, so that a crash of a decoder is seen, and the file that caused it named.
//! By hand, for more:
//!
//! ```sh
//! GVE_MUTATIONS=20000 GVE_MUTATION_SEED=7 cargo test --test it hostile:: -- --nocapture
//! ```

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gve::Random;

use corpus::{KINDS, Kind, files};

mod corpus;
mod mutate;

const CHILD: &str = "GVE_TEST_HOSTILE_BATCH";
/// Changes of a kind, unless the environment says otherwise.
const MUTATIONS: u64 = 60;
/// Changes that one program reads.
const BATCH: u64 = 500;
const LONGEST: Duration = Duration::from_secs(20);
const MOST_MEMORY_KIB: u64 = 1 << 20;

/// A number of the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Most memory that this program has held since the last call.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    let peak = peak.trim_end_matches("kB").trim().parse().unwrap();
    drop(std::fs::write("/proc/self/clear_refs", "5"));
    peak
}

/// Not a test of its own: reads a batch of changed files, when told to by the test below. Says on a line each
/// what went wrong.
#[test]
fn hostile_child() {
    let Ok(batch) = std::env::var(CHILD) else { return };
    let mut words = batch.splitn(5, ' ');
    let mut next = || words.next().unwrap();
    let name = next();
    let kind = KINDS.iter().find(|kind| kind.name == name).unwrap();
    let [seed, from, to] = [(); 3].map(|()| next().parse::<u64>().unwrap());
    let folder = PathBuf::from(next());
    let say = |line: String| {
        // Past the buffer of the test program, which a crash would lose.
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "hostile {line}").unwrap();
        stdout.flush().unwrap();
    };
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    std::thread::spawn(move || {
        let (mut number, mut since) = (u64::MAX, Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let now = NUMBER.load(Ordering::Relaxed);
            if now != number {
                (number, since) = (now, Instant::now());
            }
            if since.elapsed() > LONGEST {
                say(format!("fault {now} takes longer than {LONGEST:?}"));
                std::process::exit(3);
            }
        }
    });
    let files = files(&folder, kind);
    for file in &files {
        (kind.read)(&folder, file)
            .unwrap_or_else(|message| panic!("{} unchanged: {message}", file.display()));
    }
    let (mut read, mut refused) = (0, 0);
    peak_kib();
    for n in from..to {
        NUMBER.store(n, Ordering::Relaxed);
        say(format!("at {n}"));
        let file = &files[(n as usize) % files.len()];
        let whole = std::fs::read(file).unwrap();
        let (head, tail) = whole.split_at(kind.within.min(whole.len()));
        let mut changed = mutate::mutated(head, &mut Random::derived(seed, &[n]));
        changed.extend_from_slice(tail);
        std::fs::write(file, changed).unwrap();
        match catch_unwind(AssertUnwindSafe(|| (kind.read)(&folder, file))) {
            Ok(Ok(())) => read += 1,
            Ok(Err(message)) => {
                refused += 1;
                if message.lines().count() != 1 {
                    say(format!("fault {n} is refused in other than one line: {message:?}"));
                }
            }
            Err(_) => say(format!("fault {n} panics")),
        }
        let peak = peak_kib();
        if peak > MOST_MEMORY_KIB {
            say(format!("fault {n} takes {} MiB", peak >> 10));
        }
        std::fs::write(file, whole).unwrap();
    }
    say(format!("done {read} {refused}"));
}

/// Faults in reading the changes `from..to`, and how many were read and refused.
fn run_batch(kind: &Kind, seed: u64, from: u64, to: u64) -> (Vec<String>, [u64; 2]) {
    let folder = tempfile::tempdir().unwrap();
    (kind.make)(folder.path());
    let name = |n: u64| {
        let files = files(folder.path(), kind);
        let file = files[n as usize % files.len()].strip_prefix(folder.path()).unwrap().to_owned();
        format!("{} {n} of seed {seed}, {}", kind.name, file.display())
    };
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hostile::hostile_child", "--nocapture"])
        .env(CHILD, format!("{} {seed} {from} {to} {}", kind.name, folder.path().display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let (mut faults, mut at, mut done) = (Vec::new(), None, None);
    for line in stdout.lines().filter_map(|line| Some(line.split_once("hostile ")?.1)) {
        let mut words = line.splitn(3, ' ');
        match [(); 3].map(|()| words.next().unwrap_or_default()) {
            ["at", n, _] => at = Some(n.parse().unwrap()),
            ["fault", n, what] => faults.push(format!("{}: {what}", name(n.parse().unwrap()))),
            ["done", read, refused] => done = Some([read, refused].map(|count| count.parse().unwrap())),
            _ => {}
        }
    }
    let at: u64 = at.unwrap_or_else(|| panic!("{}: {}", kind.name, String::from_utf8_lossy(&output.stderr)));
    if done.is_none() && output.status.code() != Some(3) {
        faults.push(format!("{}: ends the program with {}", name(at), output.status));
    }
    if done.is_none() && at + 1 < to {
        let (more, counts) = run_batch(kind, seed, at + 1, to);
        faults.extend(more);
        return (faults, counts);
    }
    if !faults.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr);
        let panics = said.lines().filter(|line| line.contains("panicked at"));
        faults.extend(panics.map(|line| format!("  {line}")));
    }
    (faults, done.unwrap_or_default())
}

#[cfg(target_os = "linux")]
#[test]
fn changed_files_are_read_or_refused() {
    let (count, seed) = (number("GVE_MUTATIONS", MUTATIONS), number("GVE_MUTATION_SEED", 1));
    let only = std::env::var("GVE_MUTATION_KIND").ok();
    let mut faults = Vec::new();
    for kind in KINDS.iter().filter(|kind| only.as_ref().is_none_or(|only| only == kind.name)) {
        let started = Instant::now();
        let mut counts = [0; 2];
        for from in (0..count).step_by(BATCH as usize) {
            let (new, [read, refused]) = run_batch(kind, seed, from, (from + BATCH).min(count));
            new.iter().for_each(|fault| println!("{fault}"));
            faults.extend(new);
            counts = [counts[0] + read, counts[1] + refused];
        }
        let [read, refused] = counts;
        println!("{}: {count} changes, {read} read, {refused} refused, {:.1?}", kind.name, started.elapsed());
        // Neither would be a test.
        assert!(read > 0 && refused > 0, "{}: {read} read, {refused} refused: {faults:#?}", kind.name);
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_tokenizer_whose_decoder_is_no_json_is_refused() {
    let kind = KINDS.iter().find(|kind| kind.name == "model").unwrap();
    let folder = tempfile::tempdir().unwrap();
    (kind.make)(folder.path());
    let path = folder.path().join("tokenizer.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    for broken in ["{\"type\": }", "{\"type\": \"\\ud800\"}", "{\"width\": 1e999}"] {
        let changed = whole.replacen("\"decoder\":", &format!("\"decoder\": {broken}, \"other\":"), 1);
        assert_ne!(changed, whole);
        std::fs::write(&path, changed).unwrap();
        let message = (kind.read)(folder.path(), &path).unwrap_err();
        assert!(message.contains("tokenizer.json") && message.lines().count() == 1, "{message}");
    }
}
