//! `uvrb`: scores video retrieval on the data sets of UVRB.
//!
//! One file per subcommand, each nothing but arguments and printing. What both programs share in talking to
//! people is the library of `gve-cli`.

mod check;
mod compare;
mod list;
mod report;
mod run;
mod score;
mod source;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gve_cli::{options, output};

/// Score video retrieval: 16 data sets, nine abilities.
#[derive(Parser)]
#[command(name = "uvrb", version, propagate_version = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  uvrb check ~/UVRB
  uvrb run ~/UVRB MSRVTT CRB-S --model Alibaba-NLP/GVE-3B --out results
  uvrb report results --format html --out report.html

Exit status: 0 all done; 1 nothing done; 2 done in part, each failure named on standard error.";

#[derive(Subcommand)]
enum Command {
    /// Show the data sets.
    List(list::Arguments),
    /// Verify a download: counts, ids, media.
    Check(check::Arguments),
    /// Embed, rank and score.
    Run(Box<run::Arguments>),
    /// Score a ranking made elsewhere, without any model.
    Score(score::Arguments),
    /// Test whether one model is better than another.
    Compare(compare::Arguments),
    /// Tables of results beside the published models, or one page to look at.
    Report(report::Arguments),
}

fn main() -> ExitCode {
    output::start(env!("CARGO_BIN_NAME"));
    output::exit(options::parse::<Arguments>().map(|arguments| match arguments.command {
        Command::List(arguments) => list::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Score(arguments) => score::run(arguments),
        Command::Compare(arguments) => compare::run(arguments),
        Command::Report(arguments) => report::run(arguments),
    }))
}
