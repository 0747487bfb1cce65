//! Talking to people and programs: exit status, messages, results, progress bars.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::error::ErrorKind;
use gve::hub::HubError;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::interrupt::stopped;

/// What every message begins with.
static PROGRAM: OnceLock<&str> = OnceLock::new();

/// How much of what was asked for was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All of it.
    Complete,
    /// Some of it; each failure was named.
    Partial,
    /// None of it.
    Nothing,
}

impl Outcome {
    /// The outcome of `done` successes and `failed` failures.
    pub fn of(done: usize, failed: usize) -> Self {
        match (done, failed) {
            (_, 0) => Self::Complete,
            (0, _) => Self::Nothing,
            _ => Self::Partial,
        }
    }
}

/// To be called before anything is said: messages begin with the name of this program.
///
/// A panic is reported in one line, like everything else; in full where the user asks for it with
/// RUST_BACKTRACE. Most do not end the program: the libraries that read damaged files have some, which are
/// errors of that file.
pub fn start(program: &'static str) {
    PROGRAM.get_or_init(|| program);
    if std::env::var_os("RUST_BACKTRACE").is_some() {
        return;
    }
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let reason = payload.downcast_ref::<&str>().copied();
        let reason = reason.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
        note(&format!("internal error{place}: {}", reason.unwrap_or("no reason given")));
    }));
}

/// Ends the program: what parsing the arguments or running the command came to, as exit status and message.
pub fn exit(outcome: Result<anyhow::Result<Outcome>, clap::Error>) -> ExitCode {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            return if error.use_stderr()
                && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            {
                note(&one_line(&error.to_string()));
                ExitCode::from(1)
            } else {
                match error.print() {
                    Ok(()) if error.use_stderr() => ExitCode::from(1),
                    Ok(()) => ExitCode::SUCCESS,
                    Err(error) => exit(Ok(Err(PrintError::from(error).into()))),
                }
            };
        }
    };
    match outcome {
        Ok(Outcome::Complete) => ExitCode::SUCCESS,
        Ok(Outcome::Partial) => ExitCode::from(2),
        Ok(Outcome::Nothing) => ExitCode::from(1),
        // The reader of our output went away, as `head` does: no fault of anybody.
        Err(error) if is_reader_gone(&error) => ExitCode::SUCCESS,
        Err(error) if matches!(error.downcast_ref(), Some(HubError::Cancelled)) => {
            exit(Ok(Ok(stopped("what was downloaded is kept, and the same command goes on from there"))))
        }
        Err(error) => {
            report(&error);
            ExitCode::from(1)
        }
    }
}

/// What clap says in paragraphs, without how the command is used.
fn one_line(message: &str) -> String {
    let said = message.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let said = said.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let joined = said.fold(String::new(), |joined, line| match joined.as_str() {
        "" => line.to_owned(),
        before if before.ends_with(':') => format!("{before} {line}"),
        before => format!("{before}; {line}"),
    });
    format!("{joined}; --help shows how")
}

/// One line on standard error: the error and its causes.
pub fn report(error: &anyhow::Error) {
    note(&format!("error: {error:#}"));
}

/// One line on standard error: a warning.
pub fn warn(message: &dyn Display) {
    note(&format!("warning: {message}"));
}

/// One line on standard error, as it is.
pub fn note(message: &str) {
    let program = PROGRAM.get().unwrap_or(&env!("CARGO_PKG_NAME"));
    // Should standard error be closed, the exit status still tells.
    drop(writeln!(io::stderr(), "{program}: {}", printable(message)));
}

/// One line of results on standard output, whatever is in it. JSON stays what it is.
pub fn print(line: &str) -> Result<(), PrintError> {
    Ok(writeln!(io::stdout().lock(), "{}", printable(line))?)
}

/// A file's name as part of a line of results: as in a JSON string, so that it can be told what it is.
/// Windows separates folders by what is an escape elsewhere, and has no names that need one.
pub fn name(path: &Path) -> String {
    let name = path.display().to_string();
    let name = if cfg!(windows) { name } else { name.replace('\\', "\\\\") };
    printable(&name).into_owned()
}

/// Puts a file's name into an object of JSON, as `key`. Where it is no valid UTF-8, that has U+FFFD in it and
/// names no file: all of its bytes are beside it then, in base64, as `key` with `_bytes` behind.
pub fn put_path(object: &mut Value, key: &str, path: &Path) {
    object[key] = path.to_string_lossy().into();
    if path.to_str().is_none() {
        object[format!("{key}_bytes")] = STANDARD.encode(path.as_os_str().as_encoded_bytes()).into();
    }
}

/// How many there are of something, by what one is called and what several are.
pub fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// What is wrong with a file, with its path once.
pub fn failure(path: &Path, error: &dyn Display) -> String {
    let (path, error) = (path.display().to_string(), error.to_string());
    if error.contains(&path) { error } else { format!("{path}: {error}") }
}

/// A text as one line that a terminal shows and does not obey: line ends, control characters and those that
/// reverse the direction of writing become the escapes that JSON strings have for them.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            // All of them have four digits.
            c if is_obeyed(c) => drop(write!(escaped, "\\u{:04x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// Whether a terminal does something else about a character than to show it in its place.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

/// Why nothing more can be said on standard output.
#[derive(Debug)]
pub enum PrintError {
    /// The reader went away, as `head` does.
    ReaderGone,
    /// A full disk, say.
    Failed(io::Error),
}

impl From<io::Error> for PrintError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Failed(error),
        }
    }
}

impl Display for PrintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReaderGone => f.write_str("nobody reads standard output any more"),
            Self::Failed(error) => write!(f, "cannot write to standard output: {error}"),
        }
    }
}

impl std::error::Error for PrintError {}

/// Whether a command ended because nobody reads its results any more, so that there is nothing to go on for.
/// A connection that broke is another matter.
pub fn is_reader_gone(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(PrintError::ReaderGone))
}

/// Shows what is under way behind a bar.
pub fn show(bar: &ProgressBar, what: &str) {
    bar.set_message(printable(what).into_owned());
}

/// A bar on standard error; invisible when `quiet` or when nobody looks at a terminal.
pub fn progress_bar(total: usize, unit: &'static str, quiet: bool) -> ProgressBar {
    let template = format!("{{bar:30}} {{pos}}/{{len}} {unit} {{per_sec}} {{eta}} {{wide_msg}}");
    bar(total as u64, &template, quiet)
}

/// A bar that counts bytes, likewise.
pub fn byte_bar(total: u64, quiet: bool) -> ProgressBar {
    let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}";
    bar(total, template, quiet)
}

fn bar(total: u64, template: &str, quiet: bool) -> ProgressBar {
    let visible = !quiet && io::stderr().is_terminal();
    let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(total), target).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_and_is_not_obeyed() {
        for (text, expected) in [
            ("a b/ä \u{1f600}.mp4", "a b/ä \u{1f600}.mp4"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{1b}[2J\u{7}\u{7f}", "\\u001b[2J\\u0007\\u007f"),
            // The C1 form of the escape sequence.
            ("\u{9b}31m", "\\u009b31m"),
            ("\u{202e}4pm.exe\u{2066}", "\\u202e4pm.exe\\u2066"),
            ("\u{2028}\u{feff}\u{200f}", "\\u2028\\ufeff\\u200f"),
            ("a\\nb", "a\\nb"),
        ] {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn names_can_be_told_apart() {
        #[cfg(not(windows))]
        assert_eq!(name(Path::new("a\\nb\nc")), "a\\\\nb\\nc");
        assert_eq!(name(Path::new("a b.mp4")), "a b.mp4");
    }

    #[test]
    fn json_stays_what_it_is() {
        let odd: String = (0..0x300).chain(0x2000..0x2070).filter_map(char::from_u32).collect();
        let json = serde_json::json!({ "path": odd }).to_string();
        let printed = printable(&json).into_owned();
        assert!(!printed.contains(is_obeyed));
        let read: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(read["path"], odd.as_str());
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_no_text_is_in_json_by_its_bytes() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;

        let mut line = serde_json::json!({ "score": 1 });
        put_path(&mut line, "path", Path::new("ä b.mp4"));
        assert_eq!(line, serde_json::json!({ "score": 1, "path": "ä b.mp4" }));
        let bytes = b"caf\xe9.mp4";
        put_path(&mut line, "from", Path::new(OsStr::from_bytes(bytes)));
        assert_eq!(line["from"], "caf\u{fffd}.mp4");
        assert_eq!(STANDARD.decode(line["from_bytes"].as_str().unwrap()).unwrap(), bytes);
    }

    #[test]
    fn one_is_not_called_what_several_are() {
        let said = [0, 1, 2].map(|count| counted(count, "copy", "copies"));
        assert_eq!(said, ["0 copies", "1 copy", "2 copies"]);
    }

    #[test]
    fn only_standard_output_can_lose_its_reader() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_reader_gone(&anyhow::Error::from(PrintError::from(broken())).context("data set")));
        assert!(!is_reader_gone(&anyhow::Error::from(broken()).context("cannot ask the server")));
        let full = PrintError::from(io::Error::from(io::ErrorKind::StorageFull));
        assert!(!is_reader_gone(&full.into()));
    }
}
