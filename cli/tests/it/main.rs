//! The one integration binary: what the program does, a module per subject.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
// Tables of cases are best read as tables.
#![allow(clippy::type_complexity)]

mod adapter;
mod confidence;
mod damage;
mod docs;
mod duplicates;
mod embed;
mod families;
mod index;
mod interop;
mod library;
mod media;
mod moments;
mod moved;
#[cfg(target_os = "linux")]
mod names;
mod pairs;
mod program;
mod push;
mod recipe;
mod rerank;
mod search;
#[cfg(unix)]
mod stop;
mod store_dtype;
mod synth_flow;
mod tags;
mod train_loop;
#[cfg(unix)]
mod watching;
mod world;
