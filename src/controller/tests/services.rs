//! What is told of Services.

use super::world::{World, key, node};
use crate::model::{EndpointSet, NodeName, ServiceView};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

const PODS: &str = "10.244.0.0/16";

fn world(objects: &str) -> World {
    let mut world = World::networked(&["n1", "n2"], PODS);
    world.push(objects);
    world.seconds(10);
    world
}

/// The set that every node has of a Service.
fn told(world: &World, service: &str) -> Arc<EndpointSet> {
    let of = |name: &str| Arc::clone(&world.agents[&node(name)].endpoints[&key(&format!("Service/{service}"))]);
    assert_eq!(of("n1"), of("n2"));
    of("n1")
}

fn view(world: &World, service: &str) -> ServiceView {
    world.core.view().services[&key(&format!("Service/{service}"))].clone()
}

fn names(names: &[&str]) -> BTreeSet<NodeName> {
    names.iter().map(|name| NodeName::new(*name)).collect()
}

#[test]
fn a_service_says_who_gets_which_connection() {
    let mut world = World::networked(&["n1", "n2"], PODS);
    world.broken.insert('x');
    world.push(
        "deployment web a 2\nservice web sticky=60 local\ndeployment ill x 2\nservice ill\nservice db type=ExternalName name=db.example.org",
    );
    world.seconds(10);
    let web = told(&world, "web");
    assert_eq!(
        (web.traffic.sticky_for, web.traffic.internal_local, web.traffic.external_local),
        (Some(Duration::from_secs(60)), true, true)
    );
    assert_eq!(web.ports[0].backends.len(), 2);
    let db = told(&world, "db");
    assert_eq!((db.external_name.as_deref(), db.address), (Some("db.example.org"), None));
    assert_eq!(told(&world, "ill").pods().len(), 0);
    world.push("deployment web a 2\nservice web\ndeployment ill x 2\nservice ill unready");
    world.seconds(10);
    assert_eq!(told(&world, "web").traffic.sticky_for, None);
    assert_eq!(told(&world, "ill").pods().len(), 2, "they are behind it though they are not ready");
}

#[test]
fn a_written_address_and_node_port_count_and_stay_over_a_restart_without_the_rest() {
    let objects = "deployment web a 1\nservice web type=NodePort\nservice own type=NodePort at=30080 address=10.96.0.9";
    let mut world = world(objects);
    let (web, own) = (view(&world, "web"), view(&world, "own"));
    assert_eq!(own.address, Some(Ipv4Addr::new(10, 96, 0, 9)));
    assert_eq!(told(&world, "own").ports[0].node_port, Some(30_080));
    let allotted = told(&world, "web").ports[0].node_port.expect("a node port");
    world.restart(false);
    world.push(objects);
    world.greet();
    world.seconds(30);
    assert_eq!((view(&world, "web"), view(&world, "own")), (web.clone(), own));
    let address = web.address.expect("an address");
    world.push(&format!(
        "deployment web a 1\nservice web type=NodePort\nservice own type=NodePort at={allotted} address={address}"
    ));
    world.seconds(10);
    let (ceded, own) = (view(&world, "web"), view(&world, "own"));
    assert_eq!((own.address, told(&world, "own").ports[0].node_port), (Some(address), Some(allotted)));
    assert!(ceded.address.is_some_and(|other| other != address), "what is written counts, and the other gets another");
    assert!(told(&world, "web").ports[0].node_port.is_some_and(|other| other != allotted));
}

#[test]
fn a_load_balancer_has_the_nodes_that_are_labelled_for_it_when_they_are() {
    let objects = "deployment web a 1\nservice web type=LoadBalancer";
    let mut world = world(objects);
    assert_eq!(told(&world, "web").traffic.load_balancers, names(&[]));
    world.push(&format!("{objects}\nnode n2 balances"));
    world.seconds(5);
    assert_eq!(told(&world, "web").traffic.load_balancers, names(&["n2"]));
    assert_eq!(view(&world, "web").load_balancers.len(), 1);
    world.push(objects);
    world.seconds(5);
    assert_eq!(told(&world, "web").traffic.load_balancers, names(&[]));
}
