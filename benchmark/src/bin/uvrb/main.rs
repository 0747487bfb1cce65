//! `uvrb`: scores video retrieval on the data sets of UVRB.
//!
//! One file per subcommand, each nothing but arguments and printing. Results go to standard
//! output, everything else to standard error.

mod check;
mod list;
#[path = "../../../../src/bin/gve/output.rs"]
#[allow(dead_code, reason = "shared with `gve`, which uses all of it")]
mod output;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::{Outcome, report};

/// Score video retrieval on the 16 data sets of UVRB.
#[derive(Parser)]
#[command(name = "uvrb", version, propagate_version = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  uvrb list
  uvrb check ~/UVRB

Exit status: 0 all done; 1 nothing done; 2 done in part, each failure named on standard error.";

#[derive(Subcommand)]
enum Command {
    /// Show the data sets there are.
    List(list::Arguments),
    /// Find faults in data sets on disk.
    Check(check::Arguments),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked_for_help = !error.use_stderr();
            // Nobody is left to tell should standard error be closed.
            drop(error.print());
            return if asked_for_help { ExitCode::SUCCESS } else { ExitCode::from(1) };
        }
    };
    let outcome = match arguments.command {
        Command::List(arguments) => list::run(arguments),
        Command::Check(arguments) => check::run(arguments),
    };
    match outcome {
        Ok(Outcome::Complete) => ExitCode::SUCCESS,
        Ok(Outcome::Partial) => ExitCode::from(2),
        Ok(Outcome::Nothing) => ExitCode::from(1),
        // The reader of our output went away, as `head` does: no fault of anybody.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::from(1)
        }
    }
}
