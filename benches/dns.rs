//! Answers per second of the agent's DNS on one core: `cargo bench --bench dns`.
//!
//! The server runs on one thread, and its own cpu time is what counts, so that the clients beside it cost nothing. They keep so many
//! questions under way that it never waits. docs/benchmarks.md has our figures.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock and prints")]

use driftless::agent::net::dns::{NameLimits, Names, NamesSettings, Resolvers};
use driftless::model::{EndpointSet, Kind, Member, NodeName, ObjectKey, PodUid};
use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use uuid::Uuid;

const HOST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 53, 255, 1)), 5353);
const SERVICES: u32 = 1_000;
const PERIOD: Duration = Duration::from_secs(5);

/// Questions of one client that are under way at once.
const WINDOW: usize = 32;

fn main() {
    let (started, ready) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let server = thread::spawn(move || serve(&started, &stopped));
    ready.recv().expect("the server starts");
    for (what, name) in [
        ("a Service", "web-500.shop.svc.cluster.local."),
        ("a headless Service of 10 pods", "db.shop.svc.cluster.local."),
        ("no such name", "nobody.shop.svc.cluster.local."),
    ] {
        let (answered, wall, cpu) = measure(name);
        let per_second = |time: Duration| answered as f64 / time.as_secs_f64();
        println!(
            "{what}: {:.0} answers per second of one core, {:.1} µs each; {:.0} per second on the clock",
            per_second(cpu),
            cpu.as_secs_f64() * 1e6 / answered as f64,
            per_second(wall)
        );
    }
    stop.store(true, Ordering::SeqCst);
    server.join().expect("an orderly end");
}

/// What the thread of the server has used so far, in nanoseconds.
static CPU: AtomicU64 = AtomicU64::new(0);

fn serve(started: &mpsc::Sender<()>, stop: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let resolvers = Resolvers::Given(Vec::new());
        let names = Names::new(NamesSettings { host: HOST, resolvers, limits: NameLimits::default() });
        for number in 0..SERVICES {
            let address = Some(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 0, 1)) + number));
            names.take_set(&Arc::new(EndpointSet { address, ..EndpointSet::empty(key(&format!("web-{number}")), 1) }));
        }
        names.take_set(&Arc::new(EndpointSet { members: (1..=10).map(member).collect(), ..EndpointSet::empty(key("db"), 1) }));
        names.open(None);
        assert!(names.problems().borrow().is_empty(), "{:?}", names.problems().borrow());
        started.send(()).expect("somebody waits");
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while !stop.load(Ordering::SeqCst) {
            tick.tick().await;
            CPU.store(thread_cpu_ns(), Ordering::SeqCst);
        }
    });
}

/// `sum_exec_runtime` of proc(5), of this thread.
fn thread_cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
    text.split_whitespace().next().and_then(|number| number.parse().ok()).expect("nanoseconds")
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::Service, "shop", name)
}

fn member(last: u8) -> Member {
    let address = IpAddr::V4(Ipv4Addr::new(10, 244, 1, last));
    Member { pod: PodUid(Uuid::from_u128(last.into())), node: NodeName::new("n1"), address, hostname: Some(format!("db-{last}")) }
}

/// Answers, the time on the clock, and the cpu time of the server.
fn measure(name: &str) -> (u64, Duration, Duration) {
    let (begun, before) = (Instant::now(), CPU.load(Ordering::SeqCst));
    let clients: Vec<_> = (0..2).map(|_| name.to_owned()).map(|name| thread::spawn(move || ask(&name, begun))).collect();
    let answered = clients.into_iter().map(|client| client.join().expect("a client")).sum();
    // The last tick of the server is 20 ms old at most.
    (answered, begun.elapsed(), Duration::from_nanos(CPU.load(Ordering::SeqCst) - before))
}

/// Asks until the period is over; how many answers came.
fn ask(name: &str, begun: Instant) -> u64 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(HOST).expect("connected");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), RecordType::A));
    let question = message.to_vec().expect("it can be written");
    let mut buffer = [0; 2_048];
    socket.send(&question).expect("sent");
    let length = socket.recv(&mut buffer).expect("a first answer");
    let code = Message::from_vec(&buffer[..length]).expect("it can be read").metadata.response_code;
    assert!(matches!(code, ResponseCode::NoError | ResponseCode::NXDomain), "{code}");
    let mut answered = 1;
    for _ in 0..WINDOW {
        socket.send(&question).expect("sent");
    }
    while begun.elapsed() < PERIOD {
        // One that is lost is made up for by the next question.
        answered += u64::from(socket.recv(&mut buffer).is_ok());
        socket.send(&question).expect("sent");
    }
    answered
}
