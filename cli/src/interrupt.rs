//! What Ctrl-C does.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use gve::CancelToken;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::output::{Outcome, note};

/// A token that the first Ctrl-C or termination request sets; the second ends the program.
///
/// # Errors
/// The system does not let signals be caught.
pub fn stop_on_ctrl_c() -> Result<CancelToken> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the second signal finds it set.
        flag::register_conditional_shutdown(signal, 1, stop.clone()).context("cannot catch Ctrl-C")?;
        flag::register(signal, stop.clone()).context("cannot catch Ctrl-C")?;
    }
    Ok(CancelToken::from_flag(stop))
}

/// The end of a command that was asked to stop and did so in order; `kept` says what there is of it.
pub fn stopped(kept: &str) -> Outcome {
    note(&format!("stopped: {kept}"));
    Outcome::Partial
}
