//! The network of a cluster and what becomes of a lost host, measured on the real thing:
//! `cargo bench --bench network [proxy|lost|memory]`.
//!
//! Hosts are network namespaces of this machine, as in tests/e2e/fleet; needs root, and wrk, haproxy and dockerd of Debian. What to
//! compare are ratios, all sides of which are taken in one run and in turn. docs/benchmarks.md has ours.

#![expect(unreachable_pub, dead_code, reason = "the end-to-end harness is shared with tests/e2e")]
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock and prints")]

#[path = "../tests/e2e/harness.rs"]
mod harness;
#[path = "../tests/e2e/fleet/lab.rs"]
mod lab;

use harness::{is_ready, poll};
use lab::Lab;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;
const SECONDS: u32 = 5;
const CONNECTIONS: u32 = 32;
const PODS: usize = 100;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|arg| arg == name);
    if wanted("proxy") {
        proxy();
    }
    if wanted("lost") {
        lost_host();
    }
    if wanted("memory") {
        memory("process");
        memory("docker");
    }
}

/// Requests through the node's proxy, on one host and across two, beside the pod itself, HAProxy in TCP mode and a port that Docker
/// publishes. What answers is HAProxy too: it takes less time than any of them.
fn proxy() {
    let mut lab = Lab::new(2, "process");
    let folder = lab.cluster.dir.path().to_owned();
    let answering = config(
        &folder,
        "answering",
        "http",
        "bind 0.0.0.0:\"$PORT\"",
        "http-request return status 200 content-type text/plain string hello",
    );
    let manifest = |name: &str, host: &str| deployment(name, host, &format!("/usr/sbin/haproxy -db -f {}", answering.display()));
    let files = [("near.yaml", manifest("near", "h1")), ("far.yaml", manifest("far", "h2"))];
    let files: Vec<(&str, Option<&str>)> = files.iter().map(|(path, text)| (*path, Some(text.as_str()))).collect();
    lab.cluster.push("two servers", &files);
    lab.start();
    let mut others = Vec::new();
    for (host, name) in [(1, "near"), (2, "far")] {
        let service = lab.reaches_from_all("bench", name);
        let pod = pod_address(&lab, host, name);
        let published = published(&mut lab, host, &answering);
        let forwarding = config(
            &folder,
            &format!("forwarding-{name}"),
            "tcp",
            &format!("bind 10.98.0.1:{}", 9000 + host),
            &format!("use_backend pod\nbackend pod\n  server pod {pod}"),
        );
        others.push(Ended(start(&lab, 1, &["haproxy", "-db", "-f", &forwarding.to_string_lossy()])));
        let haproxy = lab.at(1, u16::try_from(9000 + host).expect("a port"));
        let contenders = [("pod itself", pod), ("driftless", service), ("haproxy, tcp", haproxy), ("docker's port", published)];
        for closing in [false, true] {
            compare(&lab, name, closing, &contenders);
        }
    }
}

/// A process of ours that ends with the benchmark.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(lab: &Lab, host: usize, words: &[&str]) -> Child {
    let mut command = lab.command(host, words[0]);
    command.args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
}

fn config(folder: &Path, name: &str, mode: &str, bind: &str, rest: &str) -> PathBuf {
    let path = folder.join(format!("{name}.cfg"));
    let text = format!(
        "global\n  nbthread 1\ndefaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend {name}\n  {bind}\n  {rest}\n"
    );
    fs::write(&path, text).expect("a file");
    path
}

/// One host process on a host, and its Service.
fn deployment(name: &str, host: &str, command: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: bench}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  \
         template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      runtimeClassName: process\n      \
         nodeSelector: {{kubernetes.io/hostname: {host}}}\n      containers:\n      - name: main\n        command: [sh, -c, 'exec {command}']\n        \
         ports: [{{name: http, containerPort: 8080}}]\n        readinessProbe: {{httpGet: {{port: http}}, periodSeconds: 1}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: bench}}\nspec:\n  selector: {{app: {name}}}\n  \
         ports: [{{port: 8080, targetPort: http}}]\n"
    )
}

/// Where the pod's own port is on its host.
fn pod_address(lab: &Lab, host: usize, name: &str) -> SocketAddr {
    let slices = lab.cluster.json("/apis/discovery.k8s.io/v1/namespaces/bench/endpointslices").expect("slices");
    let slices = slices["items"].as_array().expect("items");
    let of = slices.iter().find(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == name).expect("its slice");
    lab.at(host, of["ports"][0]["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port"))
}

/// The same server in a container, on a port that Docker publishes.
fn published(lab: &mut Lab, host: usize, answering: &Path) -> SocketAddr {
    lab.start_engine(host);
    let files = tempfile::tempdir().expect("a folder");
    let tar = files.path().join("empty.tar");
    let packed = std::process::Command::new("tar").args(["-cf", &tar.to_string_lossy(), "--files-from", "/dev/null"]).status();
    assert!(packed.expect("tar runs").success());
    lab.docker(host, &["import", &tar.to_string_lossy(), "bench"]).expect("an image");
    let here = |path: &str| format!("{path}:{path}:ro");
    let config = here(&answering.to_string_lossy());
    let mounts = ["/usr", "/lib", "/lib64"].map(here);
    let mut words = vec!["run", "--detach", "--publish", "9100:8080", "--env", "PORT=8080", "--volume", &config];
    words.extend(mounts.iter().flat_map(|mount| ["--volume", mount]));
    let command = ["bench", "/usr/sbin/haproxy", "-db", "-f"];
    let answering = answering.to_string_lossy();
    lab.docker(host, &[words.as_slice(), &command, &[answering.as_ref()]].concat()).expect("a container");
    lab.at(host, 9100)
}

/// What wrk says.
#[derive(Clone)]
struct Figures {
    per_second: f64,
    p99: String,
}

fn compare(lab: &Lab, name: &str, closing: bool, contenders: &[(&'static str, SocketAddr)]) {
    let mut all: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for (contender, address) in contenders {
            all.entry(contender).or_default().push(wrk(lab, *address, closing));
        }
    }
    let median = |contender: &str| {
        let mut figures = all[contender].clone();
        figures.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
        figures[ROUNDS / 2].clone()
    };
    let peer = median("haproxy, tcp").per_second;
    let what = if closing { "a connection each" } else { "connections kept" };
    for (contender, _) in contenders {
        let Figures { per_second, p99 } = median(contender);
        let ratio = per_second / peer;
        println!("{name}, {what}: {contender:<14} {per_second:>8.0} requests/s, p99 {p99}, {ratio:.2} × haproxy");
    }
}

fn wrk(lab: &Lab, address: SocketAddr, closing: bool) -> Figures {
    let mut command = lab.command(1, "wrk");
    command.args([
        "--threads",
        "1",
        "--latency",
        "--connections",
        &CONNECTIONS.to_string(),
        "--duration",
        &format!("{SECONDS}s"),
    ]);
    if closing {
        command.args(["--header", "Connection: close"]);
    }
    let out = command.arg(format!("http://{address}/")).output().expect("wrk runs: install Debian's wrk");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let after = |word: &str| text.lines().find_map(|line| line.trim().strip_prefix(word)).map(str::trim).map(str::to_owned);
    assert!(!text.contains("Non-2xx"), "{text}");
    let per_second = after("Requests/sec:").and_then(|number| number.parse().ok());
    Figures { per_second: per_second.unwrap_or_else(|| panic!("{text}")), p99: after("99%").expect("a percentile") }
}

/// From the loss of a host to the word that its node is not ready, and to as many ready pods as before on the others.
fn lost_host() {
    const EACH: usize = 2;
    let mut lab = Lab::new(3, "process");
    let spread = "topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, \
                  labelSelector: {matchLabels: {app: web}}}]";
    let manifest = deployment("web", "any", "driftless demo-server web")
        .replace("nodeSelector: {kubernetes.io/hostname: any}", spread)
        .replacen("spec:\n  selector: {matchLabels", &format!("spec:\n  replicas: {}\n  selector: {{matchLabels", 3 * EACH), 1);
    lab.cluster.push("nothing yet", &[("README.md", Some("A web."))]);
    lab.start();
    lab.cluster.push("a web", &[("web.yaml", Some(&manifest))]);
    let pods = lab.wait_for("the web is ready", || lab.cluster.ready_pods("bench", "web", 3 * EACH));
    let there = pods.values().filter(|pod| pod["spec"]["nodeName"] == "h3").count();
    assert_eq!(there, EACH, "as many on each host");
    let start = Instant::now();
    lab.lose_host(3);
    let patience = Duration::from_secs(180);
    let not_ready = || match lab.cluster.json("/api/v1/nodes/h3")? {
        node if is_ready(&node) => Err("ready".to_owned()),
        _ => Ok(()),
    };
    poll("the node is not ready", patience, not_ready).expect("it is noticed");
    println!("a lost host: its node is not ready after {:.1} s", start.elapsed().as_secs_f64());
    let replaced = || {
        let pods = lab.cluster.pods("bench")?;
        let ready = pods.values().filter(|pod| is_ready(pod) && pod["spec"]["nodeName"] != "h3").count();
        if ready >= 3 * EACH { Ok(()) } else { Err(format!("{ready} ready")) }
    };
    poll("its pods are replaced", patience, replaced).expect("they are replaced");
    println!("a lost host: its pods are replaced and ready after {:.1} s", start.elapsed().as_secs_f64());
}

/// What an agent with this many pods needs.
fn memory(runtime: &'static str) {
    let mut lab = Lab::new(1, runtime);
    let command = if runtime == "process" { "runtimeClassName: process" } else { "terminationGracePeriodSeconds: 0" };
    let image = if runtime == "process" { "" } else { "image: driftless-bench/busybox:1, " };
    let manifest = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: many, namespace: bench}}\nspec:\n  replicas: {PODS}\n  \
         selector: {{matchLabels: {{app: many}}}}\n  template:\n    metadata: {{labels: {{app: many}}}}\n    spec:\n      {command}\n      \
         containers: [{{name: main, {image}command: [sleep, '100000']}}]\n"
    );
    if runtime == "docker" {
        lab.start_engine(1);
        import_busybox(&lab);
    }
    lab.cluster.push("many pods", &[("many.yaml", Some(&manifest))]);
    lab.start();
    let many = || lab.cluster.ready_pods("bench", "many", PODS);
    lab.wait_within(Duration::from_secs(300), "all run", many);
    println!("an agent with {PODS} pods ({runtime}): {} MiB resident", resident_kib(lab.agent_pid(1)) / 1024);
}

fn import_busybox(lab: &Lab) {
    let files = tempfile::tempdir().expect("a folder");
    let script = r#"set -e; cd "$0"; mkdir -p root/bin; cp "$(command -v busybox)" root/bin/busybox
        ln -s busybox root/bin/sleep; tar -C root -cf image.tar ."#;
    let made = std::process::Command::new("sh").args(["-c", script]).arg(files.path()).status().expect("sh runs");
    assert!(made.success(), "the image's files");
    let tar = files.path().join("image.tar").to_string_lossy().into_owned();
    lab.docker(1, &["import", "--change", "ENV PATH=/bin", &tar, "driftless-bench/busybox:1"]).expect("an imported image");
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the agent runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
