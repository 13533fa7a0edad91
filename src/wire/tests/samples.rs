//! Values of the model for the tests of this room.

use crate::model::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub(super) fn uid(n: u32) -> PodUid {
    let incarnation = Incarnation { epoch: Epoch(1), counter: u64::from(n) };
    PodUid::derive("test", &web(), n, &hash("aa"), incarnation)
}

pub(super) fn web() -> ObjectKey {
    ObjectKey::new(Kind::Deployment, "shop", "web")
}

pub(super) fn hash(text: &str) -> TemplateHash {
    TemplateHash::new(text)
}

pub(super) fn hello(node: &str) -> Hello {
    let amounts = Amounts { cpu_milli: 2_000, memory_bytes: 1 << 30 };
    Hello {
        facts: NodeFacts {
            name: NodeName::new(node),
            labels: BTreeMap::new(),
            capacity: amounts,
            allocatable: amounts,
            runtimes: BTreeSet::from([RuntimeKind::Process]),
            leases: BTreeSet::from([RuntimeKind::Process]),
            allows: ["privileged", "host-path=/srv/data"].map(|grant| grant.parse().expect("a grant")).into_iter().collect(),
            os: "linux".into(),
            arch: "amd64".into(),
            kernel: "6.1".into(),
            engine: None,
            agent_version: "0.1.0".into(),
            address: "127.0.0.1".into(),
            tunnel: Vec::new(),
            ingress: false,
        },
        assignment: (Epoch(1), Generation(4)),
        pods: Vec::new(),
        templates: BTreeMap::new(),
        endpoints: BTreeMap::new(),
        volumes: BTreeSet::new(),
        network: NetworkEcho::default(),
        ingress: 0,
    }
}

pub(super) fn pod(n: u32, phase: PodPhase) -> PodReport {
    PodReport {
        uid: uid(n),
        name: format!("web-{n}"),
        workload: web(),
        hash: hash("aa"),
        slot: n,
        revision: Revision::new("c0ffee"),
        phase,
        ready: true,
        ready_for: Duration::from_secs(1),
        age: Duration::from_secs(2),
        address: None,
        ports: BTreeMap::new(),
        init_containers: Vec::new(),
        containers: Vec::new(),
        reason: String::new(),
        message: String::new(),
    }
}

pub(super) fn report(pods: Vec<PodReport>) -> Report {
    Report { assignment: (Epoch(1), Generation(4)), pods, ..Report::default() }
}

pub(super) fn snapshot(text: &str) -> Arc<PodSnapshot> {
    let container = Container { name: "web".into(), image: Some("nginx:1.27".into()), ..Container::default() };
    let spec = PodSpec { containers: vec![container], ..PodSpec::default() };
    let secrets = BTreeMap::from([("token".into(), BTreeMap::from([("key".into(), SecretBytes::new(b"hunter2".to_vec()))]))]);
    let config = ConfigSnapshot { secrets, version: "v1".to_owned(), ..ConfigSnapshot::default() };
    Arc::new(PodSnapshot {
        hash: hash(text),
        template: PodTemplate { metadata: Meta::default(), spec },
        config: Arc::new(config),
    })
}

/// An assignment of generation `generation` that runs one pod of each template.
pub(super) fn assignment(generation: u64, templates: &[&str]) -> Arc<Assignment> {
    let pods = templates.iter().zip(0..).map(|(text, slot)| PodRun {
        uid: uid(slot),
        name: format!("web-{slot}"),
        workload: web(),
        slot,
        hash: hash(text),
        revision: Revision::new("c0ffee"),
        images: BTreeMap::new(),
    });
    Arc::new(Assignment {
        epoch: Epoch(1),
        generation: Generation(generation),
        run: pods.map(|pod| (pod.uid, pod)).collect(),
        stop: BTreeMap::new(),
        erase: BTreeSet::new(),
        templates: templates.iter().map(|text| (hash(text), snapshot(text))).collect(),
    })
}
