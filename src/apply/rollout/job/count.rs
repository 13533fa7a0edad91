//! Taking in how pods ended: each counts once.
//!
//! `podFailurePolicy` is Kubernetes': <https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy>.

use super::super::{PodEnd, PodState, RolloutInput};
use super::roster::Roster;
use super::{JobMemory, Strikes};
use crate::model::{ContainerReport, FailureAction, FailureRule, JobSpec, Moment, PodUid};
use std::collections::BTreeSet;

/// The condition that a pod has whose node was lost.
const DISRUPTION: &str = "DisruptionTarget";

/// A pod that failed.
struct Failure<'a> {
    slot: u32,
    at: Moment,
    how: How<'a>,
}

/// How it failed.
#[derive(Clone, Copy)]
enum How<'a> {
    /// Its containers ended so.
    Ended(&'a [ContainerReport]),
    /// Its node was lost.
    Lost,
    /// Somebody else removed it.
    Removed,
}

/// Counts the pods that ended, were lost or vanished since the last step. Returns why the whole Job has failed, if a rule says so.
pub(super) fn take_in(input: &RolloutInput<'_>, spec: &JobSpec, job: &mut JobMemory, roster: &Roster<'_>) -> Option<String> {
    let mut fatal = None;
    let mut ended: Vec<(&PodState<'_>, PodEnd<'_>)> = roster.ended.iter().filter_map(|pod| Some((*pod, pod.end?))).collect();
    ended.sort_by_key(|(pod, end)| (end.at, pod.uid));
    for (pod, end) in ended {
        if !job.run.counted.insert(pod.uid) {
            continue;
        }
        if end.succeeded {
            succeed(spec, job, pod.slot);
        } else {
            fatal = fatal.or(fail(spec, job, &Failure { slot: pod.slot, at: end.at, how: How::Ended(end.containers) }));
        }
    }
    for pod in &roster.lost {
        if job.run.counted.insert(pod.uid) {
            fatal = fatal.or(fail(spec, job, &Failure { slot: pod.slot, at: input.now, how: How::Lost }));
        }
    }
    let there: BTreeSet<PodUid> = input.pods.iter().map(|pod| pod.uid).collect();
    let removed: Vec<u32> = job.alive.iter().filter(|(uid, _)| !there.contains(*uid)).map(|(_, slot)| *slot).collect();
    for slot in removed {
        fatal = fatal.or(fail(spec, job, &Failure { slot, at: input.now, how: How::Removed }));
    }
    fatal
}

fn succeed(spec: &JobSpec, job: &mut JobMemory, slot: u32) {
    job.strikes = Strikes::default();
    if !spec.indexed {
        job.run.succeeded += 1;
        return;
    }
    job.index_strikes.remove(&slot);
    job.run.index_failures.remove(&slot);
    if slot < spec.indexes() && job.run.succeeded_indexes.insert(slot) {
        job.run.succeeded += 1;
    }
}

fn fail(spec: &JobSpec, job: &mut JobMemory, failure: &Failure<'_>) -> Option<String> {
    let rule = spec.failure_rules.iter().position(|rule| matches(rule, failure));
    match rule.map(|index| (index, spec.failure_rules[index].action)) {
        Some((_, FailureAction::Ignore)) => return None,
        Some((index, FailureAction::FailJob)) => {
            job.run.failed += 1;
            return Some(format!("{} matches the FailJob rule at index {index}", describe(failure)));
        }
        Some((_, FailureAction::FailIndex)) => give_up(job, failure.slot),
        Some((_, FailureAction::Count)) | None => strike(spec, job, failure),
    }
    job.run.failed += 1;
    None
}

fn strike(spec: &JobSpec, job: &mut JobMemory, failure: &Failure<'_>) {
    let Some(limit) = spec.backoff_limit_per_index else { return job.strikes.add(failure.at) };
    let failures = job.run.index_failures.entry(failure.slot).or_default();
    *failures += 1;
    if *failures > limit {
        give_up(job, failure.slot);
    } else {
        job.index_strikes.entry(failure.slot).or_default().add(failure.at);
    }
}

fn give_up(job: &mut JobMemory, index: u32) {
    job.run.index_failures.remove(&index);
    job.index_strikes.remove(&index);
    job.run.failed_indexes.insert(index);
}

fn matches(rule: &FailureRule, failure: &Failure<'_>) -> bool {
    let containers = match failure.how {
        How::Ended(containers) => containers,
        How::Lost => return rule.on_pod_conditions.iter().any(|pattern| pattern.r#type == DISRUPTION),
        How::Removed => return false,
    };
    let Some(codes) = &rule.on_exit_codes else { return false };
    let is_concerned = |name: &str| codes.container_name.as_ref().is_none_or(|wanted| wanted == name);
    failed_codes(containers).any(|(name, code)| is_concerned(name) && codes.values.contains(&code) == (codes.operator == "In"))
}

/// The containers that did not end well; no rule speaks of the others.
fn failed_codes(containers: &[ContainerReport]) -> impl Iterator<Item = (&str, i32)> {
    let codes = containers.iter().filter_map(|container| Some((container.name.as_str(), container.last_exit.as_ref()?.code)));
    codes.filter(|(_, code)| *code != 0)
}

fn describe(failure: &Failure<'_>) -> String {
    let containers = if let How::Ended(containers) = failure.how { containers } else { &[] };
    match failed_codes(containers).next() {
        Some((name, code)) => format!("container {name}, which ended with exit code {code},"),
        None => "a pod that was lost with its node".to_owned(),
    }
}
