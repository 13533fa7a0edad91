//! The network of the pods of a node: its addresses, and where names are looked up from it.

use crate::docker::{docker, engine};
use crate::stage::{Stage, until, within};
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use driftless::agent::runtime::docker::Docker;
use driftless::agent::runtime::{ContainerLaunch, LookUp, NameServer, PodNetwork, Resolver, Runtime, RuntimeEvent};
use driftless::model::{Cidr, DnsConfig};
use futures_util::StreamExt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::net::UdpSocket;

const FOREVER: &str = "echo ready; while true; do sleep 1; done";

on_docker! {
    pods_have_addresses_of_the_range_of_their_node,
    a_network_in_use_keeps_its_addresses_until_the_last_container_is_gone,
    addresses_that_another_network_has_are_done_without,
    names_are_asked_of_the_nodes_own_server,
}

/// A range that no other test has.
fn range() -> Cidr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = std::process::id() * 16 + NEXT.fetch_add(1, Ordering::Relaxed);
    format!("10.231.{}.0/24", number % 256).parse().unwrap()
}

/// Another client of the stage's node, that was told a range.
fn client(stage: &Stage, range: Cidr) -> Docker {
    let client = docker(&stage.cluster, &stage.node);
    client.use_range(range);
    client
}

fn is_in(range: Cidr, address: Option<IpAddr>) -> bool {
    matches!(address, Some(IpAddr::V4(address)) if range.contains(address))
}

async fn pods_have_addresses_of_the_range_of_their_node(stage: &Stage) {
    let range = range();
    let client = client(stage, range);
    let started = client.start(&stage.launch("web", FOREVER)).await.unwrap();
    assert!(is_in(range, started.address), "{started:?}");
    let bridge = client.bridge().expect("a network");
    assert_eq!((bridge.pods, bridge.gateway), (Some(range), range.nth(1).map(IpAddr::V4)));
    assert_eq!(bridge.trouble, None);
    let shown = std::process::Command::new("ip").args(["-o", "address", "show", "dev", &bridge.interface]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(&format!("{}/24", range.nth(1).unwrap())), "{}: {shown}", bridge.interface);
    let network = || async { engine().inspect_network(&format!("driftless-{}", stage.cluster), None).await.unwrap().id };
    let before = network().await;
    let again = self::client(stage, range);
    again.list().await.unwrap();
    assert_eq!(network().await, before, "what is right is left alone");
}

async fn a_network_in_use_keeps_its_addresses_until_the_last_container_is_gone(stage: &Stage) {
    let old = stage.start(&stage.launch("old", FOREVER)).await;
    let range = range();
    let client = docker(&stage.cluster, &stage.node);
    let mut events = client.watch();
    client.use_range(range);
    let status = client.list().await.unwrap().into_iter().find(|status| status.id == old.id).expect("it runs");
    assert_eq!(status.address, old.address);
    let warning = within("a warning", events.next()).await;
    let fits = |message: &str| message.contains("as long as containers are on it") && message.contains(&range.to_string());
    assert!(matches!(&warning, Some(RuntimeEvent::Warning { message, .. }) if fits(message)), "{warning:?}");
    let beside = client.start(&stage.launch("beside", FOREVER)).await.expect("it is started all the same");
    assert!(!is_in(range, beside.address), "{beside:?}");
    assert!(client.bridge().unwrap().trouble.is_some());
    for id in [old.id, beside.id] {
        client.remove(&id).await.unwrap();
    }
    let new = client.start(&stage.launch("new", FOREVER)).await.unwrap();
    assert!(is_in(range, new.address), "{new:?}");
    assert_eq!(client.bridge().unwrap().trouble, None);
}

async fn addresses_that_another_network_has_are_done_without(stage: &Stage) {
    let range = range();
    let ipam =
        Ipam { config: Some(vec![IpamConfig { subnet: Some(range.to_string()), ..IpamConfig::default() }]), ..Ipam::default() };
    let name = format!("{}-other", stage.cluster);
    let other = NetworkCreateRequest { name: name.clone(), ipam: Some(ipam), ..NetworkCreateRequest::default() };
    engine().create_network(other).await.unwrap();
    let client = client(stage, range);
    let started = client.start(&stage.launch("web", FOREVER)).await;
    let trouble = client.bridge().and_then(|bridge| bridge.trouble);
    engine().remove_network(&name).await.unwrap();
    let started = started.expect("it is started all the same");
    assert!(!is_in(range, started.address), "{started:?}");
    assert!(trouble.as_ref().is_some_and(|trouble| trouble.contains(&name) && trouble.contains("--pod-cidr")), "{trouble:?}");
}

async fn names_are_asked_of_the_nodes_own_server(stage: &Stage) {
    let gateway = stage.runtime.gateway().expect("the host's address");
    let server = UdpSocket::bind((gateway, 53)).await.expect("port 53 of the host's address");
    let answers = tokio::spawn(async move {
        let mut query = vec![0; 512];
        loop {
            let (length, client) = server.recv_from(&mut query).await.unwrap();
            server.send_to(&answer(&query[..length]), client).await.unwrap();
        }
    });
    let searches = ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"].map(str::to_owned).into();
    let resolver = Resolver { first: LookUp::Cluster { server: NameServer::Gateway, searches }, config: DnsConfig::default() };
    for (pod, host) in [("bridged", false), ("host", true)] {
        let script = "busybox grep -c ndots:5 /etc/resolv.conf; busybox nslookup -type=a web; echo end; sleep 1000";
        let hostname = if host { String::new() } else { pod.to_owned() };
        let network = PodNetwork { host, hostname, resolver: Some(resolver.clone()), ..PodNetwork::default() };
        let started = stage.start(&ContainerLaunch { network, ..stage.launch(pod, script) }).await;
        until("an answer", async || {
            let log = stage.log(&started.id, None).await;
            let is_right = log.starts_with("1\n") && log.contains("web.shop.svc.cluster.local\nAddress: 10.96.0.7");
            if is_right { Ok(()) } else { Err(log) }
        })
        .await;
    }
    answers.abort();
}

/// The same address for every name (RFC 1035 section 4).
fn answer(query: &[u8]) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let header = [&query[..2], &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]].concat();
    let record = [0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 96, 0, 7];
    [&header[..], &query[12..end], &record].concat()
}
