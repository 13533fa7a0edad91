//! Accepted values to typed objects, with Kubernetes' defaults where its types have none of their own.

use super::draft::{DraftBody, DraftWorkload};
use super::findings::Findings;
use super::hash;
use crate::model::{
    Autoscaler, BlueGreen, EmptyDir, IntOrString, Kind, LabelSelector, Meta, PodTemplate, Quantity, SecretBytes, ServiceSpec,
    Strategy,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

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
    let body = match kind {
        Kind::Namespace => DraftBody::Namespace,
        Kind::ConfigMap => DraftBody::ConfigMap(config_map(value, findings)),
        Kind::Secret => DraftBody::Secret(secret(value, findings)),
        Kind::Service => DraftBody::Service(service(value, findings)?),
        Kind::Deployment => DraftBody::Workload(Box::new(deployment(value, findings)?)),
        Kind::Rollout => DraftBody::Workload(Box::new(rollout(value, meta, findings)?)),
        Kind::Pod => DraftBody::Workload(Box::new(pod(value, findings)?)),
        Kind::HorizontalPodAutoscaler => DraftBody::Autoscaler(autoscaler(value, findings)?),
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

fn texts<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a str)> {
    let map = value.get(key).and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(key, value)| Some((key, value.as_str()?)))
}

fn config_map(value: &Value, findings: &mut Findings<'_>) -> BTreeMap<String, Vec<u8>> {
    let mut data: BTreeMap<String, Vec<u8>> =
        texts(value, "data").map(|(key, text)| (key.clone(), text.as_bytes().to_vec())).collect();
    for (key, text) in texts(value, "binaryData") {
        let Some(bytes) = decode("binaryData", key, text, findings) else { continue };
        if data.insert(key.clone(), bytes).is_some() {
            findings.error_at_key("/binaryData", key, "is also a key of data", None);
        }
    }
    data
}

fn secret(value: &Value, findings: &mut Findings<'_>) -> BTreeMap<String, SecretBytes> {
    let mut data = BTreeMap::new();
    for (key, text) in texts(value, "data") {
        if let Some(bytes) = decode("data", key, text, findings) {
            data.insert(key.clone(), SecretBytes::new(bytes));
        }
    }
    for (key, text) in texts(value, "stringData") {
        data.insert(key.clone(), SecretBytes::new(text.as_bytes().to_vec()));
    }
    data
}

fn decode(part: &str, key: &str, text: &str, findings: &mut Findings<'_>) -> Option<Vec<u8>> {
    let packed: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let bytes = STANDARD.decode(packed).ok();
    if bytes.is_none() {
        let hint = Some("plain text goes into stringData".to_owned());
        findings.error_at_key(&format!("/{part}"), key, "is not base64", hint);
    }
    bytes
}

fn service(value: &Value, findings: &mut Findings<'_>) -> Option<ServiceSpec> {
    let mut spec: ServiceSpec = part(value, "/spec", findings)?;
    spec.cluster_ip = spec.cluster_ip.filter(|address| !address.is_empty());
    Some(spec)
}

/// What a Deployment and a Rollout have in common.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Common {
    replicas: Option<u32>,
    selector: LabelSelector,
    min_ready_seconds: u32,
    progress_deadline_seconds: u32,
    paused: bool,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            replicas: None,
            selector: LabelSelector::default(),
            min_ready_seconds: 0,
            progress_deadline_seconds: 600,
            paused: false,
        }
    }
}

fn workload(value: &Value, strategy: Strategy, findings: &mut Findings<'_>) -> Option<DraftWorkload> {
    let common: Common = part(value, "/spec", findings)?;
    let written_template = value.pointer("/spec/template").unwrap_or(&Value::Null);
    Some(DraftWorkload {
        replicas: common.replicas,
        selector: common.selector,
        template: template(part(value, "/spec/template", findings)?),
        template_digest: hash::template_digest(written_template),
        strategy,
        min_ready_seconds: common.min_ready_seconds,
        progress_deadline_seconds: common.progress_deadline_seconds,
        paused: common.paused,
    })
}

/// A volume without a source is an emptyDir, as in Kubernetes.
fn template(mut template: PodTemplate) -> PodTemplate {
    for volume in &mut template.spec.volumes {
        if volume.config_map.is_none() && volume.secret.is_none() && volume.empty_dir.is_none() {
            volume.empty_dir = Some(EmptyDir::default());
        }
    }
    template
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DeploymentStrategy {
    r#type: Option<String>,
    rolling_update: Option<RollingUpdate>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RollingUpdate {
    max_surge: Option<IntOrString>,
    max_unavailable: Option<IntOrString>,
}

fn deployment(value: &Value, findings: &mut Findings<'_>) -> Option<DraftWorkload> {
    let written: DeploymentStrategy = part(value, "/spec/strategy", findings)?;
    let quarter = || IntOrString::Text("25%".to_owned());
    let strategy = if written.r#type.as_deref() == Some("Recreate") {
        if written.rolling_update.is_some() {
            findings.error("/spec/strategy/rollingUpdate", "must not be there when the type is Recreate", None);
        }
        Strategy::Recreate
    } else {
        let rolling = written.rolling_update.unwrap_or_default();
        Strategy::Rolling {
            max_surge: rolling.max_surge.unwrap_or_else(quarter),
            max_unavailable: rolling.max_unavailable.unwrap_or_else(quarter),
        }
    };
    workload(value, strategy, findings)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WrittenBlueGreen {
    active_service: String,
    preview_service: Option<String>,
    auto_promotion_enabled: bool,
    auto_promotion_seconds: u32,
    scale_down_delay_seconds: u32,
}

impl Default for WrittenBlueGreen {
    fn default() -> Self {
        Self {
            active_service: String::new(),
            preview_service: None,
            auto_promotion_enabled: true,
            auto_promotion_seconds: 0,
            scale_down_delay_seconds: 30,
        }
    }
}

fn rollout(value: &Value, meta: &Meta, findings: &mut Findings<'_>) -> Option<DraftWorkload> {
    let written: WrittenBlueGreen = part(value, "/spec/strategy/blueGreen", findings)?;
    if written.preview_service.as_ref() == Some(&written.active_service) {
        findings.error("/spec/strategy/blueGreen/previewService", "must be another Service than activeService", None);
    }
    let strategy = Strategy::BlueGreen(BlueGreen {
        active_service: written.active_service,
        preview_service: written.preview_service,
        auto_promotion: written.auto_promotion_enabled,
        auto_promotion_seconds: written.auto_promotion_seconds,
        scale_down_delay_seconds: written.scale_down_delay_seconds,
        promote: meta.annotations.get("driftless.dev/promote").cloned(),
    });
    workload(value, strategy, findings)
}

/// A bare Pod is a workload of one, whose old pod goes before the new one comes: both would have the same name.
fn pod(value: &Value, findings: &mut Findings<'_>) -> Option<DraftWorkload> {
    let written_template = pod_template(value);
    let template: PodTemplate = template(part(&written_template, "", findings)?);
    Some(DraftWorkload {
        replicas: Some(1),
        selector: LabelSelector::default(),
        template,
        template_digest: hash::template_digest(&written_template),
        strategy: Strategy::Recreate,
        min_ready_seconds: 0,
        progress_deadline_seconds: 600,
        paused: false,
    })
}

/// The template that a bare Pod stands for. Our own annotations speak of the object, not of what runs.
fn pod_template(value: &Value) -> Value {
    let meta = meta(value);
    let annotations: Map<String, Value> = meta
        .annotations
        .into_iter()
        .filter(|(key, _)| !key.starts_with("driftless.dev/"))
        .map(|(key, text)| (key, Value::String(text)))
        .collect();
    json!({
        "metadata": {"labels": meta.labels, "annotations": annotations},
        "spec": value.get("spec").cloned().unwrap_or_default(),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenAutoscaler {
    scale_target_ref: ScaleTarget,
    min_replicas: Option<u32>,
    max_replicas: u32,
    #[serde(default)]
    metrics: Vec<Metric>,
    #[serde(default)]
    behavior: Behavior,
}

#[derive(Deserialize)]
struct ScaleTarget {
    kind: String,
    name: String,
}

#[derive(Deserialize)]
struct Metric {
    resource: Option<ResourceMetric>,
}

#[derive(Deserialize)]
struct ResourceMetric {
    target: MetricTarget,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetricTarget {
    r#type: String,
    average_utilization: Option<u32>,
    average_value: Option<Quantity>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Behavior {
    scale_up: ScaleRules,
    scale_down: ScaleRules,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ScaleRules {
    stabilization_window_seconds: Option<u32>,
}

fn autoscaler(value: &Value, findings: &mut Findings<'_>) -> Option<Autoscaler> {
    let written: WrittenAutoscaler = part(value, "/spec", findings)?;
    let min_replicas = written.min_replicas.unwrap_or(1);
    if min_replicas > written.max_replicas {
        findings.error("/spec/minReplicas", "must not exceed maxReplicas", None);
    }
    // Without metrics Kubernetes looks at cpu, and wants 80 % of the request.
    let (cpu_percent, cpu_average_milli) = match written.metrics.into_iter().next() {
        None => (Some(80), None),
        Some(metric) => metric_target(metric, findings)?,
    };
    Some(Autoscaler {
        target_kind: written.scale_target_ref.kind,
        target_name: written.scale_target_ref.name,
        min_replicas,
        max_replicas: written.max_replicas,
        cpu_percent,
        cpu_average_milli,
        scale_down_window_seconds: written.behavior.scale_down.stabilization_window_seconds.unwrap_or(300),
        scale_up_window_seconds: written.behavior.scale_up.stabilization_window_seconds.unwrap_or(0),
    })
}

fn metric_target(metric: Metric, findings: &mut Findings<'_>) -> Option<(Option<u32>, Option<u64>)> {
    let pointer = "/spec/metrics/0/resource";
    let Some(resource) = metric.resource else {
        findings.error(pointer, "is required when the type is Resource", None);
        return None;
    };
    let target = resource.target;
    let (wanted, is_there, other) = match target.r#type.as_str() {
        "Utilization" => ("averageUtilization", target.average_utilization.is_some(), target.average_value.is_some()),
        _ => ("averageValue", target.average_value.is_some_and(|value| value.milli() > 0), target.average_utilization.is_some()),
    };
    if !is_there || other {
        findings.error(
            &format!("{pointer}/target"),
            &format!("must have {wanted} alone when the type is {}", target.r#type),
            None,
        );
        return None;
    }
    Some((target.average_utilization, target.average_value.map(Quantity::milli)))
}
