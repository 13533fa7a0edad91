//! The agent's state, and the one door to it.

use super::event::{Effect, Event, NodeTrouble};
use super::ledger::{Ledger, PodRecord, ServiceRecord, WithoutSecrets};
use super::pod::Pod;
use super::ports::Ports;
use super::proxied::Proxied;
use crate::agent::launch::Folders;
use crate::agent::net::dns::NamesSettings;
use crate::agent::runtime::{ContainerId, Usage};
use crate::model::{
    Epoch, Exit, Generation, Hello, HostUsage, IngressTable, Moment, NetworkEcho, NodeConditions, NodeFacts, NodeName,
    NodeNetwork, ObjectKey, PodEvent, PodSnapshot, PodUid, PodUsage, RuntimeKind, ServiceProblem, StopOrder, TemplateHash,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// What the agent is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cluster.
    pub cluster: String,
    /// The host, its name and its runtimes.
    pub facts: NodeFacts,
    /// Where files of pods go.
    pub folders: Folders,
    /// Where host processes listen.
    pub host_address: IpAddr,
    /// Ports to give out: outside of the range that the kernel gives to clients.
    pub ports: RangeInclusive<u16>,
    /// How often cpu and memory are sampled; `None` for never.
    pub sample_every: Option<Duration>,
    /// How often a runtime is listed, in case that its events were lost.
    pub list_every: Duration,
    /// How the names of the cluster are answered here; `None` if they are not.
    pub names: Option<NamesSettings>,
}

/// Reports are this far apart, so that a burst of changes travels as one.
pub(super) const REPORT_PAUSE: Duration = Duration::from_millis(50);

/// A disk that takes longer than this to write the ledger holds up no report.
pub(super) const SAVE_PATIENCE: Duration = Duration::from_secs(5);

/// A call to a runtime that failed for other reasons than the container's is repeated after this.
pub(super) const RETRY: Duration = Duration::from_secs(2);

/// One runtime as the core knows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    /// Whether it was listed since the agent started.
    pub(super) listed: bool,
    /// Whether it answered at all.
    pub(super) answered: bool,
    /// Why it is out of reach; `None` if it is not.
    pub(super) lost: Option<String>,
    pub(super) gateway: Option<IpAddr>,
    pub(super) list_at: Moment,
}

/// A save of the ledger that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Save {
    /// The assignment that the ledger has.
    pub(super) assignment: (Epoch, Generation),
    /// Since when.
    pub(super) begun: Moment,
}

/// The pure core of the agent.
#[derive(Debug, Clone)]
pub struct Agent {
    pub(super) settings: Settings,
    pub(super) assignment: (Epoch, Generation),
    pub(super) pods: BTreeMap<PodUid, Pod>,
    pub(super) templates: BTreeMap<TemplateHash, Arc<PodSnapshot>>,
    pub(super) lost_secrets: BTreeMap<TemplateHash, WithoutSecrets>,
    pub(super) services: BTreeMap<ObjectKey, ServiceRecord>,
    /// What the proxy may follow.
    pub(super) proxied: BTreeMap<ObjectKey, Proxied>,
    pub(super) service_problems: Vec<ServiceProblem>,
    /// What is wrong with the host as a whole, by reason.
    pub(super) node_problems: BTreeMap<NodeTrouble, Vec<String>>,
    /// The network as it was last told.
    pub(super) network: Option<Arc<NodeNetwork>>,
    /// The state of the host, as it is told, and where that comes from.
    pub(super) conditions: NodeConditions,
    pub(super) full_disk: Option<String>,
    pub(super) unsaved: Option<String>,
    /// By how much the boot clock is ahead of the time that we are given.
    pub(super) boot_ahead_ms: i64,
    /// Until when the host said that it may be away.
    pub(super) away_until: Option<Moment>,
    /// Where the kernel turns what goes to addresses of the cluster.
    pub(super) proxy_port: Option<u16>,
    /// What to serve to clients outside of the cluster.
    pub(super) ingress: Option<Arc<IngressTable>>,
    /// The same as it was before its keys could not be read.
    pub(super) lost_ingress: Option<Arc<IngressTable>>,
    /// The volume claims whose data is here.
    pub(super) volumes: BTreeSet<ObjectKey>,
    /// Those that are ordered to be deleted, and when to try.
    pub(super) erase: BTreeMap<ObjectKey, Moment>,
    /// Those that are being deleted: nothing stops that, and no pod starts with them until it is done.
    pub(super) erasing: BTreeSet<ObjectKey>,
    pub(super) hosts: BTreeMap<RuntimeKind, Host>,
    pub(super) intact: bool,
    /// Pods that only a ledger names which is not intact, until their runtime was listed.
    pub(super) doubted: BTreeSet<PodUid>,
    /// Pods that are gone, and since when, until the controller has dropped them.
    pub(super) gone: BTreeMap<PodUid, Moment>,
    /// Orders to stop pods that may yet be found in a runtime that was not listed.
    pub(super) unseen: BTreeMap<PodUid, StopOrder>,
    /// Pods to look at in this call.
    pub(super) dirty: BTreeSet<PodUid>,
    pub(super) timers: BTreeMap<PodUid, Moment>,
    /// Ends that were heard of before the start that they belong to.
    pub(super) early: BTreeMap<ContainerId, Exit>,
    pub(super) foreign_ports: Ports,
    pub(super) samples: BTreeMap<super::ContainerKey, (Moment, Usage)>,
    pub(super) host_sample: Option<(Moment, Usage)>,
    pub(super) sample_at: Moment,
    pub(super) connected: bool,
    pub(super) outbox: Outbox,
    pub(super) ledger_dirty: bool,
    /// The save that is under way.
    pub(super) saving: Option<Save>,
    pub(super) save_at: Moment,
    /// The newest assignment that is in a ledger on disk, or would be if the disk took it.
    pub(super) recorded: (Epoch, Generation),
    pub(super) alarm: Option<Moment>,
    pub(super) effects: Vec<Effect>,
}

/// What the next report will say.
#[derive(Debug, Clone, Default)]
pub(super) struct Outbox {
    pub(super) pods: BTreeSet<PodUid>,
    pub(super) gone: BTreeSet<PodUid>,
    pub(super) endpoints: BTreeMap<ObjectKey, u64>,
    pub(super) events: Vec<PodEvent>,
    pub(super) usage: BTreeMap<PodUid, PodUsage>,
    pub(super) host: Option<HostUsage>,
    pub(super) acknowledge: bool,
    pub(super) service_problems: bool,
    pub(super) node_problems: bool,
    pub(super) volumes: bool,
    pub(super) conditions: bool,
    pub(super) away: bool,
    pub(super) not_before: Moment,
}

impl Agent {
    /// An agent that has just started. The first event is [`Event::Wake`].
    #[must_use]
    pub fn new(settings: Settings, ledger: Ledger, now: Moment) -> Self {
        let hosts = settings.facts.runtimes.iter().map(|kind| (*kind, Host { list_at: now, ..Host::default() })).collect();
        let pods: BTreeMap<PodUid, Pod> = ledger.pods.iter().map(|(uid, record)| (*uid, Pod::from_record(record, now))).collect();
        let sample_at = now + settings.sample_every.unwrap_or_default();
        let serves_ingress = settings.facts.ingress;
        let mut agent = Self {
            settings,
            assignment: ledger.assignment,
            dirty: pods.keys().copied().collect(),
            doubted: if ledger.intact { BTreeSet::new() } else { pods.keys().copied().collect() },
            pods,
            templates: ledger.templates,
            lost_secrets: ledger.lost_secrets,
            proxied: ledger.services.iter().map(|(key, record)| (key.clone(), Proxied::begun(&record.set))).collect(),
            services: ledger.services,
            service_problems: Vec::new(),
            node_problems: BTreeMap::new(),
            network: ledger.network,
            conditions: NodeConditions::default(),
            full_disk: None,
            unsaved: None,
            boot_ahead_ms: 0,
            away_until: None,
            proxy_port: ledger.proxy_port,
            ingress: ledger.ingress.filter(|_| serves_ingress),
            lost_ingress: ledger.lost_ingress.filter(|_| serves_ingress),
            volumes: ledger.volumes,
            erase: BTreeMap::new(),
            erasing: BTreeSet::new(),
            hosts,
            intact: ledger.intact,
            gone: BTreeMap::new(),
            unseen: BTreeMap::new(),
            timers: BTreeMap::new(),
            early: BTreeMap::new(),
            foreign_ports: Ports::default(),
            samples: BTreeMap::new(),
            host_sample: None,
            sample_at,
            connected: false,
            outbox: Outbox::default(),
            ledger_dirty: false,
            saving: None,
            save_at: now,
            recorded: ledger.assignment,
            alarm: None,
            effects: Vec::new(),
        };
        agent.effects.extend(agent.network.clone().map(Effect::Network));
        for service in agent.services.keys().cloned().collect::<Vec<_>>() {
            agent.publish(&service);
        }
        // After the Services: connections that waited for this agent come in at once, and must find where they lead.
        agent.intercept();
        agent.effects.extend(agent.ingress.clone().map(Effect::Ingress));
        agent
    }

    /// Takes one event in and says what to do about it.
    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        self.take_in(event, now);
        self.list_hosts(now);
        let due: Vec<PodUid> = self.timers.iter().filter(|(_, at)| **at <= now).map(|(uid, _)| *uid).collect();
        self.dirty.extend(due);
        while let Some(uid) = self.dirty.pop_first() {
            self.step(uid, now);
        }
        self.erase_volumes(now);
        self.sample(now);
        self.flush(now);
        std::mem::take(&mut self.effects)
    }

    fn take_in(&mut self, event: Event, now: Moment) {
        match event {
            Event::Connected => self.connect(),
            Event::Disconnected => self.connected = false,
            Event::Assigned(assignment) => self.assign(*assignment, now),
            Event::Endpoints(set) => self.take_endpoints(Arc::from(set)),
            Event::Network(network) => self.take_network(network),
            Event::Ingress(table) => self.take_ingress(table),
            Event::EndpointsInUse { service, version } => self.endpoints_in_use(service, version),
            Event::ServiceProblems(problems) => self.take_service_problems(problems),
            Event::NodeProblems { reason, messages } => self.take_node_problems(reason, messages),
            Event::Found { runtime, asked, containers, gateway } => self.found(runtime, asked, containers, gateway, now),
            Event::RuntimeLost { runtime, message } => self.lost(runtime, message, now),
            Event::Started { key, outcome } => self.started(&key, outcome, now),
            Event::Stopped { key, outcome } => self.stopped(&key, outcome, now),
            Event::Removed { key, outcome } => self.removed(&key, &outcome, now),
            Event::Runtime { runtime, event } => self.noticed(runtime, event, now),
            Event::Probed { key, kind, outcome } => self.probed(&key, kind, outcome, now),
            Event::Hooked { key, kind, outcome } => self.hooked(&key, kind, outcome, now),
            Event::Sampled(usage) => self.sampled(usage, now),
            Event::HostSampled(usage) => self.host_sampled(usage, now),
            Event::Rewritten { key, outcome } => self.rewritten(&key, outcome),
            Event::Erased { volume, outcome } => self.erased(volume, outcome, now),
            Event::LedgerSaved(outcome) => self.saved(outcome, now),
            Event::Disks(disks) => self.measured(&disks),
            Event::BootClock { ahead_ms } => self.boot_ahead_ms = ahead_ms,
            Event::Renewed(renewal) => self.renewed(&renewal, now),
            Event::Leave(away) => self.leave(away, now),
            Event::Wake => self.alarm = None,
        }
    }

    /// Whether there is enough to say in a hello: what is missing from it counts as gone, so an agent without memory waits until
    /// every runtime was listed, and one with memory until each was asked once.
    #[must_use]
    pub fn can_greet(&self) -> bool {
        self.hosts.values().all(|host| host.listed || (self.intact && host.answered))
    }

    /// Whether a controller hears what is reported.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// The first word to a controller: everything that is known.
    #[must_use]
    pub fn hello(&self, now: Moment) -> Hello {
        Hello {
            facts: self.settings.facts.clone(),
            assignment: self.assignment,
            pods: self.pods.values().map(|pod| pod.report(now)).collect(),
            templates: self.templates.iter().map(|(hash, snapshot)| (hash.clone(), snapshot.config.version.clone())).collect(),
            endpoints: self.proxied.iter().map(|(service, proxied)| (service.clone(), proxied.used())).collect(),
            volumes: self.volumes.clone(),
            network: self.network_echo(),
            ingress: self.ingress_version(),
        }
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeName {
        self.settings.facts.name.clone()
    }

    /// The network as it was told.
    pub(super) fn network_echo(&self) -> NetworkEcho {
        let echo = |network: &Arc<NodeNetwork>| NetworkEcho { version: network.version, pods: Some(network.pods) };
        self.network.as_ref().map(echo).unwrap_or_default()
    }

    /// The version of the table of Ingress that is served.
    pub(super) fn ingress_version(&self) -> u64 {
        self.ingress.as_ref().map_or(0, |table| table.version)
    }

    /// What must outlive the agent.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger {
            assignment: self.assignment,
            pods: self.pods.iter().map(|(uid, pod)| (*uid, pod.record())).collect::<BTreeMap<PodUid, PodRecord>>(),
            templates: self.templates.clone(),
            lost_secrets: self.lost_secrets.clone(),
            services: self.services.clone(),
            volumes: self.volumes.clone(),
            network: self.network.clone(),
            proxy_port: self.proxy_port,
            ingress: self.ingress.clone(),
            lost_ingress: self.lost_ingress.clone(),
            intact: true,
        }
    }

    /// The container whose log is asked for: of a pod, by name or the first, the current start or the one before.
    #[must_use]
    pub fn log_of(&self, pod: PodUid, container: Option<&str>, previous: bool) -> Option<(RuntimeKind, ContainerId)> {
        let pod = self.pods.get(&pod)?;
        let member = match container {
            Some(name) => pod.member(name)?,
            None => pod.mains().next()?,
        };
        let before = member.previous.as_ref().map(|(_, id)| id.clone());
        let id = if previous { before } else { member.id.clone().or(before) };
        Some((pod.runtime?, id?))
    }

    pub(super) fn note(&mut self, pod: PodUid, warning: bool, reason: &str, message: String) {
        /// More is dropped: a controller that is away for long learns the state, not every step to it.
        const EVENTS_MAX: usize = 256;
        if self.outbox.events.len() < EVENTS_MAX {
            self.outbox.events.push(PodEvent { pod: Some(pod), warning, reason: reason.to_owned(), message });
        }
    }
}
