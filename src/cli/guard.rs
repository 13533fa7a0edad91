//! Ends containers whose lease has run out (run by the agent, never by hand)

use super::{CliError, CliResult};
use crate::agent::runtime::docker::guard;
use clap::Args;
use std::process::ExitCode;

/// Ends containers whose lease has run out, the agent alive or not. The agent runs this; it is of no use by hand.
#[derive(Debug, Args)]
pub struct GuardArgs {}

/// Runs until there has been nothing to guard for a while.
pub(super) fn run(_args: &GuardArgs) -> CliResult<ExitCode> {
    guard::run().map(|()| ExitCode::SUCCESS).map_err(|error| CliError::with_source("the guard failed", error))
}
