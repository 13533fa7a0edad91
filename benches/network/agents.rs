//! What becomes of a lost host, and what an agent with many pods needs.

use crate::deployment;
use crate::harness::{is_ready, poll};
use crate::lab::Lab;
use std::fs;
use std::time::{Duration, Instant};

const PODS: usize = 100;

/// From the loss of a host to the word that its node is not ready, and to as many ready pods as before on the others.
pub fn lost_host() {
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
pub fn memory(runtime: &'static str) {
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
