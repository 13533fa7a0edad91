//! `driftless ca`: the cluster's certificate authority.

use super::options::StateArgs;
use super::token::trust_error;
use super::{CliError, CliResult, print_line};
use crate::clock;
use crate::sync::Identity;
use crate::trust::{Authorities, NODE_LIFE};
use clap::{Args, Subcommand};
use std::process::ExitCode;

/// Look after the cluster's certificate authority.
///
/// It is made on the first start of a controller, in identity/ of the state directory, and is valid for ten years. Certificates of nodes
/// are valid for a day and renewed by themselves.
#[derive(Debug, Clone, Args)]
pub struct CaArgs {
    #[command(subcommand)]
    command: CaCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum CaCommand {
    Rotate(RotateArgs),
}

/// Make a new authority that takes the place of the present one
///
/// From now on it issues all certificates. The present one certifies it, so nobody is locked out; it is accepted for another day, until
/// the last certificate that it issued has ended, and then forgotten by every node that has renewed. A controller that runs takes it over
/// within half a minute.
#[derive(Debug, Clone, Args)]
struct RotateArgs {
    #[command(flatten)]
    state: StateArgs,
}

/// Runs `driftless ca`.
///
/// # Errors
/// There is no cluster in the state directory, or the last rotation is not over.
pub(super) fn run(args: &CaArgs) -> CliResult<ExitCode> {
    let CaCommand::Rotate(args) = &args.command;
    let state = args.state.open()?;
    let dir = state.identity();
    if !dir.exists() {
        return Err(CliError::new(format!("there is no cluster in {}", state.root().display()))
            .hint("run this on the controller's machine, with its --state-dir"));
    }
    let identity = Identity::load(&dir).map_err(|error| {
        let hint = error.hint().unwrap_or_default();
        CliError::with_source("the cluster's identity cannot be used", error).hint(hint)
    })?;
    Authorities::rotate(&dir, identity.cluster_id(), NODE_LIFE, clock::wall()).map_err(trust_error)?;
    print_line("the cluster has a new authority; back identity/ up again")?;
    Ok(ExitCode::SUCCESS)
}
