//! `gve`: embed text, images and video, and search folders of them.
//!
//! One file per subcommand, each nothing but arguments and printing. Results go to standard
//! output, everything else to standard error.

#[cfg(feature = "video")]
mod duplicates;
mod embed;
mod filters;
#[cfg(feature = "video")]
mod fingerprints;
#[cfg(feature = "synth")]
mod flow;
#[cfg(feature = "video")]
mod frames;
mod harness;
mod index;
mod info;
mod libraries;
mod library;
#[cfg(feature = "video")]
mod locate;
mod models;
mod pairs;
mod push;
mod rerank;
mod search;
#[cfg(feature = "synth")]
mod synth;
mod tags;
mod thumbnails;
mod train;
#[cfg(feature = "synth")]
mod world;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gve_cli::{options, output};

/// Embed text, images and video into one space, and search them.
#[derive(Parser)]
#[command(name = "gve", version, propagate_version = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  gve index ~/Videos --library ~/.local/share/gve --model Alibaba-NLP/GVE-3B
  gve search --library ~/.local/share/gve \"a dog catches a ball\"
  gve embed --text \"a dog runs\" --video clip.mp4 --model Alibaba-NLP/GVE-3B

Exit status: 0 all done; 1 nothing done; 2 done in part, each failure named on standard error.";

#[derive(Subcommand)]
enum Command {
    /// Find videos and images that are versions of one another.
    #[cfg(feature = "video")]
    Duplicates(duplicates::Arguments),
    /// Embed texts, images and videos.
    Embed(embed::Arguments),
    /// Write the frames that would be sampled from a video.
    #[cfg(feature = "video")]
    Frames(frames::Arguments),
    /// Embed the videos and images of a folder into a library.
    Index(index::Arguments),
    /// Show what a library holds, say that its files lie elsewhere, or tag them.
    #[command(subcommand)]
    Library(libraries::Command),
    /// Find the video that a clip is from, and where in it.
    #[cfg(feature = "video")]
    Locate(locate::Arguments),
    /// Make pairs to train on of what other trainers and data sets have.
    #[command(subcommand)]
    Pairs(pairs::Command),
    /// Score candidates for queries.
    Rerank(rerank::Arguments),
    /// Search a library by text, image or video.
    Search(Box<search::Arguments>),
    /// Make training data.
    #[cfg(feature = "synth")]
    #[command(subcommand)]
    Synth(synth::Command),
    /// Fine-tune a model on pairs of your own.
    Train(train::Arguments),
    /// Show a model or the recipes there are, make a new one, store one in another precision, fold an
    /// adapter into one, or push one to the hub.
    #[command(subcommand)]
    Model(info::Command),
}

fn main() -> ExitCode {
    output::start(env!("CARGO_BIN_NAME"));
    output::exit(options::parse::<Arguments>().map(|arguments| match arguments.command {
        #[cfg(feature = "video")]
        Command::Duplicates(arguments) => duplicates::run(&arguments),
        Command::Embed(arguments) => embed::run(arguments),
        #[cfg(feature = "video")]
        Command::Frames(arguments) => frames::run(arguments),
        Command::Index(arguments) => index::run(arguments),
        Command::Library(command) => libraries::run(command),
        #[cfg(feature = "video")]
        Command::Locate(arguments) => locate::run(&arguments),
        Command::Pairs(command) => pairs::run(command),
        Command::Rerank(arguments) => rerank::run(arguments),
        Command::Search(arguments) => search::run(*arguments),
        #[cfg(feature = "synth")]
        Command::Synth(command) => synth::run(command),
        Command::Train(arguments) => train::run(arguments),
        Command::Model(command) => info::run(command),
    }))
}
