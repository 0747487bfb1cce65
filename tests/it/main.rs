//! The one integration binary: each room's tests in a module of their own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod golden;
mod model;
