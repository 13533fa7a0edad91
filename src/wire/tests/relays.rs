//! Two nodes that meet at their controller.

use super::gates::{Agent, Controller, agent, controller, dialer};
use crate::model::{NodeName, Roll};
use crate::wire::messages::ToAgent;
use crate::wire::{Connector, RelayClient};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

const LIFE: Duration = Duration::from_secs(3_600);

/// A node that has joined, and how it reaches its controller.
async fn member(controller: &Controller, folder: &Path, node: &str) -> Connector {
    let (_, identity) = controller.member(folder, node).await;
    dialer(controller, &identity, Arc::default())
}

/// A node whose agent is heard.
async fn heard(controller: &mut Controller, folder: &Path, node: &str) -> (Connector, Agent) {
    let connector = member(controller, folder, node).await;
    let agent = agent(connector.clone(), node);
    controller.connected().await;
    (connector, agent)
}

/// Who calls an agent next, and with which number.
async fn called(agent: &mut Agent) -> (NodeName, u64) {
    loop {
        let told = timeout(DEADLINE, agent.incoming.recv()).await.expect("in time").expect("it runs");
        if let ToAgent::Called { by, call } = told {
            return (by, call);
        }
    }
}

/// n1 calls n2, which answers.
async fn meet(controller: &mut Controller, folder: &Path) -> (DuplexStream, DuplexStream) {
    let n1 = member(controller, folder, "n1").await;
    let (n2, mut agent) = heard(controller, folder, "n2").await;
    let node = NodeName::new("n2");
    let calling = RelayClient::new(n1);
    let answering = async {
        let (by, call) = called(&mut agent).await;
        assert_eq!(by, NodeName::new("n1"));
        RelayClient::new(n2).answer(call).await.expect("met")
    };
    let (near, far) = timeout(DEADLINE, async { tokio::join!(calling.call(&node), answering) }).await.expect("in time");
    (near.expect("met"), far)
}

#[tokio::test]
async fn two_nodes_that_meet_hear_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut controller = controller(folder.path(), LIFE).await;
    let (mut near, mut far) = meet(&mut controller, folder.path()).await;
    let text: Vec<u8> = (0..300_000_u32).map(|index| (index % 251) as u8).collect();
    for (from, to) in [(&mut near, &mut far)] {
        let mut heard = vec![0; text.len()];
        let (sent, read) =
            timeout(DEADLINE, async { tokio::join!(from.write_all(&text), to.read_exact(&mut heard)) }).await.expect("in time");
        sent.expect("sent");
        read.expect("read");
        assert!(heard == text);
    }
    far.write_all(b"and back").await.expect("sent");
    let mut heard = [0; 8];
    timeout(DEADLINE, near.read_exact(&mut heard)).await.expect("in time").expect("read");
    drop(near);
    assert_eq!(timeout(DEADLINE, far.read(&mut heard)).await.expect("in time").expect("the end"), 0);
}

#[tokio::test]
async fn a_node_that_was_not_called_cannot_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut controller = controller(folder.path(), LIFE).await;
    let n1 = member(&controller, folder.path(), "n1").await;
    let n3 = member(&controller, folder.path(), "n3").await;
    let (_, mut agent) = heard(&mut controller, folder.path(), "n2").await;
    let calling = tokio::spawn(async move { RelayClient::new(n1).call(&NodeName::new("n2")).await });
    let (_, call) = called(&mut agent).await;
    let refused = timeout(DEADLINE, RelayClient::new(n3).answer(call)).await.expect("in time").expect_err("refused");
    assert!(refused.to_string().contains("nobody waits"), "{refused}");
    assert!(!calling.is_finished(), "the caller still waits for n2");
    calling.abort();
}

#[tokio::test]
async fn a_node_that_the_controller_does_not_hear_cannot_be_called() {
    let folder = tempfile::tempdir().expect("a folder");
    let controller = controller(folder.path(), LIFE).await;
    let n1 = member(&controller, folder.path(), "n1").await;
    let refused =
        timeout(DEADLINE, RelayClient::new(n1).call(&NodeName::new("n2"))).await.expect("in time").expect_err("refused");
    assert_eq!(refused.to_string(), "the controller does not hear node n2 either");
}

#[tokio::test]
async fn a_node_that_is_removed_is_cut_off_at_the_relay_and_not_let_in_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut controller = controller(folder.path(), LIFE).await;
    let n1 = member(&controller, folder.path(), "n1").await;
    let (mut near, mut far) = meet(&mut controller, folder.path()).await;
    controller.roll.send_modify(|roll: &mut Arc<Roll>| {
        Arc::make_mut(roll).removed.insert(NodeName::new("n1"));
    });
    for end in [&mut near, &mut far] {
        assert_eq!(timeout(DEADLINE, end.read(&mut [0; 8])).await.expect("in time").expect("the end"), 0);
    }
    let refused =
        timeout(DEADLINE, RelayClient::new(n1).call(&NodeName::new("n2"))).await.expect("in time").expect_err("refused");
    assert!(refused.to_string().contains("removed"), "{refused}");
}
