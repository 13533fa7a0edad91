//! The page.

use super::server::Server;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// Answers with the page.
pub(super) async fn page(State(server): State<Arc<Server>>) -> Response {
    let _ = server;
    "driftless\n".into_response()
}
