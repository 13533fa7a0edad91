//! What happens to the containers of one pod, from the first of its init containers to the end of its last sidecar.

use crate::docker::import_image;
use crate::harness::{Cluster, http_get, pid_of};
use crate::journal::Journal;
use crate::manifests::{contained, process, scripted, web_of, workload};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A process that is ready once it has noted that it serves, and notes its stop.
const SERVES: &str = "trap \"note $NAME stops; exit 0\" TERM; note $NAME serves; touch ready; while true; do sleep 0.05; done";

/// A container that runs [`SERVES`] under its own name, and is ready (or, as a sidecar, started up) by what it has noted.
fn serving(journal: &Journal, name: &str, probe: &str) -> Value {
    let mut container = scripted(journal, name, &format!("NAME={name}; {SERVES}"));
    container[probe] = json!({ "exec": { "command": ["test", "-e", "ready"] }, "periodSeconds": 1 });
    container
}

fn deployment(pod: &Value) -> String {
    workload("Deployment", "web", "", pod)
}

/// A cluster on which the pod of a Deployment runs and is ready.
fn running(pod: impl Fn(&Journal) -> Value) -> (Cluster, Journal) {
    let mut cluster = Cluster::new("process");
    let journal = Journal::of(&cluster);
    cluster.push("first release", &[("shop/web.yaml", Some(&deployment(&pod(&journal)))), ("shop/kept.yaml", Some(KEPT))]);
    cluster.start();
    cluster.wait_for("the pod is ready", || cluster.ready_pods("shop", "web-", 1));
    (cluster, journal)
}

/// Something stays in the repo when the Deployment is deleted.
const KEPT: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, namespace: shop}\ndata: {a: b}\n";

/// Deletes the Deployment by a commit, and says how long it took until its pod was gone.
fn delete(cluster: &Cluster) -> Duration {
    let asked = Instant::now();
    cluster.push("no web\n\nDriftless-Allow-Prune: all", &[("shop/web.yaml", None)]);
    cluster.wait_for("the pod is gone", || {
        let pods = cluster.pods("shop")?;
        if pods.is_empty() { Ok(()) } else { Err(format!("{:?}", pods.keys())) }
    });
    asked.elapsed()
}

#[test]
fn init_containers_run_one_after_the_other_and_one_that_fails_is_tried_again() {
    let (_cluster, journal) = running(|journal| {
        let mut pod = process(serving(journal, "web", "readinessProbe"));
        let second = "note second tries; [ -e tried ] || { touch tried; exit 1; }; sleep 0.2; note second is done";
        pod["initContainers"] = json!([
            scripted(journal, "first", "sleep 0.2; note first is done"),
            scripted(journal, "second", second),
            scripted(journal, "third", "note third is done")
        ]);
        pod
    });
    let expected = ["first is done", "second tries", "second tries", "second is done", "third is done", "web serves"];
    assert_eq!(journal.lines(), expected);
}

#[test]
fn a_sidecar_is_there_before_the_container_and_stops_after_it() {
    let (cluster, journal) = running(|journal| {
        let mut pod = process(serving(journal, "web", "readinessProbe"));
        let mut sidecar = serving(journal, "proxy", "startupProbe");
        sidecar["restartPolicy"] = "Always".into();
        pod["initContainers"] = json!([scripted(journal, "setup", "note setup is done"), sidecar]);
        pod
    });
    delete(&cluster);
    assert_eq!(journal.lines(), ["setup is done", "proxy serves", "web serves", "web stops", "proxy stops"]);
}

#[test]
fn hooks_run_after_the_start_and_before_the_stop() {
    let (cluster, journal) = running(|journal| {
        let mut container = serving(journal, "web", "readinessProbe");
        let hook =
            |words: &str| json!({ "exec": { "command": ["sh", "-c", journal.script(&format!("sleep 0.5; note {words}"))] } });
        container["lifecycle"] = json!({ "postStart": hook("after the start"), "preStop": hook("before the stop") });
        process(container)
    });
    assert_eq!(journal.lines(), ["web serves", "after the start"], "it is not ready before its hook is done");
    delete(&cluster);
    assert_eq!(journal.lines()[2..], ["before the stop", "web stops"]);
}

#[test]
fn a_pause_before_the_stop_is_kept_while_the_program_goes_on() {
    let (cluster, journal) = running(|journal| {
        let mut container = serving(journal, "web", "readinessProbe");
        container["lifecycle"] = json!({ "preStop": { "sleep": { "seconds": 2 } } });
        process(container)
    });
    assert!(delete(&cluster) >= Duration::from_secs(2));
    assert_eq!(journal.lines(), ["web serves", "web stops"]);
}

#[test]
fn a_program_that_does_not_stop_is_killed_when_its_grace_is_over() {
    let (cluster, _journal) = running(|journal| {
        let mut container = scripted(journal, "web", "trap '' TERM; touch ready; while true; do sleep 0.05; done");
        container["readinessProbe"] = json!({ "exec": { "command": ["test", "-e", "ready"] }, "periodSeconds": 1 });
        let mut pod = process(container);
        pod["terminationGracePeriodSeconds"] = 2.into();
        pod
    });
    let took = delete(&cluster);
    // 30 s is what it would be if the field were lost.
    assert!((Duration::from_secs(2)..Duration::from_secs(25)).contains(&took), "{took:?}");
}

#[test]
fn a_process_that_is_not_alive_any_more_is_started_again_within_the_grace_of_its_probe() {
    let (cluster, _journal) = running(|journal| {
        let mut container = scripted(journal, "web", "trap '' TERM; while true; do sleep 0.05; done");
        container["livenessProbe"] = json!({
            "exec": { "command": ["sh", "-c", "! test -e sick"] },
            "periodSeconds": 1, "failureThreshold": 1, "terminationGracePeriodSeconds": 1
        });
        let mut pod = process(container);
        pod["terminationGracePeriodSeconds"] = 3600.into();
        pod
    });
    let pods = cluster.ready_pods("shop", "web-", 1).expect("ready");
    let cwd = format!("/proc/{}/cwd", pid_of(pods.values().next().expect("a pod")));
    let sick = std::fs::read_link(cwd).expect("its folder").join("sick");
    std::fs::write(&sick, "").expect("written");
    cluster.wait_for("it was started again", || {
        let pods = cluster.pods("shop")?;
        let restarts = pods.values().filter_map(|pod| pod["status"]["containerStatuses"][0]["restartCount"].as_u64()).max();
        if restarts >= Some(1) { Ok(()) } else { Err(format!("{restarts:?}")) }
    });
    std::fs::remove_file(sick).expect("removed");
    cluster.wait_for("it is well", || cluster.ready_pods("shop", "web-", 1));
}

#[test]
fn a_pod_that_is_active_for_too_long_has_failed() {
    let mut cluster = Cluster::new("process");
    let journal = Journal::of(&cluster);
    let mut spec = process(scripted(&journal, "main", "trap 'note stops; exit 0' TERM; while true; do sleep 0.05; done"));
    (spec["restartPolicy"], spec["activeDeadlineSeconds"]) = ("Never".into(), 1.into());
    let pod = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: long, namespace: shop}}\nspec: {spec}\n");
    cluster.push("a pod", &[("shop/pod.yaml", Some(&pod))]);
    cluster.start();
    cluster.wait_for("it has failed", || {
        let pods = cluster.pods("shop")?;
        let status = pods.get("long").map(|pod| &pod["status"]).ok_or("no pod")?;
        if status["phase"] == "Failed" && status["reason"] == "DeadlineExceeded" { Ok(()) } else { Err(status.to_string()) }
    });
    assert_eq!(journal.lines(), ["stops"]);
}

/// Appends a word to a file that all containers of the pod share, and that the last of them serves.
fn noting(word: &str, then: &str) -> String {
    format!("echo {word} >> /shared/index.html; {then}")
}

#[test]
fn the_containers_of_a_pod_on_docker_start_in_order_and_share_folders_addresses_and_processes() {
    import_image();
    let shared = json!([{ "name": "shared", "mountPath": "/shared" }]);
    let with_mount = |mut container: Value| {
        container["volumeMounts"] = shared.clone();
        container
    };
    let busybox = |words: &str| json!(["/bin/busybox", "sh", "-c", words]);
    let mut sidecar = with_mount(contained("proxy", &noting("sidecar", "touch /tmp/up; exec sleep 100000")));
    sidecar["restartPolicy"] = "Always".into();
    sidecar["startupProbe"] = json!({ "exec": { "command": ["/bin/busybox", "test", "-e", "/tmp/up"] }, "periodSeconds": 1 });
    let mut server = with_mount(contained("web", &noting("web", "exec httpd -f -p 8080 -h /shared")));
    server["ports"] = json!([{ "name": "http", "containerPort": 8080 }]);
    server["readinessProbe"] = json!({ "tcpSocket": { "port": "http" }, "periodSeconds": 1 });
    let mut visitor = contained("visitor", "exec sleep 100000");
    // What answers on its own loopback, and at the pod's address, is the other container, whose processes it sees.
    let asks = r"printf 'GET /index.html HTTP/1.0\r\n\r\n' | nc $ip 8080 | grep web";
    let looks = format!("for ip in 127.0.0.1 $POD_IP; do {asks} || exit 1; done; ps | grep -q '[h]ttpd'");
    visitor["env"] = json!([{ "name": "POD_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }]);
    visitor["readinessProbe"] = json!({ "exec": { "command": busybox(&looks) }, "periodSeconds": 1 });
    let pod = json!({
        "terminationGracePeriodSeconds": 1, "shareProcessNamespace": true,
        "initContainers": [with_mount(contained("first", &noting("first", "true"))), with_mount(contained("second", &noting("second", "true"))), sidecar],
        "containers": [server, visitor],
        "volumes": [{ "name": "shared", "emptyDir": {} }]
    });
    let mut cluster = Cluster::new("docker");
    cluster.push("first release", &[("shop/web.yaml", Some(&web_of(1, &pod)))]);
    cluster.start();
    cluster.wait_for("both containers are ready", || cluster.ready_pods("shop", "web-", 1));
    let said = http_get(cluster.service("shop", "web").expect("an address"), "/index.html").expect("an answer");
    assert_eq!(said, (200, "first\nsecond\nsidecar\nweb\n".to_owned()));
}
