//! Jobs: what Kubernetes generates for their pods is part of the template, and of its hash.

use super::super::draft::{DraftCronJob, DraftWorkload};
use super::super::findings::Findings;
use super::super::hash::{self, ConfigDigests};
use super::part;
use super::workload::template;
use crate::model::{
    ConcurrencyPolicy, FailureRule, JOB_INDEX_LABEL, JOB_NAME_LABEL, JobSpec, Kind, LabelSelector, ObjectKey, PodTemplate,
    Schedule, Strategy, SuccessRule, object_uid,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// The failures that are put up with where nothing is written.
const BACKOFF_LIMIT: u32 = 6;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WrittenJob {
    parallelism: Option<u32>,
    completions: Option<u32>,
    completion_mode: Option<String>,
    backoff_limit: Option<u32>,
    backoff_limit_per_index: Option<u32>,
    max_failed_indexes: Option<u32>,
    active_deadline_seconds: Option<u64>,
    ttl_seconds_after_finished: Option<u32>,
    suspend: bool,
    pod_failure_policy: Policy<FailureRule>,
    success_policy: Policy<SuccessRule>,
}

#[derive(Deserialize)]
#[serde(default)]
struct Policy<R> {
    rules: Vec<R>,
}

impl<R> Default for Policy<R> {
    fn default() -> Self {
        Self { rules: Vec::new() }
    }
}

/// A Job.
pub(super) fn job(value: &Value, findings: &mut Findings<'_>) -> Option<DraftWorkload> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let (name, namespace) = (text("/metadata/name").unwrap_or_default(), text("/metadata/namespace").unwrap_or("default"));
    of_spec(value, "/spec", &ObjectKey::new(Kind::Job, namespace, name), findings)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WrittenCronJob {
    schedule: String,
    time_zone: Option<String>,
    concurrency_policy: ConcurrencyPolicy,
    starting_deadline_seconds: Option<u64>,
    suspend: bool,
    successful_jobs_history_limit: u32,
    failed_jobs_history_limit: u32,
}

impl Default for WrittenCronJob {
    fn default() -> Self {
        Self {
            schedule: String::new(),
            time_zone: None,
            concurrency_policy: ConcurrencyPolicy::Allow,
            starting_deadline_seconds: None,
            suspend: false,
            successful_jobs_history_limit: 3,
            failed_jobs_history_limit: 1,
        }
    }
}

/// A CronJob. The labels that its Jobs' pods get with their names are added when they are made.
pub(super) fn cron_job(value: &Value, findings: &mut Findings<'_>) -> Option<DraftCronJob> {
    let written: WrittenCronJob = part(value, "/spec", findings)?;
    let schedule = Schedule::parse(&written.schedule).map_err(|message| findings.error("/spec/schedule", &message, None)).ok()?;
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let (name, namespace) = (text("/metadata/name").unwrap_or_default(), text("/metadata/namespace").unwrap_or("default"));
    Some(DraftCronJob {
        schedule,
        time_zone: written.time_zone,
        concurrency: written.concurrency_policy,
        starting_deadline_seconds: written.starting_deadline_seconds,
        suspend: written.suspend,
        successful_kept: written.successful_jobs_history_limit,
        failed_kept: written.failed_jobs_history_limit,
        job_meta: part(value, "/spec/jobTemplate/metadata", findings)?,
        job: of_spec(value, "/spec/jobTemplate/spec", &ObjectKey::new(Kind::Job, namespace, name), findings)?,
    })
}

/// The Job that a spec at `pointer` describes, for the Job `key`.
pub(super) fn of_spec(value: &Value, pointer: &str, key: &ObjectKey, findings: &mut Findings<'_>) -> Option<DraftWorkload> {
    let written: WrittenJob = part(value, pointer, findings)?;
    let indexed = written.completion_mode.as_deref() == Some("Indexed");
    let template_pointer = format!("{pointer}/template");
    let written_template = generated(value.pointer(&template_pointer).unwrap_or(&Value::Null), key, indexed);
    let pods: PodTemplate = serde_json::from_value(written_template.clone())
        .map_err(|error| findings.error(&template_pointer, &format!("cannot be read: {error}"), None))
        .ok()?;
    let template_digest = hash::template_digest(&written_template);
    // With neither number one pod runs once; with a parallelism alone it is a work queue.
    let completions = written.completions.or(if written.parallelism.is_none() { Some(1) } else { None });
    let unlimited = if written.backoff_limit_per_index.is_some() { i32::MAX.unsigned_abs() } else { BACKOFF_LIMIT };
    let spec = JobSpec {
        run: hash::combine(&template_digest, &ConfigDigests::new()),
        completions,
        indexed,
        backoff_limit: written.backoff_limit.unwrap_or(unlimited),
        backoff_limit_per_index: written.backoff_limit_per_index,
        max_failed_indexes: written.max_failed_indexes,
        active_deadline_seconds: written.active_deadline_seconds,
        ttl_seconds_after_finished: written.ttl_seconds_after_finished,
        failure_rules: written.pod_failure_policy.rules,
        success_rules: written.success_policy.rules,
    };
    Some(DraftWorkload {
        replicas: Some(written.parallelism.unwrap_or(1)),
        selector: LabelSelector::default(),
        template: template(pods),
        template_digest,
        strategy: Strategy::Job(Box::new(spec)),
        min_ready_seconds: 0,
        progress_deadline_seconds: 600,
        paused: written.suspend,
    })
}

/// The template with the labels by which the pods of a Job are found, and the variable that tells a pod its index.
fn generated(written: &Value, key: &ObjectKey, indexed: bool) -> Value {
    let mut template = written.clone();
    if let Some(root) = template.as_object_mut() {
        let labels = &mut root.entry("metadata").or_insert_with(|| json!({}))["labels"];
        for (label, value) in job_labels(key) {
            labels[label] = json!(value);
        }
    }
    for list in ["containers", "initContainers"].iter().filter(|_| indexed) {
        let containers = template.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        containers.into_iter().flatten().for_each(add_index_variable);
    }
    template
}

fn job_labels(key: &ObjectKey) -> [(&'static str, String); 4] {
    let uid = object_uid(key).to_string();
    [
        (JOB_NAME_LABEL, key.name.clone()),
        ("batch.kubernetes.io/controller-uid", uid.clone()),
        ("job-name", key.name.clone()),
        ("controller-uid", uid),
    ]
}

fn add_index_variable(container: &mut Value) {
    const NAME: &str = "JOB_COMPLETION_INDEX";
    let Some(container) = container.as_object_mut() else { return };
    let env = container.entry("env").or_insert_with(|| json!([]));
    let Some(variables) = env.as_array_mut() else { return };
    if variables.iter().all(|variable| variable["name"] != NAME) {
        let path = format!("metadata.annotations['{JOB_INDEX_LABEL}']");
        variables.push(json!({"name": NAME, "valueFrom": {"fieldRef": {"fieldPath": path}}}));
    }
}
