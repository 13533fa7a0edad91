//! `?watch=true`: the differences between views as a stream of events, one JSON object per line.

use super::super::server::Server;
use super::accept::Form;
use super::answer::{Wanted, stamp};
use crate::model::View;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

/// Lines that may wait for a slow reader; then the watch waits for it, and skips views meanwhile.
const LINES_MAX: usize = 256;

/// How long a watch lasts if the client names no limit, as Kubernetes ends one after half an hour to an hour.
const DEFAULT_LIMIT: Duration = Duration::from_secs(45 * 60);

/// What a watch goes on from.
pub(super) enum Start {
    /// Every object is new to the client.
    FromNothing,
    /// The client has seen this view.
    From(Arc<View>),
}

/// A watch.
pub(super) struct Watch {
    pub(super) wanted: Wanted,
    pub(super) start: Start,
    /// Whether the client understands bookmarks.
    pub(super) bookmarks: bool,
    /// Whether the end of the first objects is to be marked.
    pub(super) mark_initial: bool,
    /// When it ends.
    pub(super) limit: Option<Duration>,
}

type Known = BTreeMap<(String, String), Value>;

/// Starts a watch and answers with its stream.
pub(super) fn stream(server: &Server, watch: Watch) -> Response {
    let (lines, receiver) = mpsc::channel(LINES_MAX);
    let views = server.feed.subscribe();
    let limit = watch.limit.unwrap_or(DEFAULT_LIMIT);
    let shutdown = server.shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = watch.follow(views, lines.clone()) => {}
            () = lines.closed() => {}
            () = tokio::time::sleep(limit) => {}
            () = shutdown.cancelled() => {}
        }
    });
    let body = Body::from_stream(ReceiverStream::new(receiver).map(Ok::<Bytes, Infallible>));
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Watch {
    async fn follow(self, mut views: watch::Receiver<Arc<View>>, lines: mpsc::Sender<Bytes>) {
        let mut known = match &self.start {
            Start::FromNothing => Known::new(),
            Start::From(view) => self.known(view),
        };
        let mut initial = matches!(self.start, Start::FromNothing) && self.mark_initial;
        while views.changed().await.is_ok() {
            let view = Arc::clone(&views.borrow_and_update());
            let version = view.version.to_string();
            let next = self.known(&view);
            for line in self.differences(&known, &next, &version).into_iter().chain(self.bookmark(&version, initial)) {
                if lines.send(line).await.is_err() {
                    return;
                }
            }
            (known, initial) = (next, false);
        }
    }

    fn known(&self, view: &View) -> Known {
        let name = |object: &Value, field: &str| object["metadata"][field].as_str().unwrap_or("").to_owned();
        let objects = self.wanted.objects(view).into_iter();
        objects.map(|object| ((name(&object, "namespace"), name(&object, "name")), object)).collect()
    }

    fn differences(&self, old: &Known, new: &Known, version: &str) -> Vec<Bytes> {
        let gone = old.iter().filter(|(key, _)| !new.contains_key(*key)).map(|(_, object)| ("DELETED", object));
        let here = new.iter().filter_map(|(key, object)| match old.get(key) {
            None => Some(("ADDED", object)),
            Some(before) if before != object => Some(("MODIFIED", object)),
            Some(_) => None,
        });
        gone.chain(here).map(|(word, object)| self.line(word, object.clone(), version)).collect()
    }

    fn line(&self, word: &str, mut object: Value, version: &str) -> Bytes {
        stamp(&mut object, version);
        Bytes::from(format!("{}\n", json!({ "type": word, "object": self.wanted.shape(&object, version) })))
    }

    /// Tells the client how far it has come, so that it can go on from there. Tables have none.
    fn bookmark(&self, version: &str, initial: bool) -> Option<Bytes> {
        if !self.bookmarks || self.wanted.form == Form::Table {
            return None;
        }
        let facts = self.wanted.resource.facts();
        let mut metadata = json!({ "resourceVersion": version });
        if initial {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let object = json!({ "kind": facts.kind, "apiVersion": facts.group.to_string(), "metadata": metadata });
        Some(Bytes::from(format!("{}\n", json!({ "type": "BOOKMARK", "object": object }))))
    }
}
