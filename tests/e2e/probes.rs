//! Probes and hooks that ask over the network: whom, what, and how long they wait.

use crate::harness::Cluster;
use crate::manifests::{processes, workload};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The requests that a server has seen.
type Seen = Arc<Mutex<Vec<String>>>;

/// Serves until the test program ends: `answer` says the status for a request, given as its lines in lower case.
fn serve(answer: fn(&[String]) -> u16) -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let noted = Arc::clone(&noted);
            std::thread::spawn(move || reply(stream, answer, &noted));
        }
    });
    (port, seen)
}

fn reply(mut stream: TcpStream, answer: fn(&[String]) -> u16, seen: &Seen) {
    let lines = BufReader::new(&stream).lines().map_while(Result::ok).map(|line| line.to_lowercase());
    let lines: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    seen.lock().expect("a lock").extend(lines.first().cloned());
    // Whoever asks may have gone by now.
    let _ = write!(stream, "HTTP/1.1 {} -\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", answer(&lines));
}

fn asleep(name: &str, more: Value) -> Value {
    let mut container = json!({ "name": name, "command": ["sleep", "100000"] });
    container.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    container
}

fn readiness(name: &str, probe: Value) -> Value {
    let mut probe = probe;
    probe["periodSeconds"] = 1.into();
    asleep(name, json!({ "readinessProbe": probe }))
}

/// The pod of the Deployment `web`, with one container of several, runs.
fn started(containers: &[Value]) -> Cluster {
    let mut cluster = Cluster::new("process");
    cluster.push("first release", &[("shop/web.yaml", Some(&workload("Deployment", "web", "", &processes(containers))))]);
    cluster.start();
    cluster
}

/// Which containers are ready.
fn ready(cluster: &Cluster) -> Result<BTreeMap<String, bool>, String> {
    let pods = cluster.pods("shop")?;
    let statuses = pods.values().next().and_then(|pod| pod["status"]["containerStatuses"].as_array()).ok_or("no status")?;
    Ok(statuses.iter().map(|one| (one["name"].as_str().unwrap_or("").to_owned(), one["ready"] == true)).collect())
}

#[test]
fn a_probe_asks_as_its_template_says() {
    let (picky, _) = serve(|lines| {
        let fits = lines[0].starts_with("get /ok?full=1 ") && lines.iter().any(|line| line == "x-key: open sesame");
        if fits { 204 } else { 403 }
    });
    let (slow, asked) = serve(|_| {
        std::thread::sleep(Duration::from_millis(1500));
        200
    });
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("an address").port();
    let get = |port: u16, headers: Value| json!({ "httpGet": { "host": "127.0.0.1", "port": port, "path": "/ok?full=1", "httpHeaders": headers } });
    let slowly = |seconds: u32| {
        let mut probe = get(slow, json!([]));
        probe["timeoutSeconds"] = seconds.into();
        probe
    };
    let own = json!({
        "name": "own-port", "command": ["driftless", "demo-server", "api"],
        "ports": [{ "name": "http", "containerPort": 8080 }],
        "readinessProbe": { "httpGet": { "path": "/healthz", "port": "http" }, "periodSeconds": 1 }
    });
    let cases = [
        (own, true),
        (readiness("with-header", get(picky, json!([{ "name": "X-Key", "value": "open sesame" }]))), true),
        (readiness("without-header", get(picky, json!([]))), false),
        (readiness("patient", slowly(30)), true),
        (readiness("impatient", slowly(1)), false),
        (readiness("open", json!({ "tcpSocket": { "host": "127.0.0.1", "port": picky } })), true),
        (readiness("closed", json!({ "tcpSocket": { "host": "127.0.0.1", "port": closed } })), false),
        (readiness("command", json!({ "exec": { "command": ["true"] } })), true),
        (readiness("failing-command", json!({ "exec": { "command": ["false"] } })), false),
    ];
    let containers: Vec<Value> = cases.iter().map(|(container, _)| container.clone()).collect();
    let expected: BTreeMap<String, bool> =
        cases.iter().map(|(container, ready)| (container["name"].as_str().expect("a name").to_owned(), *ready)).collect();
    let cluster = started(&containers);
    cluster.wait_for("those are ready that should be", || {
        let ready = ready(&cluster)?;
        // Both of the slow ones have asked more than once.
        if ready == expected && asked.lock().expect("a lock").len() > 4 { Ok(()) } else { Err(format!("{ready:?}")) }
    });
}

#[test]
fn hooks_may_be_requests_and_any_answer_will_do() {
    let (port, seen) = serve(|_| 500);
    let hook = |path: &str| json!({ "httpGet": { "host": "127.0.0.1", "port": port, "path": path } });
    let cluster =
        started(&[asleep("web", json!({ "lifecycle": { "postStart": hook("/started"), "preStop": hook("/stopping") } }))]);
    cluster.wait_for("the pod is ready", || cluster.ready_pods("shop", "web-", 1));
    let paths = || seen.lock().expect("a lock").iter().filter_map(|line| line.split(' ').nth(1).map(str::to_owned)).collect();
    let now: Vec<String> = paths();
    assert_eq!(now, ["/started"]);
    cluster.push("no web\n\nDriftless-Allow-Prune: all", &[("shop/web.yaml", None)]);
    cluster.wait_for("the second hook has run", || {
        let paths: Vec<String> = paths();
        if paths == ["/started", "/stopping"] { Ok(()) } else { Err(format!("{paths:?}")) }
    });
}
