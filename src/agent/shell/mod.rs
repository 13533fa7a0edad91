//! The agent's shell (tokio): drives the core with real runtimes, probes, the Service proxy, the ledger's file and the wire.
//!
//! Role: select into an event, let the core handle it, perform its effects; nothing is decided here. Inputs: messages of the
//! controller, events and outcomes of the runtimes, time. Outputs: reports and logs to the controller. Invariants: a shell that
//! ends, in whatever way, leaves every pod running; one host folder has one agent; an agent without memory says no hello before
//! its runtimes were listed. Deliberately absent: decisions, and waiting: what takes time is a task that comes back as an event.

mod control;
mod disks;
mod grpc;
mod hook;
mod host;
mod http;
mod ingress_file;
mod ledger_file;
mod logs;
mod net_problems;
mod perform;
mod probe;
mod seal;
mod secret_files;
#[cfg(test)]
mod tests;
mod volumes;

pub use control::leave;
pub use seal::{SealKey, SealKeyError};
pub use secret_files::{SecretsAtRest, sealed_folder};
pub use volumes::prepare;

use super::core::{Agent, Event, Settings};
use super::launch::Folders;
use super::net::ingress::IngressSettings;
use super::net::tunnel::Tunnel;
use super::net::{Keep, Setup, Table};
use super::runtime::Runtime;
use crate::clock;
use crate::model::{Hello, NodeName, RuntimeKind};
use crate::wire::{Connector, FromAgent, ToAgent, client};
use futures_util::StreamExt;
use perform::Performer;
use secret_files::SecretFiles;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Messages between the shell and the wire.
const LINK_MAX: usize = 64;

/// Where no timer is set.
const FAR: Duration = Duration::from_secs(3600);

/// The host slept if its boot clock is ahead by so much more than is known: looking at two clocks one after the other takes time too.
const SLEPT_MS: u64 = 100;

/// Why an agent cannot run. What runs keeps running in any case.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// A folder cannot be used.
    #[error("cannot use {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another agent has the folder.
    #[error("another agent of this cluster runs on this host: it holds {path}")]
    Taken {
        /// The lock.
        path: PathBuf,
    },
    /// Ingress cannot be served at all.
    #[error("Ingress cannot be served: {0}")]
    Ingress(String),
}

/// What an agent may have beyond its runtimes.
#[derive(Debug, Default)]
pub struct Options {
    /// How Ingress is served, if it is.
    pub ingress: Option<IngressSettings>,
    /// The way to other nodes, if there can be any.
    pub tunnel: Option<Tunnel>,
    /// Where the values of secrets are kept.
    pub secrets: SecretsAtRest,
}

/// The core, and nobody waits while it is locked.
type Shared = Arc<Mutex<Agent>>;

/// Runs an agent until `shutdown`. The controller is reached by `connector`, again and again.
///
/// # Errors
/// What cannot heal by itself.
pub async fn run(
    settings: Settings,
    runtimes: Vec<Arc<dyn Runtime>>,
    connector: Connector,
    Options { ingress, tunnel, secrets }: Options,
    shutdown: CancellationToken,
) -> Result<(), ShellError> {
    let _lock = lock_folder(&settings.folders.run)?;
    let (folders, names) = (settings.folders.clone(), settings.names.clone());
    let unusable = |source| ShellError::Folder { path: ledger_file::path(&folders), source };
    let files = SecretFiles::new(folders.clone(), &secrets, &settings.cluster, &settings.facts.name).map_err(unusable)?;
    let files = Arc::new(files);
    let mut ledger = ledger_file::load(&files).map_err(unusable)?;
    // What was asked for may be new since the last start.
    if let Err(error) = ledger_file::save_secrets(&files, &ledger) {
        tracing::error!(error, "secrets are not kept as it was asked for; tried again with the next change");
    }
    ledger.volumes = volumes::held_claims(&folders).map_err(|source| ShellError::Folder { path: folders.claims(), source })?;
    let agent: Shared = Arc::new(Mutex::new(Agent::new(settings, ledger, clock::now())));
    let runtimes: BTreeMap<RuntimeKind, Arc<dyn Runtime>> =
        runtimes.into_iter().map(|runtime| (runtime.kind(), runtime)).collect();
    let (events, happened) = mpsc::unbounded_channel();
    // Before the first listing, so that nothing falls in between.
    for (kind, runtime) in &runtimes {
        watch(*kind, Arc::clone(runtime), events.clone(), shutdown.clone());
    }
    if let Err(error) = control::listen(&folders.run, Arc::clone(&agent), events.clone(), shutdown.clone()) {
        tracing::warn!(%error, "`driftless agent leave` cannot reach this agent: its socket could not be made");
    }
    disks::measure(disks_of(&folders, &runtimes), events.clone(), shutdown.clone());
    let (outgoing, to_wire) = mpsc::channel(LINK_MAX);
    let (from_wire, incoming) = mpsc::channel(LINK_MAX);
    volumes::sweep(folders.clone());
    let mut setup = proxy_setup(lock(&agent).node(), &folders);
    if let Some(tunnel) = &tunnel {
        setup.reach = Arc::new(tunnel.clone());
    }
    let performer = Performer::new(runtimes, (Arc::clone(&files), names), (setup, tunnel), events, outgoing, ingress)?;
    let link = Link { connector, to_wire, from_wire, shutdown: shutdown.clone() };
    let shell = Shell { agent: Arc::clone(&agent), performer, link: Some(link), boot_ahead_ms: None };
    shell.run(happened, incoming, shutdown).await;
    // What was waiting for the next write.
    if let Err(error) = ledger_file::save(&files, &lock(&agent).ledger()) {
        tracing::warn!(error, "the ledger could not be written at the end; containers are adopted by their labels");
    }
    Ok(())
}

/// The table of an agent's rules for the kernel: named as its run folder is, so that each agent of a host has one of its own.
#[must_use]
pub fn table(folders: &Folders) -> Table {
    Table::of(&folders.run.file_name().unwrap_or_default().to_string_lossy())
}

/// What the proxy is told.
fn proxy_setup(node: NodeName, folders: &Folders) -> Setup {
    // Not its path: an upgrade replaces the file there while we run.
    let keep = Keep { folder: folders.run.clone(), program: PathBuf::from("/proc/self/exe") };
    Setup { table: table(folders), keep: Some(keep), ..Setup::alone(node) }
}

/// Where pods need room: what they have on disk, and what their runtimes keep. An Engine may be heard of later.
fn disks_of(folders: &Folders, runtimes: &BTreeMap<RuntimeKind, Arc<dyn Runtime>>) -> impl Fn() -> Vec<PathBuf> + Send + 'static {
    let (state, runtimes) = (folders.state.clone(), runtimes.clone());
    move || runtimes.values().filter_map(|runtime| runtime.data()).chain([state.clone()]).collect()
}

fn lock(agent: &Shared) -> MutexGuard<'_, Agent> {
    // The core's state is whole between two calls even if one of them panicked.
    agent.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lock_folder(folder: &Path) -> Result<fs::File, ShellError> {
    use std::os::unix::fs::DirBuilderExt;
    let path = folder.join("agent.lock");
    let failed = |source| ShellError::Folder { path: path.clone(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let file = fs::File::create(&path).map_err(failed)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ShellError::Taken { path }),
        Err(error) => Err(failed(error.into())),
    }
}

/// Passes on what a runtime notices.
fn watch(kind: RuntimeKind, runtime: Arc<dyn Runtime>, events: mpsc::UnboundedSender<Event>, shutdown: CancellationToken) {
    let mut stream = runtime.watch();
    tokio::spawn(async move {
        let pass_on = async {
            while let Some(event) = stream.next().await {
                if events.send(Event::Runtime { runtime: kind, event }).is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = pass_on => {}
            () = shutdown.cancelled() => {}
        }
    });
}

/// What it takes to talk to the controller, until the agent has something to say.
struct Link {
    connector: Connector,
    to_wire: mpsc::Receiver<FromAgent>,
    from_wire: mpsc::Sender<ToAgent>,
    shutdown: CancellationToken,
}

struct Shell {
    agent: Shared,
    performer: Performer,
    link: Option<Link>,
    /// By how much the boot clock is ahead, as the core was told.
    boot_ahead_ms: Option<i64>,
}

impl Shell {
    async fn run(
        mut self,
        mut happened: mpsc::UnboundedReceiver<Event>,
        mut incoming: mpsc::Receiver<ToAgent>,
        shutdown: CancellationToken,
    ) {
        self.handle(Event::Wake);
        loop {
            let alarm = self.performer.alarm().map_or(FAR, |at| at.since(clock::now()));
            let event = tokio::select! {
                () = shutdown.cancelled() => return self.performer.leave().await,
                Some(event) = happened.recv() => Some(event),
                Some(message) = incoming.recv() => self.told(message),
                () = tokio::time::sleep(alarm) => Some(Event::Wake),
            };
            if let Some(event) = event {
                self.handle(event);
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let ahead_ms = clock::boot().0.cast_signed() - clock::now().0.cast_signed();
        if self.boot_ahead_ms.is_none_or(|told| ahead_ms.abs_diff(told) > SLEPT_MS) {
            self.boot_ahead_ms = Some(ahead_ms);
            self.give(Event::BootClock { ahead_ms });
        }
        self.give(event);
    }

    fn give(&mut self, event: Event) {
        if matches!(event, Event::Wake) {
            self.performer.alarm_rang();
        }
        let (effects, can_greet) = {
            let mut agent = lock(&self.agent);
            (agent.handle(event, clock::now()), agent.can_greet())
        };
        for effect in effects {
            self.performer.perform(effect);
        }
        if can_greet && let Some(link) = self.link.take() {
            self.connect(link);
        }
    }

    fn connect(&self, link: Link) {
        let agent = Arc::clone(&self.agent);
        let hello = move || -> Hello { lock(&agent).hello(clock::now()) };
        tokio::spawn(client::run(link.connector, hello, link.to_wire, link.from_wire, link.shutdown));
    }

    /// What a message means to the core, if anything.
    fn told(&mut self, message: ToAgent) -> Option<Event> {
        match message {
            ToAgent::Welcome { epoch, .. } => {
                tracing::debug!(epoch = epoch.0, "the controller says welcome");
                Some(Event::Connected)
            }
            ToAgent::Assign(assignment) => Some(Event::Assigned(Box::new(Arc::unwrap_or_clone(assignment)))),
            ToAgent::Network(network) => Some(Event::Network(network)),
            ToAgent::Ingress(table) => Some(Event::Ingress(table)),
            ToAgent::Endpoints(set) => Some(Event::Endpoints(Box::new(Arc::unwrap_or_clone(set)))),
            ToAgent::Renewed(renewal) => Some(Event::Renewed(renewal)),
            ToAgent::Called { by, call } => {
                self.performer.called(&by, call);
                None
            }
            ToAgent::Logs(request) => {
                let of = lock(&self.agent).log_of(request.pod, request.container.as_deref(), request.previous);
                self.performer.send_logs(&request, of);
                None
            }
            ToAgent::CancelLogs(id) => {
                self.performer.cancel_logs(id);
                None
            }
        }
    }
}
