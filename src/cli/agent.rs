//! `driftless agent`: the half that runs pods.

use super::enlist::enlist;
use super::halves::{self, AgentOptions, Running, TunnelStart};
use super::node::{self, RuntimeChoice};
use super::options::{
    AllowArgs, ConfigArgs, GarbageArgs, IngressArgs, NamesArgs, Period, ReserveArgs, SecretsArgs, StateArgs, StateDir,
    TunnelArgs, cluster_name,
};
use super::{CliError, CliResult};
use crate::agent::net::tunnel::{Limits, Timings, Tunnel};
use crate::agent::shell;
use crate::telemetry;
use crate::wire::{Connector, RelayClient, WireAddress};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Run the pods that a controller assigns to this node: `driftless up` without the controller.
///
/// On another host than the controller's the agent joins with a token, once; it then has a key and a certificate of its own, which it
/// renews by itself. While the controller is away the agent keeps what runs running, restarts it when it crashes, and comes back by
/// itself.
#[derive(Debug, Clone, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  driftless agent                                                  on the controller's machine
  driftless agent --controller HOST:7781 --token-file token        on any other; the token is needed the first time only
  driftless agent --controller HOST:7781 --runtime docker --node db-1

Stopping the agent stops no pod. The next one finds them by their labels and takes them over, untouched."
)]
pub struct AgentArgs {
    /// Where the controller listens: HOST:PORT, several with commas if it can be reached in several ways, or unix:PATH [default:
    /// unix:STATE_DIR/run/agents.sock]
    #[arg(long, env = "DRIFTLESS_CONTROLLER", value_name = "ADDR", value_delimiter = ',')]
    controller: Vec<WireAddress>,
    /// A file with the token that lets this host join, as `driftless token create` printed it; - for stdin
    #[arg(long, env = "DRIFTLESS_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
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
    tunnel: TunnelArgs,
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
    #[command(subcommand)]
    command: Option<AgentCommand>,
}

/// What can be asked of the agent that runs on this host.
#[derive(Debug, Clone, Subcommand)]
enum AgentCommand {
    Leave(LeaveArgs),
}

/// Announce that this host will be away for a while: for a reboot, or other work on it.
///
/// The controller then waits that long before it replaces the pods of this host elsewhere. Their Services stop leading to them as soon
/// as they stop, or the agent does. A host that shuts down in order announces 10 minutes by itself (where systemd runs it). The agent's
/// next start ends the absence.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  driftless agent leave --for 10m && systemctl reboot
  driftless agent leave --cancel")]
struct LeaveArgs {
    /// How long it may be away
    #[arg(long = "for", value_name = "DURATION", required_unless_present = "cancel", conflicts_with = "cancel")]
    period: Option<Period>,
    /// It stays after all
    #[arg(long)]
    cancel: bool,
    /// The cluster's name, as the agent was given it
    #[arg(long, env = "DRIFTLESS_CLUSTER", value_name = "NAME", default_value = "default", value_parser = cluster_name)]
    cluster: String,
    #[command(flatten)]
    state: StateArgs,
}

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
/// What keeps it from running; a controller that is away is waited for.
pub(super) fn run(args: &AgentArgs) -> CliResult<ExitCode> {
    if let Some(AgentCommand::Leave(args)) = &args.command {
        return leave(args);
    }
    telemetry::init();
    halves::run(async || {
        let running = start(args).await?;
        running.banner(&format!("driftless agent {}", env!("CARGO_PKG_VERSION")));
        Ok(running)
    })
}

/// Tells the agent of this host.
fn leave(args: &LeaveArgs) -> CliResult<ExitCode> {
    let folders = node::folders(&args.cluster, &args.state.open()?.agent())?;
    let period = args.period.filter(|_| !args.cancel).map(Period::duration).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::with_source("cannot start the runtime", error))?;
    runtime.block_on(shell::leave(&folders.run, period)).map_err(|error| {
        CliError::with_source("the absence could not be announced", error)
            .hint("is the agent running, with the same --state-dir and --cluster, as this user?")
    })?;
    let said = if args.cancel { "announced: this host stays" } else { "announced: this host is waited for" };
    super::print_line(said)?;
    Ok(ExitCode::SUCCESS)
}

async fn start(args: &AgentArgs) -> CliResult<Running> {
    let state = args.state.open()?;
    let mut running = Running::new();
    running.keep(state.lock_agent().await?);
    let (connector, tunnel) = outside(args, &mut running, &state).await?;
    let options = AgentOptions {
        cluster: args.cluster.clone(),
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
        tunnel,
    };
    halves::start_agent(&mut running, options).await?;
    running.note("state", state.root().display().to_string());
    Ok(running)
}

/// The way to the controller, and to other nodes. On another host than the controller's this one has to be a node first.
async fn outside(args: &AgentArgs, running: &mut Running, state: &StateDir) -> CliResult<(Connector, Option<TunnelStart>)> {
    let mut hosts = Vec::new();
    match args.controller.as_slice() {
        [] => {
            running.note("controller", format!("unix:{}", state.socket().display()));
            return Ok((Connector::Unix(state.socket()), None));
        }
        [only @ WireAddress::Unix(path)] => {
            running.note("controller", only.to_string());
            return Ok((Connector::Unix(path.clone()), None));
        }
        several => {
            for address in several {
                let WireAddress::Tcp(host) = address else {
                    return Err(CliError::new(format!("{address} cannot be one of several addresses"))
                        .hint("give one unix:PATH, or one or more HOST:PORT"));
                };
                hosts.push(host.clone());
            }
        }
    }
    running.note("controller", hosts.join(", "));
    let name = node::name(args.node.as_deref());
    let listening = args.tunnel.open(&hosts).await?;
    let (connector, identity) = enlist(running, state, name.clone(), hosts, args.token_file.as_deref()).await?;
    let relays = Arc::new(RelayClient::new(connector.clone()));
    let tunnel = Tunnel::new(name, &identity, Some(relays), Limits::default(), Timings::default());
    let tunnel = tunnel.map_err(super::token::trust_error)?;
    Ok((connector, Some(TunnelStart { tunnel, listening })))
}
