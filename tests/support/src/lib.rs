//! What the tests of this workspace share: the reference's numbers, what a program said, and servers that
//! misbehave when told to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod device;
pub mod files;
pub mod golden;
pub mod hub;
pub mod program;
pub mod proxy;
pub mod push_hub;
mod skip;
pub mod stub;

pub use device::device_name;
pub use skip::skip;
