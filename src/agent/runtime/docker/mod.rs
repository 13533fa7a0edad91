//! Docker Engine, 20.10 to 29, through its socket.
//!
//! Role: the [`Runtime`] for containers. Inputs: launches, and ids of containers that carry our labels. Outputs: containers on the
//! Engine, their state, and events. A container of the pod is a container of the Engine: on our own bridge network
//! `driftless-<cluster>`, or in the network of the pod's sandbox, which is on it.
//!
//! Invariants:
//! - Before a call that stops, removes or renames, the container's own labels are read, and must be of this cluster and node.
//! - The Engine restarts nothing (`restart policy: no`), and its containers outlive us: a new agent finds them by their labels.
//! - A container that was made and not started, because we or the Engine died in between, is finished by the next `start`.
//! - Of images only those are ever removed that we pulled and that no container of anyone uses (`garbage`).
//! - While the Engine is away every call is [`RuntimeError::Unavailable`]; the next call after its return connects again,
//!   and agrees on a version again, since it may be another Engine by then.
//! - What is read from lists is read leniently (`inspect`): bollard's enums are closed, and one state that it does not know
//!   would fail a whole list.
//! - A container with a lease is started once the guard knows of it (`guard`), which ends it whatever becomes of us or the Engine.
//!
//! The Engine writes the environment of a container to its disk, so it is told of no secret in it: those come by a file (`init`). Mounts
//! have the semantics of `--mount`: a missing source is an error.
//!
//! Deliberately absent: volumes' files (the shell writes them), Swarm, and any wish to clean up what is not
//! ours.

mod collect;
mod create;
mod credentials;
mod describe;
mod engine;
mod events;
mod exec;
mod garbage;
pub mod guard;
mod image;
mod import;
mod init;
mod inspect;
mod labels;
mod leased;
mod lifecycle;
mod logins;
mod network;
mod pulled;
mod sandbox;
mod settle;
mod tar;
mod wire;

pub use describe::{EngineFacts, describe};
pub use engine::socket_of;
pub use garbage::GarbagePolicy;
pub use import::program_files;

use super::{
    Bridge, Call, ContainerId, ContainerLaunch, ContainerStatus, ExecResult, LogOptions, Runtime, RuntimeError, RuntimeEvent,
    Started, Usage,
};
use crate::agent::launch::Folders;
use crate::model::{BootMoment, Cidr, Exit, NodeName, RuntimeKind};
use bytes::Bytes;
use engine::{Engine, Warnings};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use guard::Guard;
use pulled::Pulled;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, broadcast};
use tokio_stream::wrappers::BroadcastStream;

/// Containers that are made at once. Four bring most of the gain (20 containers: 3.75 s one by one, 2.64 s four at a time) and
/// leave the machine to those that run already.
const STARTS_AT_ONCE: usize = 4;

/// Warnings that wait to be read.
const WARNINGS_MAX: usize = 16;

/// Whose containers, and on which Engine.
#[derive(Debug, Clone)]
pub struct DockerSettings {
    /// The Engine's socket; see [`socket_of`].
    pub socket: PathBuf,
    /// Our cluster.
    pub cluster: String,
    /// Our node.
    pub node: NodeName,
    /// Our own binary, which sandboxes run. Its path must be one that means the same file to another process.
    pub program: PathBuf,
    /// Where files go: secrets on tmpfs, our init on disk.
    pub folders: Folders,
}

/// The runtime. Making one does not connect; the first call does. Clones share everything.
#[derive(Debug, Clone)]
pub struct Docker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: DockerSettings,
    /// The file of `docker login`, if there is one to use.
    logins: Option<PathBuf>,
    engine: Engine,
    /// The images that are ours to take away.
    pulled: Pulled,
    warnings: Warnings,
    starts: Semaphore,
    /// Digest by image id and name: what they stand for together never changes.
    digests: Mutex<BTreeMap<(String, String), Option<String>>>,
    /// The ids that we removed lately, whose end is no news to anyone.
    removed: Mutex<VecDeque<String>>,
    /// What ends containers whose lease has run out.
    guard: Guard,
}

impl Docker {
    /// A runtime for the containers of one node.
    #[must_use]
    pub fn new(settings: DockerSettings) -> Self {
        Self::with_logins(settings, None)
    }

    /// The same, pulling with the credentials in `logins`: the file that `docker login` writes, usually `~/.docker/config.json`.
    #[must_use]
    pub fn with_logins(settings: DockerSettings, logins: Option<PathBuf>) -> Self {
        let (warnings, _) = broadcast::channel(WARNINGS_MAX);
        let engine = Engine::new(settings.socket.clone(), settings.cluster.clone(), warnings.clone());
        let pulled = Pulled::new(settings.folders.state.join("images.json"));
        let starts = Semaphore::new(STARTS_AT_ONCE);
        let guard = Guard::new(settings.folders.run.join("leases"), settings.program.clone());
        Self {
            shared: Arc::new(Shared {
                settings,
                logins,
                engine,
                pulled,
                warnings,
                starts,
                digests: Mutex::default(),
                removed: Mutex::default(),
                guard,
            }),
        }
    }

    /// Connects, agrees on a version and makes our network if it is not there, so that [`Runtime::engine`] and
    /// [`Runtime::gateway`] are known from then on.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] with what to do about it.
    pub async fn connect(&self) -> Result<(), RuntimeError> {
        self.shared.engine.session().await?.network.clone().map(drop)
    }

    /// Removes our network, for a cluster that is taken down whole. Fails while a container is on it.
    ///
    /// # Errors
    /// What the Engine says.
    pub async fn remove_network(&self) -> Result<(), RuntimeError> {
        self.shared.engine.remove_network().await
    }
}

impl Runtime for Docker {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Docker
    }

    fn engine(&self) -> Option<String> {
        self.shared.engine.current().map(|session| format!("docker://{}", session.engine_version))
    }

    fn data(&self) -> Option<PathBuf> {
        self.shared.engine.data()
    }

    fn gateway(&self) -> Option<IpAddr> {
        self.shared.engine.current().and_then(|session| session.gateway())
    }

    fn bridge(&self) -> Option<Bridge> {
        self.shared.engine.current().and_then(|session| session.network.clone().ok())
    }

    fn use_range(&self, pods: Cidr) {
        self.shared.engine.use_range(pods);
    }

    fn list(&self) -> Call<'_, Vec<ContainerStatus>> {
        Box::pin(self.shared.list())
    }

    fn start<'a>(&'a self, launch: &'a ContainerLaunch) -> Call<'a, Started> {
        Box::pin(self.shared.start(launch))
    }

    fn stop<'a>(&'a self, id: &'a ContainerId, grace: Duration) -> Call<'a, Exit> {
        Box::pin(self.shared.stop(id, grace))
    }

    fn renew<'a>(&'a self, leases: &'a BTreeMap<ContainerId, BootMoment>) -> Call<'a, ()> {
        Box::pin(self.shared.renew(leases))
    }

    fn remove<'a>(&'a self, id: &'a ContainerId) -> Call<'a, ()> {
        Box::pin(self.shared.remove(id))
    }

    fn exec<'a>(&'a self, id: &'a ContainerId, command: &'a [String], timeout: Duration) -> Call<'a, ExecResult> {
        Box::pin(self.shared.exec(id, command, timeout))
    }

    fn logs<'a>(&'a self, id: &'a ContainerId, options: LogOptions) -> Call<'a, BoxStream<'static, Result<Bytes, RuntimeError>>> {
        Box::pin(self.shared.logs(id, options))
    }

    fn usage<'a>(&'a self, id: &'a ContainerId) -> Call<'a, Usage> {
        Box::pin(self.shared.usage(id))
    }

    fn watch(&self) -> BoxStream<'static, RuntimeEvent> {
        let warnings = BroadcastStream::new(self.shared.warnings.subscribe()).filter_map(async |warning| warning.ok());
        stream::select(events::watch(Arc::clone(&self.shared)), warnings).boxed()
    }
}
