//! Networks that freeze, cut and dawdle.

use super::pods;
use super::world::{World, impatient, soon, until};
use crate::model::Protocol;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the cable does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cable {
    Whole,
    /// Nothing comes through, and nobody is told.
    Frozen,
    /// Every connection through it is broken.
    Cut,
}

/// A cable to `to`: its near end, and what to do to it. Bytes come through in pieces of `piece`.
async fn cable(to: SocketAddr, piece: usize) -> (SocketAddr, Arc<watch::Sender<Cable>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let near = listener.local_addr().expect("an address");
    let control = Arc::new(watch::Sender::new(Cable::Whole));
    let state = control.subscribe();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let state = state.clone();
            tokio::spawn(async move {
                let Ok(far) = TcpStream::connect(to).await else { return };
                let ((a_read, a_write), (b_read, b_write)) = (stream.into_split(), far.into_split());
                let there = pass(a_read, b_write, state.clone(), piece);
                let back = pass(b_read, a_write, state, piece);
                tokio::select! { () = there => {}, () = back => {} }
            });
        }
    });
    (near, control)
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut state: watch::Receiver<Cable>,
    piece: usize,
) {
    let mut buffer = vec![0; piece];
    loop {
        if state.wait_for(|cable| *cable != Cable::Frozen).await.is_ok_and(|cable| *cable == Cable::Cut) {
            return;
        }
        tokio::select! {
            read = from.read(&mut buffer) => match read {
                Ok(length @ 1..) if *state.borrow() != Cable::Frozen => {
                    if to.write_all(&buffer[..length]).await.is_err() {
                        return;
                    }
                }
                // What comes in while it freezes is lost with the connection.
                Ok(1..) => {
                    if state.wait_for(|cable| *cable == Cable::Cut).await.is_err() {
                        return;
                    }
                }
                Ok(0) | Err(_) => return,
            },
            changed = state.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Two nodes with a cable from n1 to n2. n2 cannot come back by itself.
async fn cabled(piece: usize) -> (World, Arc<watch::Sender<Cable>>) {
    let mut world = World::new();
    world.timings = impatient();
    world.add("n1", false).await;
    world.add("n2", true).await;
    world.exchange.closed.store(true, std::sync::atomic::Ordering::SeqCst);
    let (near, control) = cable(world.nodes["n2"].addresses[0], piece).await;
    world.nodes.get_mut("n2").expect("n2").addresses = vec![near];
    world.tell();
    (world, control)
}

#[tokio::test]
async fn a_frozen_network_is_noticed_and_a_thawed_one_is_used_again() {
    let (world, network) = cabled(16 * 1024).await;
    let target = world.serve("n2", 1, Protocol::Tcp, pods::echo().await);
    let mut stream = world.stream("n1", &target).await;
    network.send_replace(Cable::Frozen);
    let error = soon("the silence", stream.read(&mut [0; 8])).await.expect_err("no regular end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
    until("n2 has noticed too", async || (world.status("n2", "n1").served == 0).then_some(())).await;
    network.send_replace(Cable::Whole);
    until("there is a way again", async || world.dial("n1", &target).await.ok()).await;
}

#[tokio::test]
async fn a_cut_is_never_taken_for_a_regular_end() {
    for cut_after in [0, 1, 1_000, 70_000, 400_000] {
        let (world, network) = cabled(997).await;
        let (address, _) = pods::talks(1_000).await;
        let target = world.serve("n2", 1, Protocol::Tcp, address);
        let mut stream = world.stream("n1", &target).await;
        let mut heard = 0;
        let mut buffer = vec![0; 16 * 1024];
        while heard < cut_after {
            heard += soon("words", stream.read(&mut buffer)).await.expect("heard");
        }
        network.send_replace(Cable::Cut);
        let end = async {
            loop {
                match stream.read(&mut buffer).await {
                    Ok(0) => panic!("the cut after {cut_after} bytes looked like a regular end"),
                    Ok(_) => {}
                    Err(error) => return error,
                }
            }
        };
        soon("the cut", end).await;
    }
}

#[tokio::test]
async fn a_network_that_passes_few_bytes_at_a_time_changes_nothing() {
    let (world, _network) = cabled(7).await;
    let target = world.serve("n2", 1, Protocol::Tcp, pods::counts().await);
    let mut stream = world.stream("n1", &target).await;
    stream.write_all(&vec![1; 50_000]).await.expect("said");
    stream.shutdown().await.expect("ended");
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.expect("a regular end");
    assert_eq!(answer, "50000");
}
