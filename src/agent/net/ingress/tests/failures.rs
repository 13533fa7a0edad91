//! What becomes of requests whose backend is not there, goes, breaks off or is slow.

use super::stage::{DEADLINE, Stage, echo, listener, read_all, read_until, route};
use crate::agent::net::ingress::IngressLimits;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Where nobody listens.
async fn nobody() -> SocketAddr {
    let (listener, address) = listener().await;
    drop(listener);
    address
}

async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(DEADLINE, listener.accept()).await.expect("in time").expect("accepted").0
}

#[tokio::test]
async fn a_service_without_a_ready_pod_is_unavailable_for_now() {
    let mut stage = Stage::new().await;
    stage.serve(&[]);
    let mut missing = route("missing.example", "/", "web");
    missing.target = None;
    stage.follow(vec![route("", "/", "web"), route("none.example", "/", "none"), missing], Vec::new());
    for host in ["h.example", "none.example", "missing.example"] {
        let got = stage.get(host, "/").await;
        assert!(got.starts_with("HTTP/1.1 503 ") && got.contains("\r\nretry-after: 1\r\n"), "{host}: {got}");
    }
}

#[tokio::test]
async fn a_pod_that_cannot_be_connected_to_costs_no_request_whatever_its_method() {
    let mut stage = Stage::new().await;
    stage.serve(&[nobody().await, echo("web").await]);
    for _ in 0..6 {
        let got = stage.say("POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody").await;
        assert!(got.starts_with("HTTP/1.1 200 OK") && got.ends_with("\n\nbody"), "{got}");
    }
    stage.serve(&[nobody().await, nobody().await]);
    let got = stage.get("h", "/").await;
    assert!(got.starts_with("HTTP/1.1 502 ") && got.contains("the service could not be reached"), "{got}");
    assert!(!got.contains("127.0.0.1") && !got.contains("refused"), "{got}");
}

#[tokio::test]
async fn a_request_that_was_sent_on_a_new_connection_is_never_sent_again() {
    let mut stage = Stage::new().await;
    let (first, address) = listener().await;
    let (second, other) = listener().await;
    stage.serve(&[address, other]);
    let answers = tokio::spawn(async move {
        let mut stream = tokio::select! {
            accepted = first.accept() => accepted,
            accepted = second.accept() => accepted,
        }
        .expect("accepted")
        .0;
        read_until(&mut stream, "\r\n\r\n").await;
        drop(stream);
        (first, second)
    });
    let got = stage.get("h", "/").await;
    assert!(got.starts_with("HTTP/1.1 502 ") && got.contains("ended the connection before it answered"), "{got}");
    let (first, second) = answers.await.expect("asked once");
    let again = async {
        tokio::select! {
            _ = first.accept() => (),
            _ = second.accept() => (),
        }
    };
    assert!(futures_util::FutureExt::now_or_never(again).is_none(), "it was sent a second time");
}

/// A backend that answers one request on its first connection, reads a second one there and breaks off; then it answers one on a
/// second connection.
async fn forgetful(listener: TcpListener) {
    let mut stream = accept(&listener).await;
    read_until(&mut stream, "\r\n\r\n").await;
    stream.write_all(OK).await.expect("written");
    read_until(&mut stream, "\r\n\r\n").await;
    drop(stream);
    let mut stream = accept(&listener).await;
    read_until(&mut stream, "\r\n\r\n").await;
    stream.write_all(OK).await.expect("written");
    read_all(&mut stream).await;
}

#[tokio::test]
async fn a_kept_connection_that_ends_at_a_request_costs_none_that_may_be_repeated() {
    for (method, length, expected) in [("GET", "", "HTTP/1.1 200 "), ("POST", "content-length: 0\r\n", "HTTP/1.1 502 ")] {
        let mut stage = Stage::new().await;
        let (listener, address) = listener().await;
        stage.serve(&[address]);
        let backend = tokio::spawn(forgetful(listener));
        assert!(stage.get("h", "/").await.ends_with("ok"));
        stage.kept().await;
        let got = stage.say(&format!("{method} / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{length}\r\n")).await;
        assert!(got.starts_with(expected), "{method}: {got}");
        backend.abort();
    }
}

#[tokio::test]
async fn a_kept_connection_that_has_ended_is_not_used() {
    let mut stage = Stage::new().await;
    let (listener, address) = listener().await;
    stage.serve(&[address]);
    tokio::spawn(async move {
        loop {
            let mut stream = accept(&listener).await;
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(OK).await.expect("written");
        }
    });
    for _ in 0..20 {
        let got = stage.say("POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        assert!(got.starts_with("HTTP/1.1 200 ") && got.ends_with("ok"), "{got}");
    }
}

#[tokio::test]
async fn a_pod_that_leaves_gets_no_new_request_and_its_kept_connections_close() {
    let mut stage = Stage::new().await;
    let (leaving, address) = listener().await;
    stage.serve(&[address]);
    let mut running = TcpStream::connect(stage.http).await.expect("connected");
    running.write_all(b"GET /running HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.expect("written");
    let mut busy = accept(&leaving).await;
    read_until(&mut busy, "\r\n\r\n").await;
    let answered = tokio::spawn(async move {
        let mut stream = accept(&leaving).await;
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(OK).await.expect("written");
        (stream, leaving)
    });
    assert!(stage.get("h", "/").await.ends_with("ok"));
    stage.kept().await;
    let (mut idle, leaving) = answered.await.expect("answered");
    stage.serve(&[echo("stays").await]);
    assert_eq!(read_all(&mut idle).await, "", "the connection that was kept is closed");
    for _ in 0..5 {
        assert!(stage.get("h", "/").await.contains("stays\n"));
    }
    assert!(futures_util::FutureExt::now_or_never(leaving.accept()).is_none(), "somebody was sent to a pod that has left");
    busy.write_all(OK).await.expect("written");
    assert!(read_all(&mut running).await.ends_with("ok"), "a request that runs there ends");
    let mut byte = [0];
    let end = timeout(DEADLINE, busy.read(&mut byte)).await.expect("in time");
    assert!(matches!(end, Ok(0) | Err(_)), "and its connection is not kept");
}

#[tokio::test]
async fn who_is_slow_is_told_so() {
    let limits = IngressLimits { silence: Duration::from_millis(100), ..IngressLimits::default() };
    let mut stage = Stage::with(limits, Vec::new()).await;
    let (listener, address) = listener().await;
    stage.serve(&[address]);
    let got = stage.get("h", "/").await;
    assert!(got.starts_with("HTTP/1.1 504 ") && got.contains("has not answered in time"), "{got}");
    let got = stage.say("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nhalf").await;
    assert!(got.starts_with("HTTP/1.1 408 ") && got.contains("\r\nconnection: close\r\n"), "{got}");
    drop(listener);
}
