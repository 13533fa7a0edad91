//! The way from one host to a pod on another, beside HAProxy and beside no proxy at all: `cargo bench --bench tunnel`. Needs root, wrk and
//! haproxy; `cargo bench --bench tunnel -- keep` keeps the namespaces for a look.
//!
//! Two network namespaces stand for two hosts. wrk runs on the first one, an HTTP server that answers with few bytes on the second one.
//! In between are, in turn: nothing; HAProxy on the first host, in TCP mode; our proxy on the first host, the tunnel, and the agent's end of it on
//! the second. All share the machine, so what to compare are the ratios, which are taken in the same run. docs/benchmarks.md has ours.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock and prints")]

#[path = "../tests/contract/peers.rs"]
mod peers;

use driftless::agent::net::tunnel::{Limits, Timings, Tunnel};
use driftless::agent::net::{ExtraAddress, Proxy, Setup};
use driftless::clock;
use driftless::model::{Backend, EndpointPort, EndpointSet, Kind, NodeName, NodeNetwork, ObjectKey, PodUid, Protocol};
use driftless::trust::{Authorities, Membership, NODE_LIFE, Request};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

const ROUNDS: usize = 3;

const HOSTS: [(&str, &str); 2] = [("driftless-bench-1", "10.213.0.1"), ("driftless-bench-2", "10.213.0.2")];

/// Where the pod answers requests, and where it talks without end.
const POD: [u16; 2] = [9000, 9001];

/// Where HAProxy and our proxy take connections for these two.
const HAPROXY: [u16; 2] = [9100, 9101];
const OURS: [u16; 2] = [9200, 9201];

const TUNNEL: u16 = 7782;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["pod"] => runtime.block_on(pod()),
        ["host1", folder] => runtime.block_on(first_host(Path::new(folder))),
        ["host2", folder] => runtime.block_on(second_host(Path::new(folder))),
        ["pull", address, seconds] => runtime.block_on(pull(address, seconds.parse().expect("a number"))),
        words => compare(words.contains(&"keep")),
    }
}

/// Builds the two hosts, measures, and tears them down.
fn compare(keep: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let hosts = Hosts::build(keep);
    let authorities = Authorities::load_or_create(folder.path(), "bench", clock::wall()).expect("an authority");
    for name in ["n1", "n2"] {
        join(&authorities, folder.path(), name);
    }
    let config = folder.path().join("haproxy.cfg");
    std::fs::write(&config, haproxy_config()).expect("written");
    let this = std::env::current_exe().expect("this program");
    let path = folder.path().to_str().expect("a path");
    let this = this.to_str().expect("a path");
    let _pod = hosts.run(1, &[this, "pod"]);
    let _second = hosts.run(1, &[this, "host2", path]);
    let _first = hosts.run(0, &[this, "host1", path]);
    let _haproxy = hosts.run(0, &["haproxy", "-f", config.to_str().expect("a path")]);
    let subjects =
        [("no proxy", HOSTS[1].1, POD), ("HAProxy, TCP mode", "127.0.0.1", HAPROXY), ("proxy and tunnel", "127.0.0.1", OURS)];
    for (_, host, ports) in subjects {
        for port in ports {
            hosts.wait_for(0, this, &format!("{host}:{port}"));
        }
    }
    println!("connections  {:<20} requests/s      p99", "");
    for connections in [1, 16, 64, 256] {
        let mut figures = vec![Vec::new(); subjects.len()];
        for _ in 0..ROUNDS {
            for (figures, (_, host, ports)) in figures.iter_mut().zip(subjects) {
                figures.push(hosts.wrk(connections, &format!("http://{host}:{}/", ports[0])));
            }
        }
        let medians: Vec<(f64, String)> = figures.iter_mut().map(|figures| median(figures)).collect();
        for ((name, ..), (rate, p99)) in subjects.iter().zip(&medians) {
            println!("{connections:>11}  {name:<20} {rate:>10.0} {p99:>8}  {:.2} x of HAProxy", rate / medians[1].0);
        }
    }
    println!("one connection, bytes in one direction");
    let mut rates = vec![Vec::new(); subjects.len()];
    for _ in 0..ROUNDS {
        for (rates, (_, host, ports)) in rates.iter_mut().zip(subjects) {
            rates.push((hosts.pulled(this, &format!("{host}:{}", ports[1])), String::new()));
        }
    }
    let medians: Vec<(f64, String)> = rates.iter_mut().map(|rates| median(rates)).collect();
    for ((name, ..), (rate, _)) in subjects.iter().zip(&medians) {
        println!("             {name:<20} {rate:>7.0} MiB/s  {:.2} x of HAProxy", rate / medians[1].0);
    }
}

fn median(figures: &mut [(f64, String)]) -> (f64, String) {
    figures.sort_by(|one, other| one.0.total_cmp(&other.0));
    figures[figures.len() / 2].clone()
}

fn haproxy_config() -> String {
    let server = HOSTS[1].1;
    let mut text =
        "global\n  maxconn 8000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n"
            .to_owned();
    for (port, to) in HAPROXY.iter().zip(POD) {
        text.push_str(&format!("listen to{to}\n  bind 127.0.0.1:{port}\n  server pod {server}:{to}\n"));
    }
    text
}

/// The two namespaces and the cable between them.
struct Hosts {
    keep: bool,
}

/// A process on a host, until it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).status().expect("ip runs");
    assert!(done.success(), "ip {words}");
}

impl Hosts {
    fn build(keep: bool) -> Self {
        let [(one, first), (two, second)] = HOSTS;
        ip(&format!("netns add {one}"));
        ip(&format!("netns add {two}"));
        let hosts = Self { keep };
        ip(&format!("link add driftless-b1 netns {one} type veth peer name driftless-b2 netns {two}"));
        for (host, cable, address) in [(one, "driftless-b1", first), (two, "driftless-b2", second)] {
            ip(&format!("-n {host} link set lo up"));
            ip(&format!("-n {host} addr add {address}/24 dev {cable}"));
            ip(&format!("-n {host} link set {cable} up"));
        }
        hosts
    }

    fn command(host: usize, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", HOSTS[host].0]).args(words);
        command
    }

    fn run(&self, host: usize, words: &[&str]) -> Running {
        Running(Self::command(host, words).stdin(Stdio::null()).spawn().expect("it starts"))
    }

    /// Waits until something says something at an address.
    fn wait_for(&self, host: usize, this: &str, address: &str) {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            if Self::command(host, &[this, "pull", address, "0"]).output().expect("it runs").status.success() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("nothing at {address}");
    }

    /// Requests per second, and the 99th percentile of their latency.
    fn wrk(&self, connections: usize, url: &str) -> (f64, String) {
        let threads = connections.min(2).to_string();
        let words = ["wrk", "-t", &threads, "-c", &connections.to_string(), "-d", "5s", "--latency", url];
        let output = Self::command(0, &words).output().expect("wrk runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.contains("Socket errors"), "{text}");
        let figure = |label: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(label));
            line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or_else(|| panic!("no {label} in {text}")).to_owned()
        };
        (figure("Requests/sec:").parse().expect("a number"), figure("99%"))
    }

    /// MiB in a second.
    fn pulled(&self, this: &str, address: &str) -> f64 {
        let output = Self::command(0, &[this, "pull", address, "5"]).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        if !self.keep {
            for (host, _) in HOSTS {
                let _ = Command::new("ip").args(["netns", "del", host]).status();
            }
        }
    }
}

fn folder_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}

fn join(authorities: &Authorities, folder: &Path, name: &str) {
    let membership = Membership::open(&folder_of(folder, name)).expect("a folder");
    let request = Request::read(&membership.request().expect("a request")).expect("a valid one");
    let issued = authorities.issue_node(&NodeName::new(name), &request, NODE_LIFE, clock::wall()).expect("a certificate");
    membership.keep(&issued).expect("kept");
}

/// Answers requests, and talks to whoever asks nothing.
async fn pod() {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let answers = serve(POD[0], |mut stream| async move {
        let mut buffer = vec![0; 16 * 1024];
        // wrk sends one request at a time, in one piece.
        while let Ok(1..) = stream.read(&mut buffer).await {
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    });
    let talks = serve(POD[1], |mut stream| async move {
        let text = vec![b'x'; 64 * 1024];
        while stream.write_all(&text).await.is_ok() {}
    });
    tokio::join!(answers, talks);
}

async fn serve<F: Future<Output = ()> + Send + 'static>(port: u16, handle: impl Fn(TcpStream) -> F) {
    let listener = TcpListener::bind(("0.0.0.0", port)).await.expect("a port");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("set");
        tokio::spawn(handle(stream));
    }
}

/// Asks once, and reads for so long; says how much came in a second.
async fn pull(address: &str, seconds: u64) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("said");
    let mut buffer = vec![0; 256 * 1024];
    let mut length = stream.read(&mut buffer).await.expect("an answer");
    assert!(length > 0, "nothing came");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        length += stream.read(&mut buffer).await.expect("more");
    }
    println!("{}", length as f64 / 1024.0 / 1024.0 / begun.elapsed().as_secs_f64());
}

fn tunnel(folder: &Path, name: &str) -> Tunnel {
    let membership = Membership::open(&folder_of(folder, name)).expect("a folder");
    let identity = membership.identity().expect("readable").expect("joined");
    let tunnel = Tunnel::new(NodeName::new(name), &identity, None, Limits::default(), Timings::default()).expect("a tunnel");
    tunnel.apply_network(&network(folder));
    tunnel
}

fn network(folder: &Path) -> NodeNetwork {
    let peer = |(name, (_, address)): (&str, (&str, &str))| {
        let key = Membership::open(&folder_of(folder, name)).expect("a folder").key();
        (NodeName::new(name), SocketAddr::new(address.parse().expect("an address"), TUNNEL), key)
    };
    peers::network(["n1", "n2"].into_iter().zip(HOSTS).map(peer))
}

/// A Service of two ports that leads to the pod on the second host.
fn endpoints() -> EndpointSet {
    let backend =
        |port: u16| Backend { pod: PodUid(Uuid::from_u128(1)), node: NodeName::new("n2"), address: [127, 0, 0, 1].into(), port };
    let port = |port: u16| EndpointPort {
        name: format!("p{port}"),
        port,
        protocol: Protocol::Tcp,
        node_port: None,
        backends: vec![backend(port)],
    };
    let service = ObjectKey::new(Kind::Service, "shop", "web");
    EndpointSet { ports: POD.into_iter().map(port).collect(), ..EndpointSet::empty(service, 1) }
}

async fn first_host(folder: &Path) {
    let tunnel = tunnel(folder, "n1");
    let proxy = Proxy::new(Setup { reach: Arc::new(tunnel), ..Setup::alone(NodeName::new("n1")) });
    let at = |(service_port, port): (u16, u16)| ExtraAddress {
        service_port,
        protocol: Protocol::Tcp,
        address: SocketAddr::from(([127, 0, 0, 1], port)),
    };
    let extra: Vec<ExtraAddress> = POD.into_iter().zip(OURS).map(at).collect();
    proxy.apply(&endpoints(), &extra);
    std::future::pending().await
}

async fn second_host(folder: &Path) {
    let tunnel = tunnel(folder, "n2");
    tunnel.apply_endpoints(&endpoints());
    let listener = TcpListener::bind((HOSTS[1].1, TUNNEL)).await.expect("a port");
    tunnel.listen(listener).await;
}
