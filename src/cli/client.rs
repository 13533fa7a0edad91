//! Asking a running controller, for the commands that do.

use super::{CliError, CliResult};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::future::Future;

/// Which controller to ask.
#[derive(Debug, Clone, Args)]
pub(super) struct ServerArgs {
    /// Address of the controller's read-only API
    #[arg(long, value_name = "HOST:PORT", env = "DRIFTLESS_SERVER", default_value = "127.0.0.1:7780")]
    pub(super) server: String,
}

impl ServerArgs {
    /// The server as a URL without a slash at its end.
    pub(super) fn url(&self) -> String {
        let server = self.server.trim_end_matches('/');
        if server.contains("://") { server.to_owned() } else { format!("http://{server}") }
    }
}

/// A client of one server.
pub(super) struct Client {
    url: String,
    http: HttpClient<HttpConnector, Empty<Bytes>>,
}

/// What an answer should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Objects.
    Json,
    /// A table that the server has made.
    Table,
}

impl Client {
    /// A client; nothing is asked yet.
    pub(super) fn new(server: &ServerArgs) -> Self {
        Self { url: server.url(), http: HttpClient::builder(TokioExecutor::new()).build_http() }
    }

    /// GETs a document.
    ///
    /// # Errors
    /// When nobody answers, or with the message of the server's refusal.
    pub(super) async fn get(&self, path: &str, form: Form) -> CliResult<Value> {
        let body = self.open(path, form).await?.into_body();
        let bytes = body.collect().await.map_err(|error| self.broke_off(error))?.to_bytes();
        serde_json::from_slice(&bytes).map_err(|error| self.not_driftless(error))
    }

    /// GETs a stream.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(super) async fn open(&self, path: &str, form: Form) -> CliResult<Response<Incoming>> {
        let accept = match form {
            Form::Json => "application/json, */*;q=0.1",
            Form::Table => "application/json;as=Table;v=v1;g=meta.k8s.io",
        };
        let request =
            Request::get(format!("{}{path}", self.url)).header("Accept", accept).header("TE", "trailers").body(Empty::new());
        let request = request.map_err(|error| {
            CliError::with_source(format!("{} is no address of a server", self.url), error)
                .hint("write --server HOST:PORT, as 127.0.0.1:7780")
        })?;
        let response = self.http.request(request).await.map_err(|error| self.nobody_there(error))?;
        if response.status() == StatusCode::OK { Ok(response) } else { Err(self.refused(response).await) }
    }

    /// What the server says in its `Status`.
    async fn refused(&self, response: Response<Incoming>) -> CliError {
        let code = response.status();
        let bytes = match response.into_body().collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return self.broke_off(error),
        };
        let status: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        match status["message"].as_str() {
            Some(message) => CliError::new(message),
            None => CliError::new(format!("{} answers {code}, and not as driftless does", self.url)),
        }
    }

    fn nobody_there(&self, error: hyper_util::client::legacy::Error) -> CliError {
        CliError::with_source(format!("no driftless answers at {}", self.url), error)
            .hint("start one with `driftless up --repo URL_OR_PATH`, or name another with --server or DRIFTLESS_SERVER")
    }

    fn broke_off(&self, error: hyper::Error) -> CliError {
        CliError::with_source(format!("the answer of {} broke off", self.url), error)
    }

    fn not_driftless(&self, error: serde_json::Error) -> CliError {
        CliError::with_source(format!("{} does not answer as driftless does", self.url), error)
            .hint("name the controller's address with --server or DRIFTLESS_SERVER")
    }
}

/// Runs a command's future to its end.
///
/// # Errors
/// The future's, or when no runtime can be made.
pub(super) fn block_on<T>(future: impl Future<Output = CliResult<T>>) -> CliResult<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CliError::with_source("cannot start the runtime", error))?.block_on(future)
}

/// A text as part of a path or query: everything but letters, digits, `-`, `.`, `_` and `~` is escaped (RFC 3986).
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_types_cannot_change_the_path() {
        assert_eq!(escaped("../x?y=z&a b"), "..%2Fx%3Fy%3Dz%26a%20b");
        assert_eq!(escaped("web-7d4b9c.x_~"), "web-7d4b9c.x_~");
    }

    #[test]
    fn a_server_may_be_written_with_or_without_its_scheme() {
        for (written, url) in [
            ("127.0.0.1:7780", "http://127.0.0.1:7780"),
            ("http://localhost:7780/", "http://localhost:7780"),
            ("[::1]:7780", "http://[::1]:7780"),
        ] {
            assert_eq!(ServerArgs { server: written.into() }.url(), url);
        }
    }
}
