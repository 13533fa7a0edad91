//! The two halves of Driftless as tasks of this process: what `up` runs both of, and `controller` and `agent` one each.

use super::node::{self, Reserve, RuntimeChoice, Runtimes};
use super::options::SecretsChoice;
use super::{CliError, CliResult};
use crate::agent;
use crate::agent::core::Settings;
use crate::agent::net::dns::Resolvers;
use crate::agent::net::ingress::IngressSettings;
use crate::agent::net::tunnel::Tunnel;
use crate::agent::runtime::docker::GarbagePolicy;
use crate::controller::shell::{self, Links, ShellError, ShellSettings};
use crate::model::{Allows, NodeFacts, SAMPLE_PERIOD, View};
use crate::status;
use crate::sync;
use crate::wire::{Connector, Incoming, WireError};
use std::any::Any;
use std::fs::DirBuilder;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long the end may take: a last push of the audit branch, and open streams.
const END: Duration = Duration::from_secs(8);

/// How often a runtime is listed, in case that its events were lost.
const LIST_PERIOD: Duration = Duration::from_secs(30);

/// How long a host that shuts down is waited for.
const SHUTDOWN_ABSENCE: Duration = Duration::from_secs(600);

/// How long an announcement may take to be on its way.
const FAREWELL: Duration = Duration::from_millis(300);

/// How long systemd may take to say whether the host goes down.
const SYSTEMD_ANSWER: Duration = Duration::from_secs(2);

/// What runs in this process. Dropping it ends it at once; [`Running::stop`] ends it in order. Pods run on in either case.
#[derive(Debug)]
pub struct Running {
    tasks: JoinSet<CliResult<()>>,
    shutdown: CancellationToken,
    kept: Vec<Box<dyn Any + Send>>,
    notes: Vec<(&'static str, String)>,
    status: Option<SocketAddr>,
    views: Option<watch::Receiver<Arc<View>>>,
    /// Where the agent's socket is, if one is here.
    agent: Option<PathBuf>,
}

impl Running {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        let shutdown = CancellationToken::new();
        Self { tasks: JoinSet::new(), shutdown, kept: Vec::new(), notes: Vec::new(), status: None, views: None, agent: None }
    }

    /// Keeps a lock or a socket for as long as this runs.
    pub(super) fn keep(&mut self, guard: impl Any + Send) {
        self.kept.push(Box::new(guard));
    }

    /// Runs a task until the end, which it is told of.
    pub(super) fn spawn<F>(&mut self, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = CliResult<()>> + Send + 'static,
    {
        self.tasks.spawn(task(self.shutdown.clone()));
    }

    /// Adds a line to the banner.
    pub(super) fn note(&mut self, label: &'static str, text: impl Into<String>) {
        self.notes.push((label, text.into()));
    }

    /// Where status listens, if the controller is here.
    #[must_use]
    pub fn status(&self) -> Option<SocketAddr> {
        self.status
    }

    /// Says on stderr what runs here and where to look.
    pub(super) fn banner(&self, title: &str) {
        let mut text = format!("{title}\n");
        for (label, note) in &self.notes {
            text.push_str(&format!("  {label:<10} {note}\n"));
        }
        text.push_str("Ctrl-C stops Driftless; what it started keeps running.\n");
        say(&text);
    }

    /// Waits until a part ends by itself, which only an error makes it do.
    ///
    /// # Errors
    /// That error.
    pub async fn ended(&mut self) -> CliResult<()> {
        match self.tasks.join_next().await {
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => Err(CliError::with_source("a part of Driftless ended unexpectedly", error)),
            None => Ok(()),
        }
    }

    /// Ends everything in order. What it started keeps running.
    ///
    /// # Errors
    /// A part that could not end as it should.
    pub async fn stop(mut self) -> CliResult<()> {
        self.shutdown.cancel();
        let all = async {
            while !self.tasks.is_empty() {
                self.ended().await?;
            }
            Ok(())
        };
        timeout(END, all).await.unwrap_or_else(|_| {
            tracing::warn!("not everything ended within {} s", END.as_secs());
            Ok(())
        })
    }

    /// A host that shuts down in order is waited for: its agent says so.
    async fn announce_shutdown(&self) {
        let Some(folder) = self.agent.as_deref() else { return };
        if !is_shutting_down().await {
            return;
        }
        match agent::shell::leave(folder, SHUTDOWN_ABSENCE).await {
            // Nobody answers it, and it has to be under way before the link is closed.
            Ok(()) => tokio::time::sleep(FAREWELL).await,
            Err(error) => tracing::warn!(%error, "the shutdown of this host could not be announced"),
        }
    }

    /// How many pods are there, as far as the controller knows.
    fn pods(&self) -> Option<usize> {
        self.views.as_ref().map(|views| views.borrow().pods.len())
    }
}

/// Runs what `start` starts until Ctrl-C or SIGTERM.
///
/// # Errors
/// Of the start, or of a part that ended.
pub(super) fn run(start: impl AsyncFnOnce() -> CliResult<Running>) -> CliResult<ExitCode> {
    keep_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::with_source("cannot start the runtime", error))?;
    let ended = runtime.block_on(async {
        let listen = |kind| signal(kind).map_err(|error| CliError::with_source("cannot listen for signals", error));
        let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        let mut running = tokio::select! {
            running = start() => running?,
            // It waits for a controller, and nothing runs yet.
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        };
        let failed = tokio::select! {
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => {
                running.announce_shutdown().await;
                Ok(())
            }
            failed = running.ended() => failed,
        };
        let pods = running.pods();
        let stopped = running.stop().await;
        say(&farewell(pods));
        failed.and(stopped)
    });
    // A thread that waits for git does not hold up the end.
    runtime.shutdown_background();
    ended.map(|()| ExitCode::SUCCESS)
}

/// What this process was started with, beyond its three streams, stays with it: shims, keepers and pods outlive it, and would go on
/// holding the lock of `flock x driftless up`, or somebody's socket.
fn keep_descriptors() {
    close_fds::set_fds_cloexec(3, &[]);
}

/// Whether the host goes down, as systemd says. Where there is no systemd, nobody knows.
async fn is_shutting_down() -> bool {
    let mut systemctl = Command::new("systemctl");
    systemctl.arg("is-system-running").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = timeout(SYSTEMD_ANSWER, systemctl.output()).await;
    output.is_ok_and(|output| output.is_ok_and(|output| output.stdout.trim_ascii() == b"stopping"))
}

fn farewell(pods: Option<usize>) -> String {
    let what = match pods {
        Some(0) => return "stopped; no pod was running\n".to_owned(),
        Some(1) => "1 pod keeps running".to_owned(),
        Some(pods) => format!("{pods} pods keep running"),
        None => "pods keep running".to_owned(),
    };
    format!("stopped; {what}, and the next start with the same --state-dir takes over as if nothing had happened\n")
}

/// Words for people, on stderr.
fn say(text: &str) {
    // A closed stderr leaves nobody to tell.
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// Starts controller and status.
pub(super) async fn start_controller(
    running: &mut Running,
    settings: ShellSettings,
    listen: &str,
    incoming: Incoming,
) -> CliResult<()> {
    let listener = super::options::bind_status(listen).await?;
    let address = listener.local_addr().map_err(|error| CliError::with_source("the status socket has no address", error))?;
    let branch = settings.repo.branch.as_deref().unwrap_or("the branch of its HEAD");
    let shown = sync::redact(&settings.repo.url);
    running
        .note("watching", format!("{shown} ({branch}), every {:?}; one on this machine at every push", settings.poll_interval));
    running.note("cluster", format!("{} (audit branch {})", settings.cluster, sync::audit_branch(&settings.cluster)));
    running.note("status", format!("http://{address} (kubectl --server http://{address} get pods -A)"));
    let view = View { cluster: settings.cluster.clone(), repo: sync::redact(&settings.repo.url), ..View::default() };
    let (views, seen) = watch::channel(Arc::new(view));
    let links = Arc::new(Links::new());
    let shutdown = running.shutdown.clone();
    let (server_links, server_views, server_end) = (Arc::clone(&links), seen.clone(), shutdown.clone());
    running.tasks.spawn(async move {
        let served = status::serve(listener, server_views, server_links, server_end).await;
        served.map_err(|error| CliError::with_source("the status server ended", error))
    });
    running.tasks.spawn(async move { shell::run(settings, incoming, links, views, shutdown).await.map_err(shell_error) });
    running.status = Some(address);
    running.views = Some(seen);
    Ok(())
}

fn shell_error(error: ShellError) -> CliError {
    let hint = error.hint();
    let failed = CliError::with_source("the controller cannot run", error);
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

/// An error of the socket between the halves.
pub(super) fn wire_error(error: WireError) -> CliError {
    let hint = match &error {
        WireError::InUse(_) => "stop the other controller, or choose another place with --agents",
        WireError::Io { .. }
        | WireError::Address(_)
        | WireError::Transport(_)
        | WireError::Refused(_)
        | WireError::Convert(_)
        | WireError::Closed => "choose another with --agents: HOST:PORT for other hosts, unix:PATH for this machine",
    };
    CliError::with_source("agents cannot come in", error).hint(hint)
}

/// What an agent is told at its start.
#[derive(Debug)]
pub(super) struct AgentOptions {
    pub(super) cluster: String,
    pub(super) node: Option<String>,
    pub(super) runtime: RuntimeChoice,
    pub(super) allows: Allows,
    pub(super) reserve: Reserve,
    /// When images go.
    pub(super) garbage: GarbagePolicy,
    /// Who is asked for names outside of the cluster.
    pub(super) resolvers: Resolvers,
    /// How Ingress is served, if it is.
    pub(super) ingress: Option<IngressSettings>,
    /// Where secrets are kept.
    pub(super) secrets: SecretsChoice,
    /// `agent/` of the state directory.
    pub(super) state: PathBuf,
    pub(super) connector: Connector,
    /// The way to other nodes, if there can be any.
    pub(super) tunnel: Option<TunnelStart>,
}

/// A tunnel, and how other nodes come in.
#[derive(Debug)]
pub(super) struct TunnelStart {
    pub(super) tunnel: Tunnel,
    /// Where it listens, and where others are told to dial it; `None` if they cannot.
    pub(super) listening: Option<(TcpListener, Vec<SocketAddr>)>,
}

/// Starts an agent.
pub(super) async fn start_agent(running: &mut Running, options: AgentOptions) -> CliResult<()> {
    let AgentOptions { cluster, node, runtime, allows, reserve, garbage, resolvers, ingress, secrets, state, connector, tunnel } =
        options;
    let name = node::name(node.as_deref());
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&state)
        .map_err(|error| CliError::with_source(format!("cannot make {}", state.display()), error))?;
    let folders = node::folders(&cluster, &state)?;
    let runtimes = Runtimes::find(runtime, &cluster, &name, &folders).await?;
    if allows.iter().next().is_some() {
        running.note("allows", allows.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    }
    let mut facts = NodeFacts { ingress: ingress.is_some(), ..node::facts(&name, &runtimes, allows, reserve) };
    let tunnel = tunnel.map(|start| start_tunnel(running, start, &mut facts));
    running.agent = Some(folders.run.clone());
    if let Some(IngressSettings { http, https, .. }) = &ingress {
        running.note("ingress", format!("http on {http}, https on {https}"));
    }
    running.note("node", name.to_string());
    running.note("runtimes", runtimes.told);
    let names = node::names(&folders, resolvers);
    running.note("names", node::told_of_names(names.as_ref()));
    running.note("secrets", secrets.told);
    let settings = Settings {
        cluster,
        facts,
        folders,
        host_address: node::HOST_ADDRESS,
        ports: node::ports(),
        sample_every: Some(SAMPLE_PERIOD),
        list_every: LIST_PERIOD,
        names,
    };
    let extras = agent::shell::Options { ingress, tunnel, secrets: secrets.at_rest };
    let shutdown = running.shutdown.clone();
    if let Some(docker) = runtimes.docker {
        let shutdown = shutdown.clone();
        running.tasks.spawn(async move {
            docker.keep_room(garbage, shutdown).await;
            Ok(())
        });
    }
    running.tasks.spawn(async move {
        let ended = agent::shell::run(settings, runtimes.offered, connector, extras, shutdown).await;
        ended.map_err(|error| CliError::with_source("the agent ended", error))
    });
    Ok(())
}

/// Lets other nodes come in, and says where.
fn start_tunnel(running: &mut Running, start: TunnelStart, facts: &mut NodeFacts) -> Tunnel {
    let TunnelStart { tunnel, listening } = start;
    let Some((listener, advertised)) = listening else {
        running.note("tunnel", "dials other nodes, and is dialled by none");
        return tunnel;
    };
    let at = listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string());
    let told: Vec<String> = advertised.iter().map(ToString::to_string).collect();
    running.note("tunnel", format!("{at}; other nodes are told to dial {}", told.join(", ")));
    facts.tunnel = advertised;
    let (accepting, shutdown) = (tunnel.clone(), running.shutdown.clone());
    running.tasks.spawn(async move {
        tokio::select! {
            () = accepting.listen(listener) => {}
            () = shutdown.cancelled() => {}
        }
        Ok(())
    });
    tunnel
}
