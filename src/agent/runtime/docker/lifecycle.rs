//! Listing, making, starting, stopping and removing containers, and their logs and usage.

use super::engine::{ANSWER_SECONDS, Session};
use super::inspect::{Container, Row};
use super::settle::Settled;
use super::wire::{ReadError, encode};
use super::{Shared, create, labels};
use crate::agent::runtime::{
    ContainerId, ContainerLaunch, ContainerStatus, LogOptions, PullPolicy, RunState, RuntimeError, Started, Usage,
};
use crate::clock;
use crate::model::Exit;
use bollard::errors::Error as BollardError;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder,
    StartContainerOptions, StopContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use hyper::StatusCode;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Containers that are inspected at once for a list.
const READS_AT_ONCE: usize = 8;

/// How often making a container is tried while its image or its name gets in the way.
const TRIES: usize = 4;

/// How long a start waits for a removal that is under way, and has its name.
const REMOVAL_MAX: Duration = Duration::from_secs(10);

/// So many of our own removals are remembered, to tell them from others'.
const REMOVED_MAX: usize = 1024;

/// What came of asking the Engine to make a container.
enum Made {
    Container(ContainerId),
    NoImage(String),
    NameTaken,
    NoNetwork,
}

impl Shared {
    pub(super) async fn list(&self) -> Result<Vec<ContainerStatus>, RuntimeError> {
        let session = self.engine.session().await?;
        let held = self.guard.ids();
        let filters = serde_json::json!({ "label": self.own_labels() }).to_string();
        let path = format!("/containers/json?all=true&filters={}", encode(&filters));
        let rows: Vec<Row> = session.get(&path).await.map_err(|error| self.engine.read_failed("listing containers", error))?;
        let statuses = stream::iter(rows).map(|row| self.row_status(&session, row)).buffer_unordered(READS_AT_ONCE);
        let statuses: Vec<Option<ContainerStatus>> = statuses.try_collect().await?;
        let mut statuses: Vec<ContainerStatus> = statuses.into_iter().flatten().collect();
        self.compare_with_guard(&mut statuses, held);
        Ok(statuses)
    }

    /// The labels that all our containers have, as filters.
    pub(super) fn own_labels(&self) -> [String; 2] {
        [format!("{}={}", labels::CLUSTER, self.settings.cluster), format!("{}={}", labels::NODE, self.settings.node)]
    }

    /// `None` for a container that was removed since it was listed, or that has only some of our labels.
    async fn row_status(&self, session: &Arc<Session>, row: Row) -> Result<Option<ContainerStatus>, RuntimeError> {
        let Some(container) = self.find(session, &row.id).await? else { return Ok(None) };
        let digest = self.image_digest(session, &container).await;
        match container.status(digest, clock::now()) {
            Ok(status) => Ok(Some(status)),
            Err(label) => {
                tracing::warn!("the container {} is left alone: its label {label} is missing or unreadable", row.id);
                Ok(None)
            }
        }
    }

    /// One container by id or name.
    async fn find(&self, session: &Session, id: &str) -> Result<Option<Container>, RuntimeError> {
        match session.get(&format!("/containers/{}/json", encode(id))).await {
            Ok(container) => Ok(Some(container)),
            Err(ReadError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(self.engine.read_failed(&format!("inspecting container {id}"), error)),
        }
    }

    /// One of our containers. Every call that stops, removes or renames goes through here first.
    pub(super) async fn find_ours(&self, session: &Session, id: &ContainerId) -> Result<Container, RuntimeError> {
        let container = self.find(session, &id.0).await?.ok_or_else(|| RuntimeError::NotFound(id.clone()))?;
        if labels::are_ours(&container.labels(), &self.settings.cluster, &self.settings.node) {
            return Ok(container);
        }
        let (cluster, node) = (&self.settings.cluster, &self.settings.node);
        Err(RuntimeError::Refused {
            message: format!("container {id} is not of cluster {cluster}, node {node}; it is left alone"),
        })
    }

    pub(super) async fn start(&self, launch: &ContainerLaunch) -> Result<Started, RuntimeError> {
        if launch.pull == PullPolicy::Always {
            self.pull(launch).await?;
        }
        let needs_network = launch.sandbox.is_none() && !launch.network.host;
        if needs_network {
            self.engine.session_with_network().await?;
        }
        let settled = self.settle(launch).await?;
        let id = self.made(launch, &settled).await?;
        self.put_under_guard(launch, &id).await?;
        let mut session = self.engine.session().await?;
        if let Some(init) = &settled.init {
            self.give_secrets(&session, &id, launch, init).await;
        }
        let mut started = self.start_made(&session, &id).await;
        if started.as_ref().is_err_and(is_missing_network) {
            // It was removed behind our back: connecting anew makes it again.
            self.engine.forget();
            session = self.engine.session().await?;
            started = self.start_made(&session, &id).await;
        }
        if let Err(error) = started {
            self.clear_failed_start(&session, &id).await;
            return Err(self.engine.failed(&format!("starting {}", launch.labels.container_name()), &error));
        }
        let container = self.find(&session, &id.0).await?.ok_or_else(|| RuntimeError::NotFound(id.clone()))?;
        if let Err(error) = self.check_guarded(launch, &container) {
            self.remove(&id).await?;
            return Err(error);
        }
        let image_digest = self.image_digest(&session, &container).await;
        Ok(Started { id, address: container.address(), image_digest })
    }

    async fn start_made(&self, session: &Session, id: &ContainerId) -> Result<(), BollardError> {
        let _permit = self.permit().await;
        session.client.start_container(&id.0, None::<StartContainerOptions>).await
    }

    async fn permit(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        // It is never closed.
        self.starts.acquire().await.ok()
    }

    /// The container of this launch: a new one, or the one that is there already.
    async fn made(&self, launch: &ContainerLaunch, settled: &Settled) -> Result<ContainerId, RuntimeError> {
        for _ in 0..TRIES {
            let session = self.engine.session().await?;
            match self.make(&session, launch, settled).await? {
                Made::Container(id) => return Ok(id),
                Made::NoImage(message) => self.fetch_missing(launch, message).await?,
                Made::NameTaken => {
                    if let Some(id) = self.occupant(&session, launch).await? {
                        return Ok(id);
                    }
                }
                // Connecting anew makes it again.
                Made::NoNetwork => self.engine.forget(),
            }
        }
        let name = launch.labels.container_name();
        Err(RuntimeError::Failed { action: format!("making {name}"), message: format!("no success in {TRIES} tries") })
    }

    async fn make(&self, session: &Session, launch: &ContainerLaunch, settled: &Settled) -> Result<Made, RuntimeError> {
        let name = launch.labels.container_name();
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let body = create::body(launch, settled)?;
        let made = {
            let _permit = self.permit().await;
            session.client.create_container(Some(options), body).await
        };
        match made {
            Ok(container) => Ok(Made::Container(ContainerId(container.id))),
            Err(BollardError::DockerResponseServerError { status_code: 404, message }) if message.contains("o such image") => {
                Ok(Made::NoImage(message))
            }
            Err(error) if is_missing_network(&error) => Ok(Made::NoNetwork),
            // Podman says it with status 500.
            Err(BollardError::DockerResponseServerError { status_code: 409 | 500, message })
                if message.contains("name") && message.contains("already in use") =>
            {
                Ok(Made::NameTaken)
            }
            Err(error) => Err(self.engine.failed(&format!("making {name}"), &error)),
        }
    }

    /// Who has the name of this launch. `Some` if it is the very container; `None` if the name is free now, because what had it
    /// was an ended predecessor (kept for its log) and has stepped aside.
    async fn occupant(&self, session: &Session, launch: &ContainerLaunch) -> Result<Option<ContainerId>, RuntimeError> {
        let name = launch.labels.container_name();
        let Some(container) = self.find(session, &name).await? else { return Ok(None) };
        let id = ContainerId(container.id.clone());
        let written = container.labels();
        let read = labels::read(&written).ok().map(|(labels, _)| labels);
        let ours = labels::are_ours(&written, &self.settings.cluster, &self.settings.node);
        let (Some(other), true) = (read, ours) else {
            let message = format!(
                "the name {name} is taken by container {id}, which is not ours; rename it (`docker rename`) or remove it, or choose \
                 another name for the pod"
            );
            return Err(RuntimeError::Refused { message });
        };
        if container.state.run_state() == RunState::Dead {
            return self.finish_removal(session, &id).await.map(|()| None);
        }
        if (other.uid, other.attempt) == (launch.labels.uid, launch.labels.attempt) {
            return Ok(Some(id));
        }
        if container.state.run_state() == RunState::Running {
            let message = format!("the name {name} is taken by attempt {} of pod {}, which still runs", other.attempt, other.uid);
            return Err(RuntimeError::Refused { message });
        }
        let uid = other.uid.to_string();
        let aside = format!("{name}.{}-{}", other.attempt, uid.get(..8).unwrap_or(&uid));
        let options = RenameContainerOptionsBuilder::new().name(&aside).build();
        let renamed = session.client.rename_container(&id.0, options).await;
        renamed.map(|()| None).map_err(|error| self.engine.failed(&format!("renaming {name}"), &error))
    }

    /// Sees the removal of a container through that was begun by whomever. It must not be renamed meanwhile: for that the Engine writes a file
    /// into the very folder that it is deleting, and the removal fails.
    async fn finish_removal(&self, session: &Session, id: &ContainerId) -> Result<(), RuntimeError> {
        self.delete(session, id).await?;
        let removed = WaitContainerOptionsBuilder::new().condition("removed").build();
        let mut waiting = std::pin::pin!(session.client.wait_container(&id.0, Some(removed)));
        match tokio::time::timeout(REMOVAL_MAX, waiting.next()).await {
            // It is gone, or the next look says what it is.
            Ok(_) => Ok(()),
            Err(_) => Err(RuntimeError::Failed {
                action: format!("waiting for the removal of container {id}"),
                message: format!("it has not ended within {} s", REMOVAL_MAX.as_secs()),
            }),
        }
    }

    /// Takes away a container that could not be started, so that the next try makes it anew; one that ran before keeps its log.
    async fn clear_failed_start(&self, session: &Arc<Session>, id: &ContainerId) {
        let never_ran =
            matches!(self.find_ours(session, id).await, Ok(container) if container.state.run_state() == RunState::Created);
        if never_ran && let Err(error) = self.remove(id).await {
            // It stays as "created", and the next start finishes it or fails in the same way.
            tracing::debug!("a container that did not start could not be removed: {error}");
        }
    }

    pub(super) async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<Exit, RuntimeError> {
        let session = self.engine.session().await?;
        let container = self.find_ours(&session, id).await?;
        if container.state.run_state() != RunState::Running {
            return Ok(self.guard.told(&id.0, container.state.exit()));
        }
        // The Engine counts in whole seconds; less than what was granted is never given.
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let options = StopContainerOptionsBuilder::new().t(i32::try_from(seconds).unwrap_or(i32::MAX)).build();
        // The Engine answers when the container has ended.
        let client = session.client.clone().with_timeout(Duration::from_secs(seconds.saturating_add(ANSWER_SECONDS)));
        client.stop_container(&id.0, Some(options)).await.map_err(|error| self.of_container(id, "stopping", &error))?;
        Ok(self.guard.told(&id.0, self.find_ours(&session, id).await?.state.exit()))
    }

    pub(super) async fn remove(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let session = self.engine.session().await?;
        match self.find_ours(&session, id).await {
            Ok(_) => {}
            Err(RuntimeError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.note_removed(&id.0);
        self.delete(&session, id).await
    }

    /// Deletes one of ours, or leaves that to whoever is at it.
    async fn delete(&self, session: &Session, id: &ContainerId) -> Result<(), RuntimeError> {
        // Anonymous volumes that the image declares go with it.
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match session.client.remove_container(&id.0, Some(options)).await {
            Ok(()) | Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            // "removal of container … is already in progress"
            Err(BollardError::DockerResponseServerError { status_code: 409, message }) if message.contains("in progress") => {
                Ok(())
            }
            Err(error) => Err(self.of_container(id, "removing", &error)),
        }
    }

    fn note_removed(&self, id: &str) {
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        removed.push_back(id.to_owned());
        if removed.len() > REMOVED_MAX {
            removed.pop_front();
        }
    }

    /// Whether it was us who removed the container.
    pub(super) fn has_removed(&self, id: &str) -> bool {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|removed| removed == id)
    }

    /// How an ended container ended, if it is still there.
    pub(super) async fn exit_of(&self, id: &str) -> Option<Exit> {
        let session = self.engine.session().await.ok()?;
        let container = self.find(&session, id).await.ok()??;
        match container.state.run_state() {
            RunState::Exited(exit) => Some(self.guard.told(id, exit)),
            RunState::Dead => Some(self.guard.told(id, container.state.exit())),
            RunState::Created | RunState::Running => None,
        }
    }

    /// Sorts an error of a call about one container.
    pub(super) fn of_container(&self, id: &ContainerId, doing: &str, error: &BollardError) -> RuntimeError {
        if let BollardError::DockerResponseServerError { status_code: 404, .. } = error {
            return RuntimeError::NotFound(id.clone());
        }
        self.engine.failed(&format!("{doing} container {id}"), error)
    }

    pub(super) async fn logs(
        &self,
        id: &ContainerId,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<Bytes, RuntimeError>>, RuntimeError> {
        let session = self.engine.session().await?;
        self.find_ours(&session, id).await?;
        let tail = options.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
        // The Engine counts in seconds, and 0 is no limit.
        let since = options.since.map_or(0, |since| i32::try_from(since.0 / 1000).unwrap_or(i32::MAX));
        let wanted = LogsOptionsBuilder::new().stdout(true).stderr(true).follow(options.follow).tail(&tail);
        let options = wanted.since(since).timestamps(options.timestamps).build();
        let id = id.clone();
        let chunks = session.client.logs(&id.0, Some(options)).map(move |chunk| {
            chunk.map(bollard::container::LogOutput::into_bytes).map_err(|error| RuntimeError::Failed {
                action: format!("reading the log of container {id}"),
                message: error.to_string(),
            })
        });
        Ok(chunks.boxed())
    }

    pub(super) async fn usage(&self, id: &ContainerId) -> Result<Usage, RuntimeError> {
        let session = self.engine.session().await?;
        // `one-shot` spares the second sample that the Engine would wait a second for.
        let path = format!("/containers/{}/stats?stream=false&one-shot=true", encode(&id.0));
        match session.get::<Stats>(&path).await {
            Ok(stats) => Ok(stats.usage()),
            Err(ReadError::Refused { status: StatusCode::NOT_FOUND, .. }) => Err(RuntimeError::NotFound(id.clone())),
            Err(error) => Err(self.engine.read_failed(&format!("reading the usage of container {id}"), error)),
        }
    }
}

/// Our network is gone. Engines say so when a container is made or when it is started; Podman in other words.
fn is_missing_network(error: &BollardError) -> bool {
    let says_so = |status: u16, message: &str| {
        (status == 404 && message.starts_with("network ")) || message.contains("unable to find network")
    };
    matches!(error, BollardError::DockerResponseServerError { status_code, message } if says_so(*status_code, message))
}

/// `GET /containers/ID/stats`, as far as we read it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stats {
    cpu_stats: CpuStats,
    memory_stats: MemoryStats,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CpuStats {
    cpu_usage: CpuUsage,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CpuUsage {
    /// Nanoseconds.
    total_usage: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MemoryStats {
    usage: u64,
    stats: BTreeMap<String, u64>,
}

impl Stats {
    fn usage(&self) -> Usage {
        // The page cache that can be dropped at once does not count, as in the kubelet's working set (cgroup v1 and v2 names).
        let memory = &self.memory_stats;
        let cache = ["total_inactive_file", "inactive_file"].iter().find_map(|name| memory.stats.get(*name)).copied();
        Usage { cpu_nanos: self.cpu_stats.cpu_usage.total_usage, memory_bytes: memory.usage.saturating_sub(cache.unwrap_or(0)) }
    }
}
