//! Workloads: templates, and how a new one replaces the old.

use super::super::draft::DraftWorkload;
use super::super::findings::Findings;
use super::super::hash;
use super::{meta, part};
use crate::model::{BlueGreen, EmptyDir, IntOrString, LabelSelector, Meta, PodTemplate, Strategy, Volume};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What all workloads but bare Pods have in common.
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

pub(super) fn workload(value: &Value, strategy: Strategy, findings: &mut Findings<'_>) -> Option<DraftWorkload> {
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
pub(super) fn template(mut template: PodTemplate) -> PodTemplate {
    for volume in &mut template.spec.volumes {
        if !has_source(volume) {
            volume.empty_dir = Some(EmptyDir::default());
        }
    }
    template
}

fn has_source(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.empty_dir.is_some()
        || volume.host_path.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.projected.is_some()
        || volume.downward_api.is_some()
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

pub(super) fn deployment(value: &Value, findings: &mut Findings<'_>) -> Option<DraftWorkload> {
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

pub(super) fn rollout(value: &Value, meta: &Meta, findings: &mut Findings<'_>) -> Option<DraftWorkload> {
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
pub(super) fn pod(value: &Value, findings: &mut Findings<'_>) -> Option<DraftWorkload> {
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
