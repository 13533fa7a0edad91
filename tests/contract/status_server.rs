//! A status server in this process, and a small client for it.

use super::status_view;
use driftless::model::View;
use driftless::status::{LogError, LogQuery, LogSource, LogStream, serve};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A server that ends with its value.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) views: watch::Sender<Arc<View>>,
    shutdown: CancellationToken,
    runtime: Option<tokio::runtime::Runtime>,
}

impl TestServer {
    /// Serves the made-up view.
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (views, receiver) = watch::channel(Arc::new(status_view::view()));
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        runtime.spawn(async move { serve(listener, receiver, Arc::new(EchoLogs), stop).await.expect("the server ends well") });
        Self { address, views, shutdown, runtime: Some(runtime) }
    }

    /// Changes the view as a pass would.
    pub(crate) fn change(&self, change: impl FnOnce(&mut View)) {
        self.views.send_modify(|view| {
            let mut next = View::clone(view);
            next.version += 1;
            change(&mut next);
            *view = Arc::new(next);
        });
    }

    /// Lets a moment pass between two looks at something.
    pub(crate) fn pause(&self, moment: Duration) {
        if let Some(runtime) = &self.runtime {
            runtime.block_on(async { tokio::time::sleep(moment).await });
        }
    }

    /// GETs a path.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address))
    }

    /// Sends a whole request and reads until the server closes.
    pub(crate) fn ask(&self, request: &str) -> Answer {
        let mut socket = self.open(request);
        let mut text = Vec::new();
        socket.read_to_end(&mut text).expect("an answer");
        Answer::read(&String::from_utf8_lossy(&text))
    }

    /// Sends a request and leaves the answer to be read.
    pub(crate) fn open(&self, request: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).expect("the server listens");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        socket.write_all(request.as_bytes()).expect("the request is sent");
        socket
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Self { status, head: head.into(), body: if chunked { unchunk(body) } else { body.into() } }
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        whole.push_str(rest.get(..size).unwrap_or(rest));
        body = rest.get(size + 2..).unwrap_or("");
    }
    whole
}

/// A log that says what was asked for. That of a pod which is not ready yet breaks off.
struct EchoLogs;

impl LogSource for EchoLogs {
    fn logs(&self, query: LogQuery) -> BoxFuture<'_, Result<LogStream, LogError>> {
        let answer = if query.previous {
            Err(LogError::NotFound("there was no run before this one".into()))
        } else {
            let mut text = format!(
                "log of {}/{} container {:?} tail {:?} follow {}\n",
                query.namespace, query.pod, query.container, query.tail, query.follow
            );
            if query.since.is_some() || query.timestamps {
                text.push_str(&format!("since {:?} timestamps {}\n", query.since, query.timestamps));
            }
            let lost = || LogError::BrokeOff("the connection to the node was lost".into());
            let end = query.pod.starts_with("web-222222").then(|| Err(lost()));
            Ok(stream::iter([Ok(text.into())].into_iter().chain(end)).boxed())
        };
        async move { answer }.boxed()
    }
}
