//! `driftless up`: controller and one agent in one process.

use super::halves::{self, Running};
use super::node::RuntimeChoice;
use super::options::{
    AllowArgs, ConfigArgs, GarbageArgs, IngressArgs, NamesArgs, NetworkArgs, ReserveArgs, SecretsArgs, StateArgs, StateDir,
    WatchArgs,
};
use super::{CliResult, doors};
use crate::agent;
use crate::controller::shell::ShellSettings;
use crate::telemetry;
use crate::wire::{self, Incoming, WireAddress};
use clap::Args;
use std::process::ExitCode;

/// Run a repository on this machine: controller and agent in one process.
///
/// Watches the repository, runs what its manifests say, and keeps it running. Every push is rolled out; a manifest with an error
/// holds its folder at the last good commit and leaves the rest alone. Stopping Driftless stops nothing that it started.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  driftless up --repo /srv/git/shop.git              a bare repository here: a push counts at once
  driftless up --repo git@forge.example:team/shop.git --path prod --cluster prod
  driftless up --repo . --listen 127.0.0.1:0 --state-dir ./state --runtime process
  driftless up --config /etc/driftless/up.yaml       options from a file: `repo: /srv/git/shop.git` …

Then:
  driftless get pods -A            what runs
  driftless history                what ran, when and by whose commit (branch driftless/audit)
  http://127.0.0.1:7780            the same in a browser; also for kubectl --server, read-only

Every option can also be given as DRIFTLESS_… in the environment. DRIFTLESS_LOG=debug says more.")]
pub struct UpArgs {
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    state: StateArgs,
    /// Where status and the read-only Kubernetes API listen, on this machine
    #[arg(long, env = "DRIFTLESS_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:7780")]
    listen: String,
    /// Where agents of other hosts may come in as well: HOST:PORT, as 0.0.0.0:7781 [default: nowhere]
    #[arg(long, alias = "listen-agents", env = "DRIFTLESS_AGENTS_LISTEN", value_name = "ADDR", value_delimiter = ',')]
    agents: Vec<WireAddress>,
    /// What to run pods with
    #[arg(long, env = "DRIFTLESS_RUNTIME", value_enum, default_value_t)]
    runtime: RuntimeChoice,
    /// This node's name [default: the host's name]
    #[arg(long, env = "DRIFTLESS_NODE", value_name = "NAME", value_parser = super::options::cluster_name)]
    node: Option<String>,
    #[command(flatten)]
    allow: AllowArgs,
    #[command(flatten)]
    reserve: ReserveArgs,
    #[command(flatten)]
    garbage: GarbageArgs,
    #[command(flatten)]
    names: NamesArgs,
    #[command(flatten)]
    ingress: IngressArgs,
    #[command(flatten)]
    secrets: SecretsArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
/// What keeps it from running; everything that may heal is retried instead.
pub(super) fn run(args: &UpArgs) -> CliResult<ExitCode> {
    telemetry::init();
    halves::run(async || {
        let running = start(args).await?;
        running.banner(&format!("driftless up {}", env!("CARGO_PKG_VERSION")));
        Ok(running)
    })
}

/// Starts controller and agent within this process.
///
/// # Errors
/// A port or state directory in use, a state directory that cannot be written, an identity that is damaged.
pub async fn start(args: &UpArgs) -> CliResult<Running> {
    let state: StateDir = args.state.open()?;
    let mut running = Running::new();
    running.keep(state.lock_controller().await?);
    running.keep(state.lock_agent().await?);
    let folders = super::node::folders(&args.watch.cluster, &state.agent())?;
    let (network, told) = args.network.of_host(&agent::shell::table(&folders))?;
    let (connector, own) = wire::local();
    let (mut doors, admission) = doors::open(&mut running, &state, &args.agents, &[]).await?;
    doors.push(own);
    let settings = ShellSettings { admission, network, ..args.watch.settings(&state) };
    halves::start_controller(&mut running, settings, &args.listen, Incoming::merge(doors)).await?;
    let agent = halves::AgentOptions {
        cluster: args.watch.cluster.clone(),
        node: args.node.clone(),
        runtime: args.runtime,
        allows: args.allow.allows(),
        reserve: args.reserve.reserve,
        garbage: args.garbage.policy(),
        resolvers: args.names.resolvers(),
        ingress: args.ingress.settings(),
        secrets: args.secrets.open(&state)?,
        state: state.agent(),
        connector,
        tunnel: None,
    };
    halves::start_agent(&mut running, agent).await?;
    running.note("network", told);
    running.note("state", state.root().display().to_string());
    Ok(running)
}
