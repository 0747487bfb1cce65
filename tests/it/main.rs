//! The one integration binary: each room's tests in a module of their own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
// Tables of cases are best read as tables.
#![allow(clippy::type_complexity)]

#[cfg(feature = "train")]
mod adapters;
#[cfg(all(feature = "async", feature = "library"))]
mod asynchronous;
mod dependencies;
mod device;
mod embedder;
#[cfg(all(feature = "library", feature = "train"))]
mod hostile;
#[cfg(feature = "hub")]
mod hub;
#[cfg(feature = "library")]
mod identity;
mod images;
#[cfg(feature = "library")]
mod indexer;
mod int8;
mod model;
mod model_hostile;
mod model_settings;
mod preprocess;
#[cfg(feature = "train")]
mod qwen;
#[cfg(feature = "train")]
mod rank_net;
mod recipe;
#[cfg(all(feature = "library", feature = "train"))]
mod release;
#[cfg(feature = "train")]
mod rerank;
mod retrieval;
mod rooms;
mod store;
mod towers;
mod towers_candle;
#[cfg(feature = "train")]
mod towers_train;
#[cfg(feature = "train")]
mod train_device;
#[cfg(feature = "train")]
mod train_memory;
#[cfg(feature = "train")]
mod train_model;
#[cfg(all(feature = "train", feature = "video"))]
mod train_trajectory;
#[cfg(feature = "video")]
mod video;
#[cfg(feature = "watch")]
mod watching;
#[cfg(feature = "synth")]
mod world;
