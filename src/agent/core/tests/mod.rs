//! The core against a fake host: one `World` per test, whose clock is moved by hand.

mod adopt;
mod chaos;
mod converge;
mod host_state;
mod lease;
mod order;
mod restart;
mod usage;
mod volumes;

use super::{Agent, Effect, Event, Ledger, Settings};
use crate::agent::launch::Folders;
use crate::agent::runtime::fake::{Behaviour, FakeHost};
use crate::agent::runtime::{RunState, VolumeContents, VolumeFile, VolumeKind};
use crate::model::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// An agent on a fake host, and what a controller would know of it.
pub(super) struct World {
    pub(super) agent: Agent,
    pub(super) host: FakeHost,
    pub(super) now: Moment,
    /// The newest report of every pod.
    pub(super) known: BTreeMap<PodUid, PodReport>,
    pub(super) gone: BTreeSet<PodUid>,
    pub(super) acknowledged: (Epoch, Generation),
    pub(super) events: Vec<PodEvent>,
    /// What each pod was last said to use.
    pub(super) usage: BTreeMap<PodUid, PodUsage>,
    /// The state of the host as it was last told, and every absence that was announced.
    pub(super) conditions: NodeConditions,
    pub(super) absences: Vec<Duration>,
    /// What the host was last said to use.
    pub(super) host_usage: Option<HostUsage>,
    /// Every effect that changes the host, with its time.
    pub(super) transcript: Vec<String>,
    pub(super) assignment: Assignment,
}

pub(super) fn settings() -> Settings {
    Settings {
        cluster: "test".to_owned(),
        facts: NodeFacts {
            name: NodeName::new("n1"),
            labels: BTreeMap::new(),
            capacity: Amounts::default(),
            allocatable: Amounts::default(),
            runtimes: [RuntimeKind::Docker, RuntimeKind::Process].into(),
            leases: BTreeSet::new(),
            allows: Allows::default(),
            os: "linux".to_owned(),
            arch: "amd64".to_owned(),
            kernel: String::new(),
            engine: None,
            agent_version: String::new(),
            address: "127.0.0.1".to_owned(),
            tunnel: Vec::new(),
            ingress: false,
        },
        folders: Folders { run: "/run/test".into(), state: "/state".into() },
        host_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        ports: 20000..=20999,
        sample_every: None,
        list_every: Duration::from_secs(60),
        names: None,
    }
}

/// A template from YAML-like JSON: `spec` as Kubernetes writes it.
pub(super) fn template(spec: serde_json::Value) -> Arc<PodSnapshot> {
    let template: PodTemplate = serde_json::from_value(serde_json::json!({ "spec": spec })).expect("a pod template");
    let hash = blake3::hash(serde_json::to_string(&template).expect("prints").as_bytes()).to_hex();
    Arc::new(PodSnapshot { hash: TemplateHash::new(&hash[..40]), template, config: Arc::new(ConfigSnapshot::default()) })
}

/// One container of image `image`, with `more` fields.
pub(super) fn simple(image: &str, more: serde_json::Value) -> Arc<PodSnapshot> {
    let mut container = serde_json::json!({ "name": "web", "image": image });
    let fields = container.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    template(serde_json::json!({ "containers": [container] }))
}

pub(super) fn pod(slot: u32, snapshot: &PodSnapshot) -> PodRun {
    let workload = ObjectKey::new(Kind::Deployment, "shop", "web");
    let uid = PodUid::derive("test", &workload, slot, &snapshot.hash, Incarnation { epoch: Epoch(1), counter: u64::from(slot) });
    PodRun {
        uid,
        name: format!("web-{}-{}", snapshot.hash.short(), uid.tail()),
        workload,
        slot,
        hash: snapshot.hash.clone(),
        revision: Revision::new("c0ffee"),
        images: BTreeMap::new(),
    }
}

/// The files of volumes, as `path=text`.
fn files_of(volumes: &[VolumeContents]) -> String {
    let files = volumes.iter().filter_map(|volume| match &volume.kind {
        VolumeKind::Files(files) => Some(files),
        VolumeKind::Scratch { .. } | VolumeKind::Claim | VolumeKind::Host { .. } => None,
    });
    let show = |(path, file): (&String, &VolumeFile)| format!("{path}={}", String::from_utf8_lossy(file.bytes.expose()));
    files.flatten().map(show).collect::<Vec<_>>().join(" ")
}

impl World {
    pub(super) fn new() -> Self {
        let now = Moment(1_000_000);
        let mut world = Self {
            agent: Agent::new(settings(), Ledger::default(), now),
            host: FakeHost::new(),
            now,
            known: BTreeMap::new(),
            gone: BTreeSet::new(),
            acknowledged: (Epoch(0), Generation(0)),
            events: Vec::new(),
            usage: BTreeMap::new(),
            conditions: NodeConditions::default(),
            absences: Vec::new(),
            host_usage: None,
            transcript: Vec::new(),
            assignment: Assignment {
                epoch: Epoch(1),
                generation: Generation(0),
                run: BTreeMap::new(),
                stop: BTreeMap::new(),
                erase: BTreeSet::new(),
                templates: BTreeMap::new(),
            },
        };
        world.tell(Event::Wake);
        world.pass(10);
        world.tell(Event::Connected);
        world
    }

    /// One event in, its effects performed.
    pub(super) fn tell(&mut self, event: Event) {
        for effect in self.agent.handle(event, self.now) {
            self.write_down(&effect);
            if let Some(report) = self.host.perform(effect, self.now) {
                self.hear(report);
            }
        }
    }

    fn write_down(&mut self, effect: &Effect) {
        let at = self.now.since(Moment(1_000_000)).as_millis() as f64 / 1000.0;
        let line = match effect {
            Effect::Start(launch) => format!("start {}#{}", launch.labels.container, launch.labels.attempt),
            Effect::Stop { key, grace, .. } => format!("stop {}#{} grace {}s", key.container, key.attempt, grace.as_secs()),
            Effect::Remove { key, .. } => format!("remove {}#{}", key.container, key.attempt),
            Effect::Forget(_) => "forget".to_owned(),
            Effect::Erase(volume) => format!("erase {volume}"),
            Effect::Beat => "beat".to_owned(),
            Effect::Hook(request) => format!("{} of {}#{}", request.kind.as_str(), request.key.container, request.key.attempt),
            Effect::Rewrite { key, volumes } => format!("rewrite {}#{} {}", key.container, key.attempt, files_of(volumes)),
            Effect::List(_)
            | Effect::Probe(_)
            | Effect::Sample(_)
            | Effect::SampleHost
            | Effect::Report(_)
            | Effect::Endpoints { .. }
            | Effect::Network(_)
            | Effect::Intercept(_)
            | Effect::AnswerAt(_)
            | Effect::Ingress(_)
            | Effect::Renew(_)
            | Effect::SaveLedger(_)
            | Effect::WakeAt(_) => return,
        };
        self.transcript.push(format!("{at:.1} {line}"));
    }

    fn hear(&mut self, report: Report) {
        self.acknowledged = report.assignment;
        self.known.extend(report.pods.into_iter().map(|pod| (pod.uid, pod)));
        for uid in report.gone {
            self.known.remove(&uid);
            self.gone.insert(uid);
        }
        self.events.extend(report.events);
        self.usage.extend(report.usage);
        self.conditions = report.conditions.unwrap_or(std::mem::take(&mut self.conditions));
        self.absences.extend(report.away);
        self.host_usage = report.host.or(self.host_usage);
    }

    /// Lets so many milliseconds pass.
    pub(super) fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(next) = self.host.next().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            for event in self.host.due(self.now) {
                self.tell(event);
            }
            let lost = self.host.mounted().find(|(_, claim)| !self.host.claims().contains(claim));
            assert_eq!(lost, None, "a container runs without the data of its claim\n{}", self.transcript.join("\n"));
        }
        self.now = end;
    }

    /// Tells the whole assignment as it stands, with the next generation.
    pub(super) fn assign(&mut self) {
        self.assignment.generation.0 += 1;
        self.tell(Event::Assigned(Box::new(self.assignment.clone())));
    }

    /// Assigns one more pod and waits a little.
    pub(super) fn run(&mut self, slot: u32, snapshot: &Arc<PodSnapshot>) -> PodUid {
        let run = pod(slot, snapshot);
        let uid = run.uid;
        self.assignment.templates.insert(snapshot.hash.clone(), Arc::clone(snapshot));
        self.assignment.run.insert(uid, run);
        self.assign();
        self.pass(200);
        uid
    }

    /// Orders a pod to stop.
    pub(super) fn order_stop(&mut self, uid: PodUid) {
        self.assignment.run.remove(&uid);
        self.assignment.stop.insert(uid, StopOrder { uid, reason: StopReason::ScaledDown, commit: None });
        self.assign();
    }

    /// The agent dies and starts again with what the host has kept.
    pub(super) fn restart_agent(&mut self) {
        self.host.forget_agent(self.now);
        self.agent = Agent::new(settings(), self.host.ledger(), self.now);
        self.tell(Event::Wake);
        self.pass(10);
        assert!(self.agent.can_greet());
        let hello = self.agent.hello(self.now);
        self.known = hello.pods.into_iter().map(|pod| (pod.uid, pod)).collect();
        self.tell(Event::Connected);
    }

    pub(super) fn report(&self, uid: PodUid) -> &PodReport {
        self.known.get(&uid).unwrap_or_else(|| panic!("{uid} was never reported; known: {:?}", self.known))
    }

    pub(super) fn running(&self) -> Vec<String> {
        let running = self.host.containers().filter(|container| container.state == RunState::Running);
        running.map(|container| container.id.0.clone()).collect()
    }

    pub(super) fn behave(&mut self, image: &str, change: impl FnOnce(&mut Behaviour)) {
        let mut behaviour = Behaviour::default();
        change(&mut behaviour);
        self.host.behave(image, behaviour);
    }

    pub(super) fn take_transcript(&mut self) -> String {
        std::mem::take(&mut self.transcript).join("\n")
    }
}
