//! What agents say: hellos and reports.

use super::{ConvertError, invalid, key, key_to_proto, optional, parsed, port, uid, uid_to_proto};
use crate::model::{
    Amounts, ContainerReport, ContainerState, ContainerUsage, Epoch, Exit, Generation, Hello, HostUsage, NetworkEcho,
    NodeConditions, NodeFacts, NodeName, NodeProblem, ObjectKey, PodEvent, PodPhase, PodReport, PodUid, PodUsage, Report,
    Revision, RuntimeKind, ServiceProblem, TemplateHash, UsedEndpoints, millis,
};
use crate::wire::proto;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A hello without its version.
pub(super) fn hello_to_proto(hello: &Hello) -> proto::Hello {
    proto::Hello {
        version: None,
        facts: Some(facts_to_proto(&hello.facts)),
        epoch: hello.assignment.0.0,
        generation: hello.assignment.1.0,
        pods: hello.pods.iter().map(pod_to_proto).collect(),
        templates: hello.templates.keys().map(|hash| hash.as_str().to_owned()).collect(),
        config_versions: hello.templates.iter().map(|(hash, version)| (hash.as_str().to_owned(), version.clone())).collect(),
        endpoints: hello.endpoints.iter().map(used_to_proto).collect(),
        volumes: hello.volumes.iter().map(key_to_proto).collect(),
        network_version: hello.network.version,
        ingress_version: hello.ingress,
        pod_range: hello.network.pods.map(|range| range.to_string()).unwrap_or_default(),
    }
}

pub(super) fn hello(hello: proto::Hello) -> Result<Hello, ConvertError> {
    Ok(Hello {
        facts: facts(hello.facts.ok_or(ConvertError::Missing("hello.facts"))?)?,
        assignment: (Epoch(hello.epoch), Generation(hello.generation)),
        pods: hello.pods.into_iter().map(pod).collect::<Result<_, _>>()?,
        // An agent that names no version is sent the template once more.
        templates: hello
            .templates
            .into_iter()
            .map(|hash| (TemplateHash::new(&hash), hello.config_versions.get(&hash).cloned().unwrap_or_default()))
            .collect(),
        endpoints: hello.endpoints.into_iter().map(used).collect::<Result<_, _>>()?,
        volumes: volumes(hello.volumes)?,
        ingress: hello.ingress_version,
        network: NetworkEcho {
            version: hello.network_version,
            pods: optional("hello.pod_range", &hello.pod_range, "a range of addresses")?,
        },
    })
}

pub(super) fn report_to_proto(report: &Report) -> proto::Report {
    let cpu = report.usage.iter().filter_map(|(pod, usage)| {
        let milli = usage.cpu_milli?;
        Some(proto::PodCpu { pod: uid_to_proto(pod), milli })
    });
    let events = report.events.iter().map(|event| proto::PodEvent {
        pod: event.pod.as_ref().map(uid_to_proto).unwrap_or_default(),
        warning: event.warning,
        reason: event.reason.clone(),
        message: event.message.clone(),
    });
    proto::Report {
        epoch: report.assignment.0.0,
        generation: report.assignment.1.0,
        pods: report.pods.iter().map(pod_to_proto).collect(),
        gone: report.gone.iter().map(uid_to_proto).collect(),
        endpoints: versions_to_proto(&report.endpoints),
        network_version: report.network,
        ingress_version: report.ingress,
        events: events.collect(),
        cpu: cpu.collect(),
        service_problems: report.service_problems.as_deref().map(problems_to_proto),
        node_problems: report.node_problems.as_deref().map(node_problems_to_proto),
        volumes: report.volumes.as_ref().map(|all| proto::Volumes { all: all.iter().map(key_to_proto).collect() }),
        usage: report.usage.iter().filter(|(_, usage)| !usage.containers.is_empty()).map(usage_to_proto).collect(),
        away_ms: report.away.map(millis),
        conditions: report.conditions.as_ref().map(|state| proto::NodeConditions { disk_pressure: state.disk_pressure.clone() }),
        host: report.host.map(|host| proto::HostUsage { cpu_milli: host.cpu_milli, memory_bytes: host.memory_bytes }),
    }
}

pub(super) fn report(report: proto::Report) -> Result<Report, ConvertError> {
    Ok(Report {
        assignment: (Epoch(report.epoch), Generation(report.generation)),
        pods: report.pods.into_iter().map(pod).collect::<Result<_, _>>()?,
        gone: report.gone.iter().map(|bytes| uid("gone", bytes)).collect::<Result<_, _>>()?,
        endpoints: versions(report.endpoints)?,
        network: report.network_version,
        ingress: report.ingress_version,
        events: report.events.into_iter().map(event).collect::<Result<_, _>>()?,
        usage: usages(report.cpu, report.usage)?,
        host: report.host.map(|host| HostUsage { cpu_milli: host.cpu_milli, memory_bytes: host.memory_bytes }),
        service_problems: report.service_problems.map(problems).transpose()?,
        node_problems: report.node_problems.map(node_problems),
        volumes: report.volumes.map(|message| volumes(message.all)).transpose()?,
        away: report.away_ms.map(Duration::from_millis),
        conditions: report.conditions.map(|state| NodeConditions { disk_pressure: state.disk_pressure }),
    })
}

fn usage_to_proto((pod, usage): (&PodUid, &PodUsage)) -> proto::PodUsage {
    let container = |(name, usage): (&String, &ContainerUsage)| proto::ContainerUsage {
        name: name.clone(),
        cpu_milli: usage.cpu_milli,
        memory_bytes: usage.memory_bytes,
    };
    proto::PodUsage { pod: uid_to_proto(pod), containers: usage.containers.iter().map(container).collect() }
}

/// What pods use. Of an older agent's the cpu alone is known, of each pod as a whole.
fn usages(cpu: Vec<proto::PodCpu>, usage: Vec<proto::PodUsage>) -> Result<BTreeMap<PodUid, PodUsage>, ConvertError> {
    let mut found = BTreeMap::new();
    for sample in cpu {
        let whole = PodUsage { cpu_milli: Some(sample.milli), ..PodUsage::default() };
        found.insert(uid("cpu.pod", &sample.pod)?, whole);
    }
    for sample in usage {
        let container = |usage: proto::ContainerUsage| {
            (usage.name, ContainerUsage { cpu_milli: usage.cpu_milli, memory_bytes: usage.memory_bytes })
        };
        found.insert(uid("usage.pod", &sample.pod)?, sample.containers.into_iter().map(container).collect());
    }
    Ok(found)
}

fn volumes(keys: Vec<proto::ObjectKey>) -> Result<BTreeSet<ObjectKey>, ConvertError> {
    keys.into_iter().map(|volume| key("volumes", Some(volume))).collect()
}

fn problems_to_proto(problems: &[ServiceProblem]) -> proto::ServiceProblems {
    let item = |problem: &ServiceProblem| proto::ServiceProblem {
        service: Some(key_to_proto(&problem.service)),
        message: problem.message.clone(),
    };
    proto::ServiceProblems { all: problems.iter().map(item).collect() }
}

fn problems(problems: proto::ServiceProblems) -> Result<Vec<ServiceProblem>, ConvertError> {
    let item = |problem: proto::ServiceProblem| {
        Ok(ServiceProblem { service: key("service_problems.service", problem.service)?, message: problem.message })
    };
    problems.all.into_iter().map(item).collect()
}

fn node_problems_to_proto(problems: &[NodeProblem]) -> proto::NodeProblems {
    let item = |problem: &NodeProblem| proto::NodeProblem { reason: problem.reason.clone(), message: problem.message.clone() };
    proto::NodeProblems { all: problems.iter().map(item).collect() }
}

fn node_problems(problems: proto::NodeProblems) -> Vec<NodeProblem> {
    problems.all.into_iter().map(|problem| NodeProblem { reason: problem.reason, message: problem.message }).collect()
}

fn event(event: proto::PodEvent) -> Result<PodEvent, ConvertError> {
    let pod = if event.pod.is_empty() { None } else { Some(uid("event.pod", &event.pod)?) };
    Ok(PodEvent { pod, warning: event.warning, reason: event.reason, message: event.message })
}

fn versions_to_proto(versions: &BTreeMap<ObjectKey, u64>) -> Vec<proto::EndpointVersion> {
    let item = |(service, version): (&ObjectKey, &u64)| proto::EndpointVersion {
        service: Some(key_to_proto(service)),
        version: *version,
    };
    versions.iter().map(item).collect()
}

fn versions(versions: Vec<proto::EndpointVersion>) -> Result<BTreeMap<ObjectKey, u64>, ConvertError> {
    versions.into_iter().map(|item| Ok((key("endpoints.service", item.service)?, item.version))).collect()
}

fn used_to_proto((service, used): (&ObjectKey, &UsedEndpoints)) -> proto::UsedEndpoints {
    proto::UsedEndpoints {
        service: Some(key_to_proto(service)),
        version: used.version,
        pods: used.pods.iter().map(uid_to_proto).collect(),
    }
}

fn used(message: proto::UsedEndpoints) -> Result<(ObjectKey, UsedEndpoints), ConvertError> {
    let pods = message.pods.iter().map(|bytes| uid("endpoints.pods", bytes)).collect::<Result<_, _>>()?;
    Ok((key("endpoints.service", message.service)?, UsedEndpoints { version: message.version, pods }))
}

fn facts_to_proto(facts: &NodeFacts) -> proto::NodeFacts {
    let amounts = |amounts: &Amounts| Some(proto::Amounts { cpu_milli: amounts.cpu_milli, memory_bytes: amounts.memory_bytes });
    let runtime = |kind: &RuntimeKind| match kind {
        RuntimeKind::Docker => proto::RuntimeKind::Docker.into(),
        RuntimeKind::Process => proto::RuntimeKind::Process.into(),
    };
    proto::NodeFacts {
        leases: facts.leases.iter().map(runtime).collect(),
        name: facts.name.as_str().to_owned(),
        labels: facts.labels.clone(),
        capacity: amounts(&facts.capacity),
        allocatable: amounts(&facts.allocatable),
        runtimes: facts.runtimes.iter().map(runtime).collect(),
        os: facts.os.clone(),
        arch: facts.arch.clone(),
        kernel: facts.kernel.clone(),
        engine: facts.engine.clone(),
        agent_version: facts.agent_version.clone(),
        address: facts.address.clone(),
        allows: facts.allows.iter().map(ToString::to_string).collect(),
        tunnel: facts.tunnel.iter().map(ToString::to_string).collect(),
        ingress: facts.ingress,
    }
}

fn facts(facts: proto::NodeFacts) -> Result<NodeFacts, ConvertError> {
    if facts.name.is_empty() {
        return Err(ConvertError::Missing("facts.name"));
    }
    let amounts = |field, amounts: Option<proto::Amounts>| {
        amounts
            .map(|amounts| Amounts { cpu_milli: amounts.cpu_milli, memory_bytes: amounts.memory_bytes })
            .ok_or(ConvertError::Missing(field))
    };
    let runtimes = facts.runtimes().map(runtime).collect::<Result<_, _>>()?;
    let leases = facts.leases().map(runtime).collect::<Result<_, _>>()?;
    Ok(NodeFacts {
        leases,
        name: NodeName::new(facts.name),
        labels: facts.labels,
        capacity: amounts("facts.capacity", facts.capacity)?,
        allocatable: amounts("facts.allocatable", facts.allocatable)?,
        runtimes,
        os: facts.os,
        arch: facts.arch,
        kernel: facts.kernel,
        engine: facts.engine,
        agent_version: facts.agent_version,
        address: facts.address,
        // A newer agent may allow what we cannot name, and so would never ask for.
        allows: facts.allows.iter().filter_map(|grant| grant.parse().ok()).collect(),
        tunnel: facts
            .tunnel
            .iter()
            .map(|text| parsed("facts.tunnel", text, "an address and a port"))
            .collect::<Result<_, _>>()?,
        ingress: facts.ingress,
    })
}

fn runtime(kind: proto::RuntimeKind) -> Result<RuntimeKind, ConvertError> {
    match kind {
        proto::RuntimeKind::Unspecified => Err(invalid("facts.runtimes", "known runtimes")),
        proto::RuntimeKind::Docker => Ok(RuntimeKind::Docker),
        proto::RuntimeKind::Process => Ok(RuntimeKind::Process),
    }
}

fn pod_to_proto(pod: &PodReport) -> proto::PodReport {
    let phase = match pod.phase {
        PodPhase::Pending => proto::PodPhase::Pending,
        PodPhase::Starting => proto::PodPhase::Starting,
        PodPhase::Running => proto::PodPhase::Running,
        PodPhase::CrashLoop => proto::PodPhase::CrashLoop,
        PodPhase::Stopping => proto::PodPhase::Stopping,
        PodPhase::Succeeded => proto::PodPhase::Succeeded,
        PodPhase::Failed => proto::PodPhase::Failed,
    };
    proto::PodReport {
        uid: uid_to_proto(&pod.uid),
        name: pod.name.clone(),
        workload: Some(key_to_proto(&pod.workload)),
        hash: pod.hash.as_str().to_owned(),
        slot: pod.slot,
        revision: pod.revision.as_str().to_owned(),
        phase: phase.into(),
        ready: pod.ready,
        ready_for_ms: millis(pod.ready_for),
        age_ms: millis(pod.age),
        address: pod.address.map(|address| address.to_string()).unwrap_or_default(),
        ports: pod.ports.iter().map(|(from, to)| (u32::from(*from), u32::from(*to))).collect(),
        containers: pod.containers.iter().map(container_to_proto).collect(),
        message: pod.message.clone(),
        init_containers: pod.init_containers.iter().map(container_to_proto).collect(),
        reason: pod.reason.clone(),
    }
}

fn pod(pod: proto::PodReport) -> Result<PodReport, ConvertError> {
    let phase = match pod.phase() {
        proto::PodPhase::Unspecified => return Err(invalid("pod.phase", "a known phase")),
        proto::PodPhase::Pending => PodPhase::Pending,
        proto::PodPhase::Starting => PodPhase::Starting,
        proto::PodPhase::Running => PodPhase::Running,
        proto::PodPhase::CrashLoop => PodPhase::CrashLoop,
        proto::PodPhase::Stopping => PodPhase::Stopping,
        proto::PodPhase::Succeeded => PodPhase::Succeeded,
        proto::PodPhase::Failed => PodPhase::Failed,
    };
    let address = match pod.address.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| invalid("pod.address", "an IP address"))?),
    };
    let ports = pod.ports.into_iter().map(|(from, to)| Ok((port("pod.ports", from)?, port("pod.ports", to)?)));
    Ok(PodReport {
        uid: uid("pod.uid", &pod.uid)?,
        name: pod.name,
        workload: key("pod.workload", pod.workload)?,
        hash: TemplateHash::new(pod.hash),
        slot: pod.slot,
        revision: Revision::new(pod.revision),
        phase,
        ready: pod.ready,
        ready_for: Duration::from_millis(pod.ready_for_ms),
        age: Duration::from_millis(pod.age_ms),
        address,
        ports: ports.collect::<Result<_, _>>()?,
        init_containers: pod.init_containers.into_iter().map(container).collect::<Result<_, _>>()?,
        containers: pod.containers.into_iter().map(container).collect::<Result<_, _>>()?,
        reason: pod.reason,
        message: pod.message,
    })
}

fn container_to_proto(container: &ContainerReport) -> proto::ContainerReport {
    let state = match container.state {
        ContainerState::Waiting => proto::ContainerState::Waiting,
        ContainerState::Running => proto::ContainerState::Running,
        ContainerState::BackOff => proto::ContainerState::BackOff,
        ContainerState::Ended => proto::ContainerState::Ended,
    };
    proto::ContainerReport {
        name: container.name.clone(),
        id: container.id.clone(),
        image_digest: container.image_digest.clone(),
        state: state.into(),
        started: container.started,
        ready: container.ready,
        restarts: container.restarts,
        last_exit: container.last_exit.as_ref().map(|exit| proto::Exit { code: exit.code, reason: exit.reason.clone() }),
    }
}

fn container(container: proto::ContainerReport) -> Result<ContainerReport, ConvertError> {
    let state = match container.state() {
        proto::ContainerState::Unspecified => return Err(invalid("container.state", "a known state")),
        proto::ContainerState::Waiting => ContainerState::Waiting,
        proto::ContainerState::Running => ContainerState::Running,
        proto::ContainerState::BackOff => ContainerState::BackOff,
        proto::ContainerState::Ended => ContainerState::Ended,
    };
    Ok(ContainerReport {
        name: container.name,
        id: container.id,
        image_digest: container.image_digest,
        state,
        started: container.started,
        ready: container.ready,
        restarts: container.restarts,
        last_exit: container.last_exit.map(|exit| Exit { code: exit.code, reason: exit.reason }),
    })
}
