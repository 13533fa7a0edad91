//! The world: what exists, what is under way, and the one loop that moves it on.
//!
//! A link is an ordered stream, as the wire's is: a message may be slow or arrive twice, but one that is lost takes the stream with
//! it, and both sides learn of that and begin again with a hello.

use crate::audit::Audit;
use crate::invariants::{Invariants, Patience};
use crate::node::{Node, Outcome};
use crate::repo::Repo;
use crate::rng::Rng;
use driftless::agent::core as agent;
use driftless::agent::runtime::RunState;
use driftless::controller::{Controller, Effect, Event, Settings};
use driftless::manifest::GoodUnit;
use driftless::model::{
    Assignment, BootMoment, EndpointSet, Hello, IngressTable, Kind, Moment, NetworkSettings, NodeName, NodeNetwork, ObjectKey,
    PodUid, Progress, Renewal, Report, Revision, Trigger, UnitName, WaitingOn,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// From an agent to the controller.
#[derive(Debug, Clone)]
pub enum Up {
    Hello(Box<Hello>),
    Report(Box<Report>),
    Heartbeat { sent: BootMoment },
    Closed,
}

/// From the controller to an agent.
#[derive(Debug, Clone)]
pub enum Down {
    Assign(Arc<Assignment>),
    Endpoints(Arc<EndpointSet>),
    Network(Arc<NodeNetwork>),
    Ingress(Arc<IngressTable>),
    Renewed(Renewal),
}

/// Something under way.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Up { node: NodeName, link: u64, message: Up },
    Down { node: NodeName, link: u64, message: Down },
    Heartbeat { node: NodeName, link: u64 },
    Parted { node: NodeName, life: u64 },
    Connect { node: NodeName, life: u64 },
    StartAgent { node: NodeName },
    HostDue { node: NodeName, due: Moment },
    ControllerWake { life: u64, due: Moment },
    StartController,
    Fetch { life: u64, trigger: Trigger },
    Reachable { node: NodeName },
    EngineBack { node: NodeName },
}

/// The controller as a process: its core, and what its shell keeps in memory.
pub struct Reign {
    pub core: Controller,
    wake: Option<Moment>,
    good: BTreeMap<UnitName, Arc<GoodUnit>>,
    last: Option<Revision>,
}

/// How the bus behaves.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    pub delay_ms_max: u64,
    /// Messages in a hundred that are lost, with their stream.
    pub lost_percent: u64,
    /// Messages in a hundred that arrive twice.
    pub doubled_percent: u64,
}

impl Weather {
    pub const CALM: Weather = Weather { delay_ms_max: 5, lost_percent: 0, doubled_percent: 0 };

    /// A line on which 200 ms pass on average and every third message takes its stream with it.
    pub const BAD_LINE: Weather = Weather { delay_ms_max: 400, lost_percent: 30, doubled_percent: 10 };
}

pub struct World {
    pub now: Moment,
    pub rng: Rng,
    pub weather: Weather,
    pub repo: Repo,
    pub audit: Audit,
    pub reign: Option<Reign>,
    pub nodes: BTreeMap<NodeName, Node>,
    pub transcript: Vec<String>,
    pub invariants: Invariants,
    /// Whether the invariants are checked.
    pub checking: bool,
    /// Counts what the controller heard that changed nothing.
    murmurs: u64,
    /// Counts what the controller told agents: must not move in a pass over an unchanged world.
    pub assignments: u64,
    /// The last good state of every unit, at each revision that was read.
    good: BTreeMap<Revision, BTreeMap<UnitName, Arc<GoodUnit>>>,
    queue: BTreeMap<(Moment, u64), Item>,
    pub(crate) sequence: u64,
    pub(crate) life: u64,
    /// When each direction of each link last delivered, so that a stream keeps its order.
    pub(crate) delivered: BTreeMap<(NodeName, bool), Moment>,
}

/// Whether an event only says that time passes, that an agent lives, or what is used on its host.
fn murmurs(event: &Event) -> bool {
    let Event::AgentReport { report, .. } = event else {
        return matches!(event, Event::AgentHeartbeat { .. } | Event::Wake);
    };
    let Report { assignment, network, host, usage, .. } = (**report).clone();
    let uses = host.is_some() || !usage.is_empty();
    uses && **report == Report { assignment, network, host, usage, ..Report::default() }
}

/// The network of the simulated cluster.
fn network() -> NetworkSettings {
    NetworkSettings {
        pods: "10.244.0.0/16".parse().expect("a range"),
        node_prefix: NetworkSettings::NODE_PREFIX,
        services: "10.96.0.0/16".parse().expect("a range"),
        domain: NetworkSettings::DOMAIN.to_owned(),
    }
}

impl World {
    pub fn new(seed: u64, nodes: u32) -> Self {
        let mut world = Self {
            now: Moment(1_700_000_000_000),
            rng: Rng::new(seed),
            weather: Weather::CALM,
            repo: Repo::default(),
            audit: Audit::default(),
            reign: None,
            nodes: BTreeMap::new(),
            transcript: Vec::new(),
            invariants: Invariants::default(),
            assignments: 0,
            checking: true,
            murmurs: 0,
            good: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            life: 0,
            delivered: BTreeMap::new(),
        };
        for index in 1..=nodes {
            let name = NodeName::new(format!("n{index}"));
            world.nodes.insert(name.clone(), Node::new(name));
        }
        world
    }

    /// Starts everything that is down.
    pub fn start(&mut self) {
        self.plan(Duration::ZERO, Item::StartController);
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        for node in names {
            self.plan(Duration::ZERO, Item::StartAgent { node });
        }
    }

    /// Moves on for so long, doing everything that falls due.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((due, sequence)) = self.queue.keys().next().copied().filter(|(due, _)| *due <= end) {
            self.now = self.now.max(due);
            if let Some(item) = self.queue.remove(&(due, sequence)) {
                self.handle(item);
            }
        }
        self.now = end;
    }

    pub fn say(&mut self, text: impl AsRef<str>) {
        let since = self.now.0 - 1_700_000_000_000;
        self.transcript.push(format!("{:>7}.{:03} {}", since / 1000, since % 1000, text.as_ref()));
    }

    pub(crate) fn plan(&mut self, after: Duration, item: Item) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), item);
    }

    fn handle(&mut self, item: Item) {
        match item {
            Item::Up { node, link, message } => self.receive_up(node, link, message),
            Item::Down { node, link, message } => self.receive_down(&node, link, message),
            Item::Heartbeat { node, link } => self.heartbeat(node, link),
            Item::Parted { node, life } => self.part(&node, life),
            Item::Connect { node, life } => self.connect(&node, life),
            Item::StartAgent { node } => self.start_agent(&node),
            Item::HostDue { node, due } => self.host_due(&node, due),
            Item::ControllerWake { life, due } => {
                if life == self.life && self.reign.as_ref().is_some_and(|reign| reign.wake == Some(due)) {
                    self.tell_controller(Event::Wake);
                }
            }
            Item::StartController => self.start_controller(),
            Item::Reachable { node } => self.partition(&node, false),
            Item::EngineBack { node } => self.set_away(&node, false),
            Item::Fetch { life, trigger } => {
                if life == self.life {
                    self.fetch(trigger);
                }
            }
        }
    }

    // ---- the repo

    /// A push, noticed by the controller at once.
    pub fn push(&mut self, message: &str, changes: &[(&str, Option<String>)]) {
        let revision = self.repo.commit(message, changes);
        let subject = message.lines().next().unwrap_or("");
        self.say(format!("push {} {subject:?}", revision.short()));
        let life = self.life;
        self.plan(Duration::from_millis(10), Item::Fetch { life, trigger: Trigger::Push });
    }

    /// Reads the head again, as a poll does.
    pub fn poll(&mut self) {
        let life = self.life;
        self.plan(Duration::ZERO, Item::Fetch { life, trigger: Trigger::Poll });
    }

    fn fetch(&mut self, trigger: Trigger) {
        let Some(reign) = &mut self.reign else { return };
        let Some((loaded, good)) = self.repo.loaded(reign.last.as_ref(), &reign.good, trigger) else { return };
        self.good.extend(loaded.desired.revision.clone().map(|revision| (revision, good.clone())));
        reign.good = good;
        reign.last.clone_from(&loaded.desired.revision);
        self.invariants.desired(&loaded.desired);
        self.tell_controller(Event::Loaded(Box::new(loaded)));
    }

    // ---- the controller

    fn start_controller(&mut self) {
        if self.reign.is_some() {
            return;
        }
        self.life += 1;
        let epoch = self.audit.claim();
        self.say(format!("controller starts, epoch {}", epoch.0));
        let settings = Settings {
            cluster: "sim".to_owned(),
            instance: format!("sim-{}", epoch.0),
            branch: "main".to_owned(),
            network: Some(network()),
            ..Settings::default()
        };
        let restored = self.audit.restore(&mut self.repo);
        let last = self.audit.last_revision();
        // The last good state of every unit is read from git again; rarely, some of that history is gone.
        let forgetful = self.rng.chance(20);
        let good = last.as_ref().and_then(|last| self.good.get(last)).filter(|_| !forgetful).cloned();
        let good = good.or_else(|| last.as_ref().map(|last| self.repo.load(last, &BTreeMap::new()).good)).unwrap_or_default();
        self.reign = Some(Reign { core: Controller::new(settings, epoch, self.now), wake: None, good, last });
        self.tell_controller(Event::Restored(Box::new(restored)));
        let life = self.life;
        self.plan(Duration::from_millis(20), Item::Fetch { life, trigger: Trigger::Startup });
        let linked: Vec<NodeName> =
            self.nodes.iter().filter(|(_, node)| node.agent.is_some()).map(|(name, _)| name.clone()).collect();
        for node in linked {
            self.reconnect_soon(&node);
        }
    }

    pub(crate) fn tell_controller(&mut self, event: Event) {
        let Some(mut reign) = self.reign.take() else { return };
        let murmurs = murmurs(&event);
        let effects = reign.core.handle(event, self.now);
        self.reign = Some(reign);
        let quiet = murmurs && effects.iter().all(|effect| matches!(effect, Effect::WakeAt(_) | Effect::Renew { .. }));
        self.murmurs += u64::from(quiet);
        for effect in effects {
            self.perform(effect);
        }
        // Of what is heard all the time and changes nothing, so much is checked as there would be with a single host.
        if self.checking && (!quiet || self.murmurs.is_multiple_of(self.nodes.len() as u64)) {
            self.check();
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Assign { node, assignment } => {
                self.assignments += 1;
                for line in self.invariants.assigned(&node, &assignment) {
                    self.say(line);
                }
                self.send_down(&node, Down::Assign(assignment));
            }
            Effect::Endpoints { node, set } => {
                if let Some(line) = self.invariants.leads(&set) {
                    self.say(line);
                }
                self.send_down(&node, Down::Endpoints(set));
            }
            Effect::Ingress { node, table } => self.send_down(&node, Down::Ingress(table)),
            Effect::Renew { node, renewal } => self.send_down(&node, Down::Renewed(renewal)),
            Effect::Network { node, network } => {
                self.invariants.networked(&node, &network);
                self.send_down(&node, Down::Network(network));
            }
            // The links of the simulator need no certificates.
            Effect::Trust(_) => {}
            Effect::Record(record) => {
                self.say(format!("audit {}: {}", record.outcome, record.subject));
                self.invariants.recorded(&record);
                self.audit.append(*record);
            }
            Effect::WakeAt(due) => {
                let due = due.max(self.now + Duration::from_millis(1));
                let life = self.life;
                if let Some(reign) = &mut self.reign {
                    reign.wake = Some(due);
                }
                self.plan(due.since(self.now), Item::ControllerWake { life, due });
            }
        }
    }

    /// Every invariant, after every step of the controller.
    fn check(&mut self) {
        let Some(reign) = &self.reign else { return };
        let view = reign.core.view();
        let checked = reign.core.check().and_then(|()| self.invariants.view(&view)).and_then(|()| self.one_of_each());
        if let Err(breach) = checked {
            self.fail(&breach);
        }
    }

    /// The promises of stable identity, by what runs on the hosts: of a StatefulSet's pod one at a time, and the data of a claim in use
    /// on one node.
    fn one_of_each(&self) -> Result<(), String> {
        let mut owners: BTreeMap<&str, PodUid> = BTreeMap::new();
        let mut homes: BTreeMap<&ObjectKey, &NodeName> = BTreeMap::new();
        for (name, node) in &self.nodes {
            let of_sets = node.host.containers().filter(|container| container.labels.workload.kind == Kind::StatefulSet);
            for labels in of_sets.filter(|container| container.state == RunState::Running).map(|container| &container.labels) {
                if *owners.entry(&labels.pod).or_insert(labels.uid) != labels.uid {
                    return Err(format!("two pods called {} run at the same time", labels.pod));
                }
            }
            for (_, claim) in node.host.mounted() {
                if *homes.entry(claim).or_insert(name) != name {
                    return Err(format!("{claim} is in use on {name} and on another node"));
                }
            }
        }
        Ok(())
    }

    pub fn fail(&self, breach: &str) -> ! {
        let start = self.transcript.len().saturating_sub(80);
        let (said, state) = (self.transcript[start..].join("\n"), self.state().join("\n"));
        let since = self.now.0 - 1_700_000_000_000;
        panic!("{breach}\nat {}.{:03}\nthe end of the transcript:\n{said}\nas things are:\n{state}", since / 1000, since % 1000)
    }

    // ---- agents and hosts

    fn start_agent(&mut self, name: &NodeName) {
        let now = self.now;
        let node = self.nodes.get_mut(name).expect("a known node");
        if node.agent.is_some() || node.lost {
            return;
        }
        let outcomes = node.start(now);
        self.say(format!("agent {name} starts"));
        self.follow(name, outcomes);
        self.reconnect_soon(name);
    }

    pub(crate) fn tell_agent(&mut self, name: &NodeName, life: u64, event: agent::Event) {
        let now = self.now;
        let node = self.nodes.get_mut(name).expect("a known node");
        if node.life != life {
            return;
        }
        let outcomes = node.handle(event, now);
        self.follow(name, outcomes);
    }

    fn host_due(&mut self, name: &NodeName, due: Moment) {
        let now = self.now;
        let node = self.nodes.get_mut(name).expect("a known node");
        if node.planned != Some(due) {
            return;
        }
        node.planned = None;
        let outcomes = node.due(now);
        self.follow(name, outcomes);
        // What a host does by itself no step of the controller follows.
        if self.checking
            && let Err(breach) = self.one_of_each()
        {
            self.fail(&breach);
        }
    }

    /// What came of something on a node, and when to look at its host again.
    pub(crate) fn follow(&mut self, name: &NodeName, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            match outcome {
                Outcome::Report(report) => self.send_up(name, Up::Report(report)),
                Outcome::Stops(pod) if self.invariants.ordered(name, &pod) => {}
                Outcome::Stops(pod) => self.fail(&format!("{name} stops {pod} without an order")),
                Outcome::Beats => self.send_up(name, Up::Heartbeat { sent: BootMoment(self.now.0) }),
                Outcome::Expired(id) => self.say(format!("{name} {id} has stopped: its lease ran out")),
                Outcome::Breach(breach) => self.fail(&format!("{name}: {breach}")),
            }
        }
        let node = self.nodes.get_mut(name).expect("a known node");
        if let Some(due) = node.next().filter(|due| node.planned.is_none_or(|planned| *due < planned)) {
            node.planned = Some(due);
            self.plan(due.since(self.now), Item::HostDue { node: name.clone(), due });
        }
    }

    /// Says what runs and how far each workload is.
    pub fn say_pods(&mut self) {
        let lines = self.state();
        self.transcript.extend(lines);
    }

    /// The template of this Rollout that waits for a commit that promotes it.
    pub fn waits_for_promotion(&self, name: &str) -> Option<String> {
        let view = self.reign.as_ref()?.core.view();
        let (_, state) = view.workloads.iter().find(|(key, _)| key.name == name)?;
        match &state.progress {
            Progress::Waiting(WaitingOn::Promotion(hash)) => Some(hash.short().to_owned()),
            Progress::Done | Progress::Progressing(_) | Progress::Waiting(_) | Progress::Stalled(_) => None,
        }
    }

    /// What runs and how far each workload is, as status shows it.
    fn state(&self) -> Vec<String> {
        let Some(reign) = &self.reign else { return vec!["  there is no controller".to_owned()] };
        let view = reign.core.view();
        let mut lines = Vec::new();
        for (key, state) in &view.workloads {
            lines.push(format!(
                "  {key}: {}/{} ready, {} updated, {:?}",
                state.ready, state.replicas, state.updated, state.progress
            ));
        }
        for pod in &view.pods {
            let name = pod.told.as_ref().map_or("unclaimed", |run| run.name.as_str());
            let state = pod
                .report
                .as_ref()
                .map_or("not heard of".to_owned(), |report| format!("{:?}, ready {}", report.phase, report.ready));
            let restarts: u32 =
                pod.report.as_ref().map_or(0, |report| report.containers.iter().map(|container| container.restarts).sum());
            let restarts = if restarts == 0 { String::new() } else { format!(", restarts {restarts}") };
            let stopping = pod.stopping.map_or_else(String::new, |reason| format!(", on its way out: {reason:?}"));
            lines.push(format!("  {name} on {}: {state}{restarts}{stopping}", pod.node));
        }
        for problem in &view.problems {
            lines.push(format!("  problem: {}: {}", problem.about, problem.message));
        }
        lines
    }

    // ---- settling

    /// True if every workload is as wanted, or says why not for good.
    pub fn unsettled(&self, patience: Patience) -> Option<String> {
        let Some(reign) = &self.reign else { return Some("there is no controller".to_owned()) };
        crate::invariants::unsettled(&reign.core.view(), patience)
    }
}
