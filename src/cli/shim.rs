//! Supervises one host process (run by the agent, never by hand)

use super::{CliError, CliResult};
use crate::agent::runtime::process::shim;
use clap::Args;
use std::process::ExitCode;

/// Supervises one host process. The agent runs this and hands it what to run through a pipe; it is of no use by hand.
#[derive(Debug, Args)]
pub struct ShimArgs {
    /// The container's name, for `ps`.
    name: Option<String>,
}

/// Runs the shim to the end of its process.
pub(super) fn run(_args: &ShimArgs) -> CliResult<ExitCode> {
    shim::run().map(|()| ExitCode::SUCCESS).map_err(|error| CliError::with_source("the shim failed", error))
}
