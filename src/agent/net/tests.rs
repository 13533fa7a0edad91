//! With real sockets: each test has an address of its own in 127.0.0.0/8, so that they can run side by side.

use super::{ExtraAddress, Limits, ListenProblem, Proxy, Setup};
use crate::model::{Backend, EndpointPort, EndpointSet, Kind, NodeName, ObjectKey, PodUid, Protocol};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use uuid::Uuid;

const PORT: u16 = 8080;
const PATIENCE: Duration = Duration::from_secs(10);

/// An address that no other test of this or another process uses at the same time.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 65 + (high & 63), low, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A backend that answers each connection with its name, then echoes until the client has said all.
struct Answering {
    name: char,
    port: u16,
    accepted: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

async fn answering(name: char) -> Answering {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            connections.spawn(async move {
                stream.write_all(&[name as u8]).await?;
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await?;
                write.write_all(b".").await?;
                write.shutdown().await
            });
        }
    });
    Answering { name, port, accepted, _tasks: tasks }
}

fn here() -> NodeName {
    NodeName::new("n1")
}

fn a_proxy() -> Proxy {
    Proxy::new(Setup::alone(here()))
}

fn service() -> ObjectKey {
    ObjectKey::new(Kind::Service, "shop", "web")
}

fn set_of(address: Option<Ipv4Addr>, version: u64, protocol: Protocol, ports: &[u16]) -> EndpointSet {
    let backends = ports.iter().map(|port| Backend {
        node: here(),
        pod: PodUid(Uuid::from_u128(u128::from(*port))),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: *port,
    });
    let port = EndpointPort { name: String::new(), port: PORT, protocol, node_port: None, backends: backends.collect() };
    EndpointSet { address, ports: vec![port], ..EndpointSet::empty(service(), version) }
}

fn tcp_set(address: Ipv4Addr, version: u64, backends: &[&Answering]) -> EndpointSet {
    let ports: Vec<u16> = backends.iter().map(|backend| backend.port).collect();
    set_of(Some(address), version, Protocol::Tcp, &ports)
}

/// Connects, and says who answers.
async fn ask(address: impl Into<IpAddr>, port: u16) -> io::Result<(char, TcpStream)> {
    let mut stream = TcpStream::connect((address.into(), port)).await?;
    let mut name = [0];
    stream.read_exact(&mut name).await?;
    Ok((char::from(name[0]), stream))
}

async fn names(address: Ipv4Addr, count: usize) -> String {
    let mut names = String::new();
    for _ in 0..count {
        names.push(ask(address, PORT).await.expect("an answer").0);
    }
    names
}

fn tally(names: &str) -> BTreeMap<char, usize> {
    names.chars().fold(BTreeMap::new(), |mut counts, name| {
        *counts.entry(name).or_default() += 1;
        counts
    })
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

#[tokio::test]
async fn open_connections_are_spread_evenly() {
    let (address, proxy) = (own_address(), a_proxy());
    let (a, b, c) = (answering('a').await, answering('b').await, answering('c').await);
    assert_eq!(proxy.apply(&tcp_set(address, 1, &[&a, &b, &c]), &[]), 1);
    let mut open = Vec::new();
    let mut who = String::new();
    for _ in 0..30 {
        let (name, stream) = ask(address, PORT).await.unwrap();
        who.push(name);
        open.push(stream);
    }
    assert_eq!(tally(&who), BTreeMap::from([('a', 10), ('b', 10), ('c', 10)]), "{who}");
}

#[tokio::test]
async fn the_backend_with_the_fewest_connections_is_next() {
    let (address, proxy) = (own_address(), a_proxy());
    let (a, b) = (answering('a').await, answering('b').await);
    proxy.apply(&tcp_set(address, 1, &[&a]), &[]);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(ask(address, PORT).await.unwrap());
    }
    proxy.apply(&tcp_set(address, 2, &[&a, &b]), &[]);
    let mut next = String::new();
    for _ in 0..4 {
        let (name, stream) = ask(address, PORT).await.unwrap();
        next.push(name);
        held.push((name, stream));
    }
    assert_eq!(next, "bbbb", "a already has four; its count must survive the new version");
}

#[tokio::test]
async fn a_backend_that_refuses_costs_no_request() {
    let (address, proxy) = (own_address(), a_proxy());
    let a = answering('a').await;
    let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    proxy.apply(&set_of(Some(address), 1, Protocol::Tcp, &[refusing, a.port]), &[]);
    assert_eq!(names(address, 20).await, "a".repeat(20));
}

#[tokio::test]
async fn a_service_without_backends_resets_at_once() {
    let (address, proxy) = (own_address(), a_proxy());
    proxy.apply(&tcp_set(address, 1, &[]), &[]);
    let error = within("a reset", ask(address, PORT)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn after_a_switch_new_connections_go_to_the_new_set_and_old_ones_live_on() {
    let (address, proxy) = (own_address(), a_proxy());
    let (old, new) = (answering('o').await, answering('n').await);
    proxy.apply(&tcp_set(address, 1, &[&old]), &[]);
    let (name, mut kept) = ask(address, PORT).await.unwrap();
    assert_eq!(name, 'o');
    assert_eq!(proxy.apply(&tcp_set(address, 2, &[&new]), &[]), 2);
    let before = old.accepted.load(Ordering::SeqCst);
    assert_eq!(names(address, 50).await, "n".repeat(50));
    assert_eq!(old.accepted.load(Ordering::SeqCst), before, "the old backend was connected to after the switch");
    kept.write_all(b"still here").await.unwrap();
    kept.shutdown().await.unwrap();
    let mut rest = String::new();
    within("the rest of the old connection", kept.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "still here.", "half-close: the backend answered after the client had ended its side");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_sets_switch_under_load() {
    let (address, proxy) = (own_address(), a_proxy());
    let backends = [answering('a').await, answering('b').await, answering('c').await];
    proxy.apply(&tcp_set(address, 1, &[&backends[0]]), &[]);
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        clients.spawn(async move {
            for round in 0..100 {
                let (_, mut stream) = ask(address, PORT).await.map_err(|error| format!("round {round}: {error}"))?;
                stream.write_all(b"ping").await.map_err(|error| format!("round {round}: {error}"))?;
                stream.shutdown().await.map_err(|error| format!("round {round}: {error}"))?;
                let mut reply = String::new();
                stream.read_to_string(&mut reply).await.map_err(|error| format!("round {round}: {error}"))?;
                if reply != "ping." {
                    return Err(format!("round {round}: {reply:?}"));
                }
            }
            Ok(())
        });
    }
    let mut version = 1;
    while !clients.is_empty() {
        version += 1;
        let chosen = &backends[usize::try_from(version % 3).unwrap()];
        assert_eq!(proxy.apply(&tcp_set(address, version, &[chosen]), &[]), version);
        tokio::task::yield_now().await;
        while let Some(client) = clients.try_join_next() {
            assert_eq!(client.unwrap(), Ok(()));
        }
    }
    for backend in &backends {
        assert!(backend.accepted.load(Ordering::SeqCst) > 0, "{} was never used: the sets did not switch", backend.name);
    }
}

#[tokio::test]
async fn a_taken_port_is_reported_by_service_and_opened_when_free() {
    let (address, proxy) = (own_address(), a_proxy());
    let a = answering('a').await;
    let squatter = TcpListener::bind((address, PORT)).await.unwrap();
    let mut problems = proxy.problems();
    assert_eq!(proxy.apply(&tcp_set(address, 7, &[&a]), &[]), 7, "a closed port sends nobody anywhere");
    let at = SocketAddr::from((address, PORT));
    let listed = problems.borrow_and_update().clone();
    let (listener, problem) = listed.iter().next().expect("one problem");
    assert_eq!((&listener.service, problem), (&service(), &ListenProblem::InUse { address: at }));
    drop(squatter);
    within("the problem is gone", problems.wait_for(BTreeMap::is_empty)).await.unwrap();
    assert_eq!(names(address, 1).await, "a");
}

#[tokio::test]
async fn a_problem_ends_with_its_service() {
    let (address, proxy) = (own_address(), a_proxy());
    let _squatter = TcpListener::bind((address, PORT)).await.unwrap();
    let problems = proxy.problems();
    proxy.apply(&tcp_set(address, 1, &[]), &[]);
    assert_eq!(problems.borrow().len(), 1);
    proxy.apply(&EndpointSet { removed: true, ..tcp_set(address, 2, &[]) }, &[]);
    assert_eq!(problems.borrow().len(), 0);
}

#[tokio::test]
async fn an_older_version_changes_nothing() {
    let (address, proxy) = (own_address(), a_proxy());
    let (old, new) = (answering('o').await, answering('n').await);
    proxy.apply(&tcp_set(address, 5, &[&new]), &[]);
    assert_eq!(proxy.apply(&tcp_set(address, 4, &[&old]), &[]), 5);
    assert_eq!(names(address, 3).await, "nnn");
    assert_eq!(proxy.versions(), BTreeMap::from([(service(), 5)]));
}

#[tokio::test]
async fn a_removed_service_closes_its_port_and_keeps_its_version() {
    let (address, proxy) = (own_address(), a_proxy());
    let a = answering('a').await;
    proxy.apply(&tcp_set(address, 1, &[&a]), &[]);
    let (_, mut kept) = ask(address, PORT).await.unwrap();
    assert_eq!(proxy.apply(&EndpointSet { removed: true, ..tcp_set(address, 2, &[]) }, &[]), 2);
    within("the port is closed", async {
        while TcpStream::connect((address, PORT)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(proxy.versions(), BTreeMap::from([(service(), 2)]));
    kept.shutdown().await.unwrap();
    let mut rest = String::new();
    within("the open connection ends regularly", kept.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, ".");
}

#[tokio::test]
async fn a_headless_service_has_no_listener_and_an_extra_address_is_one() {
    let (gateway, proxy) = (own_address(), a_proxy());
    let a = answering('a').await;
    let headless = set_of(None, 1, Protocol::Tcp, &[a.port]);
    assert_eq!(proxy.apply(&headless, &[]), 1);
    assert!(TcpStream::connect((gateway, 31_000)).await.is_err());
    let extra = ExtraAddress { service_port: PORT, protocol: Protocol::Tcp, address: (gateway, 31_000).into() };
    proxy.apply(&headless, &[extra]);
    assert_eq!(ask(gateway, 31_000).await.unwrap().0, 'a');
}

#[tokio::test]
async fn at_the_limit_connections_wait_and_none_is_refused() {
    let address = own_address();
    let proxy = Proxy::new(Setup { limits: Limits { connections_max: 1, ..Limits::default() }, ..Setup::alone(here()) });
    let a = answering('a').await;
    proxy.apply(&tcp_set(address, 1, &[&a]), &[]);
    let first = ask(address, PORT).await.unwrap();
    let second = tokio::spawn(ask(address, PORT));
    // The second is connected (by the kernel) and unanswered: the backend has seen one connection only.
    assert_eq!(a.accepted.load(Ordering::SeqCst), 1);
    drop(first);
    assert_eq!(within("the second is served", second).await.unwrap().unwrap().0, 'a');
}

/// Answers each datagram with its name.
async fn udp_answering(name: u8) -> (u16, JoinSet<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut buffer = [0; 64];
        while let Ok((_, sender)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&[name], sender).await;
        }
    });
    (port, tasks)
}

/// Sends until an answer comes: a datagram may be lost.
async fn ask_udp(client: &UdpSocket, to: Ipv4Addr) -> u8 {
    let mut buffer = [0; 64];
    within("an answer by UDP", async {
        loop {
            client.send_to(b"?", (to, PORT)).await.unwrap();
            let answer = tokio::time::timeout(Duration::from_millis(200), client.recv_from(&mut buffer)).await;
            if let Ok(Ok((1, sender))) = answer {
                assert_eq!(sender, SocketAddr::from((to, PORT)), "the answer comes from the Service's address");
                return buffer[0];
            }
        }
    })
    .await
}

#[tokio::test]
async fn udp_senders_keep_their_backend_until_it_leaves() {
    let (address, proxy) = (own_address(), a_proxy());
    let ((a, _keep_a), (b, _keep_b)) = (udp_answering(b'a').await, udp_answering(b'b').await);
    proxy.apply(&set_of(Some(address), 1, Protocol::Udp, &[a, b]), &[]);
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let first = ask_udp(&client, address).await;
    for _ in 0..5 {
        assert_eq!(ask_udp(&client, address).await, first);
    }
    let other = if first == b'a' { (b, b'b') } else { (a, b'a') };
    proxy.apply(&set_of(Some(address), 2, Protocol::Udp, &[other.0]), &[]);
    assert_eq!(ask_udp(&client, address).await, other.1);
}
