//! A node: a host, and an agent on it that may be away.

use driftless::agent::core::{Agent, Effect, Event, Settings};
use driftless::agent::launch::Folders;
use driftless::agent::runtime::fake::{Behaviour, FakeHost};
use driftless::agent::runtime::{ContainerId, RunState, RuntimeError, RuntimeEvent};
use driftless::model::{Allows, Amounts, Hello, LEASE_EXPIRED, Moment, NodeFacts, NodeName, PodUid, Report, RuntimeKind};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// What came of something on a node, for the world to carry on.
pub enum Outcome {
    Report(Box<Report>),
    /// The agent stops a container of this pod.
    Stops(PodUid),
    /// The agent wants an answer to a heartbeat.
    Beats,
    /// The lease of this container has run out, and it has ended.
    Expired(ContainerId),
    Breach(String),
}

pub struct Node {
    name: NodeName,
    pub host: FakeHost,
    pub agent: Option<Agent>,
    /// Counts the agents that have lived here: what was meant for an earlier one is void.
    pub life: u64,
    /// The number of the link, if it is up.
    pub link: Option<u64>,
    pub partitioned: bool,
    pub away: bool,
    /// By how much its clock is ahead of the world's, in milliseconds. It changes only while no agent lives: within a process, time
    /// neither jumps nor runs back.
    pub ahead_ms: i64,
    /// When the world will look at the host again.
    pub planned: Option<Moment>,
    /// Whether the host was lost for good.
    pub lost: bool,
}

impl Node {
    pub fn new(name: NodeName) -> Self {
        Self {
            name,
            host: host(),
            agent: None,
            life: 0,
            link: None,
            partitioned: false,
            away: false,
            ahead_ms: 0,
            planned: None,
            lost: false,
        }
    }

    /// The time on this host.
    pub fn local(&self, now: Moment) -> Moment {
        Moment(now.0.saturating_add_signed(self.ahead_ms))
    }

    /// When the host has something next, by the clock of the world.
    pub fn next(&self) -> Option<Moment> {
        self.host.next().map(|at| Moment(at.0.saturating_add_signed(-self.ahead_ms)))
    }

    /// Another host takes this one's name: nothing runs on it, and nothing is on its disk.
    pub fn replace(&mut self) {
        self.host = host();
        self.host.set_boot_ahead(-self.ahead_ms);
        (self.lost, self.away) = (false, false);
    }

    /// An agent starts from the ledger that was last saved.
    pub fn start(&mut self, now: Moment) -> Vec<Outcome> {
        self.life += 1;
        let settings = Settings {
            cluster: "sim".to_owned(),
            facts: facts(&self.name),
            folders: Folders { run: PathBuf::from("/run/sim"), state: PathBuf::from("/state/sim") },
            host_address: [127, 0, 0, 1].into(),
            ports: 20_000..=29_999,
            sample_every: Some(Duration::from_secs(15)),
            list_every: Duration::from_secs(30),
            names: None,
        };
        self.agent = Some(Agent::new(settings, self.host.ledger(), self.local(now)));
        let mut outcomes = self.handle(Event::BootClock { ahead_ms: -self.ahead_ms }, now);
        outcomes.extend(self.handle(Event::Wake, now));
        outcomes
    }

    /// Sets the clock, which leaves the boot clock alone: that shows the world's time.
    pub fn set_clock(&mut self, ahead_ms: i64) {
        self.ahead_ms = ahead_ms;
        self.host.set_boot_ahead(-ahead_ms);
    }

    /// The agent dies; its host and containers do not.
    pub fn crash(&mut self, now: Moment) {
        self.life += 1;
        self.agent = None;
        self.host.forget_agent(self.local(now));
    }

    /// The agent's first word on a new link; `None` if it does not know enough yet.
    pub fn greet(&self, now: Moment) -> Option<Hello> {
        self.agent.as_ref().filter(|agent| agent.can_greet()).map(|agent| agent.hello(self.local(now)))
    }

    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Outcome> {
        let now = self.local(now);
        let Some(agent) = &mut self.agent else { return Vec::new() };
        let mut outcomes = Vec::new();
        for effect in agent.handle(event, now) {
            if let Effect::Stop { key, .. } = &effect {
                outcomes.push(Outcome::Stops(key.pod));
            }
            if effect == Effect::Beat {
                outcomes.push(Outcome::Beats);
            }
            outcomes.extend(self.host.perform(effect, now).map(|report| Outcome::Report(Box::new(report))));
        }
        outcomes
    }

    /// What the host has for the agent by now.
    pub fn due(&mut self, now: Moment) -> Vec<Outcome> {
        let events = self.host.due(self.local(now));
        let mut outcomes: Vec<Outcome> = events.iter().filter_map(expired).map(Outcome::Expired).collect();
        outcomes.extend(events.into_iter().flat_map(|event| self.handle(event, now)));
        outcomes.extend(self.two_copies().or_else(|| self.without_data()).map(Outcome::Breach));
        outcomes
    }

    fn two_copies(&self) -> Option<String> {
        let mut running = BTreeSet::new();
        let mut all = self.host.containers().filter(|container| container.state == RunState::Running);
        let twice = all.find(|container| !running.insert((container.labels.uid, container.labels.container.clone())))?;
        Some(format!("two copies of {} run", twice.labels.container_name()))
    }

    fn without_data(&self) -> Option<String> {
        let (container, claim) = self.host.mounted().find(|(_, claim)| !self.host.claims().contains(claim))?;
        Some(format!("{} runs without the data of {claim}", container.labels.container_name()))
    }

    /// The running container that `draw` falls on, and its name.
    pub fn running(&self, draw: u64) -> Option<(ContainerId, String)> {
        let running: Vec<_> = self.host.containers().filter(|container| container.state == RunState::Running).collect();
        let index = usize::try_from(draw % (running.len().max(1) as u64)).unwrap_or(0);
        running.get(index).map(|container| (container.id.clone(), container.labels.container_name()))
    }

    /// Changing calls so far.
    pub fn changes(&self) -> u64 {
        let calls = self.host.calls;
        calls.starts + calls.stops + calls.removes
    }
}

/// The container whose lease has run out, if that is what happened.
fn expired(event: &Event) -> Option<ContainerId> {
    let Event::Runtime { event: RuntimeEvent::Exited { id, exit }, .. } = event else { return None };
    (exit.reason == LEASE_EXPIRED).then(|| id.clone())
}

/// A host on which images behave as their repository says.
fn host() -> FakeHost {
    let mut host = FakeHost::new();
    let usual =
        Behaviour { start_takes: Duration::from_millis(150), stop_takes: Duration::from_millis(400), ..Behaviour::default() };
    for release in 1..=9 {
        let release = |name: &str| format!("{name}:v{release}");
        host.behave(release("app"), usual.clone());
        host.behave(release("slow"), Behaviour { start_takes: Duration::from_secs(20), ..usual.clone() });
        host.behave(release("crash"), Behaviour { exits_after: Some((Duration::from_millis(700), 1)), ..usual.clone() });
        host.behave(release("unready"), Behaviour { ready_after: None, ..usual.clone() });
        let error = RuntimeError::Image { image: release("missing"), message: "no such image".to_owned() };
        host.behave(release("job"), Behaviour { exits_after: Some((Duration::from_secs(3), 0)), ..usual.clone() });
        host.behave(release("missing"), Behaviour { start_fails: Some(error), ..usual.clone() });
    }
    host
}

fn facts(name: &NodeName) -> NodeFacts {
    let capacity = Amounts { cpu_milli: 4_000, memory_bytes: 8 << 30 };
    NodeFacts {
        name: name.clone(),
        labels: BTreeMap::from([("kubernetes.io/hostname".to_owned(), name.to_string())]),
        capacity,
        allocatable: capacity,
        runtimes: BTreeSet::from([RuntimeKind::Docker]),
        leases: BTreeSet::from([RuntimeKind::Docker]),
        allows: Allows::default(),
        os: "linux".to_owned(),
        arch: "amd64".to_owned(),
        kernel: "sim".to_owned(),
        engine: Some("docker://sim".to_owned()),
        agent_version: "sim".to_owned(),
        address: "10.0.0.1".to_owned(),
        tunnel: Vec::new(),
        ingress: false,
    }
}
