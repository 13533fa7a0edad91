//! What is passed on, and back.

use super::stage::{
    DEADLINE, Stage, certificate, echo, h2c_echo, h2c_route, http2_client, listener, read_all, read_until, route,
};
use super::tls::connect;
use crate::agent::net::ingress::{Ingress, IngressLimits, IngressSettings};
use crate::agent::net::{Problems, Proxy, Setup};
use crate::model::{IngressTable, NodeName};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode, Version};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

#[tokio::test]
async fn a_request_goes_to_the_service_of_its_rule_and_the_pod_hears_who_asks() {
    let mut stage = Stage::new().await;
    let (web, api) = (echo("web").await, echo("api").await);
    stage.lead("web", &[web]);
    stage.lead("api", &[api]);
    stage.follow(vec![route("shop.example", "/", "web"), route("shop.example", "/api", "api")], Vec::new());
    let got = stage.get("Shop.Example:8080", "/api/v1?x=%2F%20").await;
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
    for expected in [
        "api\nGET /api/v1?x=%2F%20 HTTP/1.1\n",
        "\nhost: Shop.Example:8080\n",
        "\nx-forwarded-for: 127.0.0.1\n",
        "\nx-forwarded-proto: http\n",
        "\nx-forwarded-host: Shop.Example:8080\n",
        "\nx-real-ip: 127.0.0.1\n",
        "\nx-request-id: ",
        &format!("\nx-forwarded-port: {}\n", stage.http.port()),
    ] {
        assert!(got.contains(expected), "{expected:?} in {got}");
    }
    let seen = got.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    assert!(!seen.contains("connection: "), "{got}");
    assert!(stage.get("shop.example", "/apis").await.contains("web\nGET /apis "));
    let missing = stage.get("other.example", "/").await;
    assert!(missing.starts_with("HTTP/1.1 404 ") && missing.contains("nothing is served for this host and path"), "{missing}");
}

#[tokio::test]
async fn a_trusted_proxy_speaks_for_its_client() {
    let mut stage = Stage::with(IngressLimits::default(), vec!["127.0.0.0/8".parse().expect("a range")]).await;
    let mut secure = route("", "/", "web");
    secure.to_https = true;
    stage.lead("web", &[echo("web").await]);
    stage.follow(vec![secure], Vec::new());
    let told = "x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\n";
    let got = stage.say(&format!("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{told}\r\n")).await;
    for expected in ["\nx-forwarded-for: 203.0.113.9, 127.0.0.1\n", "\nx-real-ip: 203.0.113.9\n", "\nx-forwarded-proto: https\n"]
    {
        assert!(got.contains(expected), "{expected:?} in {got}");
    }
    assert!(stage.get("h", "/").await.starts_with("HTTP/1.1 308 "));
}

#[tokio::test]
async fn one_connection_of_a_client_carries_many_requests_and_one_to_a_pod_too() {
    let mut stage = Stage::new().await;
    let (listener, address) = listener().await;
    stage.serve(&[address]);
    let backend = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("one connection");
        for _ in 0..3 {
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("written");
        }
        stream
    });
    let mut client = TcpStream::connect(stage.http).await.expect("connected");
    for _ in 0..3 {
        client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("written");
        read_until(&mut client, "\r\n\r\nok").await;
        // The answer is there before the connection is kept; a request in between would open another.
        stage.kept().await;
    }
    backend.await.expect("the same connection each time");
}

#[tokio::test]
async fn bodies_pass_part_by_part_in_both_directions() {
    let mut stage = Stage::new().await;
    let (listener, address) = listener().await;
    stage.serve(&[address]);
    let mut client = TcpStream::connect(stage.http).await.expect("connected");
    client.write_all(b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await.expect("written");
    let (mut backend, _) = timeout(DEADLINE, listener.accept()).await.expect("in time").expect("accepted");
    read_until(&mut backend, "\r\n\r\n5\r\nfirst\r\n").await;
    backend.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await.expect("written");
    read_until(&mut client, "\r\n\r\n3\r\none\r\n").await;
    client.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.expect("written");
    read_until(&mut backend, "6\r\nsecond\r\n0\r\n\r\n").await;
    backend.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.expect("written");
    read_until(&mut client, "3\r\ntwo\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn a_slow_reader_slows_the_sender_down() {
    const FAR_TOO_MUCH: usize = 64 * 1024 * 1024;
    let mut stage = Stage::new().await;
    let (listener, address) = listener().await;
    stage.serve(&[address]);
    let mut client = TcpStream::connect(stage.http).await.expect("connected");
    client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("written");
    let (mut backend, _) = timeout(DEADLINE, listener.accept()).await.expect("in time").expect("accepted");
    read_until(&mut backend, "\r\n\r\n").await;
    backend.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {FAR_TOO_MUCH}\r\n\r\n").as_bytes()).await.expect("written");
    let part = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    while let Ok(written) = timeout(Duration::from_millis(500), backend.write(&part)).await {
        sent += written.expect("written");
        assert!(sent < FAR_TOO_MUCH, "everything was taken though nobody reads");
    }
    read_until(&mut client, "\r\n\r\nxxx").await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    let mut stage = Stage::new().await;
    let (listener, address) = listener().await;
    stage.serve(&[address]);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await.expect("written");
    });
    let got = stage.get("h", "/").await;
    assert!(got.contains("3\r\none\r\n") && !got.ends_with("0\r\n\r\n"), "{got}");
}

#[tokio::test]
async fn a_connection_becomes_a_websocket_and_carries_both_ways() {
    let mut stage = Stage::new().await;
    let (listener, address) = listener().await;
    stage.serve(&[address]);
    let backend = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let head = read_until(&mut stream, "\r\n\r\n").await;
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: yes\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.expect("written");
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.expect("echoed");
        to.shutdown().await.expect("ended");
        head
    });
    let mut client = TcpStream::connect(stage.http).await.expect("connected");
    let asked =
        "GET /chat HTTP/1.1\r\nhost: h\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: k\r\n\r\n";
    client.write_all(asked.as_bytes()).await.expect("written");
    let head = read_until(&mut client, "\r\n\r\n").await.to_lowercase();
    for expected in ["http/1.1 101 ", "\r\nupgrade: websocket\r\n", "\r\nconnection: upgrade\r\n", "sec-websocket-accept: yes"] {
        assert!(head.contains(expected), "{expected:?} in {head}");
    }
    client.write_all(b"\x81\x05hello").await.expect("written");
    let mut frame = [0; 7];
    timeout(DEADLINE, client.read_exact(&mut frame)).await.expect("in time").expect("echoed");
    assert_eq!(&frame, b"\x81\x05hello");
    client.shutdown().await.expect("ended");
    assert_eq!(read_all(&mut client).await, "");
    let seen = backend.await.expect("a backend").to_lowercase();
    assert!(seen.contains("\r\nupgrade: websocket\r\n") && seen.contains("\r\nconnection: upgrade\r\n"), "{seen}");
}

#[tokio::test]
async fn an_upgrade_that_the_pod_declines_is_an_answer_like_others() {
    let mut stage = Stage::new().await;
    stage.serve(&[echo("web").await]);
    let got = stage.say("GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n").await;
    assert!(got.starts_with("HTTP/1.1 200 OK") && got.contains("\nupgrade: websocket\n"), "{got}");
    let got =
        stage.say("GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade, close\r\nupgrade: h2c\r\nhttp2-settings: x\r\n\r\n").await;
    assert!(got.starts_with("HTTP/1.1 200 OK") && !got.contains("\nupgrade: "), "{got}");
}

#[tokio::test]
async fn http2_clients_reach_http1_pods_with_trailers_and_without_connection_fields() {
    let mut stage = Stage::new().await;
    let (listener, address) = listener().await;
    stage.lead("web", &[address]);
    stage.follow(vec![route("h.example", "/", "web")], vec![certificate("h.example", "cert").0]);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let head = read_until(&mut stream, "\r\n\r\n").await.to_lowercase();
        assert!(head.starts_with("post /x http/1.1\r\n") && head.contains("\r\nhost: h.example\r\n"), "{head}");
        assert!(head.contains("\r\nx-forwarded-proto: https\r\n") && head.contains("\r\nte: trailers\r\n"), "{head}");
        read_until(&mut stream, "4\r\nbody\r\n0\r\n\r\n").await;
        let answer = "HTTP/1.1 200 OK\r\nconnection: x-once\r\nx-once: 1\r\nkeep-alive: timeout=5\r\ntransfer-encoding: chunked\r\n\
                      trailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 42\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.expect("written");
        read_all(&mut stream).await
    });
    let (stream, _) = connect(stage.https, "h.example", &["h2"]).await;
    let mut client = http2_client(stream).await;
    let parts = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from("body")))]);
    let request = Request::post("https://h.example/x").header("te", "trailers").body(StreamBody::new(parts)).expect("a request");
    let response = timeout(DEADLINE, client.send_request(request)).await.expect("in time").expect("an answer");
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
    assert!(!response.headers().contains_key("x-once") && !response.headers().contains_key("keep-alive"));
    let body = timeout(DEADLINE, response.into_body().collect()).await.expect("in time").expect("a body");
    assert_eq!(body.trailers().and_then(|trailers| trailers.get("x-sum")).map(|sum| sum.as_bytes()), Some(&b"42"[..]));
    assert_eq!(body.to_bytes(), "ok");
}

#[tokio::test]
async fn grpc_passes_to_a_pod_that_speaks_http2_in_both_directions_at_once() {
    let mut stage = Stage::new().await;
    stage.lead("grpc", &[h2c_echo().await]);
    stage.follow(vec![h2c_route("h.example", "/", "grpc")], vec![certificate("h.example", "cert").0]);
    let (stream, _) = connect(stage.https, "h.example", &["h2"]).await;
    let mut client = http2_client(stream).await;
    let (parts, receiver) = mpsc::channel(1);
    let body = StreamBody::new(ReceiverStream::new(receiver).map(Ok::<_, Infallible>));
    let request = Request::post("https://h.example/echo.Echo/Talk").header("te", "trailers").body(body).expect("a request");
    let response = timeout(DEADLINE, client.send_request(request)).await.expect("in time").expect("an answer");
    assert_eq!(response.headers().get("seen-te").map(|te| te.as_bytes()), Some(&b"trailers"[..]));
    let mut body = response.into_body();
    for word in ["one", "two"] {
        parts.send(Frame::data(Bytes::from(word))).await.expect("sent");
        let frame = timeout(DEADLINE, body.frame()).await.expect("in time").expect("a frame").expect("whole");
        assert_eq!(frame.into_data().expect("data"), word);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("a value"));
    parts.send(Frame::trailers(trailers)).await.expect("sent");
    drop(parts);
    let frame = timeout(DEADLINE, body.frame()).await.expect("in time").expect("a frame").expect("whole");
    assert!(frame.into_trailers().expect("trailers").contains_key("grpc-status"));
}

#[tokio::test]
async fn requests_that_run_when_the_server_ends_get_their_answers() {
    let mut stage = Stage::new().await;
    let (listener, address) = listener().await;
    stage.serve(&[address]);
    let mut client = TcpStream::connect(stage.http).await.expect("connected");
    client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("written");
    let (mut backend, _) = timeout(DEADLINE, listener.accept()).await.expect("in time").expect("accepted");
    read_until(&mut backend, "\r\n\r\n").await;
    let http = stage.http;
    let finished = tokio::spawn(stage.ingress.finish(DEADLINE));
    let closed = async { while TcpStream::connect(http).await.is_ok() {} };
    timeout(DEADLINE, closed).await.expect("no more connections are taken");
    backend.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("written");
    let got = read_all(&mut client).await;
    assert!(got.ends_with("\r\n\r\nok"), "{got}");
    timeout(DEADLINE, finished).await.expect("in time").expect("ended");
}

#[tokio::test]
async fn a_connection_that_was_there_before_the_end_gets_an_answer_to_the_request_that_is_on_its_way() {
    let limits = IngressLimits { first: DEADLINE, ..IngressLimits::default() };
    let mut stage = Stage::with(limits, Vec::new()).await;
    stage.serve(&[echo("web").await]);
    // The second is accepted after the first, so an answer there says that both are known.
    let mut silent = TcpStream::connect(stage.http).await.expect("connected");
    assert!(stage.get("h", "/").await.starts_with("HTTP/1.1 200 OK"));
    let http = stage.http;
    let finished = tokio::spawn(stage.ingress.finish(DEADLINE));
    let closed = async { while TcpStream::connect(http).await.is_ok() {} };
    timeout(DEADLINE, closed).await.expect("no more connections are taken");
    silent.write_all(b"GET /late HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("written");
    let got = read_all(&mut silent).await;
    assert!(got.starts_with("HTTP/1.1 200 OK") && got.contains("GET /late HTTP/1.1\n"), "{got}");
    timeout(DEADLINE, finished).await.expect("in time").expect("ended");
}

#[tokio::test]
async fn a_pod_of_another_node_is_reached_by_the_way_there() {
    let mut stage = Stage::new().await;
    stage.serve(&[]);
    let port = echo("far").await.port();
    // An address that means nothing on this node.
    stage.lead_to("there", "web", &[SocketAddr::from(([192, 0, 2, 1], port))]);
    for path in ["/a", "/b"] {
        let got = stage.get("h", path).await;
        assert!(got.starts_with("HTTP/1.1 200 OK") && got.contains(&format!("far\nGET {path} HTTP/1.1\n")), "{got}");
    }
    let dialled = stage.ways.dialled();
    assert_eq!(dialled.len(), 1, "a connection to another node is kept too: {dialled:?}");
    assert_eq!((dialled[0].node.as_str(), dialled[0].port), ("there", port));
}

#[tokio::test]
async fn a_port_that_another_program_has_is_a_problem_until_it_is_free() {
    let (other, taken) = listener().await;
    let settings = IngressSettings { http: taken, https: ([127, 0, 0, 1], 0).into(), ..Stage::settings() };
    let proxy = Proxy::new(Setup::alone(NodeName::new("here")));
    let mut problems = proxy.problems();
    let ingress = Ingress::start(settings, proxy).expect("random numbers");
    assert!(TcpStream::connect(taken).await.is_ok());
    ingress.apply(&IngressTable::default());
    let words = |problems: &Problems| {
        problems.iter().map(|(listener, problem)| format!("{}: {problem}", listener.service)).collect::<Vec<String>>()
    };
    let told = timeout(DEADLINE, problems.wait_for(|problems| !problems.is_empty())).await.expect("in time");
    let told = words(&told.expect("told"));
    assert_eq!(
        told,
        [format!("Ingress all Ingresses: cannot listen on {taken}: another program has the port; `ss -ltnup` says which")]
    );
    drop(other);
    timeout(DEADLINE, problems.wait_for(Problems::is_empty)).await.expect("in time").expect("told");
    timeout(DEADLINE, ingress.addresses()).await.expect("listening");
}

#[tokio::test]
async fn an_expectation_is_met_by_us_and_the_pod_hears_nothing_of_it() {
    let mut stage = Stage::new().await;
    stage.serve(&[echo("web").await]);
    let mut client = TcpStream::connect(stage.http).await.expect("connected");
    let head = "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    client.write_all(head.as_bytes()).await.expect("written");
    read_until(&mut client, "100 Continue\r\n\r\n").await;
    client.write_all(b"body").await.expect("written");
    let got = read_all(&mut client).await;
    assert!(got.ends_with("\n\nbody") && !got.contains("expect:"), "{got}");
}

#[tokio::test]
async fn a_http_client_of_old_is_served_too() {
    let mut stage = Stage::new().await;
    stage.serve(&[echo("web").await]);
    let got = stage.say("GET /old HTTP/1.0\r\nhost: h\r\n\r\n").await;
    assert!(got.starts_with("HTTP/1.0 200 OK") && got.contains("GET /old HTTP/1.1\n"), "{got}");
}
