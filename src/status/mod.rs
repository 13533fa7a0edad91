//! Read-only HTTP: Kubernetes' own paths and shapes, our own under `/driftless/v1`, the page, health and metrics.
//!
//! Input: the newest [`View`], and a [`LogSource`] for pod logs. Output: answers. Invariants: nothing here changes anything
//! (GET and HEAD only), a Secret's values and literal environment values never appear, and a request whose Host is not ours is
//! refused, so that no web page can read the cluster through a rebound name.
//! What is deliberately absent: decisions, the clock for anything but an age, and every way to write.

mod feed;
mod guard;
mod kube;
mod logs;
mod metrics;
mod own;
mod page;
mod pods;
mod refusal;
mod server;
mod words;

pub use kube::{Group, Resource, ResourceFacts};
pub use logs::{LOG_ERROR, LogError, LogQuery, LogSource, LogStream};
pub use words::age_of;

use crate::model::View;
use server::Server;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The socket is not usable.
    #[error("the status server cannot use its socket")]
    Socket(#[source] std::io::Error),
}

/// Serves until `shutdown` is cancelled; open streams end then too.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    views: watch::Receiver<Arc<View>>,
    logs: Arc<dyn LogSource>,
    shutdown: CancellationToken,
) -> Result<(), StatusError> {
    let address = listener.local_addr().map_err(StatusError::Socket)?;
    let app = Server::new(views, logs, shutdown.clone(), address).router();
    axum::serve(listener, app).with_graceful_shutdown(shutdown.cancelled_owned()).await.map_err(StatusError::Socket)
}
