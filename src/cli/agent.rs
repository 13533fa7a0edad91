//! `driftless agent`: the half that runs pods.

use super::CliResult;
use super::halves::{self, AgentOptions, Running};
use super::node::RuntimeChoice;
use super::options::{AllowArgs, ConfigArgs, StateArgs, cluster_name};
use crate::telemetry;
use crate::wire::WireAddress;
use clap::Args;
use std::process::ExitCode;

/// Run the pods that a controller assigns to this node: `driftless up` without the controller.
///
/// In this version controller and agents run on one machine and talk over a unix socket. While the controller is away the agent
/// keeps what runs running, restarts it when it crashes, and comes back by itself.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  driftless agent
  driftless agent --controller unix:/var/lib/driftless/run/agents.sock --runtime docker

Stopping the agent stops no pod. The next one finds them by their labels and takes them over, untouched.")]
pub struct AgentArgs {
    /// Where the controller listens [default: unix:STATE_DIR/run/agents.sock]
    #[arg(long, env = "DRIFTLESS_CONTROLLER", value_name = "unix:PATH")]
    controller: Option<WireAddress>,
    /// The cluster's name, as the controller was given it
    #[arg(long, env = "DRIFTLESS_CLUSTER", value_name = "NAME", default_value = "default", value_parser = cluster_name)]
    cluster: String,
    #[command(flatten)]
    state: StateArgs,
    /// What to run pods with
    #[arg(long, env = "DRIFTLESS_RUNTIME", value_enum, default_value_t)]
    runtime: RuntimeChoice,
    /// This node's name [default: the host's name]
    #[arg(long, env = "DRIFTLESS_NODE", value_name = "NAME", value_parser = cluster_name)]
    node: Option<String>,
    #[command(flatten)]
    allow: AllowArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
/// What keeps it from running; a controller that is away is waited for.
pub(super) fn run(args: &AgentArgs) -> CliResult<ExitCode> {
    telemetry::init();
    halves::run(async || {
        let running = start(args).await?;
        running.banner(&format!("driftless agent {}", env!("CARGO_PKG_VERSION")));
        Ok(running)
    })
}

async fn start(args: &AgentArgs) -> CliResult<Running> {
    let state = args.state.open()?;
    let mut running = Running::new();
    running.keep(state.lock_agent().await?);
    let controller = args.controller.clone().unwrap_or_else(|| WireAddress::unix(state.socket()));
    running.note("controller", controller.to_string());
    let options = AgentOptions {
        cluster: args.cluster.clone(),
        node: args.node.clone(),
        runtime: args.runtime,
        allows: args.allow.allows(),
        state: state.agent(),
        connector: controller.connector(),
    };
    halves::start_agent(&mut running, options).await?;
    running.note("state", state.root().display().to_string());
    Ok(running)
}
