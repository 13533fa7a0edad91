//! `driftless controller`: the half that watches the repository and decides.

use super::halves::{self, Running};
use super::options::{ConfigArgs, NetworkArgs, StateArgs, WatchArgs};
use super::{CliResult, doors};
use crate::controller::shell::ShellSettings;
use crate::telemetry;
use crate::wire::{Incoming, WireAddress};
use clap::Args;
use std::process::ExitCode;

/// Where agents of other hosts come in, unless set otherwise. Whoever has no certificate may ask to join there, and nothing else.
const AGENTS: &str = "0.0.0.0:7781";

/// Watch a repository and tell agents what to run: `driftless up` without the agent.
///
/// Agents of other hosts come in at port 7781, over TLS: they join with a token (`driftless token create`), and show a certificate of
/// this cluster from then on. Agents of this machine may use a unix socket, which only their user may open.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  driftless controller --repo git@forge.example:team/shop.git
  driftless token create > token                    then, with that file, on each other host:
  driftless agent --controller HOST:7781 --token-file token
  driftless agent                                    on this machine, without a token

Stopping the controller stops no pod: agents keep what runs running, and restart it when it crashes.")]
pub struct ControllerArgs {
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    state: StateArgs,
    /// Where status and the read-only Kubernetes API listen, on this machine
    #[arg(long, env = "DRIFTLESS_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:7780")]
    listen: String,
    /// Where agents come in: HOST:PORT for other hosts, unix:PATH for this machine, several with commas [default: 0.0.0.0:7781 and
    /// unix:STATE_DIR/run/agents.sock]
    #[arg(long, alias = "listen-agents", env = "DRIFTLESS_AGENTS_LISTEN", value_name = "ADDR", value_delimiter = ',')]
    agents: Vec<WireAddress>,
    /// Names and addresses of this host that its certificate is for as well; agents know it without them
    #[arg(long, env = "DRIFTLESS_ADVERTISE", value_name = "NAME", value_delimiter = ',')]
    advertise: Vec<String>,
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
    let network = args.network.of_cluster()?;
    let mut agents = args.agents.clone();
    if agents.is_empty() {
        agents = vec![WireAddress::Tcp(AGENTS.to_owned()), WireAddress::Unix(state.socket())];
    }
    let (doors, admission) = doors::open(&mut running, &state, &agents, &args.advertise).await?;
    running.note("agents", agents.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    let settings = ShellSettings { admission, network, ..args.watch.settings(&state) };
    halves::start_controller(&mut running, settings, &args.listen, Incoming::merge(doors)).await?;
    running.note("state", state.root().display().to_string());
    Ok(running)
}
