//! What a lost process, link, host, disk or minute costs: nothing that was promised.

use super::lab::Lab;
use super::{node_of, web};
use crate::harness::{Load, container_ids};
use crate::manifests::{served, service, workload};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Pods of a lost node are replaced after a minute of silence; with their start, and on a machine that is busy.
const REPLACED: Duration = Duration::from_secs(150);

/// Lost nodes are replaced sooner than by default, where a test would otherwise last minutes.
const SOON: &str = "replaceAfter: 20s\n";

/// A StatefulSet of two, each of which must never run twice.
fn set() -> String {
    workload("StatefulSet", "db", "replicas: 2\nserviceName: db\npodManagementPolicy: Parallel", &served("v1")) + &service("db")
}

fn started(hosts: u8, files: &[(&str, &str)]) -> Lab {
    let mut lab = Lab::new(hosts, "process");
    let files: Vec<(&str, Option<&str>)> = files.iter().map(|(path, text)| (*path, Some(*text))).collect();
    lab.cluster.push("first release", &files);
    lab.start();
    lab
}

fn webs(lab: &Lab, count: usize) -> BTreeMap<String, Value> {
    lab.wait_for("the web is ready", || lab.cluster.ready_pods("shop", "web", count))
}

fn is_node_ready(lab: &Lab, name: &str) -> Result<bool, String> {
    Ok(crate::harness::is_ready(&lab.cluster.json(&format!("/api/v1/nodes/{name}"))?))
}

/// A load from the first host on the Service of the web.
fn load(lab: &Lab) -> Load {
    let address = lab.wait_for("the Service answers", || {
        lab.cluster.ask("shop", "web")?;
        lab.cluster.service("shop", "web")
    });
    Load::start_in(Some(&lab.network(1)), address)
}

/// Lets a fault last: it is the time itself that is tested.
fn last(duration: Duration) {
    std::thread::sleep(duration);
}

#[test]
fn killing_each_agent_and_the_controller_restarts_nothing_and_everything_goes_on() {
    let mut lab = started(3, &[("shop/web.yaml", &web(3, "v1"))]);
    let before = container_ids(&webs(&lab, 3));
    for host in 1..=3 {
        lab.kill_agent(host);
        lab.start_agent(host);
    }
    lab.kill_controller();
    lab.start_controller();
    lab.wait_for("every node is ready", || lab.ready_nodes(3));
    assert_eq!(container_ids(&webs(&lab, 3)), before);
    lab.cluster.push("more", &[("shop/web.yaml", Some(&web(5, "v1")))]);
    webs(&lab, 5);
}

#[test]
fn a_link_that_is_cut_for_five_seconds_costs_nothing() {
    let lab = started(3, &[("shop/web.yaml", &web(3, "v1"))]);
    let before = container_ids(&webs(&lab, 3));
    lab.cut(2);
    last(Duration::from_secs(5));
    assert_eq!(is_node_ready(&lab, "h2"), Ok(true));
    lab.mend(2);
    lab.cluster.push("more", &[("shop/web.yaml", Some(&web(6, "v1")))]);
    let after = container_ids(&webs(&lab, 6));
    assert!(before.iter().all(|pod| after.get(pod.0) == Some(pod.1)), "{before:?} {after:?}");
}

#[test]
fn a_link_that_is_cut_for_twenty_seconds_takes_its_pods_out_of_services_and_replaces_nothing() {
    let lab = started(3, &[("shop/web.yaml", &web(3, "v1"))]);
    let before = container_ids(&webs(&lab, 3));
    let start = Instant::now();
    lab.cut(2);
    lab.wait_for("the node is not ready", || if is_node_ready(&lab, "h2")? { Err("ready".to_owned()) } else { Ok(()) });
    lab.wait_for("its pods are out of the Service", || {
        let slices = lab.cluster.json("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices")?;
        let slices = slices["items"].as_array().into_iter().flatten();
        let mut endpoints = slices.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
        let is_in = |endpoint: &&Value| endpoint["nodeName"] == "h2" && endpoint["conditions"]["ready"] == true;
        endpoints.find(is_in).map_or(Ok(()), |endpoint| Err(endpoint.to_string()))
    });
    let load = load(&lab);
    last(Duration::from_secs(20).saturating_sub(start.elapsed()));
    lab.mend(2);
    lab.wait_for("the node is back", || lab.ready_nodes(3));
    assert_eq!(container_ids(&webs(&lab, 3)), before);
    let (answered, failures) = load.finish();
    assert!(answered > 100 && failures.is_empty(), "{answered} answered, failed: {failures:?}{}", lab.logs());
}

#[test]
fn a_link_that_is_cut_for_two_minutes_has_its_pods_replaced_and_gives_the_surplus_back() {
    let lab = started(3, &[("shop/web.yaml", &web(3, "v1")), ("shop/db.yaml", &set())]);
    webs(&lab, 3);
    let db = lab.wait_for("the set is ready", || lab.cluster.ready_pods("shop", "db", 2));
    let cut = db.values().map(node_of).find(|node| node != "h1").unwrap_or_else(|| "h2".to_owned());
    let host: usize = cut.trim_start_matches('h').parse().expect("a number");
    let start = Instant::now();
    lab.cut(host);
    lab.wait_within(REPLACED, "the web is whole on the others", || {
        let pods = lab.cluster.pods("shop")?;
        let webs = pods.iter().filter(|(name, pod)| name.starts_with("web") && crate::harness::is_ready(pod));
        let elsewhere = webs.filter(|(_, pod)| node_of(pod) != cut).count();
        if elsewhere >= 3 { Ok(()) } else { Err(format!("{elsewhere} of 3: {}", crate::harness::brief(&pods))) }
    });
    last(Duration::from_secs(120).saturating_sub(start.elapsed()));
    let names: BTreeSet<String> =
        lab.cluster.pods("shop").expect("pods").into_keys().filter(|name| name.starts_with("db")).collect();
    assert_eq!(names.len(), 2, "no number of the set runs elsewhere: {names:?}");
    lab.mend(host);
    lab.wait_for("the node is back", || lab.ready_nodes(3));
    webs(&lab, 3);
    let after = lab.wait_for("the set is ready", || lab.cluster.ready_pods("shop", "db", 2));
    assert_eq!(container_ids(&after), container_ids(&db), "what was cut off kept running");
}

#[test]
fn a_lost_host_is_replaced_while_the_service_answers() {
    let mut lab = started(3, &[("shop/web.yaml", &web(3, "v1")), ("driftless.yaml", SOON)]);
    webs(&lab, 3);
    lab.lose_host(3);
    lab.wait_within(REPLACED, "the web is whole on the others", || {
        let pods = lab.cluster.pods("shop")?;
        let whole = pods.values().filter(|pod| crate::harness::is_ready(pod) && node_of(pod) != "h3").count();
        if whole >= 3 { Ok(()) } else { Err(format!("{whole} of 3: {}", crate::harness::brief(&pods))) }
    });
    let load = load(&lab);
    last(Duration::from_secs(5));
    let (answered, failures) = load.finish();
    assert!(answered > 100 && failures.is_empty(), "{answered} answered, failed: {failures:?}{}", lab.logs());
}

#[test]
fn a_third_of_the_packets_lost_slows_everything_down_and_breaks_nothing() {
    let lab = started(3, &[("shop/web.yaml", &web(3, "v1"))]);
    let before = container_ids(&webs(&lab, 3));
    lab.lose_packets(2, 30);
    lab.cluster.push("more", &[("shop/web.yaml", Some(&web(6, "v1")))]);
    lab.wait_within(REPLACED, "a release goes out", || lab.cluster.ready_pods("shop", "web", 6).map(|_| ()));
    lab.lose_nothing();
    lab.wait_for("every node is ready", || lab.ready_nodes(3));
    let after = container_ids(&webs(&lab, 6));
    assert!(before.iter().all(|pod| after.get(pod.0) == Some(pod.1)), "{before:?} {after:?}");
}

#[test]
fn a_link_that_takes_200_ms_each_way_slows_everything_down_and_breaks_nothing() {
    let mut lab = started(3, &[("shop/web.yaml", &web(3, "v1"))]);
    let before = container_ids(&webs(&lab, 3));
    lab.delay(2, 200);
    let start = Instant::now();
    lab.within(1, || TcpStream::connect(lab.at(2, 7782))).expect("the tunnel of the slow host");
    assert!(start.elapsed() >= Duration::from_millis(400), "the wire is slow");
    let load = load(&lab);
    lab.cluster.push("more", &[("shop/web.yaml", Some(&web(6, "v1")))]);
    let after = container_ids(&webs(&lab, 6));
    assert!(before.iter().all(|pod| after.get(pod.0) == Some(pod.1)), "{before:?} {after:?}");
    last(Duration::from_secs(12));
    lab.ready_nodes(3).unwrap_or_else(|error| panic!("{error}{}", lab.logs()));
    let (answered, failures) = load.finish();
    assert!(answered > 50 && failures.is_empty(), "{answered} answered, failed: {failures:?}{}", lab.logs());
}

#[test]
fn a_controller_that_lost_its_disk_but_for_its_identity_takes_over_what_runs() {
    let mut lab = started(3, &[("shop/web.yaml", &web(3, "v1"))]);
    let before = container_ids(&webs(&lab, 3));
    let address = lab.reaches_from_all("shop", "web");
    lab.kill_controller();
    for entry in fs::read_dir(lab.controller_state()).expect("the state directory").flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|name| name != "identity") {
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.expect("a wiped entry");
        }
    }
    lab.start_controller();
    lab.wait_for("every node is ready", || lab.ready_nodes(3));
    assert_eq!(container_ids(&webs(&lab, 3)), before);
    lab.wait_for("the Service has its address", || match lab.cluster.service("shop", "web")? {
        found if found == address => Ok(()),
        found => Err(format!("{found}, not {address}")),
    });
    lab.cluster.push("more", &[("shop/web.yaml", Some(&web(5, "v1")))]);
    webs(&lab, 5);
}

#[test]
fn a_full_disk_on_a_host_stops_nothing_and_heals() {
    let mut lab = Lab::new(2, "process");
    lab.small_disk(2, "48m");
    lab.cluster.push("first release", &[("shop/web.yaml", Some(&web(4, "v1")))]);
    lab.start();
    let before = container_ids(&webs(&lab, 4));
    let filler = lab.fill_disk(2);
    last(Duration::from_secs(5));
    assert_eq!(container_ids(&webs(&lab, 4)), before);
    lab.kill_agent(2);
    lab.start_agent(2);
    lab.wait_for("every node is ready", || lab.ready_nodes(2));
    assert_eq!(container_ids(&webs(&lab, 4)), before);
    lab.free_disk(2, &filler);
    lab.cluster.push("more", &[("shop/web.yaml", Some(&web(6, "v1")))]);
    webs(&lab, 6);
}

#[test]
fn a_clock_that_jumps_by_a_minute_on_one_host_costs_nothing() {
    let mut lab = Lab::new(2, "process");
    lab.clock(2, 0);
    lab.cluster.push("first release", &[("shop/web.yaml", Some(&web(4, "v1")))]);
    lab.start();
    let before = container_ids(&webs(&lab, 4));
    for seconds in [60, -60] {
        lab.clock(2, seconds);
        last(Duration::from_secs(12));
        lab.ready_nodes(2).unwrap_or_else(|error| panic!("{error}{}", lab.logs()));
        assert_eq!(container_ids(&webs(&lab, 4)), before);
    }
    lab.cluster.push("more", &[("shop/web.yaml", Some(&web(6, "v1")))]);
    webs(&lab, 6);
}
