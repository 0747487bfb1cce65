mod check;
mod import;

use anyhow::Result;
use clap::Subcommand;
use gve_cli::output::Outcome;

/// What is done with pairs before a run.
#[derive(Subcommand)]
pub(crate) enum Command {
    Check(check::Arguments),
    Import(import::Arguments),
}

pub(crate) fn run(command: Command) -> Result<Outcome> {
    match command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
    }
}
