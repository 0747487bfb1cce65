//! The one integration binary: each room's tests in a module of their own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
// Tables of cases are best read as tables.
#![allow(clippy::type_complexity)]

mod again;
mod dataset;
mod encoder;
mod hostile;
mod manifest;
mod metrics;
mod mini;
#[cfg(target_os = "linux")]
mod names;
mod options;
mod page;
mod recipe;
mod release;
mod report;
mod rerank;
mod result;
mod run;
#[cfg(unix)]
mod stop;
mod strangers;
mod train;
#[cfg(feature = "video")]
mod world;
