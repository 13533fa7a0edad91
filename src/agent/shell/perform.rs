//! Performs effects: each that takes time is a task whose outcome comes back as an event.

use super::secret_files::SecretFiles;
use super::{ShellError, hook, host, ledger_file, logs, net_problems, probe, volumes};
use crate::agent::core::{ContainerKey, Effect, Event, Ledger};
use crate::agent::launch::Folders;
use crate::agent::net::dns::{Names, NamesSettings};
use crate::agent::net::ingress::{Ingress, IngressSettings};
use crate::agent::net::tunnel::{CallId, Tunnel};
use crate::agent::net::{Proxy, Setup};
use crate::agent::runtime::{ContainerId, ContainerLaunch, Runtime, RuntimeError, Started, Usage, VolumeContents};
use crate::clock;
use crate::model::{BootMoment, Moment, NodeName, ObjectKey, PodUid, RuntimeKind};
use crate::wire::{FromAgent, LogRequest};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// A runtime that has not listed after so long is out of reach.
const LIST_MAX: Duration = Duration::from_secs(20);

/// How long connections that are open at the end, through Services and from other nodes, may take to end.
const DRAIN: Duration = Duration::from_secs(5);

type Runtimes = BTreeMap<RuntimeKind, Arc<dyn Runtime>>;

pub(super) struct Performer {
    runtimes: Runtimes,
    folders: Folders,
    /// The ledger's.
    files: Arc<SecretFiles>,
    proxy: Proxy,
    /// The way to other nodes, if there can be any.
    tunnel: Option<Tunnel>,
    /// Absent where nobody may answer names.
    names: Option<Names>,
    ingress: Option<Ingress>,
    events: mpsc::UnboundedSender<Event>,
    /// To the wire, for logs, which wait for their reader.
    outgoing: mpsc::Sender<FromAgent>,
    /// To the wire, for reports and heartbeats, which never wait here.
    urgent: mpsc::UnboundedSender<FromAgent>,
    alarm: Option<Moment>,
    reading: BTreeMap<u64, AbortHandle>,
}

impl Performer {
    pub(super) fn new(
        runtimes: Runtimes,
        (files, names): (Arc<SecretFiles>, Option<NamesSettings>),
        (setup, tunnel): (Setup, Option<Tunnel>),
        events: mpsc::UnboundedSender<Event>,
        outgoing: mpsc::Sender<FromAgent>,
        ingress: Option<IngressSettings>,
    ) -> Result<Self, ShellError> {
        let (urgent, mut waiting) = mpsc::unbounded_channel();
        let to_wire = outgoing.clone();
        tokio::spawn(async move {
            while let Some(message) = waiting.recv().await {
                if to_wire.send(message).await.is_err() {
                    break;
                }
            }
        });
        let proxy = Proxy::new(setup);
        net_problems::tell(proxy.problems(), tunnel.clone(), events.clone());
        let names = names.map(Names::new);
        if let Some(names) = &names {
            net_problems::tell_names(names.problems(), events.clone());
            names.open(None);
        }
        let start = |settings| Ingress::start(settings, proxy.clone()).map_err(ShellError::Ingress);
        let ingress = ingress.map(start).transpose()?;
        let (alarm, reading, folders) = (None, BTreeMap::new(), files.folders().clone());
        Ok(Self { runtimes, folders, files, proxy, tunnel, names, ingress, events, outgoing, urgent, alarm, reading })
    }

    pub(super) fn alarm(&self) -> Option<Moment> {
        self.alarm
    }

    pub(super) fn alarm_rang(&mut self) {
        self.alarm = None;
    }

    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::WakeAt(at) => self.alarm = Some(at),
            // The wire is gone only at the end.
            Effect::Report(report) => drop(self.urgent.send(FromAgent::Report(report))),
            Effect::Beat => drop(self.urgent.send(FromAgent::Heartbeat { sent: clock::boot() })),
            Effect::Renew(leases) => self.renew(leases),
            Effect::Endpoints { set, extra } => {
                // Other nodes come after we have acknowledged, so the door is open before.
                if let Some(tunnel) = &self.tunnel {
                    tunnel.apply_endpoints(&set);
                }
                // Before it is acknowledged: from then on nobody is told of a pod that has left.
                if let Some(names) = &self.names {
                    names.take_set(&set);
                }
                let version = self.proxy.apply(&set, &extra);
                if let Some(ingress) = &self.ingress {
                    ingress.follow(&set);
                }
                self.tell(Event::EndpointsInUse { service: set.service.clone(), version });
            }
            Effect::Network(network) => {
                self.proxy.find_keeper();
                if let Some(tunnel) = &self.tunnel {
                    tunnel.apply_network(&network);
                }
                if let Some(names) = &self.names {
                    names.take_network(&network);
                }
                for (kind, runtime) in &self.runtimes {
                    runtime.use_range(network.pods);
                    // So that the address of the host on it is known.
                    self.list(*kind);
                }
            }
            Effect::Intercept(interception) => self.proxy.intercept(interception),
            Effect::AnswerAt(gateway) => {
                if let Some(names) = &self.names {
                    names.open(Some(gateway));
                }
            }
            Effect::Ingress(table) => {
                if let Some(ingress) = &self.ingress {
                    ingress.apply(&table);
                }
            }
            Effect::SaveLedger(ledger) => self.save(*ledger),
            Effect::Rewrite { key, volumes } => self.rewrite(key, volumes),
            Effect::Forget(pod) => self.forget(pod),
            Effect::Erase(volume) => self.erase(volume),
            Effect::List(kind) => self.list(kind),
            Effect::Start(launch) => self.start(launch),
            Effect::Stop { runtime, key, id, grace } => self.stop(runtime, key, id, grace),
            Effect::Remove { runtime, key, id } => self.remove(runtime, key, id),
            Effect::Probe(request) => {
                let runtime = self.runtimes.get(&request.runtime).cloned();
                self.spawn(async move {
                    let outcome = probe::probe(runtime.as_deref(), &request).await;
                    Event::Probed { key: request.key, kind: request.kind, outcome }
                });
            }
            Effect::Hook(request) => {
                let runtime = self.runtimes.get(&request.runtime).cloned();
                self.spawn(async move {
                    let outcome = hook::run(runtime.as_deref(), &request).await;
                    Event::Hooked { key: request.key, kind: request.kind, outcome }
                });
            }
            Effect::Sample(wanted) => self.sample(wanted),
            // Two small files of the kernel's, read from memory.
            Effect::SampleHost => host::usage().into_iter().for_each(|usage| self.tell(Event::HostSampled(usage))),
        }
    }

    /// Leaves the Services and Ingress to the next agent, and takes no more streams of other nodes.
    pub(super) async fn leave(self) {
        let requests = async {
            if let Some(ingress) = self.ingress {
                ingress.finish(DRAIN).await;
            }
        };
        let others = async {
            if let Some(tunnel) = &self.tunnel {
                tunnel.leave(DRAIN).await;
            }
        };
        tokio::join!(requests, self.proxy.leave(DRAIN), others);
    }

    /// Another node cannot dial this one.
    pub(super) fn called(&self, by: &NodeName, call: u64) {
        if let Some(tunnel) = &self.tunnel {
            tunnel.called(by, CallId(call));
        }
    }

    fn tell(&self, event: Event) {
        // The shell is gone only at the end.
        let _ = self.events.send(event);
    }

    /// Runs work beside the loop; its event comes back.
    fn spawn(&self, work: impl Future<Output = Event> + Send + 'static) {
        let events = self.events.clone();
        tokio::spawn(async move {
            let event = work.await;
            let _ = events.send(event);
        });
    }

    fn runtime(&self, kind: RuntimeKind) -> Result<Arc<dyn Runtime>, RuntimeError> {
        let absent = || RuntimeError::Unavailable { runtime: kind, message: "this node does not offer it".to_owned() };
        self.runtimes.get(&kind).cloned().ok_or_else(absent)
    }

    fn list(&self, kind: RuntimeKind) {
        let runtime = self.runtime(kind);
        self.spawn(async move {
            let asked = clock::now();
            let lost = |message: String| Event::RuntimeLost { runtime: kind, message };
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return lost(error.to_string()),
            };
            match tokio::time::timeout(LIST_MAX, runtime.list()).await {
                Ok(Ok(containers)) => Event::Found { runtime: kind, asked, containers, gateway: runtime.gateway() },
                Ok(Err(RuntimeError::Unavailable { message, .. })) => lost(message),
                Ok(Err(error)) => lost(error.to_string()),
                Err(_) => lost(format!("it has not listed its containers within {} s", LIST_MAX.as_secs())),
            }
        });
    }

    fn start(&self, launch: Box<ContainerLaunch>) {
        let runtime = self.runtime(launch.runtime);
        self.spawn(async move {
            let key = ContainerKey::from(&launch.labels);
            Event::Started { key, outcome: start(runtime, *launch).await }
        });
    }

    fn stop(&self, kind: RuntimeKind, key: ContainerKey, id: ContainerId, grace: Duration) {
        let runtime = self.runtime(kind);
        self.spawn(async move {
            let outcome = match runtime {
                Ok(runtime) => runtime.stop(&id, grace).await,
                Err(error) => Err(error),
            };
            Event::Stopped { key, outcome }
        });
    }

    /// Passes renewals on, to one runtime after the other. A renewal that fails is followed by the next.
    fn renew(&self, leases: BTreeMap<(RuntimeKind, ContainerId), BootMoment>) {
        for (kind, runtime) in &self.runtimes {
            let own = leases.iter().filter(|((of, _), _)| of == kind).map(|((_, id), until)| (id.clone(), *until));
            let (own, runtime): (BTreeMap<_, _>, _) = (own.collect(), Arc::clone(runtime));
            if own.is_empty() {
                continue;
            }
            tokio::spawn(async move {
                if let Err(error) = runtime.renew(&own).await {
                    tracing::warn!(%error, "leases could not be renewed; their pods stop when they run out");
                }
            });
        }
    }

    fn remove(&self, kind: RuntimeKind, key: ContainerKey, id: ContainerId) {
        let runtime = self.runtime(kind);
        self.spawn(async move {
            let outcome = match runtime {
                Ok(runtime) => runtime.remove(&id).await,
                Err(error) => Err(error),
            };
            Event::Removed { key, outcome }
        });
    }

    fn sample(&self, wanted: Vec<(RuntimeKind, ContainerKey, ContainerId)>) {
        let runtimes = self.runtimes.clone();
        self.spawn(async move {
            let ask = async |(kind, key, id): (RuntimeKind, ContainerKey, ContainerId)| -> Option<(ContainerKey, Usage)> {
                Some((key, runtimes.get(&kind)?.usage(&id).await.ok()?))
            };
            Event::Sampled(join_all(wanted.into_iter().map(ask)).await.into_iter().flatten().collect())
        });
    }

    fn save(&self, ledger: Ledger) {
        let files = Arc::clone(&self.files);
        self.spawn(async move {
            let written = tokio::task::spawn_blocking(move || ledger_file::save(&files, &ledger)).await;
            Event::LedgerSaved(written.unwrap_or_else(|error| Err(error.to_string())))
        });
    }

    fn rewrite(&self, key: ContainerKey, contents: Vec<VolumeContents>) {
        self.spawn(async move {
            let written = tokio::task::spawn_blocking(move || volumes::rewrite(&contents)).await;
            let outcome = match written {
                Ok(outcome) => outcome.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            Event::Rewritten { key, outcome }
        });
    }

    fn forget(&self, pod: PodUid) {
        let folders = [self.folders.pod_run(pod), self.folders.pod_state(pod)];
        tokio::task::spawn_blocking(move || {
            if let Err(error) = volumes::release(&folders[0]) {
                tracing::warn!(folder = %folders[0].display(), %error, "a volume of a pod that is gone could not be unmounted");
            }
            for folder in folders {
                match fs::remove_dir_all(&folder) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        tracing::warn!(folder = %folder.display(), %error, "the folder of a pod that is gone could not be deleted");
                    }
                    Ok(()) | Err(_) => {}
                }
            }
        });
    }

    fn erase(&self, volume: ObjectKey) {
        let folders = self.folders.clone();
        self.spawn(async move {
            let doomed = volume.clone();
            let deleted = tokio::task::spawn_blocking(move || volumes::erase(&folders, &doomed)).await;
            Event::Erased { volume, outcome: deleted.unwrap_or_else(|error| Err(error.to_string())) }
        });
    }

    /// Starts to send a log.
    pub(super) fn send_logs(&mut self, request: &LogRequest, of: Option<(RuntimeKind, ContainerId)>) {
        self.reading.retain(|_, task| !task.is_finished());
        let found = of.and_then(|(kind, id)| Some((self.runtimes.get(&kind).cloned()?, id)));
        let task = tokio::spawn(logs::send(request.clone(), found, self.outgoing.clone()));
        self.reading.insert(request.id, task.abort_handle());
    }

    pub(super) fn cancel_logs(&mut self, id: u64) {
        if let Some(task) = self.reading.remove(&id) {
            task.abort();
        }
    }
}

async fn start(runtime: Result<Arc<dyn Runtime>, RuntimeError>, mut launch: ContainerLaunch) -> Result<Started, RuntimeError> {
    let runtime = runtime?;
    let prepared = tokio::task::spawn_blocking(move || volumes::prepare(&mut launch).map(|()| launch)).await;
    let lost = |error: tokio::task::JoinError| RuntimeError::Failed {
        action: "cannot write volumes".to_owned(),
        message: error.to_string(),
    };
    runtime.start(&prepared.map_err(lost)??).await
}
