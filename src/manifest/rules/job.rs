//! Rules of Jobs: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/>.

use super::super::draft::{DraftCronJob, DraftWorkload};
use super::super::findings::Findings;
use super::{check_keys, check_template_annotations, pod};
use crate::model::{FailureAction, FailureRule, JobSpec, RestartPolicy, Strategy, time_zone};
use serde_json::Value;

/// The longest name: the pods of a Job have it as a label, and add an index and five characters.
const NAME_MAX: usize = 63;

/// Checks a Job; `root` leads to its spec.
pub(super) fn check(workload: &DraftWorkload, spec: &JobSpec, root: &str, findings: &mut Findings<'_>) {
    let template = format!("{root}/template");
    check_keys(&workload.template.metadata.labels, &format!("{template}/metadata/labels"), findings);
    check_template_annotations(workload, &template, findings);
    check_restart_policy(workload, &template, findings);
    check_indexes(spec, root, findings);
    check_policies(workload, spec, root, findings);
    pod::check(&workload.template.spec, &format!("{template}/spec"), findings);
}

/// A Job's name has the minutes since 1970 behind that of its CronJob.
const CRON_NAME_MAX: usize = 52;

/// Checks a CronJob.
pub(super) fn check_cron(cron: &DraftCronJob, value: &Value, findings: &mut Findings<'_>) {
    let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if name.len() > CRON_NAME_MAX {
        let message = format!("must have at most {CRON_NAME_MAX} characters: its Jobs have eleven more");
        findings.error("/metadata/name", &message, None);
    }
    if cron.time_zone.as_deref().is_some_and(|name| time_zone(Some(name)).is_none()) {
        let hint = Some("write a name of the tz database, such as Europe/Berlin".to_owned());
        findings.error("/spec/timeZone", "is not a known time zone", hint);
    }
    check_keys(&cron.job_meta.labels, "/spec/jobTemplate/metadata/labels", findings);
    check_keys(&cron.job_meta.annotations, "/spec/jobTemplate/metadata/annotations", findings);
    if let Strategy::Job(spec) = &cron.job.strategy {
        check(&cron.job, spec, "/spec/jobTemplate/spec", findings);
    }
}

/// Checks the name of a Job.
pub(super) fn check_name(name: &str, findings: &mut Findings<'_>) {
    if name.len() > NAME_MAX {
        findings.error("/metadata/name", &format!("must have at most {NAME_MAX} characters: its pods have it as a label"), None);
    }
}

fn check_restart_policy(workload: &DraftWorkload, template: &str, findings: &mut Findings<'_>) {
    if workload.template.spec.restart_policy == RestartPolicy::Always {
        let hint = "write Never (a failed pod is replaced) or OnFailure (its containers restart on the spot)".to_owned();
        findings.error(&format!("{template}/spec/restartPolicy"), "must be Never or OnFailure in a Job", Some(hint));
    }
}

fn check_indexes(spec: &JobSpec, root: &str, findings: &mut Findings<'_>) {
    match (spec.indexed, spec.completions) {
        (true, None) => findings.error(&format!("{root}/completions"), "is required when completionMode is Indexed", None),
        (true, Some(count)) if count > JobSpec::INDEXES_MAX => {
            let message = format!("must be at most {} when completionMode is Indexed", JobSpec::INDEXES_MAX);
            findings.error(&format!("{root}/completions"), &message, None);
        }
        (true, Some(_)) => {}
        (false, _) => {
            let only_indexed = [
                ("backoffLimitPerIndex", spec.backoff_limit_per_index.is_some()),
                ("maxFailedIndexes", spec.max_failed_indexes.is_some()),
                ("successPolicy", !spec.success_rules.is_empty()),
            ];
            for (field, _) in only_indexed.iter().filter(|(_, is_there)| *is_there) {
                findings.error(&format!("{root}/{field}"), "needs completionMode: Indexed", None);
            }
        }
    }
    if spec.indexed && spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        findings.error(&format!("{root}/maxFailedIndexes"), "needs backoffLimitPerIndex", None);
    }
}

fn check_policies(workload: &DraftWorkload, spec: &JobSpec, root: &str, findings: &mut Findings<'_>) {
    if !spec.failure_rules.is_empty() && workload.template.spec.restart_policy != RestartPolicy::Never {
        findings.error(&format!("{root}/podFailurePolicy"), "needs restartPolicy: Never in the template", None);
    }
    for (index, rule) in spec.failure_rules.iter().enumerate() {
        check_failure_rule(workload, spec, rule, &format!("{root}/podFailurePolicy/rules/{index}"), findings);
    }
    for (index, rule) in spec.success_rules.iter().enumerate() {
        if rule.succeeded_indexes.is_none() && rule.succeeded_count.is_none() {
            let at = format!("{root}/successPolicy/rules/{index}");
            findings.error(&at, "must have succeededIndexes or succeededCount", None);
        }
    }
}

fn check_failure_rule(workload: &DraftWorkload, spec: &JobSpec, rule: &FailureRule, at: &str, findings: &mut Findings<'_>) {
    if rule.on_exit_codes.is_some() != rule.on_pod_conditions.is_empty() {
        findings.error(at, "must have either onExitCodes or onPodConditions", None);
    }
    if rule.action == FailureAction::FailIndex && spec.backoff_limit_per_index.is_none() {
        findings.error(&format!("{at}/action"), "FailIndex needs backoffLimitPerIndex", None);
    }
    let Some(codes) = &rule.on_exit_codes else { return };
    if codes.operator == "In" && codes.values.contains(&0) {
        findings.error(&format!("{at}/onExitCodes/values"), "must not contain 0 with the operator In: that is no failure", None);
    }
    if let Some(name) = &codes.container_name
        && !workload.template.spec.containers.iter().any(|container| container.name == *name)
    {
        findings.error(&format!("{at}/onExitCodes/containerName"), "names no container of the template", None);
    }
}
