//! Requests per second through what is between a client and a pod. What answers is HAProxy: it takes less time than any of them.

use crate::deployment;
use crate::haproxy::{Haproxy, answering, encrypted, forward};
use crate::lab::Lab;
use crate::wrk::compare;
use std::net::SocketAddr;
use std::path::Path;

/// Two hosts with a server each: `near`, where the client is, and `far`.
const SERVERS: [(usize, &str); 2] = [(1, "near"), (2, "far")];

/// Where HAProxy takes connections for the server on a host, and where for the encrypted way there.
const FORWARDING: u16 = 9000;
const ENCRYPTING: u16 = 9200;

/// The servers, once they answer.
fn servers(args: &[&str], more: &[(&str, &str)]) -> Lab {
    let mut lab = Lab::new(2, "process");
    lab.agent_args = args.iter().map(|&arg| arg.to_owned()).collect();
    let command = format!("/usr/sbin/haproxy -db -f {}", answering(lab.cluster.dir.path()).display());
    let manifests = SERVERS.map(|(host, name)| (format!("{name}.yaml"), deployment(name, &format!("h{host}"), &command)));
    let mut files: Vec<(&str, Option<&str>)> =
        manifests.iter().map(|(path, text)| (path.as_str(), Some(text.as_str()))).collect();
    files.extend(more.iter().map(|(path, text)| (*path, Some(*text))));
    lab.cluster.push("two servers", &files);
    lab.start();
    lab
}

/// Through the address of a Service, beside the pod itself, HAProxy in TCP mode (in clear, and to the other host encrypted as our tunnel
/// is) and a port that Docker publishes. Each server has hosts of its own: connections to one Service that the kernel keeps in TIME_WAIT hold
/// up those to another (docs/operations.md).
pub fn through_services() {
    for (host, name) in SERVERS {
        let mut lab = servers(&[], &[]);
        let mut others: Vec<Haproxy> = Vec::new();
        let service = lab.reaches_from_all("bench", name);
        let pod = pod_address(&lab, host, name);
        let answering = answering(lab.cluster.dir.path());
        let published = published(&mut lab, host, &answering);
        let haproxy = at(&lab, FORWARDING, host);
        others.push(forward(&lab, 1, "tcp", (haproxy, ""), &pod.to_string()));
        let mut contenders =
            vec![("pod itself", pod), ("driftless", service), ("haproxy, tcp", haproxy), ("docker's port", published)];
        if host > 1 {
            let (entry, both) = encrypted(&lab, (1, ENCRYPTING), (host, pod));
            others.extend(both);
            contenders.push(("haproxy, tls", entry));
        }
        compare(&lab, name, name, &contenders, "haproxy, tcp");
    }
}

const INGRESS: &str = "apiVersion: v1
kind: Node
metadata: {name: h1, labels: {driftless.dev/ingress: \"true\"}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: all, namespace: bench}
spec:
  rules:
  - host: near
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: near, port: {number: 8080}}}}]}
  - host: far
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: far, port: {number: 8080}}}}]}
";

/// Through Ingress on the first host, beside the pod itself and HAProxy in HTTP mode.
pub fn through_ingress() {
    let lab = servers(&["--ingress"], &[("ingress.yaml", INGRESS)]);
    let mut others: Vec<Haproxy> = Vec::new();
    for (host, name) in SERVERS {
        lab.reaches_from_all("bench", name);
        let pod = pod_address(&lab, host, name);
        let haproxy = at(&lab, FORWARDING, host);
        others.push(forward(&lab, 1, "http", (haproxy, ""), &pod.to_string()));
        let contenders = [("pod itself", pod), ("ingress", lab.at(1, 80)), ("haproxy, http", haproxy)];
        compare(&lab, &format!("{name}, HTTP"), name, &contenders, "haproxy, http");
    }
}

/// A port of the first host for the way to a server.
fn at(lab: &Lab, base: u16, host: usize) -> SocketAddr {
    lab.at(1, base + u16::try_from(host).expect("few hosts"))
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
