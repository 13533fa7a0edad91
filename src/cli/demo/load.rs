//! A constant load of HTTP requests, to see whether one of them fails.

use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

type Http = Client<HttpConnector, Empty<bytes::Bytes>>;

/// Requests one address from a few tasks, each request on a connection of its own, until it is finished.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    tasks: JoinSet<Vec<String>>,
}

/// What came of a load.
pub(super) struct LoadResult {
    /// Requests with a 200 answer.
    pub(super) answered: u64,
    /// What the others ended with.
    pub(super) failures: Vec<String>,
}

impl Load {
    /// Starts four tasks that ask `url` with a pause of 5 ms.
    pub(super) fn start(url: &str) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..4 {
            tasks.spawn(ask_on(url.to_owned(), stop.clone(), answered.clone()));
        }
        Self { stop, answered, tasks }
    }

    /// Ends it and gathers.
    pub(super) async fn finish(self) -> LoadResult {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.tasks.join_all().await.into_iter().flatten().collect();
        LoadResult { answered: self.answered.load(Ordering::Relaxed), failures }
    }
}

async fn ask_on(url: String, stop: Arc<AtomicBool>, answered: Arc<AtomicU64>) -> Vec<String> {
    let http: Http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
    let mut failures = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match ask(&http, &url).await {
            Ok(_) => {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(reason) => failures.push(reason),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    failures
}

/// The body of a 200 answer.
async fn ask(http: &Http, url: &str) -> Result<String, String> {
    let uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    let answer = tokio::time::timeout(Duration::from_secs(5), http.get(uri)).await;
    let response = answer.map_err(|_| format!("{url}: no answer within 5 s"))?.map_err(|error| format!("{url}: {error}"))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| format!("{url}: {error}"))?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() { Ok(body) } else { Err(format!("{url}: {status}: {}", body.trim())) }
}

/// The body of a 200 answer, on a connection of its own.
pub(super) async fn ask_once(url: &str) -> Result<String, String> {
    ask(&Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http(), url).await
}
