use anyhow::Result;
use clap::Subcommand;

#[cfg(feature = "synth")]
use crate::flow;
use crate::output::Outcome;
use crate::world;

/// The ways to training data.
#[derive(Subcommand)]
pub(crate) enum Command {
    #[cfg(feature = "synth")]
    #[command(flatten)]
    Flow(flow::Command),
    #[command(flatten)]
    World(world::Command),
}

pub(crate) fn run(command: Command) -> Result<Outcome> {
    match command {
        #[cfg(feature = "synth")]
        Command::Flow(command) => flow::run(command),
        Command::World(command) => world::run(&command),
    }
}
