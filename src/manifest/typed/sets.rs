//! StatefulSets, DaemonSets and ReplicaSets.

use super::super::draft::DraftWorkload;
use super::super::findings::Findings;
use super::part;
use super::workload::workload;
use crate::model::{
    CLAIM_OF_POD, ClaimRetention, ClaimSpec, ClaimTemplate, DaemonUpdate, IntOrString, Meta, Stateful, StatefulUpdate, Strategy,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WrittenStateful {
    service_name: String,
    pod_management_policy: String,
    update_strategy: UpdateStrategy,
    ordinals: Ordinals,
    volume_claim_templates: Vec<WrittenClaim>,
    persistent_volume_claim_retention_policy: Retention,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct UpdateStrategy {
    r#type: String,
    rolling_update: Option<RollingUpdate>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RollingUpdate {
    partition: u32,
    max_surge: Option<IntOrString>,
    max_unavailable: Option<IntOrString>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Ordinals {
    start: u32,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WrittenClaim {
    metadata: ClaimMeta,
    spec: ClaimSpec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ClaimMeta {
    name: String,
    #[serde(flatten)]
    meta: Meta,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Retention {
    when_deleted: String,
    when_scaled: String,
}

pub(super) fn stateful_set(value: &Value, findings: &mut Findings<'_>) -> Option<DraftWorkload> {
    let written: WrittenStateful = part(value, "/spec", findings)?;
    let on_delete = is_on_delete(&written.update_strategy, findings);
    let rolling = written.update_strategy.rolling_update.unwrap_or_default();
    let claims: Vec<ClaimTemplate> = written
        .volume_claim_templates
        .into_iter()
        .map(|claim| ClaimTemplate { name: claim.metadata.name, meta: claim.metadata.meta, spec: claim.spec })
        .collect();
    let value = with_names(with_claims(value, &claims, findings), &written.service_name);
    let retention = written.persistent_volume_claim_retention_policy;
    let spec = Stateful {
        service_name: written.service_name,
        first: written.ordinals.start,
        parallel: written.pod_management_policy == "Parallel",
        update: if on_delete {
            StatefulUpdate::OnDelete
        } else {
            let max_unavailable = rolling.max_unavailable.unwrap_or(IntOrString::Int(1));
            StatefulUpdate::Rolling { partition: rolling.partition, max_unavailable }
        },
        claims,
        retention: ClaimRetention {
            delete_when_deleted: retention.when_deleted == "Delete",
            delete_when_scaled: retention.when_scaled == "Delete",
        },
    };
    workload(&value, Strategy::Stateful(spec), findings)
}

/// The document with the volumes that its claim templates make, which take the place of others of their name, as in Kubernetes.
/// They are part of the template, and so of its hash.
fn with_claims(value: &Value, claims: &[ClaimTemplate], findings: &mut Findings<'_>) -> Value {
    let mut value = value.clone();
    let Some(spec) = value.pointer_mut("/spec/template/spec").and_then(Value::as_object_mut).filter(|_| !claims.is_empty())
    else {
        return value;
    };
    let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
    if !volumes.is_array() {
        *volumes = json!([]);
    }
    let Some(volumes) = volumes.as_array_mut() else { return value };
    for claim in claims {
        let name = format!("{}-{CLAIM_OF_POD}", claim.name);
        let volume = json!({"name": claim.name, "persistentVolumeClaim": {"claimName": name}});
        match volumes.iter().position(|volume| volume["name"] == claim.name.as_str()) {
            Some(index) => {
                let message = format!("the claim template {} takes the place of this volume", claim.name);
                findings.warning(&format!("/spec/template/spec/volumes/{index}"), message, None);
                volumes[index] = volume;
            }
            None => volumes.push(volume),
        }
    }
    value
}

/// The document with the names that its pods have by their Service, in place of others, as in Kubernetes: each is called by its own name
/// in the domain of the Service. They are part of the template, and so of its hash. Host processes have the names of their host.
fn with_names(mut value: Value, service: &str) -> Value {
    let spec = value.pointer_mut("/spec/template/spec").and_then(Value::as_object_mut);
    let contained = spec.filter(|spec| spec.get("runtimeClassName").is_none_or(|class| class != "process"));
    if let Some(spec) = contained.filter(|_| !service.is_empty()) {
        spec.remove("hostname");
        spec.insert("subdomain".to_owned(), json!(service));
    }
    value
}

fn is_on_delete(written: &UpdateStrategy, findings: &mut Findings<'_>) -> bool {
    let on_delete = written.r#type == "OnDelete";
    if on_delete && written.rolling_update.is_some() {
        findings.error("/spec/updateStrategy/rollingUpdate", "must not be there when the type is OnDelete", None);
    }
    on_delete
}

pub(super) fn daemon_set(value: &Value, findings: &mut Findings<'_>) -> Option<DraftWorkload> {
    let written: UpdateStrategy = part(value, "/spec/updateStrategy", findings)?;
    let update = if is_on_delete(&written, findings) {
        DaemonUpdate::OnDelete
    } else {
        let rolling = written.rolling_update.unwrap_or_default();
        let max_surge = rolling.max_surge.unwrap_or(IntOrString::Int(0));
        let usual = IntOrString::Int(i64::from(max_surge.is_zero()));
        DaemonUpdate::Rolling { max_surge, max_unavailable: rolling.max_unavailable.unwrap_or(usual) }
    };
    workload(value, Strategy::Daemon(update), findings)
}

pub(super) fn replica_set(value: &Value, findings: &mut Findings<'_>) -> Option<DraftWorkload> {
    workload(value, Strategy::OnDelete, findings)
}
