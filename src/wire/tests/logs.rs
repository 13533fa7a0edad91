//! Logs over a link.

use super::links::{agent, controller};
use super::samples::{hello, uid};
use crate::wire::messages::{FromAgent, LogRequest, ToAgent};
use crate::wire::{LogError, LogStream};
use bytes::Bytes;
use futures_util::StreamExt;
use std::time::Duration;
use tokio::time::timeout;

fn request() -> LogRequest {
    LogRequest {
        id: 0,
        pod: uid(1),
        container: None,
        tail: Some(10),
        follow: true,
        previous: false,
        since: None,
        timestamps: false,
    }
}

async fn next(stream: &mut LogStream) -> Option<Result<Bytes, LogError>> {
    timeout(Duration::from_secs(20), stream.next()).await.expect("logs in time")
}

#[tokio::test]
async fn logs_that_are_asked_for_arrive_in_order_and_end() {
    let mut controller = controller();
    let mut agent = agent(&controller, hello("n1"));
    let (_, link) = controller.connected().await;
    let mut stream = link.logs(request()).expect("a reader");
    agent.told().await;
    let ToAgent::Logs(asked) = agent.told().await else { panic!("no request") };
    assert_eq!(asked, LogRequest { id: asked.id, ..request() });
    for line in ["one\n", "two\n"] {
        let chunk = FromAgent::LogChunk { id: asked.id, data: line.into(), end: None };
        agent.outgoing.send(chunk).await.expect("sent");
    }
    let end = FromAgent::LogChunk { id: asked.id, data: Bytes::new(), end: Some(Ok(())) };
    agent.outgoing.send(end).await.expect("sent");
    assert_eq!(next(&mut stream).await, Some(Ok("one\n".into())));
    assert_eq!(next(&mut stream).await, Some(Ok("two\n".into())));
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn the_agent_is_told_when_nobody_reads_any_more() {
    let mut controller = controller();
    let mut agent = agent(&controller, hello("n1"));
    let (_, link) = controller.connected().await;
    let stream = link.logs(request()).expect("a reader");
    agent.told().await;
    let ToAgent::Logs(asked) = agent.told().await else { panic!("no request") };
    drop(stream);
    assert_eq!(agent.told().await, ToAgent::CancelLogs(asked.id));
}

#[tokio::test]
async fn a_reader_hears_that_the_link_was_lost() {
    let mut controller = controller();
    let mut agent = agent(&controller, hello("n1"));
    let (_, link) = controller.connected().await;
    let mut stream = link.logs(request()).expect("a reader");
    agent.told().await;
    drop(agent);
    assert_eq!(next(&mut stream).await, Some(Err(LogError::Lost)));
    assert_eq!(link.logs(request()).err(), Some(LogError::Lost));
}

#[tokio::test]
async fn a_reader_too_many_is_refused_until_another_leaves() {
    let mut controller = controller();
    let _agent = agent(&controller, hello("n1"));
    let (_, link) = controller.connected().await;
    let mut streams: Vec<LogStream> = (0..64).map(|_| link.logs(request()).expect("a reader")).collect();
    assert_eq!(link.logs(request()).err(), Some(LogError::TooMany));
    streams.pop();
    assert!(link.logs(request()).is_ok());
}

#[tokio::test]
async fn a_reader_that_falls_too_far_behind_is_cut_off_and_the_agent_told() {
    let mut controller = controller();
    let mut agent = agent(&controller, hello("n1"));
    let (_, link) = controller.connected().await;
    let mut stream = link.logs(request()).expect("a reader");
    agent.told().await;
    let ToAgent::Logs(asked) = agent.told().await else { panic!("no request") };
    let outgoing = agent.outgoing.clone();
    let writer = tokio::spawn(async move {
        let data = Bytes::from(vec![b'x'; 64 * 1024]);
        while outgoing.send(FromAgent::LogChunk { id: asked.id, data: data.clone(), end: None }).await.is_ok() {}
    });
    assert_eq!(agent.told().await, ToAgent::CancelLogs(asked.id));
    writer.abort();
    while let Some(item) = next(&mut stream).await {
        if item.is_err() {
            assert_eq!(item, Err(LogError::Behind));
            return;
        }
    }
    panic!("the reader was not told");
}
