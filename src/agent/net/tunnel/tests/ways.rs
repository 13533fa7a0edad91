//! How nodes find a way to each other.

use super::super::{Path, Timings};
use super::pods;
use super::world::{World, soon, until};
use crate::agent::net::reach::{Reach, Target};
use crate::model::Protocol;
use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Where nobody listens.
async fn nowhere() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address")
}

async fn assert_echo(stream: &mut Box<dyn crate::agent::net::reach::Stream>) {
    stream.write_all(b"a secret word").await.expect("said");
    let mut heard = [0; 13];
    soon("an echo", stream.read_exact(&mut heard)).await.expect("heard");
    assert_eq!(&heard, b"a secret word");
}

#[tokio::test]
async fn a_node_that_cannot_be_dialled_dials_back_when_it_is_called() {
    for says_an_address in [false, true] {
        let mut world = World::new();
        world.add("n1", true).await;
        world.add("n2", false).await;
        if says_an_address {
            world.nodes.get_mut("n2").expect("n2").addresses.push(nowhere().await);
        }
        world.tell();
        let target = world.serve("n2", 1, Protocol::Tcp, pods::echo().await);
        assert_echo(&mut world.stream("n1", &target).await).await;
        assert_eq!(world.status("n1", "n2").link.path, Some(Path::Reversed));
        let back = world.serve("n1", 2, Protocol::Tcp, pods::echo().await);
        assert_echo(&mut world.stream("n2", &back).await).await;
        assert_eq!(world.status("n2", "n1").link.path, Some(Path::Direct));
    }
}

#[tokio::test]
async fn nodes_that_cannot_dial_each_other_meet_at_the_controller_which_reads_nothing() {
    let mut world = World::new();
    world.add("n1", false).await;
    world.add("n2", false).await;
    world.tell();
    let target = world.serve("n2", 1, Protocol::Tcp, pods::echo().await);
    assert_echo(&mut world.stream("n1", &target).await).await;
    assert_eq!(world.status("n1", "n2").link.path, Some(Path::Relayed));
    let overheard = world.exchange.overheard.lock().expect("unpoisoned");
    assert!(overheard.len() > 100);
    for word in [&b"a secret word"[..], b"tcp/", target.pod.to_string().as_bytes()] {
        assert!(!overheard.windows(word.len()).any(|window| window == word), "the relay could read {word:?}");
    }
}

#[tokio::test]
async fn without_the_controller_there_is_no_way_to_a_node_that_cannot_be_dialled_and_that_is_said() {
    let mut world = World::new();
    world.add("n1", true).await;
    world.add("n2", false).await;
    world.tell();
    world.exchange.closed.store(true, Ordering::SeqCst);
    let target = world.serve("n2", 1, Protocol::Tcp, pods::echo().await);
    let error = world.dial("n1", &target).await.err().expect("no way");
    assert_eq!(error.to_string(), "node n2 cannot be reached: the controller is away");
    assert_eq!(world.status("n1", "n2").link.error.as_deref(), Some("the controller is away"));
    world.exchange.closed.store(false, Ordering::SeqCst);
    until("there is a way", async || world.dial("n1", &target).await.ok()).await;
    assert_eq!(world.status("n1", "n2").link.error, None);
}

#[tokio::test]
async fn once_called_a_node_stays_within_reach_while_the_controller_is_away() {
    let mut world = World::new();
    world.add("n1", true).await;
    world.add("n2", false).await;
    world.tell();
    let target = world.serve("n2", 1, Protocol::Tcp, pods::echo().await);
    world.stream("n1", &target).await;
    world.exchange.closed.store(true, Ordering::SeqCst);
    // n1 forgets everything, as a restart would make it, and n2 comes back by itself.
    let known = world.network(&world.nodes["n1"].name);
    let nobody = crate::model::NodeNetwork { peers: std::collections::BTreeMap::new(), ..known.clone() };
    world.tunnel("n1").apply_network(&nobody);
    world.tunnel("n1").apply_network(&known);
    until("n2 has come back", async || world.dial("n1", &target).await.ok()).await;
    assert_eq!(world.status("n1", "n2").link.path, Some(Path::Reversed));
}

#[tokio::test]
async fn a_better_way_is_taken_once_there_is_one_and_streams_on_the_old_one_go_on() {
    let mut world = World::new();
    world.add("n1", false).await;
    world.add("n2", true).await;
    let address = std::mem::take(&mut world.nodes.get_mut("n2").expect("n2").addresses);
    world.tell();
    let target = world.serve("n2", 1, Protocol::Tcp, pods::echo().await);
    let mut relayed = world.stream("n1", &target).await;
    assert_eq!(world.status("n1", "n2").link.path, Some(Path::Relayed));
    world.nodes.get_mut("n2").expect("n2").addresses = address;
    world.tell();
    until("a direct link", async || (world.status("n1", "n2").link.path == Some(Path::Direct)).then_some(())).await;
    assert_echo(&mut relayed).await;
    assert_echo(&mut world.stream("n1", &target).await).await;
}

#[tokio::test]
async fn a_node_that_is_removed_is_cut_off_in_both_directions() {
    let mut world = World::pair().await;
    let there = world.serve("n2", 1, Protocol::Tcp, pods::echo().await);
    let back = world.serve("n1", 2, Protocol::Tcp, pods::echo().await);
    let (mut out, mut inward) = (world.stream("n1", &there).await, world.stream("n2", &back).await);
    assert_echo(&mut out).await;
    assert_echo(&mut inward).await;
    let removed = world.nodes.remove("n2").expect("n2");
    world.tell();
    for stream in [&mut out, &mut inward] {
        assert!(soon("the cut", stream.read(&mut [0; 8])).await.is_err(), "a cut is no regular end");
    }
    let error = world.dial("n1", &there).await.err().expect("cut off");
    assert_eq!(error.kind(), ErrorKind::HostUnreachable);
    use crate::agent::net::reach::Reach;
    assert!(soon("a refusal", removed.tunnel.dial(&back)).await.is_err(), "n1 takes nothing of it");
}

#[tokio::test]
async fn a_node_with_another_key_than_the_one_on_record_gets_nothing() {
    let mut world = World::pair().await;
    let back = world.serve("n1", 2, Protocol::Tcp, pods::echo().await);
    let mut inward = world.stream("n2", &back).await;
    world.nodes.get_mut("n2").expect("n2").key = crate::model::KeyFingerprint("another".to_owned());
    world.tell();
    assert!(soon("the cut", inward.read(&mut [0; 8])).await.is_err());
    let error = world.dial("n2", &back).await.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::HostUnreachable, "{error}");
}

#[tokio::test]
async fn a_node_without_a_certificate_is_not_reached_and_it_is_said_why() {
    let world = World::pair().await;
    let target = world.serve("n2", 1, Protocol::Tcp, pods::echo().await);
    let mut network = world.network(&world.nodes["n1"].name);
    for peer in network.peers.values_mut() {
        peer.key = None;
    }
    world.tunnel("n1").apply_network(&network);
    assert_eq!(world.status("n1", "n2").link.error, None, "nobody needs it");
    let error = world.dial("n1", &target).await.err().expect("no way");
    assert!(error.to_string().contains("has no certificate"), "{error}");
    assert!(world.status("n1", "n2").link.error.is_some_and(|error| error.contains("has no certificate")));
}

#[tokio::test]
async fn another_node_at_the_address_of_one_is_not_taken_for_it() {
    let mut world = World::pair().await;
    world.add("n3", true).await;
    let elsewhere = world.nodes["n3"].addresses.clone();
    world.nodes.get_mut("n2").expect("n2").addresses = elsewhere;
    world.exchange.closed.store(true, Ordering::SeqCst);
    world.tell();
    let target = world.serve("n2", 1, Protocol::Tcp, pods::echo().await);
    assert!(world.dial("n1", &target).await.is_err());
    assert_eq!(world.status("n1", "n2").link.path, None);
}

#[tokio::test]
async fn a_hundred_at_once_share_one_link() {
    let world = World::pair().await;
    let target = world.serve("n2", 1, Protocol::Tcp, pods::echo().await);
    let all = (0..100).map(|_| async { assert_echo(&mut world.stream("n1", &target).await).await });
    futures_util::future::join_all(all).await;
    assert_eq!(world.status("n2", "n1").served, 1);
}

#[tokio::test]
async fn a_link_that_nobody_needs_is_closed() {
    let mut world = World::new();
    world.timings.idle = std::time::Duration::from_millis(50);
    world.add("n1", true).await;
    world.add("n2", true).await;
    world.tell();
    let target = world.serve("n2", 1, Protocol::Tcp, pods::echo().await);
    let mut stream = world.stream("n1", &target).await;
    assert_echo(&mut stream).await;
    drop(stream);
    until("both sides have closed it", async || {
        (world.status("n1", "n2").link.path.is_none() && world.status("n2", "n1").served == 0).then_some(())
    })
    .await;
    assert_eq!(world.status("n1", "n2").link.error, None);
    assert_echo(&mut world.stream("n1", &target).await).await;
}

#[tokio::test]
async fn a_node_that_leaves_takes_no_more_streams_and_lets_those_that_are_open_end() {
    let world = World::pair().await;
    let target = world.serve("n2", 1, Protocol::Tcp, pods::echo().await);
    let mut stream = world.stream("n1", &target).await;
    let leaving = tokio::spawn({
        let tunnel = world.tunnel("n2").clone();
        async move { tunnel.leave(Duration::from_secs(20)).await }
    });
    until("no more are taken", async || world.dial("n1", &target).await.err()).await;
    assert_echo(&mut stream).await;
    assert!(!leaving.is_finished(), "a stream is open");
    stream.shutdown().await.expect("ended");
    assert_eq!(soon("its end", stream.read(&mut [0; 8])).await.expect("a regular end"), 0);
    drop(stream);
    soon("it has left", leaving).await.expect("left");
}

/// n1 dials, and n2 listens, and the controller calls nobody.
async fn dialled(set: impl FnOnce(&mut Timings)) -> (World, Target) {
    let mut world = World::new();
    set(&mut world.timings);
    world.add("n1", false).await;
    world.add("n2", true).await;
    world.exchange.closed.store(true, Ordering::SeqCst);
    world.tell();
    let target = world.serve("n2", 1, Protocol::Tcp, pods::echo().await);
    (world, target)
}

#[tokio::test]
async fn who_asks_for_a_node_that_was_there_a_moment_ago_waits_for_it() {
    let (world, target) = dialled(|timings| timings.patience = Duration::from_secs(20)).await;
    assert_echo(&mut world.stream("n1", &target).await).await;
    // n2 goes, as for an upgrade, and comes back at the same port.
    let at = world.nodes["n2"].addresses[0];
    world.stop("n2");
    until("n1 has noticed", async || world.status("n1", "n2").link.path.is_none().then_some(())).await;
    let tunnel = world.tunnel("n1").clone();
    let (asked, wanted) = (tokio::sync::Notify::new(), target.clone());
    let dialling = async {
        asked.notify_one();
        tunnel.dial(&wanted).await
    };
    let returning = async {
        asked.notified().await;
        world.start("n2", at).await;
        world.serve("n2", 1, Protocol::Tcp, std::net::SocketAddr::from(([127, 0, 0, 1], target.port)));
    };
    let (stream, ()) = soon("it is back", async { tokio::join!(dialling, returning) }).await;
    assert_echo(&mut stream.expect("waited for")).await;
}

#[tokio::test]
async fn a_node_that_leaves_in_order_is_waited_for_while_its_streams_end() {
    let (mut world, target) =
        dialled(|timings| (timings.patience, timings.leave) = (Duration::ZERO, Duration::from_secs(20))).await;
    let mut stream = world.stream("n1", &target).await;
    // n2 takes nobody any more, and its open stream keeps it.
    let at = world.nodes["n2"].addresses[0];
    world.close("n2");
    let old = world.tunnel("n2").clone();
    let leaving = tokio::spawn(async move { old.leave(Duration::from_secs(20)).await });
    let brief = Duration::from_millis(100);
    until("a dial waits", async || tokio::time::timeout(brief, world.dial("n1", &target)).await.err()).await;
    assert!(!leaving.is_finished(), "a stream is open");
    let tunnel = world.tunnel("n1").clone();
    let dialling = async { tunnel.dial(&target).await };
    let returning = async {
        assert_echo(&mut stream).await;
        world.renew("n2", at).await;
        world.tell();
        world.serve("n2", 1, Protocol::Tcp, std::net::SocketAddr::from(([127, 0, 0, 1], target.port)));
    };
    let (other, ()) = soon("the next agent is there", async { tokio::join!(dialling, returning) }).await;
    assert_echo(&mut other.expect("waited for")).await;
}
