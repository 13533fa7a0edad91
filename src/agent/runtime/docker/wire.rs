//! Reading from the Engine without a closed schema: one GET, one JSON value.
//!
//! bollard reads answers into types with closed enums; lists and inspections go through here instead.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Until an answer must be there. The Engine answers reads in milliseconds, but a loaded disk can hold it up.
const PATIENCE: Duration = Duration::from_secs(60);

/// No answer that we ask for is larger: a list of 10,000 containers is about 30 MB.
const ANSWER_BYTES_MAX: usize = 128 << 20;

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Timeout,
    #[error("the connection broke: {0}")]
    Broken(Box<dyn Error + Send + Sync>),
    #[error("{message}")]
    Refused { status: StatusCode, message: String },
    #[error("an answer that cannot be understood: {0}")]
    Answer(serde_json::Error),
}

/// Asks for `path` (with the API version in it) and reads the answer.
pub(super) async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, ReadError> {
    let (status, body) = timeout(PATIENCE, exchange(socket, path)).await.map_err(|_| ReadError::Timeout)??;
    if !status.is_success() {
        return Err(ReadError::Refused { status, message: message_of(&body) });
    }
    serde_json::from_slice(&body).map_err(ReadError::Answer)
}

async fn exchange(socket: &Path, path: &str) -> Result<(StatusCode, Bytes), ReadError> {
    let stream = UnixStream::connect(socket).await.map_err(ReadError::Connect)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| ReadError::Broken(error.into()))?;
    // It ends with the sender; what goes wrong on it is seen by the request.
    tokio::spawn(connection);
    let request = Request::get(path).header(header::HOST, "docker").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| ReadError::Broken(error.into()))?;
    let response = sender.send_request(request).await.map_err(|error| ReadError::Broken(error.into()))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(ReadError::Broken)?;
    Ok((status, body.to_bytes()))
}

/// The Engine's errors are `{"message": …}`; other servers behind the socket may say anything.
fn message_of(body: &[u8]) -> String {
    let value: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = value.as_ref().and_then(|value| value.get("message")).and_then(|message| message.as_str());
    message.map_or_else(|| String::from_utf8_lossy(body).trim().to_owned(), str::to_owned)
}

/// Percent-encodes a part of a path or query (RFC 3986: all but unreserved characters).
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
