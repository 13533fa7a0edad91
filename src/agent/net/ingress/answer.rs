//! Answers of our own: plain words for the client, and nothing about what is behind us.

use super::body::Answer;
use http_body_util::{Either, Full};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

/// Why a request is not passed on, or its answer not passed back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It does not say for which host it is, or says so twice.
    BadHost,
    /// Its path leads upwards.
    BadPath,
    /// CONNECT and TRACE are about proxies, which this is not to its clients.
    BadMethod,
    /// No rule is for it.
    NoRule,
    /// The Service has no pod that is ready.
    NoEndpoint,
    /// No pod could be connected to.
    Unreachable,
    /// The pod ended the connection instead of answering.
    Broken,
    /// The pod has not answered in time.
    TooSlow,
    /// The client has not sent its body in time.
    ClientTooSlow,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::BadHost | Self::BadPath => StatusCode::BAD_REQUEST,
            Self::BadMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoRule => StatusCode::NOT_FOUND,
            Self::NoEndpoint => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable | Self::Broken => StatusCode::BAD_GATEWAY,
            Self::TooSlow => StatusCode::GATEWAY_TIMEOUT,
            Self::ClientTooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::BadHost => "the request must name one host",
            Self::BadPath => "the path of the request must not lead upwards",
            Self::BadMethod => "this method is not served",
            Self::NoRule => "nothing is served for this host and path",
            Self::NoEndpoint => "the service is not ready; try again in a moment",
            Self::Unreachable => "the service could not be reached",
            Self::Broken => "the service ended the connection before it answered",
            Self::TooSlow => "the service has not answered in time",
            Self::ClientTooSlow => "the body of the request has not come in time",
        }
    }

    /// The answer.
    pub(super) fn answer(self) -> Response<Answer> {
        let mut answer = plain(self.status(), self.words());
        match self {
            Self::NoEndpoint => drop(answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"))),
            Self::ClientTooSlow => drop(answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"))),
            Self::BadMethod => {
                let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
                answer.headers_mut().insert(header::ALLOW, allowed);
            }
            Self::BadHost | Self::BadPath | Self::NoRule | Self::Unreachable | Self::Broken | Self::TooSlow => {}
        }
        answer
    }
}

/// Sends the client to where the same is served with TLS; the method and the body stay what they are.
pub(super) fn redirect(location: HeaderValue) -> Response<Answer> {
    let mut answer = plain(StatusCode::PERMANENT_REDIRECT, "this is served with TLS");
    answer.headers_mut().insert(header::LOCATION, location);
    answer
}

fn plain(status: StatusCode, words: &str) -> Response<Answer> {
    let text = format!("{} {}: {words}\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let mut answer = Response::new(Either::Right(Full::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
