//! The `gve` command on hostile media, texts and disks.

use std::process::{Command, Stdio};

use gve_test_support::files::text;
use gve_test_support::golden::{media, model};
use gve_test_support::program::{assert_status, stderr, stdout};

use crate::program::gve;

/// Runs `gve` in a shell that has set a limit before.
#[cfg(unix)]
fn gve_after(limit: &str, arguments: &[&str]) -> std::process::Output {
    let script = format!("{limit}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_gve")]).args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full_leaves_no_half_frames() {
    let folder = tempfile::tempdir().unwrap();
    let (clip, out) = (media("testsrc.mp4"), folder.path().join("out"));
    let arguments = ["frames", text(&clip), "--frames", "3", "--out", text(&out)];
    // No file may have more than 4 KiB, which is told as a disk that is full would be.
    let output = gve_after("trap '' XFSZ; ulimit -f 8", &arguments);
    assert_status(&output, 1);
    let said = stderr(&output);
    assert!(
        said.contains("cannot write") && said.contains("frame_000.png") && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0, "nothing is left behind");
    // An older frame stays what it was.
    assert_status(&gve(&arguments), 0);
    let before = std::fs::read(out.join("frame_000.png")).unwrap();
    assert_status(&gve_after("trap '' XFSZ; ulimit -f 8", &arguments), 1);
    assert_eq!(std::fs::read(out.join("frame_000.png")).unwrap(), before);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 3);
}

#[cfg(unix)]
#[test]
fn pipes_among_the_inputs_fail_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let model = model();
    let pipe = text(&pipe);
    let output =
        gve(&["embed", "--model", text(&model), "--text", "a dog", "--image", pipe, "--video", pipe]);
    assert_status(&output, 2);
    assert_eq!(stdout(&output).lines().count(), 1);
    let said = stderr(&output);
    assert_eq!(said.matches("is a named pipe").count(), 2, "{said}");
    // Nor does a file take the place of one.
    let output =
        gve(&["embed", "--model", text(&model), "--text", "a dog", "--format", "jsonl", "--out", pipe]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("it is a named pipe, expected a regular file"), "{}", stderr(&output));
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&std::fs::metadata(pipe).unwrap().file_type()));
    // Lines may come through one.
    let writer = std::thread::spawn({
        let pipe = pipe.to_owned();
        move || std::fs::write(pipe, "{\"content\": [{\"type\": \"text\", \"text\": \"a cat\"}]}\n").unwrap()
    });
    let output = gve(&["embed", "--model", text(&model), "--input", pipe]);
    assert_status(&output, 0);
    assert_eq!(stdout(&output).lines().count(), 1);
    writer.join().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_long_text_takes_the_memory_of_a_short_one() {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("lines.jsonl");
    let words = "a red fox jumps over 12 dogs, ".repeat(200_000);
    let line = serde_json::json!({"id": "long", "content": [{"type": "text", "text": words}]});
    let unbroken =
        serde_json::json!({"id": "run", "content": [{"type": "text", "text": "x".repeat(2 << 20)}]});
    let huge = "y".repeat(65 << 20);
    let last = serde_json::json!({"id": "last", "content": [{"type": "text", "text": "a dog"}]});
    std::fs::write(&lines, format!("{line}\n{unbroken}\n{huge}\n{last}\n")).unwrap();
    let model = model();
    let (output, peak_kib) =
        gve_and_peak_kib(&["embed", "--model", text(&model), "--input", text(&lines)], folder.path());
    assert_status(&output, 2);
    let said = stderr(&output);
    assert!(said.contains("2097157 bytes without a blank"), "{said}");
    assert!(said.contains("lines.jsonl:3: the line has more than 67108864 bytes"), "{said}");
    assert!(said.contains("tokens of text beyond the limit of 8192 were cut off"), "{said}");
    assert_eq!(stdout(&output).lines().count(), 2, "{said}");
    // Tokenised as a whole, the first line alone took more than that.
    assert!(peak_kib < 300 << 10, "{peak_kib} KiB");
}

/// What the command came to, and the most memory it had at a time.
#[cfg(target_os = "linux")]
fn gve_and_peak_kib(arguments: &[&str], folder: &std::path::Path) -> (std::process::Output, u64) {
    let (out, err) = (folder.join("out"), folder.join("err"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_gve"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(std::fs::File::create(&err).unwrap())
        .spawn()
        .unwrap();
    // Asked while it runs: what is said once it has ended counts the memory of this process too, from before
    // the child was another.
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    let ended = loop {
        let said = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = said.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak_kib = peak.and_then(|peak| peak.trim().parse().ok()).unwrap_or(peak_kib);
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    assert!(peak_kib > 0, "nothing is known of its memory");
    let output = std::process::Output {
        status: ended,
        stdout: std::fs::read(out).unwrap(),
        stderr: std::fs::read(err).unwrap(),
    };
    (output, peak_kib)
}
