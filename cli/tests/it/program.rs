//! The program under test.

#[cfg(unix)]
use std::process::Child;
use std::process::{Command, Output, Stdio};

/// It with these arguments, and with nothing of the environment that would change what it does.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gve"));
    command.args(arguments).stdin(Stdio::null());
    for variable in ["HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN"] {
        command.env_remove(variable);
    }
    for variable in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"] {
        command.env_remove(variable).env_remove(variable.to_ascii_lowercase());
    }
    command
}

/// What it came to with these arguments.
pub(crate) fn gve(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

#[cfg(unix)]
#[track_caller]
pub(crate) fn ask_to_stop(child: &Child, signal: libc::c_int) {
    // SAFETY: the child is ours and has not been waited for, so the id is still its own.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, signal) }, 0);
}
