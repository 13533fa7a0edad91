//! What is said is what is heard.

use super::samples;
use crate::model::{
    Assignment, Backend, BackendProtocol, BootMoment, Cidr, ConfigSnapshot, ContainerReport, ContainerState, ContainerUsage,
    EndpointPort, EndpointSet, Epoch, Exit, Generation, Hello, HostPattern, HostUsage, IngressCertificate, IngressRoute,
    IngressTable, IngressTarget, KeyFingerprint, Kind, LogSince, Member, Moment, NetworkEcho, NodeConditions, NodeName,
    NodeNetwork, NodeProblem, ObjectKey, PathPattern, Peer, PodEvent, PodPhase, PodReport, PodRun, PodSnapshot, PodUid, PodUsage,
    Protocol, Renewal, Report, Revision, RuntimeKind, SecretBytes, ServiceProblem, StopOrder, StopReason, TemplateHash, Traffic,
    UsedEndpoints,
};
use crate::wire::convert::{self, ConvertError, Told};
use crate::wire::messages::{FromAgent, LogRequest, ToAgent};
use crate::wire::{PROTOCOL, proto};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use prost::Message;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

fn key() -> impl Strategy<Value = ObjectKey> {
    ("[a-z]{0,5}", 0..Kind::ALL.len(), "[a-z]{1,8}")
        .prop_map(|(namespace, kind, name)| ObjectKey::new(Kind::ALL[kind], namespace, name))
}

fn uid() -> impl Strategy<Value = PodUid> {
    any::<u32>().prop_map(samples::uid)
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}"
}

fn address() -> impl Strategy<Value = IpAddr> {
    any::<IpAddr>()
}

fn phase() -> impl Strategy<Value = PodPhase> {
    proptest::sample::select(vec![
        PodPhase::Pending,
        PodPhase::Starting,
        PodPhase::Running,
        PodPhase::CrashLoop,
        PodPhase::Stopping,
        PodPhase::Succeeded,
        PodPhase::Failed,
    ])
}

fn container() -> impl Strategy<Value = ContainerReport> {
    let state = proptest::sample::select(vec![
        ContainerState::Waiting,
        ContainerState::Running,
        ContainerState::BackOff,
        ContainerState::Ended,
    ]);
    let exit = of((any::<i32>(), text()).prop_map(|(code, reason)| Exit { code, reason }));
    (text(), text(), of(text()), state, any::<bool>(), any::<u32>(), exit).prop_map(
        |(name, id, image_digest, state, ready, restarts, last_exit)| ContainerReport {
            name,
            id,
            image_digest,
            state,
            started: !ready,
            ready,
            restarts,
            last_exit,
        },
    )
}

fn pod() -> impl Strategy<Value = PodReport> {
    let times = (any::<u32>(), any::<u32>());
    let place = (of(address()), btree_map(any::<u16>(), any::<u16>(), 0..3));
    let containers = (vec(container(), 0..3), vec(container(), 0..3));
    (uid(), text(), key(), text(), any::<u32>(), phase(), any::<bool>(), times, place, containers).prop_map(
        |(uid, name, workload, text, slot, phase, ready, (ready_for, age), (address, ports), (init_containers, containers))| {
            PodReport {
                uid,
                name,
                workload,
                hash: TemplateHash::new(text.clone()),
                slot,
                revision: Revision::new(text.clone()),
                phase,
                ready,
                ready_for: Duration::from_millis(ready_for.into()),
                age: Duration::from_millis(age.into()),
                address,
                ports,
                init_containers,
                containers,
                reason: text.clone(),
                message: text,
            }
        },
    )
}

/// What a newer agent says of a pod, or an older one, or both.
fn usage() -> impl Strategy<Value = PodUsage> {
    let container =
        (of(0..1_000_u64), 0..1_000_u64).prop_map(|(cpu_milli, memory_bytes)| ContainerUsage { cpu_milli, memory_bytes });
    prop_oneof![
        btree_map(text(), container, 1..3).prop_map(PodUsage::from_iter),
        any::<u64>().prop_map(|milli| PodUsage { cpu_milli: Some(milli), ..PodUsage::default() }),
    ]
}

fn host() -> impl Strategy<Value = HostUsage> {
    any::<(Option<u64>, u64)>().prop_map(|(cpu_milli, memory_bytes)| HostUsage { cpu_milli, memory_bytes })
}

fn report() -> impl Strategy<Value = Report> {
    let event = (of(uid()), any::<bool>(), text(), text()).prop_map(|(pod, warning, reason, message)| PodEvent {
        pod,
        warning,
        reason,
        message,
    });
    (
        any::<(u64, u64)>(),
        vec(pod(), 0..3),
        vec(uid(), 0..3),
        btree_map(key(), any::<u64>(), 0..3),
        vec(event, 0..3),
        btree_map(uid(), usage(), 0..3),
        of(vec((key(), text()).prop_map(|(service, message)| ServiceProblem { service, message }), 0..3)),
        of(btree_set(key(), 0..3)),
        any::<u64>(),
        (
            of(any::<u32>()),
            of(of(text())),
            of(vec((text(), text()).prop_map(|(reason, message)| NodeProblem { reason, message }), 0..3)),
        ),
        of(host()),
    )
        .prop_map(
            |((epoch, generation), pods, gone, endpoints, events, usage, service_problems, volumes, network, state, host)| {
                Report {
                    assignment: (Epoch(epoch), Generation(generation)),
                    pods,
                    gone,
                    endpoints,
                    events,
                    usage,
                    service_problems,
                    volumes,
                    network,
                    ingress: network / 2,
                    away: state.0.map(|millis| Duration::from_millis(millis.into())),
                    conditions: state.1.map(|disk_pressure| NodeConditions { disk_pressure }),
                    host,
                    node_problems: state.2,
                }
            },
        )
}

fn hello() -> impl Strategy<Value = Hello> {
    let used = vec((key(), any::<u64>(), btree_set(uid(), 0..3)), 0..3);
    (report(), vec(text(), 0..3), "[a-z]{1,8}", of(text()), btree_map(text(), text(), 0..3), used).prop_map(
        |(report, templates, name, engine, labels, used)| {
            let mut hello = samples::hello(&name);
            hello.facts.labels = labels;
            hello.facts.engine = engine;
            hello.facts.runtimes.insert(RuntimeKind::Docker);
            Hello {
                assignment: report.assignment,
                pods: report.pods,
                volumes: report.volumes.unwrap_or_default(),
                ingress: report.ingress,
                network: NetworkEcho { version: report.network, pods: Cidr::ALL.part(8, 10).filter(|_| report.network > 0) },
                endpoints: used.into_iter().map(|(key, version, pods)| (key, UsedEndpoints { version, pods })).collect(),
                templates: templates.into_iter().map(|hash| (TemplateHash::new(hash), name.clone())).collect(),
                ..hello
            }
        },
    )
}

fn assignment() -> impl Strategy<Value = Assignment> {
    let run = (uid(), text(), key(), any::<u32>()).prop_map(|(uid, name, workload, slot)| PodRun {
        uid,
        hash: TemplateHash::new(name.clone()),
        revision: Revision::new(name.clone()),
        images: BTreeMap::from([(name.clone(), format!("sha256:{slot}"))]),
        name,
        workload,
        slot,
    });
    let reason = proptest::sample::select(vec![
        StopReason::Replaced,
        StopReason::ScaledDown,
        StopReason::Pruned,
        StopReason::RolledBack,
        StopReason::Superseded,
        StopReason::Finished,
        StopReason::Misplaced,
        StopReason::Evicted,
        StopReason::Preempted,
        StopReason::Drained,
    ]);
    let stop = (uid(), reason, of(text())).prop_map(|(uid, reason, commit)| StopOrder {
        uid,
        reason,
        commit: commit.map(Revision::new),
    });
    let erase = btree_set(key(), 0..3);
    (any::<(u64, u64)>(), vec(run, 0..4), vec(stop, 0..4), erase).prop_map(|((epoch, generation), run, stop, erase)| Assignment {
        epoch: Epoch(epoch),
        generation: Generation(generation),
        run: run.into_iter().map(|pod| (pod.uid, pod)).collect(),
        stop: stop.into_iter().map(|order| (order.uid, order)).collect(),
        erase,
        templates: BTreeMap::new(),
    })
}

fn endpoints() -> impl Strategy<Value = EndpointSet> {
    let backend =
        (uid(), node(), address(), any::<u16>()).prop_map(|(pod, node, address, port)| Backend { pod, node, address, port });
    let port = (text(), any::<u16>(), any::<bool>(), of(any::<u16>()), vec(backend, 0..3)).prop_map(
        |(name, port, udp, node_port, backends)| {
            let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
            EndpointPort { name, port, protocol, node_port, backends }
        },
    );
    let member =
        (uid(), node(), address(), of(text())).prop_map(|(pod, node, address, hostname)| Member { pod, node, address, hostname });
    let body = (of(any::<Ipv4Addr>()), vec(port, 0..3), traffic(), vec(member, 0..3), of(text()));
    (key(), any::<u64>(), body, any::<bool>()).prop_map(
        |(service, version, (address, ports, traffic, members, external_name), removed)| EndpointSet {
            service,
            version,
            address,
            ports,
            traffic,
            members,
            external_name,
            removed,
        },
    )
}

fn node() -> impl Strategy<Value = NodeName> {
    "[a-z]{1,8}".prop_map(NodeName::new)
}

fn range() -> impl Strategy<Value = Cidr> {
    (0..256_u32).prop_map(|index| Cidr::ALL.part(8, index).expect("one of 256"))
}

fn traffic() -> impl Strategy<Value = Traffic> {
    (of(0..100_000_u64), any::<bool>(), any::<bool>(), btree_set(node(), 0..3), vec(range(), 0..3)).prop_map(
        |(sticky_ms, internal_local, external_local, load_balancers, source_ranges)| Traffic {
            sticky_for: sticky_ms.map(Duration::from_millis),
            internal_local,
            external_local,
            load_balancers,
            source_ranges,
        },
    )
}

fn table() -> impl Strategy<Value = IngressTable> {
    let host = || of("(\\*\\.)?[a-z]{1,8}").prop_map(|text| HostPattern::new(text.as_deref().unwrap_or_default()));
    let path = prop_oneof![text().prop_map(PathPattern::Exact), text().prop_map(PathPattern::Prefix), Just(PathPattern::Rest)];
    let target = (key(), any::<u16>(), any::<bool>()).prop_map(|(service, port, h2c)| {
        let protocol = if h2c { BackendProtocol::H2c } else { BackendProtocol::Http1 };
        IngressTarget { service, port, protocol }
    });
    let route = (key(), host(), path, of(target), any::<bool>())
        .prop_map(|(ingress, host, path, target, to_https)| IngressRoute { ingress, host, path, target, to_https });
    let certificate = (host(), key(), vec(any::<u8>(), 0..9), vec(any::<u8>(), 0..9))
        .prop_map(|(host, secret, chain, key)| IngressCertificate { host, secret, chain, key: SecretBytes::new(key) });
    (any::<u64>(), vec(route, 0..3), vec(certificate, 0..3)).prop_map(|(version, routes, certificates)| IngressTable {
        version,
        routes,
        certificates,
    })
}

fn network() -> impl Strategy<Value = NodeNetwork> {
    let peer = (vec(any::<std::net::SocketAddrV4>().prop_map(Into::into), 0..3), of(range()), of("[0-9a-f]{64}"))
        .prop_map(|(addresses, pods, key)| Peer { addresses, pods, key: key.map(KeyFingerprint) });
    (any::<u64>(), range(), range(), range(), text(), btree_map(node(), peer, 0..3)).prop_map(
        |(version, pods, cluster_pods, services, domain, peers)| NodeNetwork {
            version,
            pods,
            cluster_pods,
            services,
            domain,
            peers,
        },
    )
}

/// Through bytes, as on the network.
fn heard_by_controller(message: &FromAgent) -> FromAgent {
    let bytes = convert::from_agent_to_proto(message, PROTOCOL).encode_to_vec();
    convert::from_agent(proto::FromAgent::decode(&*bytes).expect("decodes")).expect("converts")
}

fn heard_by_agent(message: &ToAgent) -> ToAgent {
    let bytes = convert::to_agent_to_proto(message, PROTOCOL).encode_to_vec();
    match convert::to_agent(proto::ToAgent::decode(&*bytes).expect("decodes")).expect("converts") {
        Told::Message(message) => message,
        Told::Template(_) => panic!("a template came out of another message"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_report_arrives_as_it_was_sent(report in report()) {
        let message = FromAgent::Report(Box::new(report));
        prop_assert_eq!(heard_by_controller(&message), message);
    }

    #[test]
    fn a_hello_arrives_as_it_was_sent(hello in hello()) {
        let message = FromAgent::Hello(Box::new(hello));
        prop_assert_eq!(heard_by_controller(&message), message);
    }

    #[test]
    fn a_network_arrives_as_it_was_sent(network in network()) {
        let message = ToAgent::Network(Arc::new(network));
        prop_assert_eq!(heard_by_agent(&message), message);
    }

    #[test]
    fn an_assignment_arrives_as_it_was_sent_but_for_its_templates(assignment in assignment()) {
        let message = ToAgent::Assign(Arc::new(assignment));
        prop_assert_eq!(heard_by_agent(&message), message);
    }

    #[test]
    fn endpoints_arrive_as_they_were_sent(set in endpoints()) {
        let message = ToAgent::Endpoints(Arc::new(set));
        prop_assert_eq!(heard_by_agent(&message), message);
    }

    #[test]
    fn a_table_of_ingress_arrives_as_it_was_sent(table in table()) {
        let message = ToAgent::Ingress(Arc::new(table));
        prop_assert_eq!(heard_by_agent(&message), message);
    }

    #[test]
    fn a_template_arrives_with_its_secrets(entries in btree_map(text(), vec(any::<u8>(), 0..9), 0..4)) {
        let secrets = entries.iter().map(|(key, value)| (key.clone(), SecretBytes::new(value.clone()))).collect();
        let config = ConfigSnapshot {
            config_maps: BTreeMap::from([("a".to_owned(), entries)]),
            secrets: BTreeMap::from([("b".to_owned(), secrets)]),
            version: "v1".to_owned(),
        };
        let sent = PodSnapshot { config: Arc::new(config), ..(*samples::snapshot("aa")).clone() };
        let template = convert::template_to_proto(&sent).expect("converts");
        let message = proto::ToAgent { message: Some(proto::to_agent::Message::Template(template)) };
        let Ok(Told::Template(heard)) = convert::to_agent(message) else { panic!("not a template") };
        prop_assert_eq!(*heard, sent);
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic(bytes in vec(any::<u8>(), 0..64)) {
        if let Ok(message) = proto::FromAgent::decode(&*bytes) {
            let _ = convert::from_agent(message);
        }
        if let Ok(message) = proto::ToAgent::decode(&*bytes) {
            let _ = convert::to_agent(message);
        }
    }
}

#[test]
fn log_requests_and_chunks_arrive_as_they_were_sent() {
    for since in [None, Some(LogSince::Ago(Duration::from_secs(600))), Some(LogSince::At(Moment(1_700_000_000_000)))] {
        let message = ToAgent::Logs(LogRequest {
            id: 7,
            pod: samples::uid(1),
            container: Some("web".into()),
            tail: Some(3),
            follow: true,
            previous: false,
            since,
            timestamps: since.is_some(),
        });
        assert_eq!(heard_by_agent(&message), message);
    }
    for end in [None, Some(Ok(())), Some(Err("no such container".to_owned()))] {
        let message = FromAgent::LogChunk { id: 7, data: "line\n".into(), end };
        assert_eq!(heard_by_controller(&message), message);
    }
}

#[test]
fn heartbeats_and_what_answers_them_arrive_as_they_were_sent() {
    let sent = BootMoment(86_400_123);
    let message = FromAgent::Heartbeat { sent };
    assert_eq!(heard_by_controller(&message), message);
    let (extended, granted) = ([1, 2].map(samples::uid).into(), [2].map(samples::uid).into());
    let message = ToAgent::Renewed(Renewal { sent, extended, granted });
    assert_eq!(heard_by_agent(&message), message);
    let of_an_old_agent = proto::FromAgent { message: Some(proto::from_agent::Message::Heartbeat(proto::Heartbeat::default())) };
    assert_eq!(convert::from_agent(of_an_old_agent), Ok(FromAgent::Heartbeat { sent: BootMoment(0) }));
}

#[test]
fn a_secret_is_not_printed_with_a_message() {
    let template = convert::template_to_proto(&samples::snapshot("aa")).expect("converts");
    let message = proto::ToAgent { message: Some(proto::to_agent::Message::Template(template)) };
    let printed = format!("{message:?}");
    assert!(!printed.contains("hunter2") && !printed.contains(&format!("{:?}", b"hunter2")), "{printed}");
}

#[test]
fn a_stop_without_a_reason_that_we_know_is_refused() {
    let order = proto::StopOrder { uid: samples::uid(1).0.as_bytes().to_vec(), reason: 99, commit: None, drained: false };
    let refused = convert::assignment(proto::Assignment { stop: vec![order], ..proto::Assignment::default() });
    assert_eq!(refused.expect_err("refused"), ConvertError::Invalid { field: "stop.reason", expected: "a known reason" });
}

#[test]
fn peers_one_minor_version_apart_understand_each_other_and_others_do_not() {
    use crate::wire::Version;
    let version = |major, minor| Version { major, minor };
    assert!(version(1, 3).understands(version(1, 2)) && version(1, 3).understands(version(1, 4)));
    assert!(!version(1, 3).understands(version(1, 1)) && !version(1, 3).understands(version(1, 5)));
    assert!(!version(1, 0).understands(version(2, 0)));
}
