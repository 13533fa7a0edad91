//! What a controller and an agent listen on, as the kernel says, beside what docs/security.md says.

use crate::engine::Engine;
use crate::harness::{Cluster, PATIENCE, driftless, poll};
use crate::hosts::Half;
use crate::manifests::{contained, workload};
use crate::namespace::within;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The page with the table.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md");

/// What is open to other hosts, with the protocol that is spoken there.
const AGENTS: (&str, &str) = ("127.0.0.1:7781", "h2");
const TUNNEL: (&str, &str) = ("127.0.0.1:7782", "driftless-tunnel/1");

/// A Service of each protocol, inside and at the node.
const SERVICE: &str = "---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: http, nodePort: 30080}
  - {name: time, protocol: UDP, port: 123, targetPort: time, nodePort: 30123}
";

/// Where something listens: a code span of the table, as `0.0.0.0:7781/tcp`, `127.53.0.0/16:53/udp` or `GATEWAY:20000-29999/tcp`.
#[derive(Debug)]
struct Place {
    written: String,
    hosts: RangeInclusive<u32>,
    ports: RangeInclusive<u16>,
    protocol: String,
}

impl Place {
    /// `None` if it says something else.
    fn parse(written: &str, gateway: Ipv4Addr) -> Option<Self> {
        let (address, protocol) = written.rsplit_once('/').filter(|(_, end)| ["tcp", "udp"].contains(end))?;
        let (host, ports) = address.rsplit_once(':')?;
        let (host, bits) = host.split_once('/').unwrap_or((host, "32"));
        let host = if host == "GATEWAY" { gateway } else { host.parse().ok()? };
        let rest = u32::MAX.checked_shr(bits.parse().ok()?).unwrap_or(0);
        let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
        Some(Self {
            written: written.to_owned(),
            hosts: u32::from(host)..=u32::from(host) | rest,
            ports: low.parse().ok()?..=high.parse().ok()?,
            protocol: protocol.to_owned(),
        })
    }

    fn has(&self, (address, protocol): &Socket) -> bool {
        let IpAddr::V4(host) = address.ip() else { return false };
        self.hosts.contains(&u32::from(host)) && self.ports.contains(&address.port()) && self.protocol == *protocol
    }
}

/// What the table says: the code spans in the first column of each row.
fn written(gateway: Ipv4Addr) -> Vec<Place> {
    let text = fs::read_to_string(DOCUMENT).expect("docs/security.md");
    let section = text.split("\n## ").find(|section| section.starts_with("What listens\n")).expect("its section");
    let firsts = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    firsts.flat_map(|first| first.split('`').skip(1).step_by(2)).filter_map(|span| Place::parse(span, gateway)).collect()
}

/// An address, and `tcp` or `udp`.
type Socket = (SocketAddr, &'static str);

/// What processes of ours listen on in the network of this thread.
fn open_sockets() -> BTreeSet<Socket> {
    let program = fs::canonicalize(env!("CARGO_BIN_EXE_driftless")).expect("the program");
    let network = fs::read_link("/proc/thread-self/ns/net").expect("a network");
    let processes = fs::read_dir("/proc").expect("procfs").flatten().map(|entry| entry.path());
    let is_ours = |process: &Path| {
        let link = |name: &str| fs::read_link(process.join(name)).ok();
        link("exe").is_some_and(|exe| exe == program) && link("ns/net").is_some_and(|other| other == network)
    };
    let fds = processes.filter(|process| is_ours(process)).flat_map(|process| fs::read_dir(process.join("fd")));
    let links = fds.flatten().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
    let inodes: BTreeSet<String> =
        links.filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect();
    // In the kernel's words, a socket that listens, and one of datagrams that is not connected.
    let tables = [("tcp", "tcp", "0A"), ("tcp6", "tcp", "0A"), ("udp", "udp", "07"), ("udp6", "udp", "07")];
    let rows = tables.iter().flat_map(|(file, protocol, state)| {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).expect("a table of the kernel");
        let rows: Vec<Vec<String>> =
            text.lines().skip(1).map(|row| row.split_whitespace().map(str::to_owned).collect()).collect();
        rows.into_iter().filter(|row| row[3] == *state).map(|row| (row, *protocol))
    });
    rows.filter(|(row, _)| inodes.contains(&row[9])).map(|(row, protocol)| (address(&row[1]), protocol)).collect()
}

/// `0100007F:1E65`, or the same with four words for an address of IPv6.
fn address(text: &str) -> SocketAddr {
    let (host, port) = text.split_once(':').expect("an address and a port");
    let word = |at: usize| u32::from_str_radix(&host[at..at + 8], 16).expect("hexadecimal digits").swap_bytes();
    let host = if host.len() == 8 {
        IpAddr::from(word(0).to_be_bytes())
    } else {
        let words = [word(0), word(8), word(16), word(24)].map(u128::from);
        IpAddr::from(words.iter().fold(0, |sum, word| sum << 32 | word).to_be_bytes())
    };
    SocketAddr::new(host, u16::from_str_radix(port, 16).expect("a port"))
}

/// What a server answers to one who speaks in the clear.
fn answer_in_the_clear(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: driftless\r\n\r\n").expect("written");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it hangs up");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A client that has no certificate, until the server hangs up.
fn handshake((address, protocol): (&str, &str), version: &str) -> String {
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-connect", address, version, "-alpn", protocol, "-ign_eof"]).stdin(Stdio::null());
    let output = openssl.output().expect("openssl runs");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// An agent that has joined, as another host does, beside an Engine, and serves Ingress.
fn start_agent(cluster: &Cluster, engine: &Engine) -> Child {
    let folder = cluster.dir.path();
    let mut token = driftless();
    token.args(["token", "create", "--labels", "driftless.dev/ingress=true", "--state-dir"]).arg(cluster.state_dir());
    let made = token.output().expect("driftless runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::write(folder.join("token"), made.stdout).expect("a written token");
    let log = File::options().create(true).append(true).open(cluster.log_file()).expect("a log file");
    let mut agent = driftless();
    agent.args(["agent", "--ingress", "--node", "n1", "--cluster", &cluster.name, "--controller", AGENTS.0, "--token-file"]);
    agent.arg(folder.join("token")).arg("--state-dir").arg(folder.join("n1")).env("DOCKER_HOST", engine.host());
    agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("driftless starts")
}

#[test]
fn what_listens_is_what_the_page_on_security_says_and_lets_no_stranger_in() {
    within("e2e-listeners", || {
        let engine = Engine::start(false);
        let mut cluster = Cluster::new("docker");
        cluster.docker_host = Some(engine.host());
        cluster.port = 7780;
        let mut container = contained("web", "exec httpd -f -p 8080 -h /");
        container["ports"] = json!([
            { "name": "http", "containerPort": 8080 }, { "name": "time", "containerPort": 123, "protocol": "UDP" }
        ]);
        let web = workload("Deployment", "web", "", &json!({ "terminationGracePeriodSeconds": 1, "containers": [container] }));
        cluster.push("a web", &[("shop/web.yaml", Some(&(web + SERVICE)))]);
        let repo = cluster.repo().to_string_lossy().into_owned();
        let _controller = Half::start(&cluster, &["controller", "--repo", &repo]);
        cluster.wait_for("status answers", || cluster.get("/healthz"));
        let mut agent = start_agent(&cluster, &engine);
        cluster.wait_for("the web is ready", || cluster.ready_pods("shop", "web", 1));

        let network = format!("driftless-{}", cluster.name);
        let gateway = engine.docker(&["network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", &network]);
        let places = written(gateway.expect("our network").trim().parse().expect("an address"));
        let unheard = |open: &BTreeSet<Socket>| -> Vec<String> {
            let silent = places.iter().filter(|place| !open.iter().any(|socket| place.has(socket)));
            silent.map(|place| place.written.clone()).collect()
        };
        let open = cluster.wait_for("everything listens that the page names", || {
            let open = open_sockets();
            if unheard(&open).is_empty() { Ok(open) } else { Err(format!("not at {:?}; {open:?}", unheard(&open))) }
        });
        let unnamed: BTreeMap<_, _> =
            open.iter().filter(|socket| !places.iter().any(|place| place.has(socket))).map(|(at, what)| (at, what)).collect();
        assert!(unnamed.is_empty(), "docs/security.md does not name {unnamed:?}");

        for place in [AGENTS, TUNNEL] {
            let answer = answer_in_the_clear(place.0);
            assert!(!answer.contains("HTTP/"), "{place:?}: {answer}");
            let old = handshake(place, "-tls1_2");
            assert!(old.contains("alert protocol version"), "{place:?} speaks TLS 1.2: {old}");
        }
        let stranger = handshake(TUNNEL, "-tls1_3");
        assert!(stranger.contains("certificate required"), "the tunnel takes one who has no certificate: {stranger}");

        let pid = i32::try_from(agent.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, Signal::TERM).expect("a signal");
        poll("the agent ends", PATIENCE, || agent.try_wait().ok().flatten().ok_or_else(String::new)).expect("an end");
    });
}
