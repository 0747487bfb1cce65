//! What the subcommands of `gve`, and of `uvrb` too, share in talking to people and programs.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How much of what was asked for was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Complete,
    Partial,
    Nothing,
}

impl Outcome {
    /// The outcome of `done` successes and `failed` failures.
    pub(crate) fn of(done: usize, failed: usize) -> Self {
        match (done, failed) {
            (_, 0) => Self::Complete,
            (0, _) => Self::Nothing,
            _ => Self::Partial,
        }
    }
}

/// Ends the program: what parsing the arguments or running the command came to, as exit status and message.
pub(crate) fn exit(outcome: Result<anyhow::Result<Outcome>, clap::Error>) -> ExitCode {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            return if error.use_stderr()
                && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            {
                note(&one_line(&error.to_string()));
                ExitCode::from(1)
            } else {
                // Nobody is left to tell should the stream be closed.
                drop(error.print());
                if error.use_stderr() { ExitCode::from(1) } else { ExitCode::SUCCESS }
            };
        }
    };
    match outcome {
        Ok(Outcome::Complete) => ExitCode::SUCCESS,
        Ok(Outcome::Partial) => ExitCode::from(2),
        Ok(Outcome::Nothing) => ExitCode::from(1),
        // The reader of our output went away, as `head` does: no fault of anybody.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
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

/// One line on standard error: the error, and its causes where it does not name them itself.
pub(crate) fn report(error: &anyhow::Error) {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    note(&format!("error: {line}"));
}

/// One line on standard error.
pub(crate) fn warn(message: &dyn Display) {
    note(&format!("warning: {message}"));
}

pub(crate) fn note(message: &str) {
    // A message must stay one line, whatever a file is called.
    let line = message.replace(['\n', '\r'], " ");
    // Should standard error be closed, the exit status still tells.
    drop(writeln!(io::stderr(), "{}: {line}", env!("CARGO_BIN_NAME")));
}

/// One line of results on standard output.
pub(crate) fn print(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|io| io.kind() == io::ErrorKind::BrokenPipe)
}

/// A bar on standard error; invisible when `quiet` or when nobody looks at a terminal.
pub(crate) fn progress_bar(total: usize, unit: &'static str, quiet: bool) -> ProgressBar {
    let template = format!("{{bar:30}} {{pos}}/{{len}} {unit} {{per_sec}} {{eta}} {{wide_msg}}");
    bar(total as u64, &template, quiet)
}

/// A bar that counts bytes, likewise.
pub(crate) fn byte_bar(total: u64, quiet: bool) -> ProgressBar {
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
