//! An object printed back from the types that everything else acts on: what it says was heard.
//!
//! Nothing here looks at the text or at `Object::written`. Parts that have Kubernetes' shape print themselves; the others are written
//! out by hand, as the reverse of `manifest/typed`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use driftless::manifest::{DigestKey, GoodUnit, TreeInput, load, parse};
use driftless::model::{
    Autoscaler, BlueGreen, Body, ClaimRetention, ClaimTemplate, CronJob, DaemonUpdate, JobSpec, Kind, Location, MetricTarget,
    Object, ObjectKey, Policy, Problem, Revision, ScaleChange, ScaleMetric, ScaleRules, Scope, Severity, Stateful,
    StatefulUpdate, Strategy, UnitName, Workload,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the accepted documents of a file mean, each by itself: the file stands as the last good one of a unit that is held, so that
/// nothing depends on what it refers to.
pub(crate) fn objects_of(file: &str, bytes: &[u8]) -> BTreeMap<ObjectKey, Arc<Object>> {
    let unit = UnitName::new(file.split_once('/').map_or(".", |(unit, _)| unit));
    let good = GoodUnit {
        revision: Revision::new("good"),
        files: BTreeMap::from([(file.to_owned(), Arc::new(parse(file, "blob", bytes)))]),
    };
    let held = Problem {
        at: Location { file: file.to_owned(), line: 0, column: 0 },
        path: String::new(),
        severity: Severity::Error,
        scope: Scope::Document,
        message: "held".to_owned(),
        hint: None,
    };
    let input = TreeInput {
        revision: Revision::new("new"),
        files: BTreeMap::new(),
        problems: vec![held],
        policy: Policy::default(),
        rendered: BTreeMap::new(),
    };
    load(&input, &BTreeMap::from([(unit, Arc::new(good))]), &DigestKey::unkeyed()).desired.objects
}

/// The object as a document.
pub(crate) fn document(object: &Object) -> Value {
    let mut document = match &object.body {
        Body::Namespace => json!({}),
        Body::PriorityClass(class) => json!(class),
        Body::Node(spec) => with_spec(spec),
        Body::Claim(spec) => with_spec(spec),
        Body::Service(spec) => with_spec(spec),
        Body::Ingress(spec) => with_spec(spec),
        Body::Budget(spec) => with_spec(spec),
        Body::ConfigMap(data) => json!({"data": texts(data.iter().map(of_map)), "binaryData": base64s(data.iter().map(of_map))}),
        Body::Secret(data) => {
            let all = || data.iter().map(|(key, bytes)| (key.as_str(), bytes.expose()));
            json!({"data": base64s(all()), "stringData": texts(all())})
        }
        Body::Workload(workload) => with_spec(workload_spec(object.key.kind, workload)),
        Body::CronJob(cron) => with_spec(cron_job_spec(cron)),
        Body::Autoscaler(autoscaler) => with_spec(autoscaler_spec(autoscaler)),
    };
    document["metadata"] = json!(object.meta);
    document["metadata"]["name"] = json!(object.key.name);
    document["metadata"]["namespace"] = json!(object.key.namespace);
    document
}

fn with_spec(spec: impl Serialize) -> Value {
    json!({"spec": spec})
}

fn of_map<'a>((key, bytes): (&'a String, &'a Vec<u8>)) -> (&'a str, &'a [u8]) {
    (key, bytes)
}

fn texts<'a>(data: impl Iterator<Item = (&'a str, &'a [u8])>) -> Map<String, Value> {
    data.filter_map(|(key, bytes)| Some((key.to_owned(), json!(std::str::from_utf8(bytes).ok()?)))).collect()
}

fn base64s<'a>(data: impl Iterator<Item = (&'a str, &'a [u8])>) -> Map<String, Value> {
    data.map(|(key, bytes)| (key.to_owned(), json!(STANDARD.encode(bytes)))).collect()
}

fn workload_spec(kind: Kind, workload: &Workload) -> Value {
    let template = json!(workload.snapshot.template);
    if kind == Kind::Pod {
        return template["spec"].clone();
    }
    let mut spec = match &workload.strategy {
        Strategy::Job(job) => return job_spec(job, workload),
        Strategy::Rolling { max_surge, max_unavailable } => {
            let rolling = json!({"maxSurge": max_surge, "maxUnavailable": max_unavailable});
            json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}})
        }
        Strategy::Recreate => json!({"strategy": {"type": "Recreate"}}),
        Strategy::BlueGreen(blue_green) => json!({"strategy": {"blueGreen": blue_green_strategy(blue_green)}}),
        Strategy::OnDelete => json!({}),
        Strategy::Stateful(stateful) => stateful_spec(stateful),
        Strategy::Daemon(update) => json!({"updateStrategy": daemon_update(update)}),
    };
    spec["replicas"] = json!(workload.replicas);
    spec["selector"] = json!(workload.selector);
    spec["template"] = template;
    spec["minReadySeconds"] = json!(workload.min_ready_seconds);
    spec["progressDeadlineSeconds"] = json!(workload.progress_deadline_seconds);
    spec["paused"] = json!(workload.paused);
    spec
}

fn blue_green_strategy(blue_green: &BlueGreen) -> Value {
    json!({
        "activeService": blue_green.active_service,
        "previewService": blue_green.preview_service,
        "autoPromotionEnabled": blue_green.auto_promotion,
        "autoPromotionSeconds": blue_green.auto_promotion_seconds,
        "scaleDownDelaySeconds": blue_green.scale_down_delay_seconds,
    })
}

fn stateful_spec(stateful: &Stateful) -> Value {
    let update = match &stateful.update {
        StatefulUpdate::Rolling { partition, max_unavailable } => {
            json!({"type": "RollingUpdate", "rollingUpdate": {"partition": partition, "maxUnavailable": max_unavailable}})
        }
        StatefulUpdate::OnDelete => json!({"type": "OnDelete"}),
    };
    json!({
        "serviceName": stateful.service_name,
        "ordinals": {"start": stateful.first},
        "podManagementPolicy": if stateful.parallel { "Parallel" } else { "OrderedReady" },
        "updateStrategy": update,
        "volumeClaimTemplates": stateful.claims.iter().map(claim_template).collect::<Vec<Value>>(),
        "persistentVolumeClaimRetentionPolicy": retention(stateful.retention),
    })
}

fn claim_template(claim: &ClaimTemplate) -> Value {
    let mut metadata = json!(claim.meta);
    metadata["name"] = json!(claim.name);
    json!({"metadata": metadata, "spec": claim.spec})
}

fn retention(retention: ClaimRetention) -> Value {
    let word = |delete: bool| if delete { "Delete" } else { "Retain" };
    json!({"whenDeleted": word(retention.delete_when_deleted), "whenScaled": word(retention.delete_when_scaled)})
}

fn daemon_update(update: &DaemonUpdate) -> Value {
    match update {
        DaemonUpdate::Rolling { max_surge, max_unavailable } => {
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": max_surge, "maxUnavailable": max_unavailable}})
        }
        DaemonUpdate::OnDelete => json!({"type": "OnDelete"}),
    }
}

fn job_spec(job: &JobSpec, workload: &Workload) -> Value {
    json!({
        "template": workload.snapshot.template,
        "completions": job.completions,
        "parallelism": workload.replicas,
        "completionMode": if job.indexed { "Indexed" } else { "NonIndexed" },
        "backoffLimit": job.backoff_limit,
        "backoffLimitPerIndex": job.backoff_limit_per_index,
        "maxFailedIndexes": job.max_failed_indexes,
        "activeDeadlineSeconds": job.active_deadline_seconds,
        "ttlSecondsAfterFinished": job.ttl_seconds_after_finished,
        "suspend": workload.paused,
        "podFailurePolicy": {"rules": job.failure_rules},
        "successPolicy": {"rules": job.success_rules},
    })
}

fn cron_job_spec(cron: &CronJob) -> Value {
    let job = workload_spec(Kind::Job, &cron.job);
    json!({
        "schedule": cron.schedule.text(),
        "timeZone": cron.time_zone,
        "concurrencyPolicy": cron.concurrency,
        "startingDeadlineSeconds": cron.starting_deadline_seconds,
        "suspend": cron.suspend,
        "successfulJobsHistoryLimit": cron.successful_kept,
        "failedJobsHistoryLimit": cron.failed_kept,
        "jobTemplate": {"metadata": cron.job_meta, "spec": job},
    })
}

fn autoscaler_spec(autoscaler: &Autoscaler) -> Value {
    let percent = autoscaler.metrics.iter().find_map(|metric| match metric.target {
        MetricTarget::Utilization(percent) => Some(percent),
        MetricTarget::AverageValue(_) => None,
    });
    json!({
        "scaleTargetRef": {"kind": autoscaler.target_kind, "name": autoscaler.target_name},
        "minReplicas": autoscaler.min_replicas,
        "maxReplicas": autoscaler.max_replicas,
        "targetCPUUtilizationPercentage": percent,
        "metrics": autoscaler.metrics.iter().map(metric).collect::<Vec<Value>>(),
        "behavior": {"scaleUp": scale_rules(&autoscaler.scale_up), "scaleDown": scale_rules(&autoscaler.scale_down)},
    })
}

fn metric(metric: &ScaleMetric) -> Value {
    let target = match metric.target {
        MetricTarget::Utilization(percent) => json!({"type": "Utilization", "averageUtilization": percent}),
        MetricTarget::AverageValue(amount) => {
            json!({"type": "AverageValue", "averageValue": metric.resource.quantity(amount)})
        }
    };
    let name = metric.resource.as_str();
    match &metric.container {
        Some(container) => {
            let of_container = json!({"name": name, "container": container, "target": target});
            json!({"type": "ContainerResource", "containerResource": of_container})
        }
        None => json!({"type": "Resource", "resource": {"name": name, "target": target}}),
    }
}

fn scale_rules(rules: &ScaleRules) -> Value {
    let policies = rules.policies.iter().map(|policy| {
        let (kind, value) = match policy.change {
            ScaleChange::Pods(pods) => ("Pods", pods),
            ScaleChange::Percent(percent) => ("Percent", percent),
        };
        json!({"type": kind, "value": value, "periodSeconds": policy.period_seconds})
    });
    json!({
        "stabilizationWindowSeconds": rules.window_seconds,
        "selectPolicy": format!("{:?}", rules.select),
        "policies": policies.collect::<Vec<Value>>(),
        "tolerance": format!("{}m", rules.tolerance_milli),
    })
}
