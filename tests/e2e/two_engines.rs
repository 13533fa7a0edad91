//! Two Docker Engines as two nodes of one cluster: hosts that are network namespaces, of which one is lost with all that is on it.

use crate::engine::Host;
use crate::harness::{Cluster, brief, container_ids, driftless, http_get, is_ready};
use crate::hosts::Half;
use crate::manifests::{contained, web_of};
use crate::namespace::{Namespace, ip};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Stdio};

/// Where the controller is.
const CONTROLLER: &str = "10.215.0.1:7781";

/// Pods that answer with their names.
fn web(replicas: u32) -> String {
    let mut container = contained("web", "mkdir -p /www && echo $POD > /www/index.html && exec httpd -f -p 8080 -h /www");
    container["env"] = json!([{ "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }]);
    container["ports"] = json!([{ "name": "http", "containerPort": 8080 }]);
    container["readinessProbe"] = json!({ "httpGet": { "path": "/index.html", "port": "http" }, "periodSeconds": 1 });
    web_of(replicas, &json!({ "terminationGracePeriodSeconds": 1, "containers": [container] }))
}

/// An agent on a host, with the host's Engine: it ends with that one's power.
fn start_agent(cluster: &Cluster, host: &Host, token: &Path) -> Child {
    let folder = cluster.dir.path();
    let log = File::options().create(true).append(true).open(cluster.log_file()).expect("a log file");
    let mut command = driftless();
    command.args(["agent", "--runtime", "docker", "--cluster", &cluster.name, "--node", host.name]);
    command.args(["--controller", CONTROLLER, "--token-file"]).arg(token).arg("--state-dir").arg(folder.join(host.name));
    command.env("DOCKER_HOST", host.engine.host()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    host.network.play(|| command.spawn().expect("driftless starts"))
}

fn ready_node(cluster: &Cluster, host: &Host) -> Result<(), String> {
    let node = cluster.json(&format!("/api/v1/nodes/{}", host.name))?;
    let conditions = node["status"]["conditions"].as_array().ok_or("no conditions")?;
    let is_ready = conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    if is_ready { Ok(()) } else { Err(node.to_string()) }
}

fn pods_on(pods: &BTreeMap<String, Value>, host: &Host) -> BTreeSet<String> {
    let here = |pod: &Value| pod["spec"]["nodeName"] == host.name;
    pods.iter().filter(|(_, pod)| here(pod)).map(|(name, _)| name.clone()).collect()
}

/// Who answers at the Service, asked on a host until it were these.
fn wait_for_answers(cluster: &Cluster, host: &Host, pods: &BTreeMap<String, Value>) {
    let address = cluster.service("shop", "web").expect("a Service");
    let mut heard = BTreeSet::new();
    host.network.play(|| {
        cluster.wait_for(&format!("every pod answers on {}", host.name), || {
            let (_, name) = http_get(address, "/").map_err(|error| error.to_string())?;
            heard.insert(name.trim().to_owned());
            if heard.iter().eq(pods.keys()) { Ok(()) } else { Err(format!("{heard:?}")) }
        });
    });
}

#[test]
fn a_lost_engine_is_replaced_on_the_other_one_where_nothing_is_touched() {
    let center = Namespace::new("e2e-center");
    ip(&["-n", &center.0, "link", "add", "hub", "type", "bridge"]);
    ip(&["-n", &center.0, "address", "add", "10.215.0.1/24", "dev", "hub"]);
    ip(&["-n", &center.0, "link", "set", "hub", "up"]);
    let (mut lost, other) = (Host::start("n1", 11, &center, "hub"), Host::start("n2", 12, &center, "hub"));
    center.play(|| {
        let mut cluster = Cluster::new("docker");
        cluster.docker_host = Some(other.engine.host());
        cluster.push("a cluster", &[("driftless.yaml", Some("replaceAfter: 10s\n"))]);
        let (repo, listen) = (cluster.repo().to_string_lossy().into_owned(), format!("127.0.0.1:{}", cluster.port));
        let _controller = Half::start(&cluster, &["controller", "--repo", &repo, "--listen", &listen, "--agents", CONTROLLER]);
        cluster.wait_for("status answers", || cluster.get("/healthz"));
        let token = cluster.dir.path().join("token");
        let made = driftless().args(["token", "create", "--uses", "2", "--state-dir"]).arg(cluster.state_dir()).output();
        fs::write(&token, made.expect("driftless runs").stdout).expect("a written token");
        let mut agents = [start_agent(&cluster, &lost, &token), start_agent(&cluster, &other, &token)];

        for host in [&lost, &other] {
            cluster.wait_for("its node is ready", || ready_node(&cluster, host));
        }
        cluster.push("a web", &[("shop/web.yaml", Some(&web(4)))]);
        let before = cluster.wait_for("four are ready, two on each", || {
            let pods = cluster.ready_pods("shop", "web", 4)?;
            if pods_on(&pods, &lost).len() == 2 { Ok(pods) } else { Err(format!("{pods:?}")) }
        });
        assert_eq!(lost.engine.running(), Ok(pods_on(&before, &lost)));
        assert_eq!(other.engine.running(), Ok(pods_on(&before, &other)));
        for pod in before.values() {
            let address = pod["status"]["podIP"].as_str().unwrap_or_default();
            assert!(address.starts_with("10.244."), "the first pods of a node have addresses of its range too: {pod}");
        }
        for host in [&lost, &other] {
            wait_for_answers(&cluster, host, &before);
        }

        lost.engine.cut_power();
        agents[0].wait().expect("its agent ended too");
        let after = cluster.wait_for("four are ready on the other host, and what is lost is said to be unknown", || {
            let (ready, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
                cluster.pods("shop")?.into_iter().partition(|(_, pod)| is_ready(pod));
            let is_unknown = |pod: &Value| pod["status"]["phase"] == "Unknown" && pod["spec"]["nodeName"] == lost.name;
            if pods_on(&ready, &other).len() == 4 && others.len() == 2 && others.values().all(is_unknown) {
                Ok(ready)
            } else {
                Err(format!("{} {}", brief(&ready), brief(&others)))
            }
        });
        cluster.wait_for("it is on record", || cluster.audited(&["Driftless-Trigger: node", "n1"]));
        let ids = |pods: &BTreeMap<String, Value>| {
            let mut ids = container_ids(pods);
            ids.retain(|name, _| pods_on(&before, &other).contains(name));
            ids
        };
        assert_eq!(ids(&after), ids(&before), "what ran there goes on");
        assert_eq!(other.engine.running(), Ok(after.keys().cloned().collect()));
        wait_for_answers(&cluster, &other, &after);

        lost.network.play(|| lost.engine.run());
        agents[0] = start_agent(&cluster, &lost, &token);
        cluster.wait_for("the host is back, without what was replaced", || {
            ready_node(&cluster, &lost)?;
            let left = lost.engine.docker(&["ps", "--all", "--quiet"])?;
            if left.is_empty() { Ok(()) } else { Err(left) }
        });
        let end = cluster.wait_for("nobody waits for it any more", || cluster.ready_pods("shop", "web", 4));
        assert_eq!(container_ids(&end), container_ids(&after));
        for mut agent in agents {
            agent.kill().expect("a kill");
            agent.wait().expect("an end");
        }
    });
}
