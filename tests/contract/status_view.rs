//! A made-up view that has a bit of everything: what the status API and its page are tested on.

use driftless::model::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// What must never be seen, whoever asks and however.
pub(crate) const SECRET: &str = "hunter2-never-shown";
/// A literal environment value: also never seen.
pub(crate) const LITERAL: &str = "literal-never-shown";

/// 2026-11-21 10:00:00 UTC
pub(crate) const NOW: Moment = Moment(1_795_255_200_000);

const OLD: &str = "1111111111111111111111111111111111111111";
const NEW: &str = "2222222222222222222222222222222222222222";
const API: &str = "3333333333333333333333333333333333333333";

/// The view.
pub(crate) fn view() -> View {
    let objects: BTreeMap<ObjectKey, Arc<Object>> =
        objects().into_iter().map(|object| (object.key.clone(), Arc::new(object))).collect();
    View {
        version: 41,
        at: NOW,
        cluster: "main".into(),
        epoch: Epoch(7),
        repo: "https://git.example/shop.git".into(),
        branch: "main".into(),
        revision: Some(revision('a')),
        health: Health::Acting,
        created: objects.keys().map(|key| (key.clone(), ago(86_400 * 3))).collect(),
        objects,
        units: units(),
        workloads: workloads(),
        crons: BTreeMap::new(),
        pods: pods(),
        templates: BTreeMap::from([(TemplateHash::new(OLD), snapshot(OLD, "web", "nginx:1.26"))]),
        nodes: nodes(),
        claims: BTreeMap::new(),
        autoscalers: BTreeMap::from([(key(Kind::HorizontalPodAutoscaler, "web"), autoscaler())]),
        budgets: BTreeMap::from([(
            key(Kind::PodDisruptionBudget, "web"),
            BudgetView { expected: 3, healthy: 3, desired: 2, allowed: 1 },
        )]),
        services: BTreeMap::from([
            (
                key(Kind::Service, "web"),
                ServiceView { address: Some(Ipv4Addr::new(127, 64, 0, 10)), backends: 3, ..ServiceView::default() },
            ),
            (
                key(Kind::Service, "api"),
                ServiceView { address: Some(Ipv4Addr::new(127, 64, 0, 11)), backends: 1, ..ServiceView::default() },
            ),
        ]),
        ingress_addresses: vec!["192.0.2.10".into(), "edge.example".into()],
        reconciles: reconciles(),
        events: events(),
        problems: problems(),
        counters: Counters { passes: 120, assignments: 14, records: 9, divergences: 0, drift: 2 },
        audit_queued: 1,
    }
}

pub(crate) fn ago(seconds: u64) -> Moment {
    NOW - Duration::from_secs(seconds)
}

pub(crate) fn revision(digit: char) -> Revision {
    Revision::new(digit.to_string().repeat(40))
}

pub(crate) fn key(kind: Kind, name: &str) -> ObjectKey {
    ObjectKey::new(kind, if kind.is_namespaced() { "shop" } else { "" }, name)
}

fn labels(app: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("app".into(), app.into())])
}

fn object(kind: Kind, name: &str, line: u32, body: Body) -> Object {
    Object {
        key: key(kind, name),
        meta: Meta {
            labels: labels(name),
            annotations: BTreeMap::from([(
                "kubectl.kubernetes.io/last-applied-configuration".into(),
                format!("{{\"value\":\"{LITERAL}\"}}"),
            )]),
        },
        source: Source {
            unit: UnitName::new("shop"),
            revision: revision('a'),
            file: "shop/all.yaml".into(),
            line,
            blob: "0".repeat(40),
        },
        written: Arc::new(json!({ "kind": kind.as_str(), "metadata": { "name": name } })),
        fingerprint: [0; 32],
        body,
    }
}

/// One that has pods at 30 % of their cpu, and does not know about their memory yet.
fn autoscaler() -> AutoscalerView {
    let usage = Some(MetricUsage { average: 30, percent: Some(30) });
    let readings = vec![MetricReading { usage, wish: Ok(2) }, MetricReading { usage: None, wish: Err(NoReading::NoSamples) }];
    let (basis, limit) = (ScaleBasis::Silence(1), None);
    let decision = ScaleDecision { replicas: 3, basis, stabilized: false, limit, readings };
    AutoscalerView { target: key(Kind::Deployment, "web"), last_scale: Some(ago(600)), decision: Some(decision) }
}

fn objects() -> Vec<Object> {
    let config = BTreeMap::from([("greeting".into(), b"hello".to_vec()), ("logo.png".into(), vec![0x89, 0xff, 0x00])]);
    let secret = BTreeMap::from([("password".into(), SecretBytes::new(SECRET.into()))]);
    let autoscaler = Autoscaler {
        target_kind: "Deployment".into(),
        target_name: "web".into(),
        min_replicas: 2,
        max_replicas: 6,
        metrics: vec![
            ScaleMetric::cpu(60),
            ScaleMetric {
                resource: ScaledResource::Memory,
                container: Some("main".into()),
                target: MetricTarget::AverageValue(64 << 20),
            },
        ],
        scale_up: ScaleRules::up(),
        scale_down: ScaleRules { select: SelectPolicy::Min, ..ScaleRules::down() },
    };
    let budget = DisruptionBudget {
        selector: Some(LabelSelector { match_labels: labels("web"), ..LabelSelector::default() }),
        min_available: Some(IntOrString::Int(2)),
        max_unavailable: None,
    };
    vec![
        object(Kind::Namespace, "shop", 1, Body::Namespace),
        object(Kind::ConfigMap, "web-config", 5, Body::ConfigMap(config)),
        object(Kind::Secret, "web-secret", 12, Body::Secret(secret)),
        object(Kind::Service, "web", 20, Body::Service(service("web"))),
        object(Kind::Service, "api", 30, Body::Service(service("api"))),
        object(Kind::Ingress, "shop", 35, Body::Ingress(ingress())),
        object(Kind::Deployment, "web", 40, Body::Workload(workload(snapshot(NEW, "web", "nginx:1.27"), rolling()))),
        object(Kind::Rollout, "api", 70, Body::Workload(workload(snapshot(API, "api", "shop/api:2"), blue_green()))),
        object(Kind::HorizontalPodAutoscaler, "web", 110, Body::Autoscaler(autoscaler)),
        object(Kind::PriorityClass, "high", 120, Body::PriorityClass(PriorityClass { value: 1000, ..PriorityClass::default() })),
        object(Kind::PodDisruptionBudget, "web", 130, Body::Budget(budget)),
    ]
}

fn service(app: &str) -> ServiceSpec {
    let port = ServicePort {
        name: "http".into(),
        port: 80,
        target_port: Some(IntOrString::Text("http".into())),
        ..ServicePort::default()
    };
    ServiceSpec { selector: labels(app), ports: vec![port], ..ServiceSpec::default() }
}

fn ingress() -> IngressSpec {
    let service = IngressService { name: "web".into(), port: IngressPort { name: Some("http".into()), number: None } };
    let backend = IngressBackend { service: Some(service) };
    let path = IngressPath { path: "/".into(), path_type: "Prefix".into(), backend };
    let rule = IngressRule { host: Some("shop.example".into()), http: Some(IngressHttp { paths: vec![path] }) };
    let tls = IngressTls { hosts: vec!["shop.example".into()], secret_name: Some("cert".into()) };
    IngressSpec { rules: vec![rule], tls: vec![tls], ..IngressSpec::default() }
}

fn rolling() -> Strategy {
    Strategy::Rolling { max_surge: IntOrString::Text("25%".into()), max_unavailable: IntOrString::Int(0) }
}

fn blue_green() -> Strategy {
    Strategy::BlueGreen(BlueGreen {
        active_service: "api".into(),
        preview_service: None,
        auto_promotion: false,
        auto_promotion_seconds: 0,
        scale_down_delay_seconds: 30,
        promote: None,
    })
}

fn workload(snapshot: Arc<PodSnapshot>, strategy: Strategy) -> Workload {
    let match_labels = snapshot.template.metadata.labels.clone();
    Workload {
        replicas: Some(3),
        selector: LabelSelector { match_labels, match_expressions: Vec::new() },
        snapshot,
        strategy,
        min_ready_seconds: 0,
        progress_deadline_seconds: 600,
        paused: false,
    }
}

fn snapshot(hash: &str, app: &str, image: &str) -> Arc<PodSnapshot> {
    let literal = EnvVar { name: "TOKEN".into(), value: Some(LITERAL.into()), value_from: None };
    let port =
        ContainerPort { name: "http".into(), container_port: 8080, host_port: None, host_ip: None, protocol: Protocol::Tcp };
    let container = Container {
        name: app.into(),
        image: Some(image.into()),
        env: vec![literal],
        ports: vec![port],
        resources: Resources { requests: BTreeMap::from([("cpu".into(), Quantity::from_milli(100))]), limits: BTreeMap::new() },
        readiness_probe: Some(Probe {
            http_get: Some(HttpGet { path: "/ready".into(), port: IntOrString::Text("http".into()), ..HttpGet::default() }),
            ..Probe::default()
        }),
        ..Container::default()
    };
    let secrets = BTreeMap::from([("web-secret".into(), BTreeMap::from([("password".into(), SecretBytes::new(SECRET.into()))]))]);
    Arc::new(PodSnapshot {
        hash: TemplateHash::new(hash),
        template: PodTemplate {
            metadata: Meta { labels: labels(app), annotations: BTreeMap::new() },
            spec: PodSpec { containers: vec![container], ..PodSpec::default() },
        },
        config: Arc::new(ConfigSnapshot { secrets, ..ConfigSnapshot::default() }),
    })
}

fn units() -> BTreeMap<UnitName, UnitState> {
    let loaded = UnitState::Loaded { at: revision('a'), problems: Vec::new() };
    let held = UnitState::Held { at: Some(revision('b')), failed: revision('a'), problems: vec![broken()] };
    BTreeMap::from([(UnitName::new("shop"), loaded), (UnitName::new("reports"), held)])
}

fn broken() -> Problem {
    Problem {
        at: Location { file: "reports/nightly.yaml".into(), line: 14, column: 11 },
        path: "spec.template.spec.containers[0].imgae".into(),
        severity: Severity::Error,
        scope: Scope::Document,
        message: "unknown field \"imgae\"".into(),
        hint: Some("did you mean \"image\"?".into()),
    }
}

fn ignored() -> Problem {
    Problem {
        at: Location { file: "shop/all.yaml".into(), line: 55, column: 7 },
        path: "spec.template.spec.serviceAccountName".into(),
        severity: Severity::Warning,
        scope: Scope::Document,
        message: "serviceAccountName is ignored".into(),
        hint: Some("it has no meaning without Kubernetes".into()),
    }
}

fn problems() -> Vec<ProblemView> {
    vec![
        ProblemView {
            about: "unit reports".into(),
            message: "held at bbbbbbbb: reports/nightly.yaml cannot be read".into(),
            hint: Some("fix the file and push; everything else goes on".into()),
            problem: Some(broken()),
        },
        ProblemView {
            about: "node <script>alert('about')</script>".into(),
            message: "<img src=x onerror=alert(1)> & \"quotes\"".into(),
            hint: None,
            problem: None,
        },
        ProblemView { about: "unit shop".into(), message: ignored().message, hint: ignored().hint, problem: Some(ignored()) },
    ]
}

fn workloads() -> BTreeMap<ObjectKey, WorkloadView> {
    let web = WorkloadView {
        replicas: 3,
        hash: TemplateHash::new(NEW),
        updated: 2,
        ready: 3,
        available: 3,
        current: 4,
        progress: Progress::Waiting(WaitingOn::Availability { missing: 1 }),
        promoted: None,
        autoscaled: Some(3),
        job: None,
    };
    let api = WorkloadView {
        replicas: 1,
        hash: TemplateHash::new(API),
        updated: 1,
        ready: 0,
        available: 0,
        current: 1,
        progress: Progress::Stalled(StalledBy::Deadline("api: Error, exit code 3".into())),
        promoted: Some(TemplateHash::new(API)),
        autoscaled: None,
        job: None,
    };
    BTreeMap::from([(key(Kind::Deployment, "web"), web), (key(Kind::Rollout, "api"), api)])
}

struct Made {
    workload: ObjectKey,
    hash: &'static str,
    slot: u32,
    node: &'static str,
    phase: PodPhase,
    restarts: u32,
    port: u16,
    message: &'static str,
}

fn pods() -> Vec<PodView> {
    let web = |slot, hash, phase, port| Made {
        workload: key(Kind::Deployment, "web"),
        hash,
        slot,
        node: if slot == 2 { "two" } else { "one" },
        phase,
        restarts: 0,
        port,
        message: "",
    };
    let api = Made {
        workload: key(Kind::Rollout, "api"),
        hash: API,
        slot: 0,
        node: "one",
        phase: PodPhase::CrashLoop,
        restarts: 5,
        port: 20_010,
        message: "api ended with exit code 3; next start in 40s",
    };
    let mut old = pod(&web(2, OLD, PodPhase::Running, 20_002));
    old.stopping = Some(StopReason::Replaced);
    vec![
        pod(&web(0, NEW, PodPhase::Running, 20_000)),
        pod(&web(1, NEW, PodPhase::Starting, 20_001)),
        pod(&web(3, OLD, PodPhase::Running, 20_003)),
        old,
        pod(&api),
    ]
}

fn pod(made: &Made) -> PodView {
    let hash = TemplateHash::new(made.hash);
    let uid =
        PodUid::derive("test", &made.workload, made.slot, &hash, Incarnation { epoch: Epoch(7), counter: u64::from(made.slot) });
    let name = format!("{}-{}-{}", made.workload.name, hash.short(), uid.tail());
    let ready = made.phase == PodPhase::Running;
    let run = PodRun {
        uid,
        name: name.clone(),
        workload: made.workload.clone(),
        slot: made.slot,
        hash: hash.clone(),
        revision: revision('a'),
        images: BTreeMap::new(),
    };
    let report = PodReport {
        uid,
        name,
        workload: made.workload.clone(),
        hash,
        slot: made.slot,
        revision: revision('a'),
        phase: made.phase,
        ready,
        ready_for: Duration::from_secs(30),
        age: Duration::from_secs(90),
        address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ports: BTreeMap::from([(8080, made.port)]),
        init_containers: Vec::new(),
        containers: vec![container(made, ready)],
        reason: String::new(),
        message: made.message.into(),
    };
    PodView {
        node: NodeName::new(made.node),
        told: Some(run),
        stopping: None,
        report: Some(report),
        since: ago(90),
        usage: ready.then(|| usage(made)),
    }
}

/// The first sample of a pod's life tells no cpu.
fn usage(made: &Made) -> (PodUsage, Moment) {
    let container = ContainerUsage { cpu_milli: (made.slot > 0).then_some(u64::from(made.slot) * 100), memory_bytes: 64 << 20 };
    ([(made.workload.name.clone(), container)].into_iter().collect(), ago(4))
}

fn container(made: &Made, ready: bool) -> ContainerReport {
    ContainerReport {
        name: made.workload.name.clone(),
        id: format!("c0ffee{:02}", made.slot),
        image_digest: Some(format!("sha256:{}", "d".repeat(64))),
        state: match made.phase {
            PodPhase::CrashLoop => ContainerState::BackOff,
            PodPhase::Running | PodPhase::Stopping => ContainerState::Running,
            PodPhase::Pending | PodPhase::Starting => ContainerState::Waiting,
            PodPhase::Succeeded | PodPhase::Failed => ContainerState::Ended,
        },
        started: ready,
        ready,
        restarts: made.restarts,
        last_exit: (made.restarts > 0).then(|| Exit { code: 3, reason: "Error".into() }),
    }
}

fn nodes() -> BTreeMap<NodeName, NodeView> {
    let node = |name: &str, ready, pods| NodeView {
        facts: Some(NodeFacts {
            name: NodeName::new(name),
            labels: BTreeMap::from([("kubernetes.io/hostname".into(), name.into())]),
            capacity: Amounts { cpu_milli: 4000, memory_bytes: 8 << 30 },
            allocatable: Amounts { cpu_milli: 3800, memory_bytes: 7 << 30 },
            runtimes: BTreeSet::from([RuntimeKind::Docker, RuntimeKind::Process]),
            leases: BTreeSet::new(),
            allows: Allows::default(),
            os: "linux".into(),
            arch: "amd64".into(),
            kernel: "6.1.0".into(),
            engine: Some("docker://20.10.24".into()),
            agent_version: "0.1.0".into(),
            address: "127.0.0.1".into(),
            tunnel: Vec::new(),
            ingress: false,
        }),
        ready,
        heard: Some(ago(1)),
        created: Some(ago(7200)),
        pods,
        marks: NodeSpec { unschedulable: name == "two", ..NodeSpec::default() },
        away_until: None,
        conditions: NodeConditions::default(),
        drain: None,
        usage: ready.then_some((HostUsage { cpu_milli: (name == "one").then_some(950), memory_bytes: 3 << 30 }, ago(4))),
    };
    let remembered = NodeView {
        facts: None,
        ready: false,
        heard: None,
        created: Some(ago(7200)),
        pods: 0,
        marks: NodeSpec::default(),
        away_until: None,
        conditions: NodeConditions::default(),
        drain: None,
        usage: None,
    };
    BTreeMap::from([
        (NodeName::new("one"), node("one", true, 4)),
        (NodeName::new("two"), node("two", true, 1)),
        (NodeName::new("three"), remembered),
    ])
}

fn reconciles() -> Vec<ReconcileView> {
    let reconcile = |subject: &str, outcome, trigger, started| {
        ReconcileView {
        subject: subject.into(),
        body: "~ Deployment shop/web\n    spec.template.spec.containers[web].image: nginx:1.26 → nginx:1.27\n    3 pods replaced, one at a time\n".into(),
        revision: Some(revision('a')),
        trigger,
        outcome,
        changes: ChangeCounts { create: 0, update: 1, delete: 0 },
        plan: format!("blake3:{}", "e".repeat(64)),
        started,
        duration_ms: 12_400,
    }
    };
    vec![
        reconcile("shop/web: rolling out 3 pods, nginx:1.26 → 1.27", Outcome::Planned, Trigger::Push, ago(95)),
        reconcile("reports: held, nightly.yaml cannot be read", Outcome::Held, Trigger::Push, ago(96)),
        reconcile("shop/web: replaced a pod that was removed", Outcome::Converged, Trigger::Drift, ago(4000)),
        reconcile("shop: created 8 objects", Outcome::Converged, Trigger::Startup, ago(7200)),
    ]
}

fn events() -> Vec<EventView> {
    vec![
        EventView {
            about: key(Kind::Deployment, "web"),
            pod: None,
            node: None,
            warning: false,
            reason: "ScalingReplicaSet".into(),
            message: "Scaled up template 222222 to 2".into(),
            count: 1,
            first: ago(94),
            last: ago(94),
        },
        EventView {
            about: key(Kind::Rollout, "api"),
            pod: Some(pods()[4].told.as_ref().expect("told").name.clone()),
            node: Some(NodeName::new("one")),
            warning: true,
            reason: "BackOff".into(),
            message: "Back-off restarting api <b>".into(),
            count: 5,
            first: ago(300),
            last: ago(20),
        },
    ]
}
