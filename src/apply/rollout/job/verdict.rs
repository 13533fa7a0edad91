//! Whether a Job is over, and how. The order is that of Kubernetes' controller (`pkg/controller/job/job_controller.go`, `syncJob`).

use super::super::RolloutInput;
use super::roster::Roster;
use crate::model::{JobOutcome, JobRun, JobSpec, Moment, RestartPolicy, SuccessRule};
use std::time::Duration;

/// How the Job ended; `None` while it has not. `fatal` is why a rule says that it has failed.
pub(super) fn of(
    input: &RolloutInput<'_>,
    spec: &JobSpec,
    run: &JobRun,
    roster: &Roster<'_>,
    fatal: Option<String>,
) -> Option<JobOutcome> {
    let failed = failure(input, spec, run, roster, fatal).map(|found| (false, found));
    let (complete, (reason, message)) = failed.or_else(|| success(spec, run, roster).map(|found| (true, found)))?;
    Some(JobOutcome { complete, reason: reason.to_owned(), message, at: input.now })
}

/// When the Job has been active for too long.
pub(super) fn deadline(spec: &JobSpec, run: &JobRun) -> Option<Moment> {
    Some(run.started? + Duration::from_secs(spec.active_deadline_seconds?))
}

type Found = (&'static str, String);

fn failure(input: &RolloutInput<'_>, spec: &JobSpec, run: &JobRun, roster: &Roster<'_>, fatal: Option<String>) -> Option<Found> {
    if let Some(message) = fatal {
        return Some(("PodFailurePolicy", message));
    }
    if run.failed > spec.backoff_limit || restarted_too_often(input, spec, roster) {
        return Some(("BackoffLimitExceeded", "Job has reached the specified backoff limit".to_owned()));
    }
    if deadline(spec, run).is_some_and(|at| input.now >= at) {
        return Some(("DeadlineExceeded", "Job was active longer than specified deadline".to_owned()));
    }
    if spec.max_failed_indexes.is_some_and(|most| run.failed_indexes.len() > most) {
        return Some(("MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes".to_owned()));
    }
    let is_settled = spec.indexed && roster.open_indexes(spec, run) == 0;
    (is_settled && !run.failed_indexes.is_empty()).then(|| ("FailedIndexes", "Job has failed indexes".to_owned()))
}

/// With `restartPolicy: OnFailure` containers restart on the spot, and their restarts count.
fn restarted_too_often(input: &RolloutInput<'_>, spec: &JobSpec, roster: &Roster<'_>) -> bool {
    if input.workload.snapshot.template.spec.restart_policy != RestartPolicy::OnFailure {
        return false;
    }
    let restarts: u32 = roster.alive.iter().map(|pod| pod.restarts).sum();
    restarts > 0 && restarts >= spec.backoff_limit
}

fn success(spec: &JobSpec, run: &JobRun, roster: &Roster<'_>) -> Option<Found> {
    if let Some(index) = spec.success_rules.iter().position(|rule| holds(rule, spec, run)) {
        return Some(("SuccessPolicy", format!("Matched rules at index {index}")));
    }
    let is_complete = match spec.completions {
        Some(_) if spec.indexed => roster.open_indexes(spec, run) == 0,
        Some(completions) => run.succeeded >= completions,
        None => run.succeeded > 0 && roster.alive.is_empty(),
    };
    is_complete.then(|| ("CompletionsReached", "Reached expected number of succeeded pods".to_owned()))
}

/// <https://kubernetes.io/docs/concepts/workloads/controllers/job/#success-policy>
fn holds(rule: &SuccessRule, spec: &JobSpec, run: &JobRun) -> bool {
    let among: Vec<u32> = match &rule.succeeded_indexes {
        Some(indexes) => indexes.iter().filter(|index| *index < spec.indexes()).collect(),
        None => (0..spec.indexes()).collect(),
    };
    let done = among.iter().filter(|index| run.succeeded_indexes.contains(**index)).count();
    let needed = rule.succeeded_count.map_or(among.len(), |count| count as usize);
    needed > 0 && done >= needed
}
