//! A small world for the core: agents that do as they are told, and a clock moved by hand.

use crate::controller::{Commit, Controller, Effect, Event, LoadedRevision, Restored, Settings};
use crate::model::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

pub(super) const TICK: Duration = Duration::from_millis(500);

/// A pod as its agent has it.
#[derive(Debug, Clone)]
pub(super) struct FakePod {
    pub(super) run: PodRun,
    pub(super) started: Moment,
    pub(super) ready_since: Option<Moment>,
    pub(super) stopping: Option<Moment>,
    /// Whether it succeeded, once it has ended.
    pub(super) ended: Option<bool>,
    pub(super) reported: Option<(PodPhase, bool)>,
}

/// An agent that does as it is told.
#[derive(Debug, Default)]
pub(super) struct FakeAgent {
    pub(super) in_force: (Epoch, Generation),
    pub(super) pods: BTreeMap<PodUid, FakePod>,
    pub(super) endpoints: BTreeMap<ObjectKey, Arc<EndpointSet>>,
    pub(super) fresh: BTreeMap<ObjectKey, u64>,
    pub(super) gone: Vec<PodUid>,
    /// The volume claims whose data it has.
    pub(super) volumes: BTreeSet<ObjectKey>,
    pub(super) up: bool,
    pub(super) acknowledges: bool,
    pub(super) dirty: bool,
    pub(super) cpu: BTreeMap<PodUid, u64>,
}

pub(super) struct World {
    pub(super) core: Controller,
    pub(super) epoch: Epoch,
    pub(super) now: Moment,
    pub(super) agents: BTreeMap<NodeName, FakeAgent>,
    pub(super) records: Vec<AuditRecord>,
    pub(super) files: BTreeMap<String, String>,
    pub(super) objects: BTreeMap<ObjectKey, Arc<Object>>,
    pub(super) snapshots: BTreeMap<TemplateHash, Arc<PodSnapshot>>,
    pub(super) wake: Option<Moment>,
    pub(super) assigns: usize,
    pub(super) endpoint_effects: usize,
    /// Templates (by their letter) whose pods never become ready.
    pub(super) broken: BTreeSet<char>,
    pub(super) start: Duration,
    pub(super) stop: Duration,
    pub(super) revisions: u64,
    /// Checked after every event.
    pub(super) most_told: BTreeMap<ObjectKey, usize>,
    pub(super) capacity: Amounts,
}

pub(super) fn key(text: &str) -> ObjectKey {
    let (kind, name) = text.split_once('/').unwrap_or(("Deployment", text));
    let kind = Kind::ALL.into_iter().find(|candidate| candidate.as_str() == kind).unwrap();
    ObjectKey::new(kind, "shop", name)
}

pub(super) fn node(name: &str) -> NodeName {
    NodeName::new(name)
}

/// The hash of the template `letter` of a workload.
pub(super) fn hash(name: &str, letter: char) -> TemplateHash {
    let tail = blake3::hash(name.as_bytes()).to_hex();
    TemplateHash::new(format!("{}{}", letter.to_string().repeat(20), &tail.as_str()[..20]))
}

fn letter(hash: &TemplateHash) -> char {
    hash.as_str().chars().next().unwrap()
}

/// A volume that is this claim; `own` for one that a template of a StatefulSet makes.
fn mounted(claim: &str) -> Volume {
    let name = if claim == "own" { format!("data-{CLAIM_OF_POD}") } else { claim.to_owned() };
    let source = ClaimVolume { claim_name: name, ..ClaimVolume::default() };
    Volume { name: "data".to_owned(), persistent_volume_claim: Some(source), ..Volume::default() }
}

/// A template; `claim=`, `cpu=`, `class=`, `zone=` and `tolerates=key[:seconds]` are options of its line.
fn snapshot(name: &str, letter: char, words: &[&str]) -> Arc<PodSnapshot> {
    let option = |wanted: &str| words.iter().find_map(|word| word.strip_prefix(wanted)?.strip_prefix('='));
    let cpu = option("cpu").map_or(100, |milli| milli.parse().unwrap());
    let tolerations = option("tolerates").map(|text| {
        let (key, seconds) = text.split_once(':').unwrap_or((text, ""));
        Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(Taint::NO_EXECUTE.to_owned()),
            toleration_seconds: seconds.parse().ok(),
            ..Toleration::default()
        }
    });
    let container = Container {
        name: "main".to_owned(),
        image: Some(format!("nginx:{letter}")),
        ports: vec![ContainerPort { name: "http".to_owned(), container_port: 8080, ..ContainerPort::default() }],
        resources: Resources {
            requests: [("cpu".to_owned(), Quantity::from_milli(cpu))].into_iter().collect(),
            ..Resources::default()
        },
        ..Container::default()
    };
    let template = PodTemplate {
        metadata: Meta { labels: [("app".to_owned(), name.to_owned())].into_iter().collect(), ..Meta::default() },
        spec: PodSpec {
            containers: vec![container],
            node_selector: option("zone").map(|zone| ("zone".to_owned(), zone.to_owned())).into_iter().collect(),
            priority_class_name: option("class").map(str::to_owned),
            tolerations: tolerations.into_iter().collect(),
            volumes: option("claim").map(mounted).into_iter().collect(),
            ..PodSpec::default()
        },
    };
    Arc::new(PodSnapshot { hash: hash(name, letter), template, config: Arc::default() })
}

/// One object from a line: `deployment web a 3 surge=1`, `rollout api b 2 manual delay=30`, `service web`, `config settings x`,
/// `hpa web 1 5`, `recreate job a 2`, `job sum a 3 parallel=2 limit=1 ttl=60`, `cron tick a */10_*_*_*_* Forbid`,
/// `node n1 cordoned taint=key:NoExecute zone=x`, `class high 1000 never`, `budget web 2`.
pub(super) fn object(line: &str, revision: &Revision) -> Object {
    let words: Vec<&str> = line.split_whitespace().collect();
    let name = words[1];
    let (kind, body) = body(&words);
    let annotations = words
        .iter()
        .find_map(|word| word.strip_prefix("drift="))
        .map(|policy| ("driftless.dev/drift".to_owned(), policy.to_owned()));
    let written = json!({ "kind": kind.as_str(), "metadata": { "name": name }, "spec": { "line": words[2..].join(" ") } });
    let zone = words.iter().find_map(|word| word.strip_prefix("zone=")).filter(|_| kind == Kind::Node);
    let labels = zone.map(|zone| ("zone".to_owned(), zone.to_owned()));
    Object {
        key: ObjectKey::new(kind, if kind.is_namespaced() { "shop" } else { "" }, name),
        meta: Meta { annotations: annotations.into_iter().collect(), labels: labels.into_iter().collect() },
        source: Source {
            unit: UnitName::new("."),
            revision: revision.clone(),
            file: "all.yaml".to_owned(),
            line: 1,
            blob: String::new(),
        },
        written: Arc::new(written),
        fingerprint: [0; 32],
        body,
    }
}

/// What an object of the text language means.
fn body(words: &[&str]) -> (Kind, Body) {
    let name = words[1];
    let app = name.strip_suffix("-preview").unwrap_or(name);
    match words[0] {
        "deployment" | "recreate" => (Kind::Deployment, workload(words)),
        "rollout" => (Kind::Rollout, workload(words)),
        "job" => (Kind::Job, job(words)),
        "stateful" => (Kind::StatefulSet, workload(words)),
        "daemon" => (Kind::DaemonSet, workload(words)),
        "replicas" => (Kind::ReplicaSet, workload(words)),
        "cron" => (Kind::CronJob, cron(words)),
        "claim" => (Kind::PersistentVolumeClaim, Body::Claim(ClaimSpec::default())),
        "service" => (
            Kind::Service,
            Body::Service(ServiceSpec {
                selector: [("app".to_owned(), app.to_owned())].into_iter().collect(),
                ports: vec![ServicePort {
                    port: 80,
                    target_port: Some(IntOrString::Text("http".to_owned())),
                    ..ServicePort::default()
                }],
                cluster_ip: None,
            }),
        ),
        "config" => (Kind::ConfigMap, Body::ConfigMap([("k".to_owned(), words[2].as_bytes().to_vec())].into_iter().collect())),
        "hpa" => (
            Kind::HorizontalPodAutoscaler,
            Body::Autoscaler(Autoscaler {
                target_kind: "Deployment".to_owned(),
                target_name: name.to_owned(),
                min_replicas: words[2].parse().unwrap(),
                max_replicas: words[3].parse().unwrap(),
                cpu_percent: Some(50),
                cpu_average_milli: None,
                scale_down_window_seconds: 300,
                scale_up_window_seconds: 0,
            }),
        ),
        "node" => (
            Kind::Node,
            Body::Node(NodeSpec {
                unschedulable: words.contains(&"cordoned"),
                taints: words.iter().filter_map(|word| taint(word.strip_prefix("taint=")?)).collect(),
            }),
        ),
        "class" => (
            Kind::PriorityClass,
            Body::PriorityClass(PriorityClass {
                value: words[2].parse().unwrap(),
                global_default: words.contains(&"default"),
                preemption_policy: if words.contains(&"never") { "Never" } else { "PreemptLowerPriority" }.to_owned(),
                ..PriorityClass::default()
            }),
        ),
        "budget" => (
            Kind::PodDisruptionBudget,
            Body::Budget(DisruptionBudget {
                selector: Some(LabelSelector {
                    match_labels: [("app".to_owned(), app.to_owned())].into_iter().collect(),
                    ..LabelSelector::default()
                }),
                min_available: Some(IntOrString::Int(words[2].parse().unwrap())),
                max_unavailable: None,
            }),
        ),
        other => panic!("unknown object {other}"),
    }
}

/// `key:effect`
fn taint(text: &str) -> Option<Taint> {
    let (key, effect) = text.split_once(':')?;
    Some(Taint { key: key.to_owned(), value: String::new(), effect: effect.to_owned() })
}

/// A workload of the text language.
fn workload(words: &[&str]) -> Body {
    let name = words[1];
    let app = words.iter().find_map(|word| word.strip_prefix("app=")).unwrap_or(name);
    let option = |wanted: &str| {
        words.iter().find_map(|word| word.strip_prefix(wanted)?.strip_prefix('=')).map(|text| text.parse::<u32>().unwrap())
    };
    let has = |wanted: &str| words.contains(&wanted);
    let count = |value: u32| IntOrString::Int(i64::from(value));
    let rolling = || Strategy::Rolling {
        max_surge: count(option("surge").unwrap_or(1)),
        max_unavailable: count(option("unavailable").unwrap_or(0)),
    };
    let blue_green = || {
        Strategy::BlueGreen(BlueGreen {
            active_service: name.to_owned(),
            preview_service: Some(format!("{name}-preview")),
            auto_promotion: !has("manual"),
            auto_promotion_seconds: option("after").unwrap_or(0),
            scale_down_delay_seconds: option("delay").unwrap_or(30),
            promote: words.iter().find_map(|word| word.strip_prefix("promote=")).map(str::to_owned),
        })
    };
    let strategy = match words[0] {
        "deployment" => rolling(),
        "stateful" => Strategy::Stateful(Stateful {
            parallel: has("parallel"),
            claims: has("claim=own")
                .then(|| ClaimTemplate { name: "data".to_owned(), ..ClaimTemplate::default() })
                .into_iter()
                .collect(),
            ..Stateful::default()
        }),
        "daemon" => Strategy::Daemon(DaemonUpdate::Rolling { max_surge: count(0), max_unavailable: count(1) }),
        "replicas" => Strategy::OnDelete,
        "recreate" => Strategy::Recreate,
        _ => blue_green(),
    };
    Body::Workload(Workload {
        replicas: words.get(3).and_then(|text| text.parse().ok()),
        selector: LabelSelector::default(),
        snapshot: snapshot(app, words[2].chars().next().unwrap(), words),
        strategy,
        min_ready_seconds: option("minready").unwrap_or(0),
        progress_deadline_seconds: option("deadline").unwrap_or(600),
        paused: has("paused"),
    })
}

/// A CronJob of the text language.
fn cron(words: &[&str]) -> Body {
    let mut job_words = vec!["job", words[1], words[2], "1"];
    job_words.extend(&words[4..]);
    let Body::Workload(job) = job(&job_words) else { panic!("a Job") };
    let concurrency = match words.get(4) {
        Some(&"Forbid") => ConcurrencyPolicy::Forbid,
        Some(&"Replace") => ConcurrencyPolicy::Replace,
        _ => ConcurrencyPolicy::Allow,
    };
    Body::CronJob(Box::new(CronJob {
        schedule: Schedule::parse(&words[3].replace('_', " ")).unwrap(),
        time_zone: None,
        concurrency,
        starting_deadline_seconds: None,
        suspend: false,
        successful_kept: 2,
        failed_kept: 1,
        job_meta: Meta::default(),
        job,
    }))
}

/// A Job of the text language.
fn job(words: &[&str]) -> Body {
    let number = |wanted: &str| -> Option<u32> {
        words.iter().find_map(|word| word.strip_prefix(wanted)?.strip_prefix('=')).map(|text| text.parse().unwrap())
    };
    let letter = words[2].chars().next().unwrap();
    let mut snapshot = snapshot(words[1], letter, words);
    Arc::make_mut(&mut snapshot).template.spec.restart_policy = RestartPolicy::Never;
    let spec = JobSpec {
        run: snapshot.hash.clone(),
        completions: Some(words[3].parse().unwrap()),
        indexed: words.contains(&"indexed"),
        backoff_limit: number("limit").unwrap_or(6),
        backoff_limit_per_index: None,
        max_failed_indexes: None,
        active_deadline_seconds: number("deadline").map(u64::from),
        ttl_seconds_after_finished: number("ttl"),
        failure_rules: Vec::new(),
        success_rules: Vec::new(),
    };
    Body::Workload(Workload {
        replicas: Some(number("parallel").unwrap_or(1)),
        selector: LabelSelector::default(),
        snapshot,
        strategy: Strategy::Job(Box::new(spec)),
        min_ready_seconds: 0,
        progress_deadline_seconds: 600,
        paused: words.contains(&"suspended"),
    })
}

pub(super) fn desired(text: &str, revision: &Revision) -> Desired {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let objects = lines.map(|line| object(line, revision)).map(|object| (object.key.clone(), Arc::new(object)));
    Desired { revision: Some(revision.clone()), objects: objects.collect(), ..Desired::default() }
}

impl World {
    /// A new cluster with these nodes, whose agents have said hello.
    pub(super) fn new(nodes: &[&str]) -> Self {
        let mut world = Self::bare(nodes);
        world.give(Event::Restored(Box::default()));
        world.greet();
        world
    }

    fn bare(nodes: &[&str]) -> Self {
        let now = Moment(1_000_000);
        let agents = nodes.iter().map(|name| (node(name), FakeAgent { up: true, acknowledges: true, ..FakeAgent::default() }));
        Self {
            core: Controller::new(Settings { cluster: "test".to_owned(), ..Settings::default() }, Epoch(1), now),
            epoch: Epoch(1),
            now,
            agents: agents.collect(),
            records: Vec::new(),
            files: BTreeMap::new(),
            objects: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            wake: None,
            assigns: 0,
            endpoint_effects: 0,
            broken: BTreeSet::new(),
            start: Duration::from_secs(1),
            stop: Duration::from_secs(1),
            revisions: 0,
            most_told: BTreeMap::new(),
            capacity: Amounts { cpu_milli: 4000, memory_bytes: 8 << 30 },
        }
    }

    /// Another controller begins: with the memory that was recorded, or (`wiped`) without one.
    pub(super) fn restart(&mut self, wiped: bool) {
        self.epoch = Epoch(self.epoch.0 + 1);
        self.core = Controller::new(Settings { cluster: "test".to_owned(), ..Settings::default() }, self.epoch, self.now);
        self.wake = None;
        let mut restored = if wiped { Restored::default() } else { self.memory() };
        let read = |(key, current): (&ObjectKey, &CurrentObject)| {
            let made = current.made_by.as_ref().map(|by| self.objects[&by.owner(&key.namespace)].made_job(by.due));
            let object = made.map_or_else(|| self.objects.get(key).cloned(), |made| made.map(Arc::new));
            Some((key.clone(), object?))
        };
        restored.objects = restored.current.iter().filter_map(read).collect();
        self.give(Event::Restored(Box::new(restored)));
    }

    /// The memory as it was recorded.
    fn memory(&self) -> Restored {
        let mut restored = Restored { snapshots: self.snapshots.clone(), ..Restored::default() };
        for (path, text) in &self.files {
            if path == "current/_cluster/memory.yaml" {
                restored.notes = Some(serde_saphyr::from_str(text).unwrap());
                continue;
            }
            let current = serde_saphyr::from_str(text).unwrap();
            restored.current.insert(ObjectKey::of_audit_path(path).unwrap(), current);
        }
        restored
    }

    pub(super) fn greet(&mut self) {
        for name in self.agents.keys().cloned().collect::<Vec<_>>() {
            if self.agents[&name].up {
                self.hello(&name);
            }
        }
    }

    pub(super) fn hello(&mut self, name: &NodeName) {
        let agent = &self.agents[name];
        let facts = NodeFacts {
            name: name.clone(),
            labels: BTreeMap::new(),
            capacity: self.capacity,
            allocatable: self.capacity,
            runtimes: [RuntimeKind::Docker, RuntimeKind::Process].into_iter().collect(),
            allows: Allows::default(),
            os: "linux".to_owned(),
            arch: "amd64".to_owned(),
            kernel: String::new(),
            engine: None,
            agent_version: String::new(),
            address: "127.0.0.1".to_owned(),
        };
        let hello = Hello {
            facts,
            assignment: agent.in_force,
            pods: agent.pods.values().map(|pod| self.report_of(pod)).collect(),
            templates: BTreeMap::new(),
            endpoints: agent
                .endpoints
                .iter()
                .map(|(key, set)| (key.clone(), UsedEndpoints { version: set.version, pods: set.pods() }))
                .collect(),
            volumes: agent.volumes.clone(),
        };
        self.give(Event::AgentHello { node: name.clone(), hello: Box::new(hello) });
    }

    fn report_of(&self, pod: &FakePod) -> PodReport {
        let phase = match (pod.stopping, pod.ended, self.now.since(pod.started) < self.start) {
            (Some(_), ..) => PodPhase::Stopping,
            (None, Some(true), _) => PodPhase::Succeeded,
            (None, Some(false), _) => PodPhase::Failed,
            (None, None, true) => PodPhase::Starting,
            (None, None, false) => PodPhase::Running,
        };
        PodReport {
            uid: pod.run.uid,
            name: pod.run.name.clone(),
            workload: pod.run.workload.clone(),
            hash: pod.run.hash.clone(),
            slot: pod.run.slot,
            revision: pod.run.revision.clone(),
            phase,
            ready: pod.ready_since.is_some() && pod.stopping.is_none() && pod.ended.is_none(),
            ready_for: pod.ready_since.map(|since| self.now.since(since)).unwrap_or_default(),
            age: self.now.since(pod.started),
            address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            ports: [(8080, 30000)].into_iter().collect(),
            init_containers: Vec::new(),
            containers: Vec::new(),
            reason: String::new(),
            message: if self.broken.contains(&letter(&pod.run.hash)) {
                "readiness probe fails".to_owned()
            } else {
                String::new()
            },
        }
    }

    /// Loads a revision. Trailers as `Name: value`.
    pub(super) fn push_with(&mut self, text: &str, trailers: &[(&str, &str)]) {
        self.revisions += 1;
        let revision = Revision::new(format!("{:040}", self.revisions));
        let desired = desired(text, &revision);
        self.load(desired, trailers);
    }

    /// Two commits in one push: one with trailers, and a later one without.
    pub(super) fn push_both(&mut self, first: &str, trailers: &[(&str, &str)], second: &str) {
        let revision = |count: u64| Revision::new(format!("{count:040}"));
        let (early, late) = (revision(self.revisions + 1), revision(self.revisions + 2));
        self.revisions += 2;
        let trailers = trailers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let objects = desired(first, &early).objects.into_keys().collect();
        let commit = Commit { revision: early, subject: "early".to_owned(), trailers, objects };
        let (desired, actor) = (desired(second, &late), "someone".to_owned());
        let loaded = LoadedRevision { desired, trigger: Trigger::Push, actor, commits: vec![commit] };
        self.give(Event::Loaded(Box::new(loaded)));
    }

    pub(super) fn push(&mut self, text: &str) {
        self.push_with(text, &[]);
    }

    pub(super) fn load(&mut self, desired: Desired, trailers: &[(&str, &str)]) {
        let revision = desired.revision.clone().unwrap();
        for object in desired.objects.values() {
            self.objects.insert(object.key.clone(), object.clone());
            if let Some(snapshot) = object.snapshot() {
                self.snapshots.insert(snapshot.hash.clone(), snapshot.clone());
            }
        }
        let trailers = trailers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let commit = Commit { revision, subject: "test".to_owned(), trailers, objects: BTreeSet::new() };
        let loaded = LoadedRevision { desired, trigger: Trigger::Push, actor: "someone".to_owned(), commits: vec![commit] };
        self.give(Event::Loaded(Box::new(loaded)));
    }

    /// Gives an event, and carries the effects out.
    pub(super) fn give(&mut self, event: Event) {
        let shown = format!("{event:.200?}");
        let effects = self.core.handle(event, self.now);
        for effect in effects {
            self.perform(effect);
        }
        if let Err(difference) = self.core.check() {
            panic!("after {shown}: {difference}");
        }
        self.count_told();
    }

    fn count_told(&mut self) {
        let mut told: BTreeMap<ObjectKey, usize> = BTreeMap::new();
        for pod in &self.core.view().pods {
            if let Some(run) = &pod.told {
                *told.entry(run.workload.clone()).or_default() += 1;
            }
        }
        for (key, count) in told {
            let most = self.most_told.entry(key).or_default();
            *most = (*most).max(count);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Assign { node, assignment } => {
                self.assigns += 1;
                let now = self.now;
                let agent = self.agents.get_mut(&node).unwrap();
                assert!((assignment.epoch, assignment.generation) >= agent.in_force, "an older assignment for {node}");
                agent.in_force = (assignment.epoch, assignment.generation);
                agent.dirty = true;
                for (uid, run) in &assignment.run {
                    assert!(
                        agent.pods.contains_key(uid) || assignment.templates.contains_key(&run.hash),
                        "the template of a new pod is not sent"
                    );
                    let fresh = || FakePod {
                        run: run.clone(),
                        started: now,
                        ready_since: None,
                        stopping: None,
                        ended: None,
                        reported: None,
                    };
                    agent.pods.entry(*uid).or_insert_with(fresh);
                    let claims = assignment.templates.get(&run.hash).map(|snapshot| snapshot.template.spec.claims_of(&run.name));
                    let key = |name| ObjectKey::new(Kind::PersistentVolumeClaim, run.workload.namespace.clone(), name);
                    agent.volumes.extend(claims.into_iter().flatten().map(key));
                }
                agent.volumes.retain(|volume| !assignment.erase.contains(volume));
                for uid in assignment.stop.keys() {
                    match agent.pods.get_mut(uid) {
                        Some(pod) => drop(pod.stopping.get_or_insert(now)),
                        None => agent.gone.push(*uid),
                    }
                }
            }
            Effect::Endpoints { node, set } => {
                self.endpoint_effects += 1;
                let agent = self.agents.get_mut(&node).unwrap();
                let known = agent.endpoints.get(&set.service).map_or(0, |known| known.version);
                assert!(set.version >= known, "an older endpoint set for {node}");
                agent.fresh.insert(set.service.clone(), set.version);
                agent.dirty = true;
                agent.endpoints.insert(set.service.clone(), set);
            }
            Effect::Record(record) => {
                for (path, text) in &record.tree {
                    match text {
                        Some(text) => drop(self.files.insert(path.clone(), text.clone())),
                        None => drop(self.files.remove(path)),
                    }
                }
                self.records.push(*record);
            }
            Effect::WakeAt(at) => self.wake = Some(at),
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now = self.now + TICK;
            for name in self.agents.keys().cloned().collect::<Vec<_>>() {
                self.act(&name);
            }
            if self.wake.is_some_and(|at| at <= self.now) {
                self.wake = None;
                self.give(Event::Wake);
            }
        }
    }

    pub(super) fn seconds(&mut self, count: u64) {
        self.run(Duration::from_secs(count));
    }

    /// One agent goes on by one tick and reports what changed.
    fn act(&mut self, name: &NodeName) {
        let (now, start, stop) = (self.now, self.start, self.stop);
        let broken = self.broken.clone();
        let agent = self.agents.get_mut(name).unwrap();
        let mut ended = Vec::new();
        for (uid, pod) in &mut agent.pods {
            let works = !broken.contains(&letter(&pod.run.hash));
            if pod.ready_since.is_none() && works && now.since(pod.started) >= start {
                pod.ready_since = Some(now);
            }
            if pod.stopping.is_some_and(|at| now.since(at) >= stop) {
                ended.push(*uid);
            }
        }
        for uid in ended {
            agent.pods.remove(&uid);
            agent.gone.push(uid);
        }
        if !agent.up {
            return;
        }
        let pods: Vec<FakePod> = self.agents[name].pods.values().cloned().collect();
        let mut changed = Vec::new();
        for pod in pods {
            let report = self.report_of(&pod);
            let state = (report.phase, report.ready);
            if pod.reported != Some(state) {
                self.agents.get_mut(name).unwrap().pods.get_mut(&pod.run.uid).unwrap().reported = Some(state);
                changed.push(report);
            }
        }
        let agent = self.agents.get_mut(name).unwrap();
        let endpoints = if agent.acknowledges { std::mem::take(&mut agent.fresh) } else { BTreeMap::new() };
        let gone = std::mem::take(&mut agent.gone);
        let cpu_milli = agent.cpu.clone();
        let dirty = std::mem::take(&mut agent.dirty);
        if changed.is_empty() && gone.is_empty() && endpoints.is_empty() && cpu_milli.is_empty() && !dirty {
            return self.give(Event::AgentHeartbeat { node: name.clone() });
        }
        let volumes = Some(agent.volumes.clone());
        let report =
            Report { assignment: agent.in_force, pods: changed, gone, endpoints, cpu_milli, volumes, ..Report::default() };
        self.give(Event::AgentReport { node: name.clone(), report: Box::new(report) });
    }

    /// An agent says something beside what it says by itself.
    pub(super) fn report(&mut self, name: &str, report: Report) {
        self.give(Event::AgentReport { node: node(name), report: Box::new(report) });
    }

    /// Removes a pod behind the agent's back.
    pub(super) fn kill_one(&mut self, workload: &str) -> PodUid {
        let wanted = key(workload);
        for agent in self.agents.values_mut() {
            let found = agent.pods.values().find(|pod| pod.run.workload == wanted).map(|pod| pod.run.uid);
            if let Some(uid) = found {
                agent.pods.remove(&uid);
                agent.gone.push(uid);
                return uid;
            }
        }
        panic!("no pod of {workload}");
    }

    /// Lets one running pod of a Job end.
    pub(super) fn end_one(&mut self, job: &str, succeeded: bool) {
        let wanted = key(job);
        let mut pods = self.agents.values_mut().flat_map(|agent| agent.pods.values_mut());
        let runs = |pod: &&mut FakePod| pod.run.workload == wanted && pod.ended.is_none() && pod.stopping.is_none();
        pods.find(runs).expect("a pod that runs").ended = Some(succeeded);
    }

    /// `2 v1 x1`: how many pods of a Job run, succeeded and failed, as far as agents keep them.
    pub(super) fn job_pods(&self, job: &str) -> String {
        let wanted = key(job);
        let pods = || self.agents.values().flat_map(|agent| agent.pods.values()).filter(|pod| pod.run.workload == wanted);
        let count = |ended: Option<bool>| pods().filter(|pod| pod.ended == ended).count();
        format!("{} v{} x{}", count(None), count(Some(true)), count(Some(false)))
    }

    /// An agent loses its memory, and the pods that it ran.
    pub(super) fn wipe(&mut self, name: &str) {
        let agent = self.agents.get_mut(&node(name)).unwrap();
        *agent = FakeAgent { up: true, acknowledges: true, ..FakeAgent::default() };
    }

    /// The letters of the templates of the pods that run, one each, sorted: `aab`.
    pub(super) fn running(&self, workload: &str) -> String {
        let wanted = key(workload);
        let pods = self.agents.values().flat_map(|agent| agent.pods.values());
        let mut letters: Vec<char> =
            pods.filter(|pod| pod.run.workload == wanted && pod.stopping.is_none()).map(|pod| letter(&pod.run.hash)).collect();
        letters.sort_unstable();
        letters.into_iter().collect()
    }

    /// The same, of those that a Service leads to on a node.
    pub(super) fn behind(&self, service: &str) -> String {
        let wanted = key(&format!("Service/{service}"));
        let agent = self.agents.values().find(|agent| agent.up).unwrap();
        let Some(set) = agent.endpoints.get(&wanted) else { return String::new() };
        let backends = set.ports.iter().flat_map(|port| port.backends.iter().map(|backend| backend.pod));
        let pods = |uid: PodUid| self.agents.values().find_map(|agent| agent.pods.get(&uid));
        let mut letters: Vec<char> = backends.map(|uid| pods(uid).map_or('?', |pod| letter(&pod.run.hash))).collect();
        letters.sort_unstable();
        letters.into_iter().collect()
    }

    pub(super) fn uids(&self) -> BTreeSet<PodUid> {
        self.agents.values().flat_map(|agent| agent.pods.keys().copied()).collect()
    }

    pub(super) fn progress(&self, workload: &str) -> Progress {
        self.core.view().workloads[&key(workload)].progress.clone()
    }

    /// `planned converged`: the outcomes since the last call.
    pub(super) fn outcomes(&mut self) -> String {
        let records = std::mem::take(&mut self.records);
        records.iter().map(|record| record.outcome.as_str()).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn subjects(&mut self) -> Vec<String> {
        std::mem::take(&mut self.records).into_iter().map(|record| record.subject).collect()
    }
}
