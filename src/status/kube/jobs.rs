//! Jobs: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/>.

use super::Scope;
use super::metadata;
use super::settings::of_kind;
use crate::model::{JobOutcome, JobRun, JobSpec, Kind, Object, Progress, StalledBy, Strategy, View, Workload, object_uid};
use serde_json::{Map, Value, json};

/// The Jobs.
pub(super) fn jobs(view: &View, scope: &Scope) -> Vec<Value> {
    of_kind(view, Kind::Job, scope).filter_map(|object| job(view, object)).collect()
}

fn job(view: &View, object: &Object) -> Option<Value> {
    let workload = object.workload()?;
    let Strategy::Job(spec) = &workload.strategy else { return None };
    let mut shown = metadata::of_object(view, object);
    let mut written = shown_spec(workload, spec);
    written["selector"] = json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": object_uid(&object.key).to_string() } });
    shown.insert("spec".into(), written);
    shown.insert("status".into(), status(view, object, workload));
    Some(Value::Object(shown))
}

/// `spec`, without the selector that is generated.
pub(super) fn shown_spec(workload: &Workload, spec: &JobSpec) -> Value {
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| drop(shown.insert(name.into(), value));
    put("parallelism", json!(workload.replicas));
    put("completionMode", json!(if spec.indexed { "Indexed" } else { "NonIndexed" }));
    put("backoffLimit", json!(spec.backoff_limit));
    put("suspend", json!(workload.paused));
    put("template", json!(metadata::redacted(&workload.snapshot.template)));
    for (name, number) in [
        ("completions", spec.completions.map(u64::from)),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index.map(u64::from)),
        ("maxFailedIndexes", spec.max_failed_indexes.map(u64::from)),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished.map(u64::from)),
    ] {
        if let Some(number) = number {
            put(name, json!(number));
        }
    }
    if !spec.failure_rules.is_empty() {
        put("podFailurePolicy", json!({ "rules": spec.failure_rules }));
    }
    if !spec.success_rules.is_empty() {
        put("successPolicy", json!({ "rules": spec.success_rules }));
    }
    Value::Object(shown)
}

fn status(view: &View, object: &Object, workload: &Workload) -> Value {
    let Some(state) = view.workloads.get(&object.key) else { return json!({}) };
    let run = state.job.clone().unwrap_or_default();
    let mut status = counts(&run);
    status.insert("active".into(), json!(state.current));
    status.insert("ready".into(), json!(state.ready));
    let mut conditions = Vec::new();
    match (&run.outcome, &state.progress) {
        (Some(outcome), _) => conditions = ended(outcome),
        (None, Progress::Stalled(StalledBy::Forgotten(why))) => {
            conditions.push(json!({ "type": "Forgotten", "status": "True", "reason": "MemoryMissing", "message": why }));
        }
        (None, _) if workload.paused => {
            conditions
                .push(json!({ "type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended" }));
        }
        (None, _) => {}
    }
    if let Some(outcome) = run.outcome.as_ref().filter(|outcome| outcome.complete) {
        status.insert("completionTime".into(), json!(outcome.at.rfc3339()));
    }
    if !conditions.is_empty() {
        status.insert("conditions".into(), json!(conditions));
    }
    Value::Object(status)
}

fn counts(run: &JobRun) -> Map<String, Value> {
    let mut status = Map::new();
    status.insert("succeeded".into(), json!(run.succeeded));
    status.insert("failed".into(), json!(run.failed));
    status.insert("uncountedTerminatedPods".into(), json!({}));
    if let Some(started) = run.started {
        status.insert("startTime".into(), json!(started.rfc3339()));
    }
    for (name, indexes) in [("completedIndexes", &run.succeeded_indexes), ("failedIndexes", &run.failed_indexes)] {
        if !indexes.is_empty() {
            status.insert(name.into(), json!(indexes));
        }
    }
    status
}

/// Both conditions of an end, as Kubernetes sets them since 1.31.
fn ended(outcome: &JobOutcome) -> Vec<Value> {
    let types = if outcome.complete { ["SuccessCriteriaMet", "Complete"] } else { ["FailureTarget", "Failed"] };
    let at = outcome.at.rfc3339();
    let condition = |name: &str| {
        json!({
            "type": name,
            "status": "True",
            "reason": outcome.reason,
            "message": outcome.message,
            "lastProbeTime": at,
            "lastTransitionTime": at,
        })
    };
    types.into_iter().map(condition).collect()
}

/// The CronJobs: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/cron-job-v1/>.
pub(super) fn cron_jobs(view: &View, scope: &Scope) -> Vec<Value> {
    of_kind(view, Kind::CronJob, scope).filter_map(|object| cron_job(view, object)).collect()
}

fn cron_job(view: &View, object: &Object) -> Option<Value> {
    let cron = object.cron_job()?;
    let Strategy::Job(spec) = &cron.job.strategy else { return None };
    let mut written = json!({
        "schedule": cron.schedule.text(),
        "concurrencyPolicy": cron.concurrency,
        "suspend": cron.suspend,
        "successfulJobsHistoryLimit": cron.successful_kept,
        "failedJobsHistoryLimit": cron.failed_kept,
        "jobTemplate": { "metadata": cron.job_meta, "spec": shown_spec(&cron.job, spec) },
    });
    if let Some(zone) = &cron.time_zone {
        written["timeZone"] = json!(zone);
    }
    if let Some(seconds) = cron.starting_deadline_seconds {
        written["startingDeadlineSeconds"] = json!(seconds);
    }
    let mut shown = metadata::of_object(view, object);
    shown.insert("spec".into(), written);
    shown.insert("status".into(), cron_status(view, object));
    Some(Value::Object(shown))
}

fn cron_status(view: &View, object: &Object) -> Value {
    let state = view.crons.get(&object.key).cloned().unwrap_or_default();
    let active = state.active.iter().map(|job| {
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "namespace": job.namespace,
            "name": job.name,
            "uid": object_uid(job).to_string(),
        })
    });
    let mut status = json!({ "active": active.collect::<Vec<_>>() });
    if let Some(last) = state.last {
        status["lastScheduleTime"] = json!(last.rfc3339());
    }
    let ends = state.jobs.iter().filter_map(|job| view.workloads.get(job)?.job.as_ref()?.outcome.as_ref());
    if let Some(last) = ends.filter(|outcome| outcome.complete).map(|outcome| outcome.at).max() {
        status["lastSuccessfulTime"] = json!(last.rfc3339());
    }
    status
}
