//! Services at virtual addresses, with `driftless up` in a network namespace of its own.

use crate::harness::{Cluster, Load, http_get};
use crate::manifests::{served, web_of};
use crate::namespace::within;
use serde_json::json;
use std::net::SocketAddr;
use std::process::Command;

/// The Service of `web`, at a node port too.
const NODE_PORT: &str = "apiVersion: v1
kind: Service
metadata: {name: open, namespace: shop}
spec:
  type: NodePort
  selector: {app: web}
  sessionAffinity: ClientIP
  ports: [{port: 80, targetPort: http, nodePort: 30080}]
";

/// Pods that answer with their names, and their Service.
fn web(replicas: u32) -> String {
    let mut pod = served("v1");
    let name = json!({ "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } });
    pod["containers"][0]["env"] = json!([name]);
    web_of(replicas, &pod)
}

/// A cluster with three pods behind a Service at a virtual address.
fn started() -> (Cluster, SocketAddr) {
    let mut cluster = Cluster::new("process");
    cluster.service_cidr = "10.96.0.0/16";
    cluster.start();
    cluster.push("web: v1", &[("shop/web.yaml", Some(&web(3))), ("shop/open.yaml", Some(NODE_PORT))]);
    cluster.wait_for("web is ready", || cluster.ready_pods("shop", "web", 3));
    let address = cluster.wait_for("the Service answers", || {
        cluster.ask("shop", "web")?;
        cluster.service("shop", "web")
    });
    assert!(address.to_string().starts_with("10.96."), "{address} is virtual");
    (cluster, address)
}

fn flows(cluster: &Cluster, load: &Load) {
    let before = load.answered();
    cluster.wait_for("the load flows", || if load.answered() > before + 50 { Ok(()) } else { Err(load.answered().to_string()) });
}

#[test]
fn no_request_fails_while_driftless_is_stopped_and_started() {
    within("e2e-restart", || {
        let (mut cluster, address) = started();
        let load = Load::start(address);
        for _ in 0..2 {
            flows(&cluster, &load);
            cluster.terminate();
            cluster.start();
        }
        flows(&cluster, &load);
        let (answered, failures) = load.finish();
        assert!(failures.is_empty(), "{} of {answered} requests failed: {:?}", failures.len(), failures.first());
    });
}

#[test]
fn nobody_is_refused_while_driftless_is_killed_and_started() {
    within("e2e-kill", || {
        let (mut cluster, address) = started();
        let load = Load::start(address);
        flows(&cluster, &load);
        cluster.kill();
        cluster.start();
        flows(&cluster, &load);
        let (answered, failures) = load.finish();
        let refused: Vec<&String> = failures.iter().filter(|failure| failure.contains("refused")).collect();
        assert!(refused.is_empty(), "{} of {answered} requests were refused", refused.len());
        assert!(failures.len() <= Load::CLIENTS, "only what was under way broke off: {failures:?}");
    });
}

#[test]
fn a_node_port_is_one_of_the_hosts_own_and_a_client_stays_with_its_pod() {
    within("e2e-node-port", || {
        let (cluster, _) = started();
        let ask = || http_get(SocketAddr::from(([127, 0, 0, 1], 30_080)), "/").map_err(|error| error.to_string());
        let (status, first) = cluster.wait_for("the node port answers", ask);
        assert_eq!(status, 200);
        for _ in 0..10 {
            assert_eq!(ask().expect("an answer").1, first, "a client stays with its pod");
        }
        let shown = cluster.json("/api/v1/namespaces/shop/services/open").expect("the Service");
        assert_eq!((&shown["spec"]["type"], &shown["spec"]["ports"][0]["nodePort"]), (&"NodePort".into(), &30_080.into()));
    });
}

#[test]
fn a_second_cluster_of_a_host_has_loopback_addresses_and_says_why() {
    within("e2e-second", || {
        let (first, _) = started();
        let mut second = Cluster::new("process");
        second.service_cidr = "";
        second.start();
        second.push("web: v1", &[("shop/web.yaml", Some(&web(1)))]);
        let address = second.wait_for("the Service answers", || {
            second.ask("shop", "web")?;
            second.service("shop", "web")
        });
        assert!(address.to_string().starts_with("127."), "{address}");
        assert!(second.log().contains("another cluster of Driftless on this host has 10.96.0.0/16"), "{}", second.log());
        second.kill();
        let asked_for = Command::new(env!("CARGO_BIN_EXE_driftless"))
            .args(second.up_args())
            .args(["--service-cidr", "10.96.0.0/16"])
            .output()
            .expect("driftless runs");
        let said = String::from_utf8_lossy(&asked_for.stderr).into_owned();
        assert!(!asked_for.status.success() && said.contains("--service-cidr 10.96.0.0/16 cannot be used"), "{said}");
        drop(first);
    });
}
