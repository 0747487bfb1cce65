//! The one integration binary: each room's tests in a module of their own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
// Tables of cases are best read as tables.
#![allow(clippy::type_complexity)]

mod embedder;
mod hostile;
mod hub;
mod images;
mod indexer;
mod model;
mod model_hostile;
mod model_settings;
mod preprocess;
mod release;
mod retrieval;
mod rooms;
mod store;
mod train_memory;
mod train_model;
mod train_trajectory;
#[cfg(feature = "video")]
mod video;
#[cfg(feature = "video")]
mod world;
