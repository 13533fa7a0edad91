//! Sends a container's log to the controller.

use crate::agent::runtime::{ContainerId, LogOptions, Runtime};
use crate::wire::{FromAgent, LogRequest};
use bytes::Bytes;
use futures_util::StreamExt;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Reads to the end and sends as fast as the controller takes it; the last chunk says how it ended.
pub(super) async fn send(request: LogRequest, found: Option<(Arc<dyn Runtime>, ContainerId)>, outgoing: mpsc::Sender<FromAgent>) {
    let id = request.id;
    let end = match found {
        Some((runtime, container)) => copy(&request, runtime.as_ref(), &container, &outgoing).await,
        None if request.previous => Err("the container was not restarted, or its previous log is gone".to_owned()),
        None => Err("the container has not started, so it has no log".to_owned()),
    };
    // The link is gone only at the end.
    let _ = outgoing.send(FromAgent::LogChunk { id, data: Bytes::new(), end: Some(end) }).await;
}

async fn copy(
    request: &LogRequest,
    runtime: &dyn Runtime,
    container: &ContainerId,
    outgoing: &mpsc::Sender<FromAgent>,
) -> Result<(), String> {
    let options = LogOptions {
        tail: request.tail,
        follow: request.follow,
        since: request.since.map(|since| since.moment(crate::clock::wall())),
        timestamps: request.timestamps,
    };
    let mut chunks = runtime.logs(container, options).await.map_err(|error| error.to_string())?;
    while let Some(chunk) = chunks.next().await {
        let data = chunk.map_err(|error| error.to_string())?;
        let message = FromAgent::LogChunk { id: request.id, data, end: None };
        if outgoing.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}
