//! Holds the sockets of an agent while it restarts (run by the agent, never by hand)

use super::{CliError, CliResult};
use crate::agent::net::keeper;
use clap::Args;
use std::process::ExitCode;

/// Holds the sockets that an agent's clients come in by while the agent restarts. The agent runs this; it is of no use by hand.
#[derive(Debug, Args)]
pub struct KeeperArgs {}

/// Runs until no agent has come for a while.
pub(super) fn run(_args: &KeeperArgs) -> CliResult<ExitCode> {
    keeper::run().map(|()| ExitCode::SUCCESS).map_err(|error| CliError::with_source("the keeper failed", error))
}
