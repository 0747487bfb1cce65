//! The program under test.

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
