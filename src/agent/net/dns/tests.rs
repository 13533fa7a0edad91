//! With real sockets and a real resolver as the client: each test has an address of its own in 127.0.0.0/8.

use super::samples::{headless, network, with_address};
use super::{NameLimits, Names, NamesSettings, Resolvers};
use crate::agent::net::ListenProblem;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SOA};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::collections::BTreeSet;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

const PORT: u16 = 5353;
const PATIENCE: Duration = Duration::from_secs(20);

/// An address that no other test of this or another process uses at the same time.
fn own_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, 192 + (high & 63), low, NEXT.fetch_add(1, Ordering::Relaxed)], PORT))
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

/// DNS of a cluster with a Service, not listening yet.
fn closed(host: SocketAddr, upstream: &[SocketAddr], limits: NameLimits) -> Names {
    let names = Names::new(NamesSettings { host, resolvers: Resolvers::Given(upstream.to_vec()), limits });
    names.take_network(&network("cluster.local"));
    names.take_set(&with_address("shop/web", "10.96.0.10"));
    names
}

/// DNS of a cluster with a Service, at an address of its own.
fn serving(upstream: &[SocketAddr], limits: NameLimits) -> (Names, SocketAddr) {
    let at = own_address();
    let names = closed(at, upstream, limits);
    names.open(None);
    assert_eq!(*names.problems().borrow(), std::collections::BTreeMap::new());
    (names, at)
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

fn question(id: u16, asked: &str) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(asked), RecordType::A));
    message.to_vec().expect("it can be written")
}

/// Asks by UDP, once.
async fn ask(at: SocketAddr, asked: &str) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&question(7, asked), at).await.unwrap();
    let mut buffer = [0; 2_048];
    let (length, from) = within(asked, socket.recv_from(&mut buffer)).await.unwrap();
    assert_eq!(from, at);
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn code(at: SocketAddr, asked: &str) -> ResponseCode {
    ask(at, asked).await.metadata.response_code
}

/// A resolver elsewhere. It counts what it is asked.
struct Elsewhere {
    at: SocketAddr,
    asked: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Elsewhere {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[derive(Clone, Copy)]
enum Says {
    Address(u8),
    NoName,
    Failure,
    Nothing,
}

async fn elsewhere(says: Says) -> Elsewhere {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut buffer = [0; 2_048];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            count.fetch_add(1, Ordering::SeqCst);
            if let Some(answer) = answer(&buffer[..length], says) {
                socket.send_to(&answer, client).await.unwrap();
            }
        }
    });
    Elsewhere { at, asked, _tasks: tasks }
}

fn answer(bytes: &[u8], says: Says) -> Option<Vec<u8>> {
    let asked = Message::from_vec(bytes).unwrap();
    let query = asked.queries[0].clone();
    let mut message = Message::response(asked.metadata.id, OpCode::Query);
    match says {
        Says::Address(last) => {
            message.add_answer(Record::from_rdata(query.name().clone(), 300, RData::A(A::new(192, 0, 2, last))));
        }
        Says::NoName => {
            message.metadata.response_code = ResponseCode::NXDomain;
            let soa = SOA::new(name("ns.example.org."), name("root.example.org."), 1, 3_600, 600, 86_400, 60);
            message.add_authority(Record::from_rdata(name("example.org."), 60, RData::SOA(soa)));
        }
        Says::Failure => message.metadata.response_code = ResponseCode::ServFail,
        Says::Nothing => return None,
    }
    message.add_query(query);
    Some(message.to_vec().unwrap())
}

/// A client as a container has it: `resolv.conf` with the search domains of the namespace `shop`.
fn client(at: SocketAddr) -> TokioResolver {
    let mut server = NameServerConfig::udp_and_tcp(at.ip());
    for connection in &mut server.connections {
        connection.port = at.port();
    }
    let search = ["shop.svc.cluster.local.", "svc.cluster.local.", "cluster.local."].map(name);
    let config = ResolverConfig::from_parts(None, search.to_vec(), vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder.options_mut().ndots = 5;
    builder.build().unwrap()
}

#[tokio::test]
async fn a_container_finds_services_by_their_short_names_and_others_by_their_own() {
    let world = elsewhere(Says::Address(1)).await;
    let (names, at) = serving(&[world.at], NameLimits::default());
    names.take_set(&headless("shop/db", &["db-0=10.244.1.7"]));
    let client = client(at);
    let find = async |asked: &str| {
        let found = within(asked, client.ipv4_lookup(asked)).await.unwrap();
        found.answers().iter().map(|record| record.data.to_string()).collect::<Vec<_>>()
    };
    for asked in ["web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local."] {
        assert_eq!(find(asked).await, ["10.96.0.10"], "{asked}");
    }
    assert_eq!(find("db-0.db").await, ["10.244.1.7"]);
    assert_eq!(world.asked(), 0, "names of the cluster are nobody else's business");
    assert_eq!(find("www.example.org.").await, ["192.0.2.1"]);
    names.take_set(&super::samples::removed(&with_address("shop/web", "10.96.0.10")));
    assert_eq!(code(at, "web.shop.svc.cluster.local.").await, ResponseCode::NXDomain);
}

#[tokio::test]
async fn an_answer_that_is_cut_off_by_udp_is_whole_by_tcp() {
    let (names, at) = serving(&[], NameLimits::default());
    let members: Vec<String> = (1..=200).map(|last| format!("10.244.1.{last}")).collect();
    names.take_set(&headless("shop/many", &members.iter().map(String::as_str).collect::<Vec<_>>()));
    let cut_off = ask(at, "many.shop.svc.cluster.local.").await;
    assert!(cut_off.metadata.truncation);
    let found = within("the whole answer", client(at).ipv4_lookup("many")).await.unwrap();
    assert_eq!(found.answers().len(), 200);
}

#[tokio::test]
async fn what_others_said_is_remembered_for_a_while() {
    let (there, gone) = (elsewhere(Says::Address(1)).await, elsewhere(Says::NoName).await);
    for (world, expected) in [(&there, ResponseCode::NoError), (&gone, ResponseCode::NXDomain)] {
        let (_names, at) = serving(&[world.at], NameLimits::default());
        for _ in 0..3 {
            let answer = ask(at, "www.example.org.").await;
            assert_eq!((answer.metadata.response_code, answer.metadata.authoritative), (expected, false));
            let soa = answer.authorities.iter().filter(|record| record.record_type() == RecordType::SOA).count();
            assert_eq!(soa, usize::from(expected == ResponseCode::NXDomain), "who says so");
        }
        assert_eq!(world.asked(), 1);
    }
}

#[tokio::test]
async fn who_does_not_answer_is_asked_last_from_then_on() {
    let (silent, second) = (elsewhere(Says::Nothing).await, elsewhere(Says::Address(2)).await);
    let (_names, at) = serving(&[silent.at, second.at], NameLimits::default());
    assert_eq!(ask(at, "a.example.org.").await.answers[0].data, RData::A(A::new(192, 0, 2, 2)));
    let before = silent.asked();
    assert!(before > 0);
    assert_eq!(code(at, "b.example.org.").await, ResponseCode::NoError);
    assert_eq!(silent.asked(), before, "the second is asked first for a while");
}

#[tokio::test]
async fn who_has_no_answer_to_one_question_is_asked_the_next_one_all_the_same() {
    let (failing, second) = (elsewhere(Says::Failure).await, elsewhere(Says::Address(2)).await);
    let (_names, at) = serving(&[failing.at, second.at], NameLimits::default());
    assert_eq!(ask(at, "a.example.org.").await.answers[0].data, RData::A(A::new(192, 0, 2, 2)));
    let before = failing.asked();
    assert_eq!(code(at, "b.example.org.").await, ResponseCode::NoError);
    assert!(failing.asked() > before);
}

#[tokio::test]
async fn names_of_the_cluster_are_answered_while_nobody_else_answers() {
    let silent = elsewhere(Says::Nothing).await;
    let (_names, at) = serving(&[silent.at], NameLimits::default());
    let outside = tokio::spawn(async move { code(at, "www.example.org.").await });
    assert_eq!(code(at, "web.shop.svc.cluster.local.").await, ResponseCode::NoError);
    assert_eq!(within("an answer that there is none", outside).await.unwrap(), ResponseCode::ServFail);
}

#[tokio::test]
async fn the_hosts_resolvers_are_read_again_when_they_change_and_we_are_none_of_them() {
    let (folder, world) = (tempfile::tempdir().unwrap(), elsewhere(Says::Address(1)).await);
    let path = folder.path().join("resolv.conf");
    let at = own_address();
    std::fs::write(&path, format!("nameserver {}\n", at.ip())).unwrap();
    let resolvers = Resolvers::File(path.clone());
    let names = Names::new(NamesSettings { host: at, resolvers, limits: NameLimits::default() });
    // As if it were at port 53: what the file names is left out, so nobody is asked, and at once.
    names.shared.upstream.set_own(BTreeSet::from([SocketAddr::new(at.ip(), super::resolvers::PORT)]));
    let query = Query::query(name("www.example.org."), RecordType::A);
    assert_eq!(names.shared.upstream.named(), []);
    assert_eq!(names.shared.upstream.ask(&query).await.code, ResponseCode::ServFail);
    std::fs::write(&path, format!("nameserver {}\nnameserver 192.0.2.53\n", at.ip())).unwrap();
    assert_eq!(names.shared.upstream.named(), [SocketAddr::from(([192, 0, 2, 53], 53))]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(names.shared.upstream.named(), []);
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn two_that_ask_each_other_end_without_an_answer_and_go_on() {
    let (one, other) = (own_address(), own_address());
    let start = |at: SocketAddr, upstream: SocketAddr| {
        let names = closed(at, &[upstream], NameLimits::default());
        names.open(None);
        names
    };
    let _both = (start(one, other), start(other, one));
    assert_eq!(code(one, "www.example.org.").await, ResponseCode::ServFail);
    assert_eq!(code(one, "web.shop.svc.cluster.local.").await, ResponseCode::NoError);
    assert_eq!(code(other, "web.shop.svc.cluster.local.").await, ResponseCode::NoError);
}

#[tokio::test]
async fn a_flood_of_questions_for_others_is_bounded_and_takes_nothing_from_the_cluster() {
    let silent = elsewhere(Says::Nothing).await;
    let limits = NameLimits { client_waiting_max: 4, ..NameLimits::default() };
    let (names, at) = serving(&[silent.at], limits);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for id in 0..20 {
        socket.send_to(&question(id, &format!("n{id}.example.org.")), at).await.unwrap();
    }
    let mut buffer = [0; 2_048];
    for _ in 0..16 {
        let length = within("a word at once", socket.recv(&mut buffer)).await.unwrap();
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert!(names.shared.waiting.count() <= 4);
    }
    assert_eq!(code(at, "web.shop.svc.cluster.local.").await, ResponseCode::NoError);
}

#[tokio::test]
async fn a_client_has_so_many_connections_and_no_more() {
    let limits = NameLimits { client_connections_max: 2, ..NameLimits::default() };
    let (_names, at) = serving(&[], limits);
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(at).await.unwrap();
        assert!(ask_by_tcp(&mut stream).await.is_some());
        kept.push(stream);
    }
    let mut third = TcpStream::connect(at).await.unwrap();
    assert!(ask_by_tcp(&mut third).await.is_none(), "closed");
    kept.clear();
    within("room again", async {
        while ask_by_tcp(&mut TcpStream::connect(at).await.unwrap()).await.is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Asks on a connection; `None` if it is closed.
async fn ask_by_tcp(stream: &mut TcpStream) -> Option<Message> {
    let question = question(9, "web.shop.svc.cluster.local.");
    let length = u16::try_from(question.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], &question].concat()).await.ok()?;
    let length = within("an answer or the end", stream.read_u16()).await.ok()?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.ok()?;
    Message::from_vec(&answer).ok()
}

#[tokio::test]
async fn nonsense_ends_its_connection_and_nothing_else() {
    let (_names, at) = serving(&[], NameLimits::default());
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for nonsense in [&b""[..], b"x", &[0xff; 600], &[0; 12]] {
        socket.send_to(nonsense, at).await.unwrap();
    }
    for nonsense in [&[0xff_u8, 0xff][..], &[0, 3, 1, 2, 3]] {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(nonsense).await.unwrap();
        let mut rest = Vec::new();
        // Reset where bytes of ours were not read: that is an end, too.
        let _ = within("the end", stream.read_to_end(&mut rest)).await;
        assert_eq!(rest, b"");
    }
    let mut stream = TcpStream::connect(at).await.unwrap();
    for _ in 0..3 {
        assert!(ask_by_tcp(&mut stream).await.is_some(), "several questions on one connection");
    }
    assert_eq!(code(at, "web.shop.svc.cluster.local.").await, ResponseCode::NoError);
}

#[tokio::test]
async fn a_taken_port_is_said_and_opened_when_it_is_free() {
    let (at, first, second) = (own_address(), own_address(), own_address());
    let squatter = TcpListener::bind(at).await.unwrap();
    let names = closed(at, &[], NameLimits::default());
    let mut problems = names.problems();
    names.open(Some(first.ip()));
    assert_eq!(problems.borrow_and_update().get(&at), Some(&ListenProblem::InUse { address: at }));
    assert_eq!(code(first, "web.shop.svc.cluster.local.").await, ResponseCode::NoError, "the other address is open");
    drop(squatter);
    within("no problem any more", problems.wait_for(|problems| problems.is_empty())).await.unwrap();
    assert_eq!(code(at, "web.shop.svc.cluster.local.").await, ResponseCode::NoError);
    names.open(Some(second.ip()));
    assert_eq!(code(second, "web.shop.svc.cluster.local.").await, ResponseCode::NoError);
    within("the address before is free", async {
        while UdpSocket::bind(first).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn only_the_host_and_its_own_pods_are_answered() {
    let (names, _) = serving(&[], NameLimits::default());
    let gateway = Ipv4Addr::new(10, 244, 1, 1);
    let serves = |client: [u8; 4]| names.shared.serves(SocketAddr::from((client, 4_000)), gateway.into());
    for client in [[127, 0, 0, 1], [10, 244, 1, 1], [10, 244, 1, 99]] {
        assert!(serves(client), "{client:?}");
    }
    for client in [[10, 244, 2, 7], [192, 0, 2, 1], [10, 96, 0, 10], [0, 0, 0, 0]] {
        assert!(!serves(client), "{client:?}");
    }
    assert!(!names.shared.serves("[2001:db8::1]:4000".parse().unwrap(), gateway.into()));
}
