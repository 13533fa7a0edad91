//! A pod's names and addresses, and where it looks names up.

use super::{launch, lines, run};
use crate::stage::{Stage, hear, until};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UdpSocket};

on_docker! {
    names_and_lookups_are_in_the_pods_files,
    the_host_name_is_the_whole_name_where_that_is_asked_for,
    servers_come_after_those_of_the_host_or_instead_of_them,
    a_pod_in_the_hosts_namespaces_sees_the_host,
    a_port_is_published_at_one_address_only,
    a_udp_port_is_published_for_udp,
}

async fn names_and_lookups_are_in_the_pods_files(stage: &Stage) {
    let pod = json!({
        "hostname": "db-0", "subdomain": "db",
        "hostAliases": [{ "ip": "10.1.2.3", "hostnames": ["a.example", "b.example"] }],
        "dnsPolicy": "None",
        "dnsConfig": { "nameservers": ["1.2.3.4"], "searches": ["shop.example"], "options": [{ "name": "ndots", "value": "2" }] }
    });
    let launch = launch(stage, &[], pod, json!({}), "hostname; cat /etc/hosts; cat /etc/resolv.conf; echo end");
    let seen = lines(stage, &launch).await;
    let words: Vec<Vec<&str>> = seen.iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["db-0"]);
    let address = |line: &Vec<&str>| line.first().is_some_and(|word| word.parse::<IpAddr>().is_ok());
    let own = words.iter().filter(|line| address(line)).find(|line| line.contains(&"db-0"));
    assert_eq!(own.map(|line| &line[1..]), Some(&["db-0.db.shop.svc.cluster.local", "db-0"][..]), "{seen:?}");
    for expected in [["10.1.2.3", "a.example"], ["10.1.2.3", "b.example"], ["search", "shop.example"]] {
        assert!(words.iter().any(|line| line[..] == expected), "{expected:?} is not in {seen:?}");
    }
    assert!(words.iter().any(|line| line.first() == Some(&"options") && line.contains(&"ndots:2")), "{seen:?}");
}

async fn a_pod_in_the_hosts_namespaces_sees_the_host(stage: &Stage) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"from the host\n").await.unwrap();
    });
    let pod = json!({ "hostNetwork": true, "hostPID": true, "hostIPC": true });
    let look = format!("nc 127.0.0.1 {port} < /dev/null; cat /proc/{}/comm; hostname", std::process::id());
    let script = format!("{look}; busybox readlink /proc/self/ns/ipc; echo end");
    let launch = launch(stage, &["host-network", "host-pid", "host-ipc"], pod, json!({}), &format!("{script}; sleep 1000"));
    let started = stage.start(&launch).await;
    stage.says(&started.id, "end").await;
    let log = stage.log(&started.id, None).await;
    let own = std::fs::read_to_string("/proc/self/comm").unwrap();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let ipc = std::fs::read_link("/proc/self/ns/ipc").unwrap().display().to_string();
    assert_eq!(log, format!("from the host\n{own}{host}{ipc}\nend\n"));
    assert_eq!(started.address, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    assert_eq!(stage.listed(&started.id).await.unwrap().address, started.address);
}

async fn a_port_is_published_at_one_address_only(stage: &Stage) {
    let named = Ipv4Addr::new(127, 0, 0, 2);
    let port = TcpListener::bind((named, 0)).await.unwrap().local_addr().unwrap().port();
    let container = json!({ "ports": [{ "containerPort": 8080, "hostPort": port, "hostIP": named.to_string() }] });
    let launch = launch(stage, &[], json!({}), container, "while true; do echo hello | nc -l -p 8080; done");
    stage.start(&launch).await;
    assert_eq!(until("an answer at that address", async || hear((named, port).into()).await).await, "hello\n");
    hear((Ipv4Addr::LOCALHOST, port).into()).await.expect_err("nobody answers at another");
}

async fn the_host_name_is_the_whole_name_where_that_is_asked_for(stage: &Stage) {
    let pod = json!({ "hostname": "db-0", "subdomain": "db", "setHostnameAsFQDN": true });
    assert_eq!(run(stage, &[], pod, json!({}), "hostname").await, ["db-0.db.shop.svc.cluster.local"]);
    let short = run(stage, &[], json!({}), json!({ "name": "plain" }), "hostname").await;
    assert_eq!(short, [stage.launch("web", "").labels.pod], "the pod's name, where nothing is said");
}

/// In the host's network, where the Engine puts no server of its own before them.
async fn servers_come_after_those_of_the_host_or_instead_of_them(stage: &Stage) {
    let servers = async |policy: &str, name: &str| {
        let pod = json!({ "hostNetwork": true, "dnsPolicy": policy, "dnsConfig": { "nameservers": ["1.2.3.4"] } });
        run(stage, &["host-network"], pod, json!({ "name": name }), "busybox sed -n 's/^nameserver //p' /etc/resolv.conf").await
    };
    assert_eq!(servers("None", "own").await, ["1.2.3.4"]);
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap();
    let not_loopback = |server: &&str| !server.starts_with("127.") && *server != "::1";
    let mut both: Vec<&str> = host.lines().filter_map(|line| line.strip_prefix("nameserver ")).filter(not_loopback).collect();
    both.push("1.2.3.4");
    for policy in ["ClusterFirst", "ClusterFirstWithHostNet", "Default"] {
        assert_eq!(servers(policy, &policy.to_lowercase()).await, both, "{policy}");
    }
}

/// Nothing in the image listens for datagrams, but the kernel counts those that arrive where nobody does.
async fn a_udp_port_is_published_for_udp(stage: &Stage) {
    let own = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let ports: Value = json!([{ "containerPort": 8080, "hostPort": port, "protocol": "UDP" }]);
    let script = "until [ $(busybox awk '/^Udp: [0-9]/ { print $3 }' /proc/net/snmp) -gt 0 ]; do sleep 0.1; done; echo arrived; sleep 1000";
    let started = stage.start(&launch(stage, &[], json!({}), json!({ "ports": ports }), script)).await;
    until("a datagram arrives", async || {
        own.send_to(b"hello", (Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let log = stage.log(&started.id, None).await;
        if log == "arrived\n" { Ok(()) } else { Err(log) }
    })
    .await;
}
