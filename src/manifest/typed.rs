//! Accepted values to typed objects, with Kubernetes' defaults where its types have none of their own.

use super::draft::{DraftBody, DraftWorkload};
use super::findings::Findings;
use crate::model::{Body, Kind, Meta, ServiceSpec};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

mod autoscaler;
mod config;
mod job;
mod sets;
mod workload;

/// An annotation that kubectl writes; it holds the whole document once more, values of Secrets included.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// `metadata.labels` and `metadata.annotations`.
pub(crate) fn meta(value: &Value) -> Meta {
    let mut meta: Meta = value.get("metadata").cloned().and_then(|meta| serde_json::from_value(meta).ok()).unwrap_or_default();
    meta.annotations.remove(LAST_APPLIED);
    meta
}

/// The document as it may be shown: without kubectl's copy of it, and without the values of a Secret.
pub(crate) fn shown(value: &Value, kind: Kind) -> Value {
    let mut shown = value.clone();
    if let Some(Value::Object(annotations)) = shown.pointer_mut("/metadata/annotations") {
        annotations.remove(LAST_APPLIED);
    }
    if kind == Kind::Secret {
        for part in ["data", "stringData"] {
            if let Some(Value::Object(values)) = shown.get_mut(part) {
                values.values_mut().for_each(|value| *value = Value::String("<redacted>".to_owned()));
            }
        }
    }
    shown
}

/// The body of an accepted document; `None` if an error was found.
pub(crate) fn body(kind: Kind, value: &Value, meta: &Meta, findings: &mut Findings<'_>) -> Option<DraftBody> {
    let plain = |body: Body| DraftBody::Plain(body);
    let workload = |workload: DraftWorkload| DraftBody::Workload(Box::new(workload));
    let body = match kind {
        Kind::Namespace => plain(Body::Namespace),
        Kind::PriorityClass => plain(Body::PriorityClass(part(value, "", findings)?)),
        Kind::Node => plain(Body::Node(part(value, "/spec", findings)?)),
        Kind::ConfigMap => plain(Body::ConfigMap(config::config_map(value, findings))),
        Kind::Secret => plain(Body::Secret(config::secret(value, findings))),
        Kind::PersistentVolumeClaim => plain(Body::Claim(part(value, "/spec", findings)?)),
        Kind::Service => plain(Body::Service(service(value, findings)?)),
        Kind::Ingress => plain(Body::Ingress(part(value, "/spec", findings)?)),
        Kind::Deployment => workload(workload::deployment(value, findings)?),
        Kind::Rollout => workload(workload::rollout(value, meta, findings)?),
        Kind::Pod => workload(workload::pod(value, findings)?),
        Kind::Job => workload(job::job(value, findings)?),
        Kind::CronJob => DraftBody::CronJob(Box::new(job::cron_job(value, findings)?)),
        Kind::HorizontalPodAutoscaler => plain(Body::Autoscaler(autoscaler::autoscaler(value, meta, findings)?)),
        Kind::PodDisruptionBudget => plain(Body::Budget(part(value, "/spec", findings)?)),
        Kind::StatefulSet => workload(sets::stateful_set(value, findings)?),
        Kind::DaemonSet => workload(sets::daemon_set(value, findings)?),
        Kind::ReplicaSet => workload(sets::replica_set(value, findings)?),
    };
    (!findings.has_errors()).then_some(body)
}

/// A part of an accepted value as its type. A failure means that schema and type disagree (a number out of range, say).
fn part<T: DeserializeOwned>(value: &Value, pointer: &str, findings: &mut Findings<'_>) -> Option<T> {
    let part = value.pointer(pointer).cloned().unwrap_or_else(|| json!({}));
    match serde_json::from_value(part) {
        Ok(typed) => Some(typed),
        Err(error) => {
            let detail = if findings.is_secret { String::new() } else { format!(": {error}") };
            findings.error(pointer, &format!("cannot be read{detail}"), None);
            None
        }
    }
}

fn service(value: &Value, findings: &mut Findings<'_>) -> Option<ServiceSpec> {
    let mut spec: ServiceSpec = part(value, "/spec", findings)?;
    spec.cluster_ip = spec.cluster_ip.filter(|address| !address.is_empty());
    Some(spec)
}
