//! Clients that mean no good: two readings of one message, endless headers, floods.

use super::stage::{DEADLINE, Stage, certificate, echo, listener, read_all, read_until, route};
use super::tls::connect;
use crate::agent::net::ingress::IngressLimits;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What the backend of a hostile request reads before its connection ends; empty if it was not asked.
async fn seen(bytes: &str) -> (String, String) {
    let mut stage = Stage::new().await;
    let (listener, address) = listener().await;
    stage.serve(&[address]);
    let backend = tokio::spawn(async move {
        let Ok((mut stream, _)) = listener.accept().await else { return String::new() };
        let mut seen = read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await.expect("written");
        seen.push_str(&read_all(&mut stream).await);
        seen
    });
    let mut client = TcpStream::connect(stage.http).await.expect("connected");
    let bytes = bytes.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    client.write_all(bytes.as_bytes()).await.expect("written");
    let got = read_all(&mut client).await;
    if got.starts_with("HTTP/1.1 200 ") {
        return (got, timeout(DEADLINE, backend).await.expect("in time").expect("a backend"));
    }
    backend.abort();
    (got, String::new())
}

#[tokio::test]
async fn a_message_with_two_readings_is_refused_or_passed_on_with_one() {
    for (name, bytes) in [
        ("two lengths", "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nbody."),
        ("a list of lengths", "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 4, 5\r\n\r\nbody."),
        ("a signed length", "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: +4\r\n\r\nbody"),
        ("a length that is none", "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0x4\r\n\r\nbody"),
        ("chunked, but not at the end", "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        ("an unknown coding", "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("chunks in HTTP/1.0", "POST / HTTP/1.0\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("a space before the colon", "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n"),
        ("a folded field", "POST / HTTP/1.1\r\nhost: h\r\nx: a\r\n transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("a NUL", "GET / HTTP/1.1\r\nhost: h\r\nx: a\0b\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
        ("no host", "GET / HTTP/1.1\r\nx: y\r\n\r\n"),
        ("a host with a user", "GET / HTTP/1.1\r\nhost: a@b\r\n\r\n"),
        ("a way upwards", "GET /a/../admin HTTP/1.1\r\nhost: h\r\n\r\n"),
        ("a way upwards in disguise", "GET /a/%2e%2e/admin HTTP/1.1\r\nhost: h\r\n\r\n"),
    ] {
        let (got, seen) = seen(bytes).await;
        assert!(got.starts_with("HTTP/1.1 400 ") || got.starts_with("HTTP/1.0 400 "), "{name}: {got}");
        assert_eq!(seen, "", "{name}");
    }
}

#[tokio::test]
async fn of_chunks_and_a_length_the_chunks_count_and_the_length_goes_no_further() {
    for order in ["content-length: 6\r\ntransfer-encoding: chunked\r\n", "transfer-encoding: chunked\r\ncontent-length: 6\r\n"] {
        let bytes = format!("POST / HTTP/1.1\r\nhost: h\r\n{order}\r\n3\r\nabc\r\n0\r\n\r\n");
        let (got, seen) = seen(&bytes).await;
        if got.starts_with("HTTP/1.1 400 ") {
            continue;
        }
        assert!(got.starts_with("HTTP/1.1 200 "), "{got}");
        let seen = seen.to_lowercase();
        assert!(!seen.contains("content-length") && seen.matches("transfer-encoding: chunked").count() == 1, "{seen}");
        assert!(seen.ends_with("3\r\nabc\r\n0\r\n\r\n"), "{seen}");
    }
}

#[tokio::test]
async fn what_follows_a_body_is_a_request_of_its_own() {
    let mut stage = Stage::new().await;
    stage.lead("web", &[echo("web").await]);
    stage.lead("admin", &[echo("admin").await]);
    stage.follow(vec![route("", "/", "web"), route("admin.example", "/", "admin")], Vec::new());
    let hidden = "GET /hidden HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    let got = stage.say(&format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\nbody{hidden}")).await;
    assert_eq!(got.matches("HTTP/1.1 200 OK").count(), 2, "{got}");
    assert!(got.contains("web\nPOST / ") && got.contains("web\nGET /hidden "), "{got}");
    let swallowed =
        format!("POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{hidden}", hidden.len());
    let got = stage.say(&swallowed).await;
    assert_eq!(got.matches("HTTP/1.1 200 OK").count(), 1, "{got}");
}

#[tokio::test]
async fn chunks_that_are_none_end_the_connection_and_the_pod_gets_no_whole_body() {
    for bad in ["zz\r\nabc\r\n0\r\n\r\n", "-3\r\nabc\r\n0\r\n\r\n", "fffffffffffffffff\r\nabc", "3\r\nabcX\r\n0\r\n\r\n", "3 \n"]
    {
        let mut stage = Stage::new().await;
        stage.serve(&[echo("web").await]);
        let got = stage.say(&format!("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n{bad}{bad}")).await;
        assert!(!got.contains("200 OK"), "{bad:?}: {got}");
    }
}

#[tokio::test]
async fn the_target_of_a_request_is_where_it_goes_whatever_its_host_field_says() {
    let mut stage = Stage::new().await;
    stage.lead("web", &[echo("web").await]);
    stage.lead("admin", &[echo("admin").await]);
    stage.follow(vec![route("web.example", "/", "web"), route("admin.example", "/", "admin")], Vec::new());
    let got = stage.say("GET http://web.example/x HTTP/1.1\r\nhost: admin.example\r\nconnection: close\r\n\r\n").await;
    assert!(got.contains("web\nGET /x HTTP/1.1\n") && got.contains("\nhost: web.example\n"), "{got}");
    for method in ["CONNECT web.example:80", "TRACE /"] {
        let got = stage.say(&format!("{method} HTTP/1.1\r\nhost: web.example\r\nconnection: close\r\n\r\n")).await;
        assert!(got.starts_with("HTTP/1.1 405 ") && got.contains("\r\nallow: "), "{got}");
    }
}

#[tokio::test]
async fn a_header_may_not_be_endless_nor_come_for_ever() {
    let limits = IngressLimits { header: Duration::from_millis(200), ..IngressLimits::default() };
    let mut stage = Stage::with(limits, Vec::new()).await;
    stage.serve(&[echo("web").await]);
    let many: String = (0..200).map(|index| format!("x-{index}: y\r\n")).collect();
    let got = stage.say(&format!("GET / HTTP/1.1\r\nhost: h\r\n{many}\r\n")).await;
    assert!(got.starts_with("HTTP/1.1 431 "), "{got}");
    let got = stage.say(&format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "y".repeat(200_000))).await;
    assert!(got.starts_with("HTTP/1.1 431 ") || got.is_empty(), "{got}");
    let got = stage.say("GET / HTTP/1.1\r\nhost: h\r\nx: slow").await;
    assert!(!got.contains("200 OK"), "{got}");
}

#[tokio::test]
async fn clients_beyond_the_limit_wait_and_are_served_then() {
    let limits = IngressLimits { connections_max: 1, ..IngressLimits::default() };
    let mut stage = Stage::with(limits, Vec::new()).await;
    stage.serve(&[echo("web").await]);
    let mut first = TcpStream::connect(stage.http).await.expect("connected");
    first.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("written");
    read_until(&mut first, "\n\n").await;
    let mut second = TcpStream::connect(stage.http).await.expect("connected");
    second.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.expect("written");
    let nothing = tokio::io::AsyncReadExt::read_u8(&mut second);
    assert!(futures_util::FutureExt::now_or_never(nothing).is_none());
    drop(first);
    assert!(read_all(&mut second).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_flood_of_requests_that_are_taken_back_ends_the_connection() {
    let mut stage = Stage::new().await;
    let (_silent, address) = listener().await;
    stage.lead("web", &[address]);
    stage.follow(vec![route("", "/", "web")], vec![certificate("h.example", "cert").0]);
    let (mut stream, _) = connect(stage.https, "h.example", &["h2"]).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await.expect("written");
    // HEADERS (END_STREAM, END_HEADERS) of `GET https://h/`, and RST_STREAM (CANCEL), many times in one write.
    let mut flood = Vec::new();
    for id in (1..4_000_u32).step_by(2) {
        let head = [0x82, 0x87, 0x84, 0x41, 0x01, b'h'];
        flood.extend([0, 0, 6, 1, 5]);
        flood.extend(id.to_be_bytes());
        flood.extend(head);
        flood.extend([0, 0, 4, 3, 0]);
        flood.extend(id.to_be_bytes());
        flood.extend([0, 0, 0, 8]);
    }
    // It may be ended before all is written.
    let _ = stream.write_all(&flood).await;
    let end = read_all(&mut stream).await;
    assert!(end.contains("too_many_resets") || end.contains("too_many_internal_resets"), "{end:?}");
}
