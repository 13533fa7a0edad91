//! The main job, measured on the real thing: `cargo bench --bench main_job [push|docker|idle]`.
//!
//! Figures are wall-clock times of this machine; what to compare across machines are the ratios, both sides of which are taken in
//! the same run. docs/benchmarks.md has ours.

#![expect(unreachable_pub, dead_code, reason = "the end-to-end harness is shared with tests/e2e")]
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock and prints")]

#[path = "../tests/e2e/harness.rs"]
mod harness;

use harness::{Cluster, PATIENCE, poll};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

const PUSHES: usize = 60;
const CONTAINERS: usize = 20;
const ROUNDS: usize = 3;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|arg| arg == name);
    if wanted("push") {
        push_to_running();
    }
    if wanted("docker") {
        docker_against_docker_run();
    }
    if wanted("idle") {
        idle();
    }
}

/// From the start of `git push` to the first instruction of the new process, which says so by writing a file.
fn push_to_running() {
    let mut cluster = Cluster::new("process");
    let marks = cluster.dir.path().join("marks");
    fs::create_dir(&marks).expect("a folder");
    let manifest = |number: usize| {
        format!(
            "apiVersion: apps/v1
kind: Deployment
metadata: {{name: bench, namespace: bench}}
spec:
  selector: {{matchLabels: {{app: bench}}}}
  template:
    metadata: {{labels: {{app: bench}}}}
    spec:
      runtimeClassName: process
      terminationGracePeriodSeconds: 1
      containers:
      - name: bench
        command: [sh, -c, 'touch {}/{number}; exec sleep 100000']
",
            marks.display()
        )
    };
    cluster.push("0", &[("bench/bench.yaml", Some(&manifest(0)))]);
    cluster.start();
    cluster.wait_for("the first process", || mark(&marks.join("0")));
    let mut times: Vec<Duration> =
        (1..=PUSHES).map(|number| one_push(&cluster, &manifest(number), &marks.join(number.to_string()))).collect();
    times.sort();
    println!(
        "push to running, process runtime, {PUSHES} pushes: p50 {:?}  p90 {:?}  p99 {:?}  max {:?}",
        times[PUSHES / 2],
        times[PUSHES * 9 / 10],
        times[PUSHES * 99 / 100],
        times[PUSHES - 1]
    );
}

fn one_push(cluster: &Cluster, manifest: &str, mark_file: &std::path::Path) -> Duration {
    fs::write(cluster.clone_dir().join("bench/bench.yaml"), manifest).expect("a file");
    harness::git(&cluster.clone_dir(), &["commit", "--quiet", "--all", "--message", "next"]);
    let start = Instant::now();
    harness::git(&cluster.clone_dir(), &["push", "--quiet", "origin", "main"]);
    while !mark_file.exists() {
        assert!(start.elapsed() < PATIENCE, "no process after {PATIENCE:?}:\n{}", cluster.log());
        std::thread::sleep(Duration::from_millis(1));
    }
    let taken = start.elapsed();
    cluster.wait_for("the old process is gone", || cluster.ready_pods("bench", "bench", 1));
    taken
}

fn mark(path: &std::path::Path) -> Result<(), String> {
    if path.exists() { Ok(()) } else { Err("no mark".to_owned()) }
}

/// 20 containers by a push, against 20 × `docker run -d`, in turn.
fn docker_against_docker_run() {
    let image = "driftless-test/busybox:bench";
    import(image);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(docker_run(image));
        ours.push(by_push(image));
    }
    ours.sort();
    theirs.sort();
    let (a, b) = (ours[ROUNDS / 2], theirs[ROUNDS / 2]);
    println!(
        "{CONTAINERS} containers, median of {ROUNDS}: push to running {a:?}, docker run one after another {b:?}, ratio {:.2}",
        a.as_secs_f64() / b.as_secs_f64()
    );
}

fn by_push(image: &str) -> Duration {
    let mut cluster = Cluster::new("docker");
    cluster.push("empty", &[("README.md", Some("bench\n"))]);
    cluster.start();
    cluster.wait_for("it is ready", || cluster.get("/readyz"));
    let manifest = format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: bench, namespace: bench}}
spec:
  replicas: {CONTAINERS}
  selector: {{matchLabels: {{app: bench}}}}
  template:
    metadata: {{labels: {{app: bench}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: bench, image: '{image}', imagePullPolicy: Never, command: [/bin/busybox, sleep, '100000']}}]
"
    );
    fs::create_dir_all(cluster.clone_dir().join("bench")).expect("a folder");
    fs::write(cluster.clone_dir().join("bench/bench.yaml"), manifest).expect("a file");
    harness::git(&cluster.clone_dir(), &["add", "--all"]);
    harness::git(&cluster.clone_dir(), &["commit", "--quiet", "--message", "twenty"]);
    let start = Instant::now();
    harness::git(&cluster.clone_dir(), &["push", "--quiet", "origin", "main"]);
    let filter = format!("label=driftless.dev/cluster={}", cluster.name);
    let running = || {
        let out = Command::new("docker").args(["ps", "--quiet", "--filter", &filter]).output().expect("docker runs");
        let count = String::from_utf8_lossy(&out.stdout).lines().count();
        if count == CONTAINERS { Ok(()) } else { Err(format!("{count} run")) }
    };
    poll("all containers run", PATIENCE, running).unwrap_or_else(|error| panic!("{error}\n{}", cluster.log()));
    start.elapsed()
}

fn docker_run(image: &str) -> Duration {
    let start = Instant::now();
    let ids: Vec<String> = (0..CONTAINERS)
        .map(|_| {
            let out = Command::new("docker")
                .args(["run", "--detach", image, "/bin/busybox", "sleep", "100000"])
                .output()
                .expect("docker runs");
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            String::from_utf8_lossy(&out.stdout).trim().to_owned()
        })
        .collect();
    let taken = start.elapsed();
    let _ = Command::new("docker").args(["rm", "--force"]).args(&ids).output();
    taken
}

fn import(image: &str) {
    let script = "dir=$(mktemp -d); mkdir -p $dir/bin $dir/tmp $dir/etc; cp $(command -v busybox) $dir/bin/busybox; tar -C $dir -c . | docker import - \"$1\"";
    let out = Command::new("sh").args(["-c", script, "sh", image]).output().expect("sh runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Memory and cpu of `up` that runs ten pods and has nothing to do.
fn idle() {
    let mut cluster = Cluster::new("process");
    let manifest = "apiVersion: apps/v1
kind: Deployment
metadata: {name: bench, namespace: bench}
spec:
  replicas: 10
  selector: {matchLabels: {app: bench}}
  template:
    metadata: {labels: {app: bench}}
    spec:
      runtimeClassName: process
      containers: [{name: bench, command: [sleep, '100000']}]
";
    cluster.push("ten", &[("bench/bench.yaml", Some(manifest))]);
    cluster.start();
    cluster.wait_for("ten pods run", || cluster.ready_pods("bench", "bench", 10));
    let pid = cluster.up_pid();
    let window = Duration::from_secs(30);
    let before = cpu_ticks(pid);
    std::thread::sleep(window);
    let ticks = cpu_ticks(pid) - before;
    let percent = ticks as f64 / 100.0 / window.as_secs_f64() * 100.0;
    println!(
        "up with 10 pods: {:.1} MiB resident, idle cpu {percent:.2} % of a core over {window:?}",
        resident_kib(pid) as f64 / 1024.0
    );
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a stat file");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    fields[11].parse::<u64>().unwrap_or(0) + fields[12].parse::<u64>().unwrap_or(0)
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a status file");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}
