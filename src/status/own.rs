//! `/driftless/v1`: what Kubernetes has no word for.
//!
//! | path | answer |
//! |---|---|
//! | `status` | cluster, repo, branch, revision, health, counts |
//! | `units` | the units and what became of them |
//! | `reconciles` (also `plans`) | the last reconciles, newest first |
//! | `workloads` | the workloads and how far they are |
//! | `problems` | what wants a person's attention, worst first |
//! | `stream` | server-sent events: a `status` event whenever the view changes |

use super::pods::{self, ShownPod};
use super::refusal::json_response;
use super::server::Server;
use super::words;
use crate::model::{ObjectKey, ReconcileView, UnitName, UnitState, View, WorkloadView};
use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::wrappers::WatchStream;

/// At most so many events per second reach a page; the newest view always does.
const STREAM_PAUSE: Duration = Duration::from_millis(200);

/// The routes below `/driftless/v1`.
pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/status", get(|State(server): State<Arc<Server>>| async move { json_response(&status(&server.feed.current())) }))
        .route("/units", get(|State(server): State<Arc<Server>>| async move { json_response(&units(&server.feed.current())) }))
        .route(
            "/reconciles",
            get(|State(server): State<Arc<Server>>| async move { json_response(&reconciles(&server.feed.current())) }),
        )
        .route(
            "/plans",
            get(|State(server): State<Arc<Server>>| async move { json_response(&reconciles(&server.feed.current())) }),
        )
        .route(
            "/workloads",
            get(|State(server): State<Arc<Server>>| async move { json_response(&workloads(&server.feed.current())) }),
        )
        .route(
            "/problems",
            get(|State(server): State<Arc<Server>>| async move { json_response(&problems(&server.feed.current())) }),
        )
        .route("/stream", get(stream))
}

async fn stream(State(server): State<Arc<Server>>) -> Response {
    let views = WatchStream::new(server.feed.subscribe());
    let paced = views.then(|view| async move {
        tokio::time::sleep(STREAM_PAUSE).await;
        Ok::<Event, Infallible>(Event::default().event("status").id(view.version.to_string()).data(status(&view).to_string()))
    });
    let until = paced.take_until(server.shutdown.clone().cancelled_owned());
    Sse::new(until).keep_alive(KeepAlive::default()).into_response()
}

fn status(view: &View) -> Value {
    let (health, message) = words::health(&view.health);
    let shown = pods::all(view);
    json!({
        "cluster": view.cluster,
        "repo": view.repo,
        "branch": view.branch,
        "revision": view.revision,
        "epoch": view.epoch,
        "version": view.version,
        "at": view.at.rfc3339(),
        "health": health,
        "healthMessage": message,
        "auditQueued": view.audit_queued,
        "counts": {
            "problems": view.problems.len(),
            "unitsHeld": view.units.values().filter(|unit| unit.is_held()).count(),
            "workloads": view.workloads.len(),
            "pods": shown.len(),
            "podsReady": shown.iter().filter(|pod| pod.is_ready()).count(),
            "nodes": view.nodes.len(),
            "nodesReady": view.nodes.values().filter(|node| node.ready).count(),
        },
    })
}

fn units(view: &View) -> Value {
    let items: Vec<Value> = view.units.iter().map(|(name, state)| unit(name, state)).collect();
    json!({ "items": items })
}

fn unit(name: &UnitName, state: &UnitState) -> Value {
    match state {
        UnitState::Loaded { at, problems } => {
            json!({ "name": name, "state": "Loaded", "revision": at, "problems": problems })
        }
        UnitState::Held { at, failed, problems } => {
            json!({ "name": name, "state": "Held", "revision": at, "failed": failed, "problems": problems })
        }
    }
}

fn reconciles(view: &View) -> Value {
    let items: Vec<Value> = view.reconciles.iter().map(reconcile).collect();
    json!({ "items": items })
}

fn reconcile(reconcile: &ReconcileView) -> Value {
    json!({
        "subject": reconcile.subject,
        "body": reconcile.body,
        "revision": reconcile.revision,
        "trigger": reconcile.trigger,
        "outcome": reconcile.outcome,
        "changes": reconcile.changes,
        "plan": reconcile.plan,
        "started": reconcile.started.rfc3339(),
        "durationMs": reconcile.duration_ms,
    })
}

fn workloads(view: &View) -> Value {
    let shown = pods::all(view);
    let pods = pods::by_workload(&shown);
    let of = |key| pods.get(key).map_or(&[][..], Vec::as_slice);
    let items: Vec<Value> = view.workloads.iter().map(|(key, state)| workload(key, state, of(key))).collect();
    json!({ "items": items })
}

fn workload(key: &ObjectKey, state: &WorkloadView, pods: &[&ShownPod<'_>]) -> Value {
    let standing = words::standing(&state.progress);
    let pods: Vec<Value> = pods
        .iter()
        .map(|pod| {
            json!({
                "name": pod.name,
                "uid": pod.uid,
                "node": pod.node,
                "status": pod.word(),
                "ready": pod.is_ready(),
                "restarts": pod.restarts(),
                "templateHash": pod.hash,
                "revision": pod.revision,
                "message": pod.message(),
            })
        })
        .collect();
    json!({
        "kind": key.kind,
        "namespace": key.namespace,
        "name": key.name,
        "replicas": state.replicas,
        "updated": state.updated,
        "ready": state.ready,
        "available": state.available,
        "current": state.current,
        "templateHash": state.hash,
        "promoted": state.promoted,
        "autoscaled": state.autoscaled,
        "progress": standing.word,
        "message": standing.sentence,
        "pods": pods,
    })
}

fn problems(view: &View) -> Value {
    json!({ "items": view.problems })
}
