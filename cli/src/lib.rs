//! What the programs `gve` and `uvrb` share: options and what they mean, messages, bars, Ctrl-C, the
//! environment.
//!
//! A part of these programs, made for them alone. An application links `gve` itself, which knows nothing of a
//! command line.

#![deny(unsafe_code)]

pub mod hub;
pub mod interrupt;
pub mod options;
pub mod output;
// Settings of the process.
#[allow(unsafe_code)]
pub mod process;
pub mod proxies;
