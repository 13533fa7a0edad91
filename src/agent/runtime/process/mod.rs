//! Host processes, each under a small shim that outlives the agent.
//!
//! Role: the [`Runtime`] for pods with `runtimeClassName: process`. The agent runs its own binary again as `driftless shim`, hands it
//! the spec through a pipe (never as arguments: they are world-readable) and is free to die. The shim leads its own session, is
//! the reaper of everything that the workload leaves behind, writes the log and, at the end, how the workload ended.
//!
//! What is known of a process lies on tmpfs below the pod's folder, as `shims/<container>.<attempt>/record.json`, so that it goes with a
//! reboot as the process does. Processes are identified by pid and start time (`procfs::Proc`), never by pid alone.
//!
//! - Paths: a process sees the host's files. It starts in a folder of its own (or its `workingDir`), and a volume mounted at `/etc/app`
//!   appears as the symbolic link `etc/app` in that folder, whose path is in no variable but `HOME`, unless the template sets it.
//! - Environment: exactly the launch's, with `PATH` and `HOME` where they are absent. `PATH` ends with the folder of our binary.
//! - Names: as root, a process has a mount namespace of its own in which `/etc/resolv.conf` names the agent's DNS, so that it finds
//!   Services as a container does. What else is mounted it shares with the host. Commands of probes and hooks run beside it, in the
//!   host's own.
//! - Stopping: SIGTERM to the process; after the grace SIGKILL. Once it has ended, the shim kills whatever else it started, sessions of
//!   their own included: by the cgroup where one could be made, and by walking its children in any case.
//! - A lease is kept by the shim, which reads from a file beside the record until when, and stops the workload by itself then.
//! - Limits need a cgroup; without one they are not enforced, and the agent's log says so.
//! - If the shim is killed, its workload is killed too and reported as ended (`ShimLost`): its log pipe is broken, and of two
//!   copies there must never be more than one.
//!
//! Under systemd the agent's unit needs `KillMode=process`, or a restart of it kills the shims. Needs Linux 5.3 (pidfd).
//!
//! Deliberately absent: images, other namespaces, and other users (`root-process` and uids come with the host's policy).

mod cgroup;
mod logfile;
mod logread;
mod names;
mod protocol;
mod rights;
pub mod shim;
mod start;
mod store;
mod tenancy;
mod usage;

use super::{
    Call, ContainerId, ContainerLaunch, ContainerStatus, ExecResult, LogOptions, Runtime, RuntimeError, RuntimeEvent, Started,
    Usage,
};
use crate::agent::launch::Folders;
use crate::model::{BootMoment, Exit, NodeName, RuntimeKind};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::Entry;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// Events that a slow receiver may be behind before it must list again.
const EVENTS_MAX: usize = 1024;

/// The beginning of a command's output that is kept.
const EXEC_OUTPUT_MAX: usize = 1024;

/// A killed process that has not ended after so long is in the kernel's hands.
const KILL_WAIT: Duration = Duration::from_secs(20);

/// Whose processes, and where their files go.
#[derive(Debug, Clone)]
pub struct ProcessSettings {
    /// Our cluster.
    pub cluster: String,
    /// Our node.
    pub node: NodeName,
    /// Where files go.
    pub folders: Folders,
    /// The binary that has the `shim` command: `/proc/self/exe`, or another in tests.
    pub program: PathBuf,
    /// Where processes listen.
    pub address: IpAddr,
}

/// The runtime. Clones share everything.
#[derive(Debug, Clone)]
pub struct ProcessRuntime {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: ProcessSettings,
    events: broadcast::Sender<RuntimeEvent>,
    /// Processes whose end somebody waits for.
    watched: Mutex<BTreeSet<ContainerId>>,
}

impl ProcessRuntime {
    /// A runtime; nothing is looked at before the first call.
    #[must_use]
    pub fn new(settings: ProcessSettings) -> Self {
        let (events, _) = broadcast::channel(EVENTS_MAX);
        Self { shared: Arc::new(Shared { settings, events, watched: Mutex::default() }) }
    }

    async fn entry(&self, id: &ContainerId) -> Result<Entry, RuntimeError> {
        let entries = self.entries(false).await?;
        let entry = entries.into_iter().find(|entry| entry.id().as_ref() == Some(id));
        let entry = entry.ok_or_else(|| RuntimeError::NotFound(id.clone()))?;
        if !self.is_ours(&entry) {
            let message = format!("process {id} belongs to another cluster or node");
            return Err(RuntimeError::Refused { message });
        }
        Ok(entry)
    }

    fn is_ours(&self, entry: &Entry) -> bool {
        let (labels, settings) = (&entry.record.labels, &self.shared.settings);
        labels.cluster == settings.cluster && labels.node == settings.node
    }

    async fn entries(&self, wait: bool) -> Result<Vec<Entry>, RuntimeError> {
        let folders = self.shared.settings.folders.clone();
        tokio::task::spawn_blocking(move || store::entries(&folders, wait))
            .await
            .map_err(|error| RuntimeError::Failed { action: "cannot list processes".to_owned(), message: error.to_string() })?
    }

    /// Tells the watchers when a process ends, from now on.
    fn watch_end(&self, entry: &Entry) {
        let Some(id) = entry.id() else { return };
        let mut watched = self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if !watched.insert(id.clone()) {
            return;
        }
        let (shared, entry) = (Arc::clone(&self.shared), entry.clone());
        tokio::spawn(async move {
            let exit = entry.ended().await;
            shared.watched.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            // Without a receiver nobody needs to know.
            let _ = shared.events.send(RuntimeEvent::Exited { id, exit });
        });
    }

    async fn list_ours(&self) -> Result<Vec<ContainerStatus>, RuntimeError> {
        let settings = &self.shared.settings;
        let mut found = Vec::new();
        for entry in self.entries(true).await?.into_iter().filter(|entry| self.is_ours(entry)) {
            let entry = entry.settle().await;
            if entry.is_running() {
                self.watch_end(&entry);
            }
            found.extend(entry.status(settings.address));
        }
        Ok(found)
    }

    async fn stop_gracefully(&self, id: &ContainerId, grace: Duration) -> Result<Exit, RuntimeError> {
        let entry = self.entry(id).await?;
        if let Some(exit) = entry.exit() {
            return Ok(exit);
        }
        entry.signal(rustix::process::Signal::TERM);
        match tokio::time::timeout(grace, entry.ended()).await {
            Ok(exit) => Ok(exit),
            Err(_) => kill(&entry).await,
        }
    }

    async fn renew_all(&self, leases: &BTreeMap<ContainerId, BootMoment>) -> Result<(), RuntimeError> {
        for entry in self.entries(false).await?.into_iter().filter(|entry| self.is_ours(entry)) {
            if let Some(until) = entry.id().and_then(|id| leases.get(&id)) {
                entry.renew(*until)?;
            }
        }
        Ok(())
    }

    async fn delete(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let entry = self.entry(id).await?;
        if entry.exit().is_none() {
            kill(&entry).await?;
        }
        entry.delete()
    }

    async fn run_inside(&self, id: &ContainerId, command: &[String], timeout: Duration) -> Result<ExecResult, RuntimeError> {
        let entry = self.entry(id).await?;
        let workload = entry.record.workload.filter(|_| entry.is_running()).ok_or_else(|| RuntimeError::NotFound(id.clone()))?;
        start::run_beside(workload, command, timeout, EXEC_OUTPUT_MAX).await
    }
}

/// Kills a process and waits for its end.
async fn kill(entry: &Entry) -> Result<Exit, RuntimeError> {
    entry.signal(rustix::process::Signal::KILL);
    tokio::time::timeout(KILL_WAIT, entry.ended()).await.map_err(|_| RuntimeError::Failed {
        action: format!("cannot kill process {}", entry.record.workload.map_or(0, |workload| workload.pid)),
        message: "it does not end; it may be waiting for a device".to_owned(),
    })
}

impl Runtime for ProcessRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Process
    }

    fn engine(&self) -> Option<String> {
        None
    }

    fn gateway(&self) -> Option<IpAddr> {
        None
    }

    fn list(&self) -> Call<'_, Vec<ContainerStatus>> {
        Box::pin(self.list_ours())
    }

    fn start<'a>(&'a self, launch: &'a ContainerLaunch) -> Call<'a, Started> {
        Box::pin(async move {
            let entry = start::start(&self.shared.settings, launch).await?;
            if !launch.limits.is_none() && entry.record.cgroups.is_empty() {
                tracing::warn!(
                    container = launch.labels.container_name(),
                    "no cgroup could be made: its limits are not enforced"
                );
            }
            if let Some(why) = &entry.record.names_trouble {
                tracing::warn!(
                    container = launch.labels.container_name(),
                    "it looks names up as the host does, not as the cluster does: {why}"
                );
            }
            self.watch_end(&entry);
            let id = entry.id().ok_or_else(|| RuntimeError::Failed {
                action: format!("cannot start {}", launch.labels.container_name()),
                message: "the shim named no process".to_owned(),
            })?;
            Ok(Started { id, address: Some(self.shared.settings.address), image_digest: None })
        })
    }

    fn stop<'a>(&'a self, id: &'a ContainerId, grace: Duration) -> Call<'a, Exit> {
        Box::pin(self.stop_gracefully(id, grace))
    }

    fn renew<'a>(&'a self, leases: &'a BTreeMap<ContainerId, BootMoment>) -> Call<'a, ()> {
        Box::pin(self.renew_all(leases))
    }

    fn remove<'a>(&'a self, id: &'a ContainerId) -> Call<'a, ()> {
        Box::pin(async move {
            match self.delete(id).await {
                Err(RuntimeError::NotFound(_)) => Ok(()),
                outcome => outcome,
            }
        })
    }

    fn exec<'a>(&'a self, id: &'a ContainerId, command: &'a [String], timeout: Duration) -> Call<'a, ExecResult> {
        Box::pin(self.run_inside(id, command, timeout))
    }

    fn logs<'a>(&'a self, id: &'a ContainerId, options: LogOptions) -> Call<'a, BoxStream<'static, Result<Bytes, RuntimeError>>> {
        Box::pin(async move { Ok(logread::read(self.entry(id).await?, options)) })
    }

    fn usage<'a>(&'a self, id: &'a ContainerId) -> Call<'a, Usage> {
        Box::pin(async move {
            let entry = self.entry(id).await?;
            Ok(usage::of(&entry.record))
        })
    }

    fn watch(&self) -> BoxStream<'static, RuntimeEvent> {
        let events = BroadcastStream::new(self.shared.events.subscribe());
        events.map(|event| event.unwrap_or(RuntimeEvent::Resync)).boxed()
    }
}
