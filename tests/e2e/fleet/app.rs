//! Real apps of several services on three hosts: every pod reaches every Service by its name, wherever its pods are.

use super::lab::Lab;
use super::node_of;
use crate::manifests::{process, served, service, workload};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Asks every Service by its name, again and again, and says which it reached.
const ASKER: &str = r#"
while sleep 1; do
  for name in $SERVICES; do
    if answer=$(exec 3<>"/dev/tcp/$name/8080" && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && cat <&3); then
      case $answer in *"200 OK"*) echo "reached $name";; *) echo "odd answer of $name: $answer";; esac
    else
      echo "failed $name"
    fi
  done
done"#;

/// The parts of the app; each a Deployment with its Service.
const PARTS: [&str; 3] = ["front", "back", "store"];

fn app() -> String {
    let mut text = String::new();
    for part in PARTS {
        let mut pod = served("v1");
        // Each part somewhere else.
        pod["affinity"] = json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": { "matchExpressions": [{ "key": "app", "operator": "In", "values": PARTS }] } }] } });
        text += &format!("{}{}---\n", workload("Deployment", part, "replicas: 1", &pod), service(part));
    }
    let names: Vec<String> =
        PARTS.iter().flat_map(|part| [(*part).to_owned(), format!("{part}.shop.svc.cluster.local")]).collect();
    let asker = process(json!({
        "name": "main", "command": ["bash", "-c", ASKER], "env": [{ "name": "SERVICES", "value": names.join(" ") }]
    }));
    text + &workload("DaemonSet", "asker", "", &asker)
}

#[test]
fn every_process_reaches_every_service_by_name_across_three_hosts() {
    let mut lab = Lab::new(3, "process");
    lab.cluster.push("the app", &[("shop/app.yaml", Some(&app()))]);
    lab.start();
    let mut nodes = BTreeSet::new();
    for part in PARTS {
        let pods = lab.wait_for("the app is ready", || lab.cluster.ready_pods("shop", part, 1));
        nodes.extend(pods.values().map(node_of));
    }
    assert_eq!(nodes.len(), 3, "each part is on a host of its own: {nodes:?}");
    let askers = lab.wait_for("there is an asker on every host", || lab.cluster.ready_pods("shop", "asker", 3));
    for asker in askers.keys() {
        lab.wait_for("an asker reaches everybody", || {
            let log = lab.cluster.get(&format!("/api/v1/namespaces/shop/pods/{asker}/log"))?;
            let reached: BTreeSet<&str> = log.lines().filter_map(|line| line.strip_prefix("reached ")).collect();
            let tail: Vec<&str> = log.lines().rev().take(10).collect();
            if reached.len() == 2 * PARTS.len() { Ok(()) } else { Err(format!("{asker} reached {reached:?}: {tail:?}")) }
        });
    }
}

/// The manifests as they are published; only the images are others.
const GUESTBOOK: &str = include_str!("guestbook.yaml");

/// What each image of the guestbook is replaced by, and what that runs.
const IMAGES: [(&str, &str, &str); 3] = [
    ("gcr.io/google-samples/gb-frontend:v5", "driftless-test/frontend:v5", "httpd -f -p 80 -h /www"),
    ("registry.k8s.io/redis:e2e", "driftless-test/redis:e2e", "nc -ll -p 6379 -e echo redis"),
    ("gcr.io/google_samples/gb-redisslave:v1", "driftless-test/replica:v1", "nc -ll -p 6379 -e echo replica"),
];

/// What a pod says that reaches all.
const REACHED: &str = "guestbook redis replica";

fn guestbook() -> String {
    IMAGES.iter().fold(GUESTBOOK.to_owned(), |text, (theirs, ours, _)| {
        assert!(text.contains(theirs), "the guestbook has no {theirs}");
        text.replace(theirs, ours)
    })
}

/// Makes the images on a host's Engine, of busybox alone.
fn import_images(lab: &Lab, host: usize) {
    let files = tempfile::tempdir().expect("a folder");
    let script = r#"set -e; cd "$0"
        mkdir -p root/bin root/www root/etc root/tmp; cp "$(command -v busybox)" root/bin/busybox
        for name in sh httpd nc wget echo; do ln -s busybox "root/bin/$name"; done
        echo guestbook > root/www/index.html; tar -C root -cf image.tar ."#;
    let made = std::process::Command::new("sh").args(["-c", script]).arg(files.path()).status().expect("sh runs");
    assert!(made.success(), "the image's files");
    for (_, image, command) in IMAGES {
        let words: Vec<&str> = command.split(' ').collect();
        let change = format!("CMD {}", json!(words));
        let tar = files.path().join("image.tar").to_string_lossy().into_owned();
        lab.docker(host, &["import", "--change", "ENV PATH=/bin", "--change", &change, &tar, image]).expect("an imported image");
    }
}

/// The pods of the guestbook, once all six run.
fn guests(lab: &Lab) -> BTreeMap<String, Value> {
    lab.wait_for("the guestbook is ready", || {
        let mut all = BTreeMap::new();
        for (name, count) in [("frontend", 3), ("redis-master", 1), ("redis-replica", 2)] {
            all.extend(lab.cluster.ready_pods("default", name, count)?);
        }
        Ok(all)
    })
}

#[test]
fn every_pod_of_the_guestbook_reaches_every_service_by_name_across_three_engines() {
    let mut lab = Lab::new(3, "docker");
    for host in 1..=3 {
        lab.start_engine(host);
        import_images(&lab, host);
    }
    lab.cluster.push("first", &[("README.md", Some("The guestbook."))]);
    lab.start();
    lab.cluster.push("the guestbook", &[("guestbook.yaml", Some(&guestbook()))]);
    let pods = guests(&lab);
    let nodes: BTreeSet<String> = pods.values().map(node_of).collect();
    assert_eq!(nodes.len(), 3, "they are on every host: {nodes:?}");
    for (name, pod) in &pods {
        for domain in ["", ".default", ".default.svc.cluster.local"] {
            let ask = format!(
                "echo $(wget -q -O - http://frontend{domain}/; nc redis-master{domain} 6379 </dev/null; \
                 nc redis-replica{domain} 6379 </dev/null)"
            );
            lab.wait_for("a pod reaches every Service", || match exec(&lab, pod, &ask)? {
                answer if answer.trim() == REACHED => Ok(()),
                answer => Err(format!("{name} got {answer:?} with the names {domain:?}")),
            });
        }
    }
    let port = lab.cluster.json("/api/v1/namespaces/default/services/frontend").expect("the Service");
    let port = port["spec"]["ports"][0]["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a node port");
    for host in 1..=3 {
        let answer = lab.within(1, || crate::harness::http_get(lab.at(host, port), "/"));
        assert!(matches!(&answer, Ok((200, body)) if body.contains("guestbook")), "the node port of h{host}: {answer:?}");
    }
}

/// What a shell in a pod's container prints.
fn exec(lab: &Lab, pod: &Value, script: &str) -> Result<String, String> {
    let host = node_of(pod).trim_start_matches('h').parse().map_err(|_| "it is on no host".to_owned())?;
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().ok_or("no container")?;
    lab.docker(host, &["exec", id.trim_start_matches("docker://"), "/bin/sh", "-c", script])
}
