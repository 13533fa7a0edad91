//! The text language: objects, keys and templates from a line or a word.

use crate::model::*;
use serde_json::json;
use std::sync::Arc;

pub(crate) fn key(text: &str) -> ObjectKey {
    let (kind, name) = text.split_once('/').unwrap_or(("Deployment", text));
    let kind = Kind::ALL.into_iter().find(|candidate| candidate.as_str() == kind).unwrap();
    ObjectKey::new(kind, "shop", name)
}

pub(crate) fn node(name: &str) -> NodeName {
    NodeName::new(name)
}

/// The hash of the template `letter` of a workload.
pub(crate) fn hash(name: &str, letter: char) -> TemplateHash {
    let tail = blake3::hash(name.as_bytes()).to_hex();
    TemplateHash::new(format!("{}{}", letter.to_string().repeat(20), &tail.as_str()[..20]))
}

/// The letter of a template.
pub(crate) fn letter(hash: &TemplateHash) -> char {
    hash.as_str().chars().next().unwrap()
}

/// One object from a line: `deployment web a 3 surge=1`, `rollout api b 2 manual delay=30`, `service web`, `config settings x`,
/// `hpa web 1 5`, `hpa db 1 5 of=StatefulSet memory=100 window=0`, `recreate job a 2`, `job sum a 3 parallel=2 limit=1 ttl=60`,
/// `cron tick a */10_*_*_*_* Forbid`, `node n1 cordoned drained taint=key:NoExecute zone=x`, `class high 1000 never`, `budget web 2`.
pub(crate) fn object(line: &str, revision: &Revision) -> Object {
    let words: Vec<&str> = line.split_whitespace().collect();
    let name = words[1];
    let (kind, body) = body(&words);
    let annotations = words
        .iter()
        .find_map(|word| word.strip_prefix("drift="))
        .map(|policy| ("driftless.dev/drift".to_owned(), policy.to_owned()));
    let written = json!({ "kind": kind.as_str(), "metadata": { "name": name }, "spec": { "line": words[2..].join(" ") } });
    let zone = words.iter().find_map(|word| word.strip_prefix("zone=")).filter(|_| kind == Kind::Node);
    let removed = words.contains(&"removed").then(|| ("driftless.dev/removed".to_owned(), "true".to_owned()));
    let balances = words.contains(&"balances").then(|| (LOAD_BALANCER_LABEL.to_owned(), "true".to_owned()));
    let labels = zone.map(|zone| ("zone".to_owned(), zone.to_owned())).into_iter().chain(balances);
    Object {
        key: ObjectKey::new(kind, if kind.is_namespaced() { "shop" } else { "" }, name),
        meta: Meta { annotations: annotations.into_iter().chain(removed).collect(), labels: labels.collect() },
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

/// `service web type=NodePort at=30080 address=10.96.0.9 sticky=60 local unready name=db.example.org`
fn service(words: &[&str], app: &str) -> ServiceSpec {
    let option = |wanted: &str| words.iter().find_map(|word| word.strip_prefix(wanted)?.strip_prefix('='));
    let policy = if words.contains(&"local") { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
    let sticky = option("sticky").map(|seconds| ClientIpConfig { timeout_seconds: seconds.parse().ok() });
    ServiceSpec {
        selector: [("app".to_owned(), app.to_owned())].into_iter().collect(),
        ports: vec![ServicePort {
            port: 80,
            target_port: Some(IntOrString::Text("http".to_owned())),
            node_port: option("at").map(|number| number.parse().unwrap()),
            ..ServicePort::default()
        }],
        cluster_ip: option("address").map(str::to_owned),
        kind: match option("type") {
            Some("NodePort") => ServiceKind::NodePort,
            Some("LoadBalancer") => ServiceKind::LoadBalancer,
            Some("ExternalName") => ServiceKind::ExternalName,
            _ => ServiceKind::ClusterIP,
        },
        external_name: option("name").map(str::to_owned),
        session_affinity: if sticky.is_some() { SessionAffinity::ClientIP } else { SessionAffinity::None },
        session_affinity_config: sticky.map(|client_ip| SessionAffinityConfig { client_ip }),
        publish_not_ready_addresses: words.contains(&"unready"),
        internal_traffic_policy: policy,
        external_traffic_policy: policy,
        ..ServiceSpec::default()
    }
}

/// An autoscaler of what has its name: 50 % of the cpu, and so many bytes of memory on average if it says so.
fn autoscaler(words: &[&str]) -> Autoscaler {
    let option = |wanted: &str| words.iter().find_map(|word| word.strip_prefix(wanted)?.strip_prefix('='));
    let memory = option("memory").map(|bytes| ScaleMetric {
        resource: ScaledResource::Memory,
        container: None,
        target: MetricTarget::AverageValue(bytes.parse().unwrap()),
    });
    let window_seconds = option("window").map_or(300, |seconds| seconds.parse().unwrap());
    Autoscaler {
        target_kind: option("of").unwrap_or("Deployment").to_owned(),
        target_name: words[1].to_owned(),
        min_replicas: words[2].parse().unwrap(),
        max_replicas: words[3].parse().unwrap(),
        metrics: [ScaleMetric::cpu(50)].into_iter().chain(memory).collect(),
        scale_up: ScaleRules::up(),
        scale_down: ScaleRules { window_seconds, ..ScaleRules::down() },
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
        "service" => (Kind::Service, Body::Service(service(words, app))),
        "config" => (Kind::ConfigMap, Body::ConfigMap([("k".to_owned(), words[2].as_bytes().to_vec())].into_iter().collect())),
        "hpa" => (Kind::HorizontalPodAutoscaler, Body::Autoscaler(autoscaler(words))),
        "node" => (
            Kind::Node,
            Body::Node(NodeSpec {
                unschedulable: words.contains(&"cordoned") || words.contains(&"drained"),
                drain: words.contains(&"drained"),
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
            retention: ClaimRetention { delete_when_deleted: has("goes=deleted"), delete_when_scaled: has("goes=scaled") },
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

/// A template; `claim=`, `cpu=`, `lease=`, `grace=`, `class=`, `zone=` and `tolerates=key[:seconds]` are options of its line.
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
    let lease = option("lease").map(|term| (LEASE.to_owned(), term.to_owned()));
    let template = PodTemplate {
        metadata: Meta {
            labels: [("app".to_owned(), name.to_owned())].into_iter().collect(),
            annotations: lease.into_iter().collect(),
        },
        spec: PodSpec {
            termination_grace_period_seconds: option("grace").map_or(30, |seconds| seconds.parse().unwrap()),
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

/// A volume that is this claim; `own` for one that a template of a StatefulSet makes.
fn mounted(claim: &str) -> Volume {
    let name = if claim == "own" { format!("data-{CLAIM_OF_POD}") } else { claim.to_owned() };
    let source = ClaimVolume { claim_name: name, ..ClaimVolume::default() };
    Volume { name: "data".to_owned(), persistent_volume_claim: Some(source), ..Volume::default() }
}

/// `key:effect`
fn taint(text: &str) -> Option<Taint> {
    let (key, effect) = text.split_once(':')?;
    Some(Taint { key: key.to_owned(), value: String::new(), effect: effect.to_owned() })
}

pub(crate) fn desired(text: &str, revision: &Revision) -> Desired {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let objects = lines.map(|line| object(line, revision)).map(|object| (object.key.clone(), Arc::new(object)));
    Desired { revision: Some(revision.clone()), objects: objects.collect(), ..Desired::default() }
}
