//! Answers that are a "no": Kubernetes' `Status` object, so that kubectl prints the message as its own.

use axum::response::{IntoResponse, Response};
use http_body_util::Full;
use serde_json::{Value, json};

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    code: u16,
    reason: &'static str,
    message: String,
    details: Value,
}

impl Refusal {
    /// There is no such thing. `what` is the resource with its group, as kubectl names it: `deployments.apps`.
    pub(super) fn not_found(what: &str, name: &str) -> Self {
        let details = json!({ "name": name, "kind": what });
        Self { details, ..Self::new(404, "NotFound", format!("{what} \"{name}\" not found")) }
    }

    /// There is no such path.
    pub(super) fn no_such_path(path: &str) -> Self {
        Self::new(404, "NotFound", format!("the server could not find the requested resource: {path} is not served here"))
    }

    /// The cluster is not changed over HTTP.
    pub(super) fn read_only() -> Self {
        let message =
            "driftless is read-only here: the cluster runs what git says. To change it, edit the manifests and push a commit";
        Self::new(405, "MethodNotAllowed", message)
    }

    /// A connection into a pod.
    pub(super) fn no_way_in(instead: &str) -> Self {
        Self::new(403, "Forbidden", format!("driftless opens no connections into pods from here: {instead}"))
    }

    /// The client wants a form that we do not speak.
    pub(super) fn not_acceptable(accept: &str) -> Self {
        let message = format!("only application/json (also as=Table) is spoken here, and the request accepts {accept:?}");
        Self::new(406, "NotAcceptable", message)
    }

    /// A query that makes no sense.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// A watch from a version that is no longer remembered; clients list again.
    pub(super) fn expired(version: &str) -> Self {
        Self::new(410, "Expired", format!("resource version {version} is too old or not of this controller: list again"))
    }

    /// A Host that is not ours.
    pub(super) fn misdirected(message: impl Into<String>) -> Self {
        Self::new(421, "MisdirectedRequest", message)
    }

    /// Something that is not there now and may be later.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// Something broke on our side.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// Too much is asked for at once.
    pub(super) fn too_many(message: impl Into<String>) -> Self {
        Self::new(429, "TooManyRequests", message)
    }

    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: json!({}) }
    }

    /// The `Status` object.
    pub(super) fn status(&self) -> Value {
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json_response(&self.status());
        *response.status_mut() =
            axum::http::StatusCode::from_u16(self.code).unwrap_or(axum::http::StatusCode::INTERNAL_SERVER_ERROR);
        if self.code == 405 {
            response.headers_mut().insert(axum::http::header::ALLOW, axum::http::HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

/// A JSON answer that no cache keeps.
pub(super) fn json_response(value: &Value) -> Response {
    let mut response = Response::new(axum::body::Body::new(Full::from(format!("{value}\n"))));
    let headers = response.headers_mut();
    headers.insert(axum::http::header::CONTENT_TYPE, axum::http::HeaderValue::from_static("application/json"));
    headers.insert(axum::http::header::CACHE_CONTROL, axum::http::HeaderValue::from_static("no-store"));
    response
}
