//! Virtual addresses with the real kernel. Each test has a network namespace of its own, so that no rule reaches the machine, and
//! nothing is sent anywhere else.

use crate::namespace::{self, Namespace, ip};
use driftless::agent::net::{ExtraAddress, Interception, Keep, Proxy, Setup, Table};
use driftless::model::{Backend, EndpointPort, EndpointSet, Kind, NodeName, NodeNetwork, ObjectKey, PodUid, Protocol, Traffic};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

/// Where the kernel turns TCP to in these tests, and UDP.
const PROXY_PORT: u16 = 20_001;
const UDP_PORT: u16 = 20_053;

/// A Service's address, and one that no Service has.
const WEB: Ipv4Addr = Ipv4Addr::new(10, 96, 7, 7);
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 96, 9, 9);

/// Plays a test within a namespace of its own.
fn within<F: Future<Output = ()>>(name: &str, test: impl FnOnce() -> F + Send) {
    namespace::within(name, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
        runtime.shutdown_timeout(Duration::from_secs(1));
    });
}

fn here() -> NodeName {
    NodeName::new("here")
}

fn a_proxy(keep: Option<Keep>) -> Proxy {
    Proxy::new(Setup { table: Table::of("test"), keep, ..Setup::alone(here()) })
}

/// `gateway`: where containers of the host find it.
fn interception(gateway: Option<IpAddr>) -> Interception {
    let network = NodeNetwork {
        version: 1,
        pods: "10.244.0.0/24".parse().unwrap(),
        cluster_pods: "10.244.0.0/16".parse().unwrap(),
        services: "10.96.0.0/16".parse().unwrap(),
        domain: "cluster.local".to_owned(),
        peers: BTreeMap::new(),
    };
    Interception { network: Arc::new(network), port: PROXY_PORT, gateway }
}

fn port(protocol: Protocol, number: u16, backends: &[u16]) -> EndpointPort {
    let backend = |at: &u16| Backend {
        pod: PodUid(Uuid::from_u128(u128::from(*at))),
        node: here(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: *at,
    };
    EndpointPort {
        name: String::new(),
        port: number,
        protocol,
        node_port: None,
        backends: backends.iter().map(backend).collect(),
    }
}

fn set(version: u64, ports: Vec<EndpointPort>) -> EndpointSet {
    let service = ObjectKey::new(Kind::Service, "shop", "web");
    EndpointSet { address: Some(WEB), ports, ..EndpointSet::empty(service, version) }
}

/// Answers each connection with this word and the address that it came from, and ends it. Returns its port.
async fn answering(word: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(word.as_bytes()).await;
        }
    });
    port
}

async fn ask(to: (impl Into<IpAddr>, u16)) -> io::Result<String> {
    let asked = async {
        let mut stream = TcpStream::connect(SocketAddr::from((to.0.into(), to.1))).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map(|_| answer)
    };
    // A packet that nobody turns or refuses is never answered.
    tokio::time::timeout(Duration::from_secs(3), asked).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

/// Asks until it is as expected: the kernel's rules follow soon.
async fn until<F: Future<Output = String>>(expected: &str, asking: impl Fn() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found = asking().await;
        if found == expected {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "expected {expected:?}, found {found:?}");
        tokio::task::yield_now().await;
    }
}

fn said(answer: io::Result<String>) -> String {
    answer.unwrap_or_else(|error| format!("{:?}", error.kind()))
}

#[test]
fn a_virtual_address_leads_to_the_service_and_everything_else_of_the_range_is_refused_at_once() {
    within("lead", async || {
        let proxy = a_proxy(None);
        let web = answering("web").await;
        proxy.intercept(interception(None));
        proxy.apply(&set(1, vec![port(Protocol::Tcp, 80, &[web]), port(Protocol::Tcp, 443, &[])]), &[]);
        until("web", async || said(ask((WEB, 80)).await)).await;
        for (nowhere, what) in [((WEB, 443), "no pod"), ((WEB, 81), "no such port"), ((NOBODY, 80), "no such Service")] {
            assert_eq!(said(ask(nowhere).await), "ConnectionRefused", "{what}");
        }
        assert_eq!(said(ask((Ipv4Addr::new(10, 244, 3, 3), 80)).await), "ConnectionRefused", "a pod of another node");
        // Whoever calls the proxy itself has not said where to.
        assert_eq!(said(ask((Ipv4Addr::LOCALHOST, PROXY_PORT)).await), "ConnectionReset");
        proxy.apply(&set(2, vec![port(Protocol::Tcp, 443, &[web])]), &[]);
        until("web", async || said(ask((WEB, 443)).await)).await;
        assert_eq!(said(ask((WEB, 80)).await), "ConnectionRefused", "the port is gone");
        proxy.apply(&EndpointSet { removed: true, ..set(3, vec![]) }, &[]);
        until("ConnectionRefused", async || said(ask((WEB, 443)).await)).await;
    });
}

#[test]
fn a_listener_on_all_addresses_does_not_answer_for_a_service() {
    within("wildcard", async || {
        let proxy = a_proxy(None);
        let web = answering("web").await;
        let stranger = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = stranger.accept().await {
                let _ = stream.write_all(b"stranger").await;
            }
        });
        proxy.intercept(interception(None));
        proxy.apply(&set(1, vec![port(Protocol::Tcp, 80, &[web])]), &[]);
        until("web", async || said(ask((WEB, 80)).await)).await;
        assert_eq!(said(ask((NOBODY, 80)).await), "ConnectionRefused");
        assert_eq!(said(ask((Ipv4Addr::LOCALHOST, 80)).await), "stranger");
    });
}

#[test]
fn datagrams_to_a_virtual_address_come_back_from_it() {
    within("udp", async || {
        let proxy = a_proxy(None);
        let backend = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let backend_port = backend.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            while let Ok((length, sender)) = backend.recv_from(&mut buffer).await {
                let _ = backend.send_to(&buffer[..length], sender).await;
            }
        });
        proxy.intercept(interception(None));
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, UDP_PORT));
        let extra = ExtraAddress { service_port: 53, protocol: Protocol::Udp, address: at };
        proxy.apply(&set(1, vec![port(Protocol::Udp, 53, &[backend_port])]), &[extra]);
        let echo = async || {
            let asked = async {
                let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
                // A connected socket takes no answer from anybody else.
                client.connect((WEB, 53)).await?;
                client.send(b"ping").await?;
                let mut buffer = [0; 64];
                let length = client.recv(&mut buffer).await?;
                Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
            };
            said(tokio::time::timeout(Duration::from_secs(1), asked).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())))
        };
        until("ping", echo).await;
    });
}

/// A container of the host: a namespace behind a veth pair whose end here has the gateway's address.
fn container(of_test: &str) -> Namespace {
    let container = Namespace::new(of_test);
    ip(&["link", "add", "gate", "type", "veth", "peer", "name", "eth0", "netns", &container.0]);
    ip(&["address", "add", "10.244.0.1/24", "dev", "gate"]);
    ip(&["link", "set", "gate", "up"]);
    ip(&["-n", &container.0, "address", "add", "10.244.0.9/24", "dev", "eth0"]);
    ip(&["-n", &container.0, "link", "set", "eth0", "up"]);
    ip(&["-n", &container.0, "route", "add", "default", "via", "10.244.0.1"]);
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    container
}

/// Asks from within a container.
async fn ask_from(container: &Arc<Namespace>, to: (Ipv4Addr, u16)) -> String {
    let container = Arc::clone(container);
    let (send, answer) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        container.enter();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _ = send.send(runtime.block_on(async { said(ask(to).await) }));
    });
    answer.await.unwrap()
}

#[test]
fn a_container_reaches_services_and_node_ports_and_keeps_its_own_address() {
    within("container", async || {
        let container = Arc::new(container("guest"));
        let proxy = a_proxy(None);
        let web = answering("web").await;
        proxy.intercept(interception(Some("10.244.0.1".parse().unwrap())));
        let with_node_port = EndpointPort { node_port: Some(30_080), ..port(Protocol::Tcp, 80, &[web]) };
        let theirs = Traffic { source_ranges: vec!["10.244.0.8/30".parse().unwrap()], ..Traffic::default() };
        let others = Traffic { source_ranges: vec!["192.0.2.0/24".parse().unwrap()], ..Traffic::default() };
        let balanced = |traffic: Traffic| Traffic { load_balancers: BTreeSet::from([here()]), ..traffic };
        proxy.apply(&EndpointSet { traffic: balanced(theirs), ..set(1, vec![with_node_port.clone()]) }, &[]);
        until("web", async || ask_from(&container, (WEB, 80)).await).await;
        assert_eq!(ask_from(&container, (WEB, 81)).await, "ConnectionRefused");
        assert_eq!(ask_from(&container, (NOBODY, 80)).await, "ConnectionRefused");
        let gateway = Ipv4Addr::new(10, 244, 0, 1);
        assert_eq!(ask_from(&container, (gateway, 30_080)).await, "web", "a node port");
        assert_eq!(ask_from(&container, (gateway, 80)).await, "web", "the load balancer's port lets it in by its own address");
        proxy.apply(&EndpointSet { traffic: balanced(others), ..set(2, vec![with_node_port]) }, &[]);
        assert_eq!(ask_from(&container, (gateway, 80)).await, "ConnectionReset", "not from there");
        assert_eq!(ask_from(&container, (gateway, 30_080)).await, "web", "the ranges are the load balancer's");
        assert_eq!(ask_from(&container, (WEB, 80)).await, "web", "and not the cluster's");
    });
}

#[test]
fn connections_wait_while_an_agent_is_replaced_and_none_is_refused() {
    within("restart", async || {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep { folder: folder.path().to_owned(), program: env!("CARGO_BIN_EXE_driftless").into() };
        let web = answering("web").await;
        let first = a_proxy(Some(keep.clone()));
        let endpoints = set(1, vec![EndpointPort { node_port: Some(30_080), ..port(Protocol::Tcp, 80, &[web]) }]);
        first.intercept(interception(None));
        first.apply(&endpoints, &[]);
        until("web", async || said(ask((WEB, 80)).await)).await;
        first.leave(PATIENCE).await;
        drop(first);
        let waiting = [(WEB, 80), (Ipv4Addr::LOCALHOST, 30_080)].map(|to| tokio::spawn(async move { said(ask(to).await) }));
        // Nobody accepts: both are connected by the kernel, and have no answer.
        for to in [(WEB, 80), (Ipv4Addr::LOCALHOST, 30_080)] {
            TcpStream::connect(to).await.expect("connected, not refused");
        }
        let second = a_proxy(Some(keep));
        second.intercept(interception(None));
        second.apply(&endpoints, &[]);
        for answer in waiting {
            assert_eq!(answer.await.unwrap(), "web");
        }
        assert_eq!(said(ask((WEB, 80)).await), "web");
    });
}

#[test]
fn rules_that_cannot_be_made_are_told_by_service() {
    within("refused", async || {
        let proxy = a_proxy(None);
        let mut problems = proxy.problems();
        // A chain of ours that is of another kind than ours is in the way.
        let nft = |script: &str| Command::new("nft").arg(script).output().expect("nft runs (package nftables)");
        assert!(nft("add table ip driftless-test").status.success());
        assert!(nft("add chain ip driftless-test leaving { type filter hook output priority 0; }").status.success());
        proxy.intercept(interception(None));
        proxy.apply(&set(1, vec![]), &[]);
        let told = tokio::time::timeout(PATIENCE, problems.wait_for(|problems| !problems.is_empty())).await;
        let told = told.expect("in time").unwrap().clone();
        let (listener, problem) = told.iter().next().unwrap();
        assert_eq!(listener.service.name, "web");
        assert!(
            problem.to_string().starts_with("10.96.7.7 is not reached on this node, since the kernel's rules cannot"),
            "{problem}"
        );
    });
}
