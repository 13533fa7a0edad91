//! Streams, as those at their ends see them.

use super::super::window::{LINK_BYTES, LINK_WINDOW};
use super::super::{Limits, Path};
use super::pods;
use super::world::{World, soon, until};
use crate::agent::net::reach::{receive_datagram, send_datagram};
use crate::model::Protocol;
use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn what_is_said_reaches_the_pod_and_its_answer_comes_back() {
    let world = World::pair().await;
    let target = world.serve("n2", 1, Protocol::Tcp, pods::echo().await);
    let mut stream = world.stream("n1", &target).await;
    let text: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let mut heard = Vec::new();
    let say = async {
        write.write_all(&text).await.expect("said");
        write.shutdown().await.expect("ended");
    };
    let (_, length) = soon("the echo", async { tokio::join!(say, read.read_to_end(&mut heard)) }).await;
    length.expect("a regular end");
    assert!(heard == text, "{} bytes came back of {}", heard.len(), text.len());
    assert_eq!(world.status("n1", "n2").link.path, Some(Path::Direct));
}

#[tokio::test]
async fn one_side_may_end_while_the_other_still_talks() {
    let world = World::pair().await;
    let target = world.serve("n2", 1, Protocol::Tcp, pods::counts().await);
    let mut stream = world.stream("n1", &target).await;
    stream.write_all(b"twelve bytes").await.expect("said");
    stream.shutdown().await.expect("ended");
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.expect("a regular end");
    assert_eq!(answer, "12");
}

#[tokio::test]
async fn a_pod_that_breaks_off_is_seen_to_break_off() {
    let world = World::pair().await;
    let (address, mut connections) = pods::by_hand().await;
    let target = world.serve("n2", 1, Protocol::Tcp, address);
    let mut stream = world.stream("n1", &target).await;
    let pod = soon("a connection", connections.recv()).await.expect("a connection");
    pod.set_zero_linger().expect("set");
    drop(pod);
    let error = soon("a reset", stream.read(&mut [0; 8])).await.expect_err("a reset, not an end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn who_gives_up_is_seen_by_the_pod_to_break_off() {
    let world = World::pair().await;
    let (address, mut connections) = pods::by_hand().await;
    let target = world.serve("n2", 1, Protocol::Tcp, address);
    let mut stream = world.stream("n1", &target).await;
    stream.write_all(b"half a sen").await.expect("said");
    let mut pod = soon("a connection", connections.recv()).await.expect("a connection");
    let mut heard = [0; 10];
    soon("its words", pod.read_exact(&mut heard)).await.expect("read");
    drop(stream);
    let error = soon("a reset", pod.read(&mut [0; 8])).await.expect_err("a reset, not an end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_no_service_leads_to_is_refused() {
    let world = World::pair().await;
    let target = world.serve("n2", 1, Protocol::Tcp, pods::echo().await);
    let mut other_port = target.clone();
    other_port.port = target.port.wrapping_add(1);
    let error = world.dial("n1", &other_port).await.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert!(error.to_string().contains("no Service leads to that port"), "{error}");
    let udp = crate::agent::net::reach::Target { protocol: Protocol::Udp, ..target.clone() };
    assert_eq!(world.dial("n1", &udp).await.err().expect("refused").kind(), ErrorKind::PermissionDenied);
    world.stream("n1", &target).await;
}

#[tokio::test]
async fn a_pod_that_takes_no_connection_is_told_at_once() {
    let world = World::pair().await;
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address")
    };
    let target = world.serve("n2", 1, Protocol::Tcp, nobody);
    let error = world.dial("n1", &target).await.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
}

#[tokio::test]
async fn a_pod_and_a_link_take_so_many_streams_and_more_when_some_have_ended() {
    let mut world = World::new();
    world.limits = Limits { link_streams_max: 3, pod_streams_max: 2 };
    world.add("n1", true).await;
    world.add("n2", true).await;
    world.tell();
    let first = world.serve("n2", 1, Protocol::Tcp, pods::echo().await);
    let second = world.serve("n2", 2, Protocol::Tcp, pods::echo().await);
    let kept = (world.stream("n1", &first).await, world.stream("n1", &first).await);
    let error = world.dial("n1", &first).await.err().expect("refused");
    assert!(error.to_string().contains("the pod has as many connections"), "{error}");
    let other = world.stream("n1", &second).await;
    let error = world.dial("n1", &second).await.err().expect("refused");
    assert!(error.to_string().contains("between two nodes"), "{error}");
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    drop((kept, other));
    until("there is room again", async || world.dial("n1", &first).await.ok()).await;
}

#[tokio::test]
async fn datagrams_go_there_and_back() {
    let world = World::pair().await;
    let target = world.serve("n2", 1, Protocol::Udp, pods::echo_datagrams().await);
    let mut stream = world.stream("n1", &target).await;
    for datagram in [&b"one"[..], b"", &[7; 9_000]] {
        send_datagram(&mut stream, datagram).await.expect("sent");
        let back = soon("its echo", receive_datagram(&mut stream)).await.expect("received");
        assert_eq!(back.as_deref(), Some(datagram));
    }
}

#[tokio::test]
async fn readers_that_do_not_read_hold_up_nobody() {
    let world = World::pair().await;
    let (address, said) = pods::talks(16 * 1024).await;
    let talker = world.serve("n2", 1, Protocol::Tcp, address);
    let mut unread = Vec::new();
    for _ in 0..100 {
        unread.push(world.stream("n1", &talker).await);
    }
    until("all have said what they can", async || (said.load(Ordering::SeqCst) > 40_000_000).then_some(())).await;
    let echo = world.serve("n2", 2, Protocol::Tcp, pods::echo().await);
    let mut stream = world.stream("n1", &echo).await;
    for _ in 0..100 {
        stream.write_all(b"ping").await.expect("said");
        soon("an echo", stream.read_exact(&mut [0; 4])).await.expect("heard");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_thousand_streams_leave_unread_is_bounded() {
    let world = World::pair().await;
    let (address, _) = pods::talks(16 * 1024).await;
    let talker = world.serve("n2", 1, Protocol::Tcp, address);
    let mut unread = Vec::new();
    for _ in 0..1_000 {
        unread.push(world.stream("n1", &talker).await);
    }
    let received = || world.status("n1", "n2").link.bytes_received;
    until("much of it came", async || (received() > u64::from(LINK_BYTES) / 2).then_some(())).await;
    // It stands still once every window is used up, but for pings.
    // One quiet look may be a sender that had to wait for the processor.
    let (mut before, mut quiet) = (0, 0);
    until("no more comes", async || {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        quiet = if received() < before + 10_000 { quiet + 1 } else { 0 };
        before = received();
        (quiet >= 5).then_some(())
    })
    .await;
    let overhead = u64::from(LINK_WINDOW) / 20;
    assert!(received() <= u64::from(LINK_WINDOW) + overhead, "{} bytes are unread", received());
}

#[tokio::test]
async fn single_bytes_to_a_slow_reader_do_not_end_the_link() {
    let world = World::pair().await;
    let (address, mut connections) = pods::by_hand().await;
    let target = world.serve("n2", 1, Protocol::Tcp, address);
    let mut slow = world.stream("n1", &target).await;
    let mut pod = soon("a connection", connections.recv()).await.expect("a connection");
    pod.set_nodelay(true).expect("set");
    const BYTES: usize = 20_000;
    for _ in 0..BYTES {
        pod.write_all(b"x").await.expect("said");
    }
    drop(pod);
    let echo = world.serve("n2", 2, Protocol::Tcp, pods::echo().await);
    let mut stream = world.stream("n1", &echo).await;
    stream.write_all(b"ping").await.expect("said");
    soon("an echo", stream.read_exact(&mut [0; 4])).await.expect("heard");
    let mut heard = Vec::new();
    soon("all of it", slow.read_to_end(&mut heard)).await.expect("a regular end");
    assert_eq!(heard.len(), BYTES);
}
