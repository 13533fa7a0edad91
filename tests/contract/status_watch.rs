//! Watches and server-sent events, on a made-up view that changes.

use super::status_server::TestServer;
use driftless::model::Kind;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;

/// A stream of lines, the framing of chunks left out.
struct Lines(BufReader<TcpStream>);

impl Lines {
    fn of(server: &TestServer, path: &str, accept: &str) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\n\r\n", server.address);
        Lines(BufReader::new(server.open(&request)))
    }

    /// The next line that starts with `start`.
    fn next(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.0.read_line(&mut line).expect("the next line arrives in time");
            assert!(read > 0, "the stream ended before a line with {start:?}");
            if line.starts_with(start) {
                return line;
            }
        }
    }

    fn event(&mut self) -> (String, Value) {
        let event: Value = serde_json::from_str(&self.next("{")).expect("JSON");
        (event["type"].as_str().unwrap_or("").to_owned(), event["object"].clone())
    }
}

#[test]
fn a_watch_tells_what_is_there_then_what_is_added_changed_and_gone() {
    let server = TestServer::start();
    let mut lines = Lines::of(&server, "/apis/apps/v1/deployments?watch=true", "application/json");
    let (word, web) = lines.event();
    assert_eq!((word.as_str(), &web["metadata"]["name"]), ("ADDED", &Value::from("web")));

    server.change(|view| view.workloads.values_mut().for_each(|state| state.ready = 2));
    let (word, web) = lines.event();
    assert_eq!((word.as_str(), &web["status"]["readyReplicas"]), ("MODIFIED", &Value::from(2)));
    assert_eq!(web["metadata"]["resourceVersion"], "42");

    server.change(|view| view.objects.retain(|key, _| key.kind != Kind::Deployment));
    let (word, web) = lines.event();
    assert_eq!((word.as_str(), &web["metadata"]["name"]), ("DELETED", &Value::from("web")));
}

#[test]
fn a_watch_goes_on_from_the_version_of_a_list_and_repeats_nothing() {
    let server = TestServer::start();
    let version =
        server.get("/api/v1/pods").json()["metadata"]["resourceVersion"].as_str().map(str::to_owned).expect("a version");
    server.change(|view| view.pods.truncate(4));
    let path = format!("/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion={version}");
    let mut lines = Lines::of(&server, &path, "application/json");
    let (word, pod) = lines.event();
    assert_eq!((word.as_str(), &pod["metadata"]["name"]), ("DELETED", &Value::from("api-333333-tfxsc")));
    let (word, mark) = lines.event();
    assert_eq!((word.as_str(), &mark["metadata"]["resourceVersion"]), ("BOOKMARK", &Value::from("42")));
}

#[test]
fn a_watch_from_a_forgotten_version_is_told_to_list_again() {
    let server = TestServer::start();
    let answer = server.get("/api/v1/pods?watch=true&resourceVersion=7");
    assert_eq!((answer.status, &answer.json()["reason"]), (410, &Value::from("Expired")));
}

#[test]
fn a_watch_of_a_table_sends_rows() {
    let server = TestServer::start();
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let mut lines = Lines::of(&server, "/api/v1/nodes?watch=true&fieldSelector=metadata.name%3Dtwo", table);
    let (word, table) = lines.event();
    assert_eq!((word.as_str(), &table["kind"]), ("ADDED", &Value::from("Table")));
    assert_eq!(table["rows"][0]["cells"][0], "two");
}

#[test]
fn the_stream_sends_the_status_now_and_at_every_change() {
    let server = TestServer::start();
    let mut lines = Lines::of(&server, "/driftless/v1/stream", "text/event-stream");
    assert!(lines.next("data:").contains("\"version\":41"));
    server.change(|view| view.problems.clear());
    let next = lines.next("data:");
    assert!(next.contains("\"version\":42") && next.contains("\"problems\":0"), "{next}");
}

#[test]
fn open_streams_end_when_the_server_is_shut_down() {
    let server = TestServer::start();
    let mut lines = Lines::of(&server, "/driftless/v1/stream", "text/event-stream");
    lines.next("data:");
    drop(server);
    let mut rest = String::new();
    while lines.0.read_line(&mut rest).expect("the stream ends in time") > 0 {}
}
