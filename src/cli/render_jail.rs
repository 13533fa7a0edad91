//! Makes a sandbox around itself and runs kustomize or helm in it (run by Driftless, never by hand)

use super::CliResult;
use crate::sync::render_jail;
use clap::Args;
use std::process::ExitCode;

/// Makes a sandbox around itself and runs kustomize or helm in it. Driftless runs this and hands it the files through a pipe; it is of no
/// use by hand.
#[derive(Debug, Args)]
pub struct RenderJailArgs {}

/// Runs one order. The exit code is the answer.
#[expect(clippy::unnecessary_wraps, reason = "every command has this shape")]
pub(super) fn run(_args: &RenderJailArgs) -> CliResult<ExitCode> {
    Ok(ExitCode::from(render_jail()))
}
