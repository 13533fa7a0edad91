//! `driftless controller`: the half that watches the repository and decides.

use super::CliResult;
use super::halves::{self, Running};
use super::options::{ConfigArgs, StateArgs, WatchArgs};
use crate::telemetry;
use crate::wire::{self, WireAddress};
use clap::Args;
use std::process::ExitCode;

/// Watch a repository and tell agents what to run: `driftless up` without the agent.
///
/// In this version controller and agents run on one machine and talk over a unix socket, which only their user may open.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  driftless controller --repo /srv/git/shop.git --state-dir /var/lib/driftless
  driftless agent --state-dir /var/lib/driftless

Stopping the controller stops no pod: agents keep what runs running, and restart it when it crashes.")]
pub struct ControllerArgs {
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    state: StateArgs,
    /// Where status and the read-only Kubernetes API listen, on this machine
    #[arg(long, env = "DRIFTLESS_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:7780")]
    listen: String,
    /// Where agents come in [default: unix:STATE_DIR/run/agents.sock]
    #[arg(long, env = "DRIFTLESS_AGENTS_LISTEN", value_name = "unix:PATH")]
    agents: Option<WireAddress>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
/// What keeps it from running.
pub(super) fn run(args: &ControllerArgs) -> CliResult<ExitCode> {
    telemetry::init();
    halves::run(async || {
        let running = start(args).await?;
        running.banner(&format!("driftless controller {}", env!("CARGO_PKG_VERSION")));
        Ok(running)
    })
}

async fn start(args: &ControllerArgs) -> CliResult<Running> {
    let state = args.state.open()?;
    let mut running = Running::new();
    running.keep(state.lock_controller().await?);
    let agents = args.agents.clone().unwrap_or_else(|| WireAddress::unix(state.socket()));
    let (incoming, socket) = wire::unix(agents.path()).map_err(halves::wire_error)?;
    running.keep(socket);
    running.note("agents", format!("driftless agent --controller {agents}"));
    halves::start_controller(&mut running, args.watch.settings(&state), &args.listen, incoming).await?;
    running.note("state", state.root().display().to_string());
    Ok(running)
}
