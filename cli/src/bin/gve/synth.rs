use anyhow::Result;
use clap::Subcommand;
use gve_cli::output::Outcome;

use crate::flow;
use crate::world;

/// The ways to training data.
#[derive(Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Flow(flow::Command),
    #[command(flatten)]
    World(world::Command),
}

pub(crate) fn run(command: Command) -> Result<Outcome> {
    match command {
        Command::Flow(command) => flow::run(command),
        Command::World(command) => world::run(&command),
    }
}
