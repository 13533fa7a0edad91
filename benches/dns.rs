//! Answers per second of the agent's DNS on one core, beside unbound with the same names: `cargo bench --bench dns`; needs Debian's
//! unbound.
//!
//! Each server runs on one thread, and its own cpu time is what counts, so that the clients beside it cost nothing. They keep so many
//! questions under way that it never waits. docs/benchmarks.md has our figures.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock and prints")]

use driftless::agent::net::dns::{NameLimits, Names, NamesSettings, Resolvers};
use driftless::model::{EndpointSet, Kind, Member, NodeName, ObjectKey, PodUid};
use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use uuid::Uuid;

const HOST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 53, 255, 1)), 5353);
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 53, 255, 2)), 5353);
const SERVICES: u32 = 1_000;
const PODS: u8 = 10;
const ROUNDS: usize = 3;
const PERIOD: Duration = Duration::from_secs(5);

/// Questions of one client that are under way at once.
const WINDOW: usize = 32;

fn main() {
    let (started, ready) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let server = thread::spawn(move || serve(&started, &stopped));
    let ours = format!("/proc/self/task/{}/schedstat", ready.recv().expect("the server starts"));
    let folder = tempfile::tempdir().expect("a folder");
    let peer = Peer::start(folder.path());
    let theirs = format!("/proc/{}/schedstat", peer.0.id());
    for (what, name) in [
        ("a Service", "web-500.shop.svc.cluster.local."),
        ("a headless Service of 10 pods", "db.shop.svc.cluster.local."),
        ("no such name", "nobody.shop.svc.cluster.local."),
    ] {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            rates[0].push(measure(HOST, &ours, name));
            rates[1].push(measure(PEER, &theirs, name));
        }
        let [ours, theirs] = rates.map(|mut rates| {
            rates.sort_by(f64::total_cmp);
            rates[ROUNDS / 2]
        });
        println!("{what}: {ours:.0} answers per second of one core, unbound {theirs:.0}: {:.2} ×", ours / theirs);
    }
    stop.store(true, Ordering::SeqCst);
    server.join().expect("an orderly end");
}

/// unbound, which ends with the benchmark.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Peer {
    /// Starts it with the names that ours has, and waits until it answers.
    fn start(folder: &std::path::Path) -> Self {
        let config = folder.join("unbound.conf");
        let mut text = format!(
            "server:\n  num-threads: 1\n  interface: {}\n  port: {}\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  \
             pidfile: \"\"\n  use-syslog: no\n  module-config: iterator\n  access-control: 127.0.0.0/8 allow\n  \
             do-not-query-localhost: no\n  local-zone: cluster.local. static\n  \
             local-data: \"cluster.local. 5 SOA ns.cluster.local. host.cluster.local. 1 7200 1800 86400 5\"\n",
            PEER.ip(),
            PEER.port()
        );
        let addresses = (0..SERVICES).map(|number| (format!("web-{number}"), service(number)));
        let pods = (1..=PODS).map(|last| ("db".to_owned(), pod(last)));
        for (name, address) in addresses.chain(pods) {
            text.push_str(&format!("  local-data: \"{name}.shop.svc.cluster.local. 5 A {address}\"\n"));
        }
        text.push_str("remote-control:\n  control-enable: no\n");
        fs::write(&config, text).expect("a file");
        let child = Command::new("unbound").arg("-d").arg("-c").arg(&config).stderr(Stdio::null()).spawn();
        let peer = Self(child.expect("it starts: install Debian's unbound"));
        let begun = Instant::now();
        while ask(PEER, "web-1.shop.svc.cluster.local.", begun, Duration::ZERO).is_none() {
            assert!(begun.elapsed() < Duration::from_secs(20), "unbound does not answer");
        }
        peer
    }
}

fn serve(started: &mpsc::Sender<i32>, stop: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let resolvers = Resolvers::Given(Vec::new());
        let names = Names::new(NamesSettings { host: HOST, resolvers, limits: NameLimits::default() });
        for number in 0..SERVICES {
            let address = Some(service(number));
            names.take_set(&Arc::new(EndpointSet { address, ..EndpointSet::empty(key(&format!("web-{number}")), 1) }));
        }
        names.take_set(&Arc::new(EndpointSet { members: (1..=PODS).map(member).collect(), ..EndpointSet::empty(key("db"), 1) }));
        names.open(None);
        assert!(names.problems().borrow().is_empty(), "{:?}", names.problems().borrow());
        started.send(rustix::thread::gettid().as_raw_nonzero().get()).expect("somebody waits");
        while !stop.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

fn service(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 0, 1)) + number)
}

fn pod(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, 1, last)
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::Service, "shop", name)
}

fn member(last: u8) -> Member {
    let hostname = Some(format!("db-{last}"));
    Member { pod: PodUid(Uuid::from_u128(last.into())), node: NodeName::new("n1"), address: IpAddr::V4(pod(last)), hostname }
}

/// The cpu time that a thread has used so far: `sum_exec_runtime` of proc(5).
fn cpu(schedstat: &str) -> Duration {
    let text = fs::read_to_string(schedstat).expect("schedstat");
    Duration::from_nanos(text.split_whitespace().next().and_then(|number| number.parse().ok()).expect("nanoseconds"))
}

/// Answers in a second of the server's cpu time.
fn measure(server: SocketAddr, schedstat: &str, name: &str) -> f64 {
    let (begun, before) = (Instant::now(), cpu(schedstat));
    let clients: Vec<_> = (0..2)
        .map(|_| name.to_owned())
        .map(|name| thread::spawn(move || ask(server, &name, begun, PERIOD).expect("a first answer")))
        .collect();
    let answered: u64 = clients.into_iter().map(|client| client.join().expect("a client")).sum();
    answered as f64 / (cpu(schedstat) - before).as_secs_f64()
}

/// Asks until the period is over; how many answers came, `None` if not even the first did.
fn ask(server: SocketAddr, name: &str, begun: Instant, period: Duration) -> Option<u64> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(server).expect("connected");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), RecordType::A));
    let question = message.to_vec().expect("it can be written");
    let mut buffer = [0; 2_048];
    socket.send(&question).ok()?;
    let length = socket.recv(&mut buffer).ok()?;
    let code = Message::from_vec(&buffer[..length]).expect("it can be read").metadata.response_code;
    assert!(matches!(code, ResponseCode::NoError | ResponseCode::NXDomain), "{code}");
    let mut answered = 1;
    for _ in 0..WINDOW {
        socket.send(&question).expect("sent");
    }
    while begun.elapsed() < period {
        // One that is lost is made up for by the next question.
        answered += u64::from(socket.recv(&mut buffer).is_ok());
        socket.send(&question).expect("sent");
    }
    Some(answered)
}
