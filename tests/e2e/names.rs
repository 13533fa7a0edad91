//! Names: pods find Services as in Kubernetes, with the resolvers that programs have.
//!
//! Needs root, as the other tests of containers do: port 53 and mount namespaces are root's.

use crate::docker::import_image;
use crate::harness::{Cluster, container_ids};
use crate::journal::Journal;
use crate::manifests::{contained, process, scripted, served, service, web_of, workload};
use serde_json::json;
use std::process::Command;

/// A line once it is another one than before: what a look-up gave last.
fn looks_up(names: &[&str]) -> String {
    let looks: Vec<String> = names
        .iter()
        .map(|name| format!("note {name} is $(getent ahostsv4 {name} | sed -n 's/ *STREAM.*//p' | sort -u | tr '\\n' ' ')"))
        .collect();
    format!("while true; do {}; sleep 0.2; done", looks.join("; "))
}

#[test]
fn host_processes_find_services_by_name_and_the_host_is_left_as_it_was() {
    let before = std::fs::read_to_string("/etc/resolv.conf").expect("the host's own");
    let mut cluster = Cluster::new("process");
    let journal = Journal::of(&cluster);
    let script = looks_up(&["web", "web.shop", "web.shop.svc.cluster.local", "nobody.shop"]);
    let asker = workload("Deployment", "asker", "replicas: 1", &process(scripted(&journal, "main", &script)));
    cluster.push("a web and who asks for it", &[("web.yaml", Some(&web_of(1, &served("v1")))), ("asker.yaml", Some(&asker))]);
    cluster.start();
    let address = cluster.wait_for("the Service has an address", || cluster.service("shop", "web")).ip();
    for name in ["web", "web.shop", "web.shop.svc.cluster.local"] {
        journal.wait_for(&cluster, &format!("{name} is {address}"));
    }
    assert!(!journal.lines().iter().any(|line| line.starts_with("nobody.shop is 1")), "nobody is nobody");
    assert_eq!(std::fs::read_to_string("/etc/resolv.conf").expect("the host's own"), before);
}

/// What a program in a container finds for a name, which may be a short one.
fn address_in(container: &str, name: &str) -> Result<String, String> {
    let args = ["exec", container, "/bin/busybox", "ping", "-c", "1", "-w", "1", name];
    let out = Command::new("docker").args(args).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let address = text.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(address, _)| address.to_owned());
    address.ok_or_else(|| format!("{name}: {text}{}", String::from_utf8_lossy(&out.stderr)))
}

/// All that there is for a name in a container. This asks for the name as it is given, and names the server first.
fn found_in(container: &str, name: &str) -> Result<String, String> {
    let args = ["exec", container, "/bin/busybox", "nslookup", name];
    let out = Command::new("docker").args(args).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let answers: Vec<&str> =
        text.lines().skip_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("Address: ")).collect();
    if answers.is_empty() {
        Err(format!("{name}: {text}{}", String::from_utf8_lossy(&out.stderr)))
    } else {
        Ok(answers.join(" "))
    }
}

#[test]
fn containers_find_services_and_pods_of_headless_ones_by_name() {
    import_image();
    let mut cluster = Cluster::new("docker");
    let sleeping = |name: &str| {
        let mut container = contained(name, "exec sleep 1000");
        container["ports"] = json!([{ "name": "http", "containerPort": 8080 }]);
        json!({ "terminationGracePeriodSeconds": 1, "containers": [container] })
    };
    let headless = service("db").replace("spec:\n", "spec:\n  clusterIP: None\n");
    let db = workload("StatefulSet", "db", "serviceName: db\nreplicas: 2", &sleeping("db")) + &headless;
    cluster.push("a web and a database", &[("web.yaml", Some(&web_of(1, &sleeping("web")))), ("db.yaml", Some(&db))]);
    cluster.start();
    let pods = cluster.wait_for("all run", || {
        cluster.ready_pods("shop", "web", 1)?;
        cluster.ready_pods("shop", "db", 2)
    });
    let address = cluster.service("shop", "web").expect("an address").ip().to_string();
    let web = container_ids(&cluster.ready_pods("shop", "web", 1).expect("it runs"));
    let web = web.values().next().expect("a container").trim_start_matches("docker://");
    for name in ["web.shop.svc.cluster.local", "web.shop", "web"] {
        cluster.wait_for("the Service by name", || match address_in(web, name)? {
            found if found == address => Ok(()),
            found => Err(found),
        });
    }
    let of_pod = |name: &str| pods[name]["status"]["podIP"].as_str().expect("an address").to_owned();
    for (name, pod) in [("db-0.db", "db-0"), ("db-1.db.shop.svc.cluster.local", "db-1")] {
        cluster.wait_for("a pod by its own name", || match address_in(web, name)? {
            found if found == of_pod(pod) => Ok(()),
            found => Err(format!("{found}, not {}", of_pod(pod))),
        });
    }
    let both = cluster.wait_for("the pods by the name of their Service", || found_in(web, "db.shop.svc.cluster.local"));
    let mut both: Vec<&str> = both.split(' ').collect();
    both.sort_unstable();
    let mut expected = [of_pod("db-0"), of_pod("db-1")];
    expected.sort_unstable();
    assert_eq!(both, expected);
}
