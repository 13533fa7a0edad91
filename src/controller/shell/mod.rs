//! The controller's shell: all the I/O around the pure core, on tokio.
//!
//! Role: three actors and one loop. The *source* (a thread that owns the mirror) begins the reign, fetches, and reads revisions;
//! the *recorder* (a thread that owns the audit log) appends and pushes; the *links* are the agents' streams; the *reign* is the
//! single owner of the core: it takes one event at a time, handles it synchronously, and performs the effects in order. In: git,
//! agents, time. Out: assignments and endpoints to agents, records to the audit branch, views to whoever watches.
//!
//! Invariants: nothing but the reign touches the core; an actor's trouble becomes an event (`SyncFailed`, `AuditState`) and is
//! tried again, and never changes what runs; the end of this process changes nothing either.
//! Deliberately absent: decisions.

mod input;
mod links;
mod recorder;
mod registry;
mod reign;
mod source;
#[cfg(test)]
mod tests;

pub use links::Links;

use crate::model::{Epoch, NetworkSettings, Roll, View};
use crate::sync::{IdentityError, RenderSettings, RepoSpec, SyncError};
use crate::trust::TokenStore;
use crate::wire::server::{self, LinkEvent, ServerSettings};
use crate::wire::{Gate, Incoming, WireError};
use input::Input;
use registry::Registry;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Events that wait for the core; a full queue slows agents and the source down, and loses nothing.
const INPUTS_MAX: usize = 1_024;

/// How hosts join over the network.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Where their certificates come from.
    pub gate: Gate,
    /// What lets them in.
    pub tokens: TokenStore,
}

/// What a controller is told at its start.
#[derive(Debug, Clone)]
pub struct ShellSettings {
    /// What to watch.
    pub repo: RepoSpec,
    /// The cluster's name.
    pub cluster: String,
    /// `identity/` of the state directory.
    pub identity_dir: PathBuf,
    /// `mirror/` of the state directory.
    pub mirror_dir: PathBuf,
    /// How often a repository is asked; a local one is watched as well.
    pub poll_interval: Duration,
    /// Where the audit branch is pushed, if not to the watched repository.
    pub audit_remote: Option<String>,
    /// How kustomizations and charts are rendered.
    pub render: RenderSettings,
    /// The network of the cluster; `None` if Services have addresses that never leave a host.
    pub network: Option<NetworkSettings>,
    /// How hosts join; `None` if agents are on this machine only.
    pub admission: Option<Admission>,
}

/// Why a controller cannot run at all. Everything that may heal is retried instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShellError {
    /// The cluster's identity is unusable.
    #[error("the cluster's identity cannot be used")]
    Identity(#[from] IdentityError),
    /// The mirror cannot be made: a state directory that cannot be written, a path that is none.
    #[error("the mirror of the repository cannot be made")]
    Mirror(#[source] SyncError),
    /// The agents' server ended.
    #[error("the server for agents ended")]
    Server(#[from] WireError),
    /// The operating system refuses a thread.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// An actor ended without being asked.
    #[error("the {0} ended unexpectedly; this is a bug")]
    Ended(&'static str),
}

impl ShellError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            ShellError::Identity(error) => error.hint(),
            ShellError::Mirror(error) => error.hint(),
            ShellError::Server(_) | ShellError::Thread(_) | ShellError::Ended(_) => None,
        }
    }
}

/// Runs a controller until `shutdown`: pictures go to `views`, agents come in by `incoming` and are kept in `links`.
///
/// # Errors
/// What cannot heal by itself. What runs keeps running in any case.
pub async fn run(
    settings: ShellSettings,
    incoming: Incoming,
    links: Arc<Links>,
    views: watch::Sender<Arc<View>>,
    shutdown: CancellationToken,
) -> Result<(), ShellError> {
    let (inputs, queue) = mpsc::channel(INPUTS_MAX);
    let (epochs, reigning) = watch::channel(Epoch::default());
    let (trusted, roll) = watch::channel(Arc::new(Roll::default()));
    let source = source::start(&settings, inputs.clone())?;
    let (gate, tokens) = settings.admission.map(|admission| (admission.gate, admission.tokens)).unzip();
    let registry = Registry { trusted, tokens };
    let reign = reign::Reign::new(source, links, views, epochs, registry, inputs.clone());
    let server_settings = ServerSettings { roll, gate, ..ServerSettings::new(reigning) };
    let server = serve_agents(incoming, server_settings, inputs, shutdown.clone());
    tokio::select! {
        end = reign.run(queue, shutdown.clone()) => end,
        end = server => end,
    }
}

/// Lets agents in. Before a reign they wait, and who asks to join hears that it is waited for.
async fn serve_agents(
    incoming: Incoming,
    settings: ServerSettings,
    inputs: mpsc::Sender<Input>,
    shutdown: CancellationToken,
) -> Result<(), ShellError> {
    let (events, mut happened) = mpsc::channel::<LinkEvent>(INPUTS_MAX);
    let served = server::serve(incoming, settings, events, shutdown);
    let relay = async {
        while let Some(event) = happened.recv().await {
            if inputs.send(Input::Link(event)).await.is_err() {
                break;
            }
        }
    };
    let (served, ()) = tokio::join!(served, relay);
    served?;
    // Nobody can come in any more; the reign ends by itself, and says how.
    std::future::pending().await
}
