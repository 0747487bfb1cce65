//! The one integration binary: each room's tests in a module of their own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
// Tables of cases are best read as tables.
#![allow(clippy::type_complexity)]

#[cfg(all(feature = "cli", feature = "video"))]
mod cli;
#[cfg(all(feature = "cli", feature = "video"))]
mod cli_adapter;
#[cfg(all(feature = "cli", feature = "video"))]
mod cli_library;
#[cfg(all(feature = "cli", feature = "video"))]
mod cli_media;
#[cfg(all(feature = "cli", feature = "video", unix))]
mod cli_stop;
mod embedder;
mod golden;
mod hostile;
mod hub;
mod images;
mod indexer;
#[cfg(all(feature = "cli", feature = "video"))]
mod interop;
mod model;
mod model_hostile;
mod model_settings;
mod preprocess;
mod retrieval;
#[cfg(all(feature = "cli", feature = "synth"))]
mod synth_flow;
#[cfg(all(feature = "cli", feature = "video"))]
mod train_loop;
mod train_memory;
mod train_model;
#[cfg(feature = "video")]
mod video;
#[cfg(all(feature = "cli", feature = "video"))]
mod world;
