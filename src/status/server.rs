//! The routes, and what the handlers share.

use super::feed::Feed;
use super::guard::{Gate, guard};
use super::logs::LogSource;
use super::refusal::{Refusal, json_response};
use super::{kube, metrics, own, page};
use crate::model::{Health, View};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the handlers share.
pub(super) struct Server {
    /// The views.
    pub(super) feed: Feed,
    /// The logs.
    pub(super) logs: Arc<dyn LogSource>,
    /// Ends open streams.
    pub(super) shutdown: CancellationToken,
    /// Where we listen.
    pub(super) address: SocketAddr,
}

impl Server {
    /// A server over these views and logs.
    pub(super) fn new(
        views: watch::Receiver<Arc<View>>,
        logs: Arc<dyn LogSource>,
        shutdown: CancellationToken,
        address: SocketAddr,
    ) -> Self {
        Self { feed: Feed::new(views), logs, shutdown, address }
    }

    /// The routes, behind the guard.
    pub(super) fn router(self) -> Router {
        let gate = Gate { address: self.address };
        Router::new()
            .route("/", get(page::page))
            .route("/healthz", get(healthz))
            .route("/livez", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics::metrics))
            .route("/version", get(|| async { json_response(&kube::version()) }))
            .route("/api", get(kube::answer))
            .route("/api/{*path}", get(kube::answer))
            .route("/apis", get(kube::answer))
            .route("/apis/{*path}", get(kube::answer))
            .nest("/driftless/v1", own::routes())
            .fallback(nothing_here)
            .layer(axum::middleware::from_fn_with_state(gate, guard))
            .with_state(Arc::new(self))
    }
}

async fn nothing_here(uri: Uri) -> Response {
    Refusal::no_such_path(uri.path()).into_response()
}

/// The process answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// The controller acts; anything else is 503 with the reason.
async fn readyz(State(server): State<Arc<Server>>) -> Response {
    let view = server.feed.current();
    let (word, sentence) = super::words::health(&view.health);
    match view.health {
        Health::Acting => "ok\n".into_response(),
        Health::Starting | Health::Holding(_) | Health::StoodDown(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{word}: {sentence}\n")).into_response()
        }
    }
}
