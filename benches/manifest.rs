//! `driftless validate` on generated repositories, beside the peers that run here: `cargo bench --bench manifest`. With
//! `cargo bench --bench manifest -- write DIR DOCUMENTS` it only writes such a repository, to run something else on.
//!
//! Figures are wall-clock times of whole processes on this machine; what to compare across machines are the ratios, both sides of which
//! are taken in turn in the same run. docs/benchmarks.md has ours.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock and prints")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;

/// Documents per generated application: Deployment, Service, ConfigMap and Ingress.
const PER_APPLICATION: usize = 4;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [word, folder, documents] = args.as_slice()
        && word == "write"
    {
        write_repository(Path::new(folder), documents.parse::<usize>().expect("a number") / PER_APPLICATION);
        return;
    }
    for (documents, goal) in [(1_000, "300 ms"), (10_000, "2 s")] {
        let folder = tempfile::tempdir().expect("a folder");
        write_repository(folder.path(), documents / PER_APPLICATION);
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        let mut memory = 0;
        for _ in 0..ROUNDS {
            let (taken, peak_kib) = validate(folder.path());
            ours.push(taken);
            memory = memory.max(peak_kib);
            theirs.extend(kubectl(folder.path()));
        }
        let ours = median(&mut ours);
        print!("validate {documents} documents: {ours:.0?} (goal: under {goal}), at most {:.0} MiB", memory as f64 / 1024.0);
        if theirs.is_empty() {
            println!("; kubectl is not here to compare with");
            continue;
        }
        let theirs = median(&mut theirs);
        println!(
            "; kubectl label --local, which only decodes them: {theirs:.0?}: {:.2} x",
            ours.as_secs_f64() / theirs.as_secs_f64()
        );
    }
}

/// A run of `driftless validate` that must find nothing, with its peak resident memory as far as polling sees it.
fn validate(folder: &Path) -> (Duration, u64) {
    let begun = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftless"));
    command.args(["validate", "."]).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("driftless starts");
    let mut peak_kib = 0;
    loop {
        peak_kib = peak_kib.max(resident_peak_kib(child.id()));
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            assert!(status.success(), "the generated documents are accepted");
            return (begun.elapsed(), peak_kib);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn resident_peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

/// kubectl reads the same files without a server: decoding alone, without a check. `None` if it is not installed.
fn kubectl(folder: &Path) -> Option<Duration> {
    let mut command = Command::new("kubectl");
    command.args(["label", "--local", "--recursive", "--output=name", "--filename", ".", "bench=yes"]);
    command.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let status = command.status().ok()?;
    status.success().then(|| begun.elapsed())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// One file per application, fifty of them in a folder.
fn write_repository(root: &Path, applications: usize) {
    for number in 0..applications {
        let folder = root.join(format!("team-{}", number / 50));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(format!("app-{number}.yaml")), application(number)).expect("a file");
    }
}

fn application(number: usize) -> String {
    APPLICATION
        .replace("NAME", &format!("app-{number}"))
        .replace("NUMBER", &number.to_string())
        .replace("OTHER", &(number / 2).to_string())
}

/// Four documents; the words in capitals are replaced.
const APPLICATION: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: NAME, namespace: bench}
data:
  LOG_LEVEL: info
  settings.yaml: |
    listen: 0.0.0.0:8080
    upstream: http://app-OTHER.bench
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: NAME
  namespace: bench
  labels: {app.kubernetes.io/name: NAME, app.kubernetes.io/part-of: bench}
spec:
  replicas: 3
  selector:
    matchLabels: {app.kubernetes.io/name: NAME}
  template:
    metadata:
      labels: {app.kubernetes.io/name: NAME, app.kubernetes.io/part-of: bench}
    spec:
      containers:
      - name: main
        image: registry.example.com/bench/NAME:1.2.NUMBER
        args: [--listen, 0.0.0.0:8080]
        env:
        - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: LOG_LEVEL, valueFrom: {configMapKeyRef: {name: NAME, key: LOG_LEVEL}}}
        ports:
        - {name: http, containerPort: 8080}
        readinessProbe:
          httpGet: {path: /ready, port: http}
          periodSeconds: 5
        livenessProbe:
          httpGet: {path: /live, port: http}
        resources:
          requests: {cpu: 100m, memory: 128Mi}
          limits: {memory: 256Mi}
        volumeMounts:
        - {name: settings, mountPath: /etc/app, readOnly: true}
      volumes:
      - name: settings
        configMap: {name: NAME}
---
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: bench}
spec:
  selector: {app.kubernetes.io/name: NAME}
  ports:
  - {name: http, port: 80, targetPort: http}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: NAME, namespace: bench}
spec:
  rules:
  - host: NAME.example.com
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {service: {name: NAME, port: {name: http}}}
";
