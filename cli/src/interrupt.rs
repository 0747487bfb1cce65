//! What Ctrl-C does.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use gve::CancelToken;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::output::{Outcome, note};

/// How often is looked whether there was a signal, and how long a command may take to stop until it is said
/// that it will.
const TICK: Duration = Duration::from_millis(100);
const SILENCE: Duration = Duration::from_secs(1);

/// What the first Ctrl-C sets, once a command has asked for it.
static TOKEN: OnceLock<CancelToken> = OnceLock::new();

/// A token that the first Ctrl-C or termination request sets; the second ends the program. A command that has
/// not ended a second after the first says that it is about to.
///
/// # Errors
/// The system does not let signals be caught.
pub fn stop_on_ctrl_c() -> Result<CancelToken> {
    if let Some(token) = TOKEN.get() {
        return Ok(token.clone());
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the second signal finds it set.
        flag::register_conditional_shutdown(signal, 1, stop.clone()).context("cannot catch Ctrl-C")?;
        flag::register(signal, stop.clone()).context("cannot catch Ctrl-C")?;
    }
    let token = TOKEN.get_or_init(|| CancelToken::from_flag(stop)).clone();
    let seen = token.clone();
    // It goes with the program.
    thread::spawn(move || {
        while !seen.is_cancelled() {
            thread::sleep(TICK);
        }
        thread::sleep(SILENCE);
        note("stopping once what is under way is safe; Ctrl-C again ends at once");
    });
    Ok(token)
}

/// The token of [`stop_on_ctrl_c`], if that was called; otherwise Ctrl-C ends the program, and there is nothing to
/// set.
pub(crate) fn token() -> CancelToken {
    TOKEN.get().cloned().unwrap_or_default()
}

/// The end of a command that was asked to stop and did so in order; `kept` says what there is of it.
pub fn stopped(kept: &str) -> Outcome {
    note(&format!("stopped: {kept}"));
    Outcome::Partial
}
