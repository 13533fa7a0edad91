//! What a change of a Job does.

use super::{Pods, count, delete, only};
use crate::model::{Action, Effect, JobSpec, Object, Strategy};

/// `None` if it is no Job that changes.
pub(super) fn of_job(action: Action, old: Option<&Object>, new: Option<&Object>, pods: Pods) -> Option<Effect> {
    let (spec, parallelism, suspended) = job(new.or(old)?)?;
    let run = run(spec, parallelism);
    let is_new_run = old.and_then(job).is_none_or(|(before, ..)| before.run != spec.run);
    Some(match action {
        Action::Delete => Effect { downtime: false, ..delete(pods) },
        Action::Create | Action::Replace if suspended => only("suspended: no pod starts until spec.suspend is lifted".to_owned()),
        Action::Create => Effect { starts: total(spec, parallelism), order: format!("runs {run}"), ..Effect::default() },
        Action::Replace if is_new_run => Effect {
            starts: total(spec, parallelism),
            stops: pods.before,
            order: format!("a new run: pods of the last one go, then it runs {run}, whether or not the last one was complete"),
            ..Effect::default()
        },
        Action::Replace => only("no new run: what it refers to is seen by pods that start from now on".to_owned()),
        Action::Update | Action::Scale => only(updated(old, suspended)),
    })
}

fn job(object: &Object) -> Option<(&JobSpec, u32, bool)> {
    let workload = object.workload()?;
    let Strategy::Job(spec) = &workload.strategy else { return None };
    Some((spec, workload.replicas.unwrap_or(1), workload.paused))
}

fn total(spec: &JobSpec, parallelism: u32) -> u32 {
    spec.completions.unwrap_or(parallelism)
}

/// `3 pods to completion, 2 at a time`
fn run(spec: &JobSpec, parallelism: u32) -> String {
    let total = total(spec, parallelism);
    let at_a_time = if parallelism < total { format!(", {parallelism} at a time") } else { String::new() };
    let what = if spec.completions.is_none() { " as workers of a queue" } else { "" };
    format!("{}{what} to completion{at_a_time}", count(total))
}

fn updated(old: Option<&Object>, suspended: bool) -> String {
    let was_suspended = old.and_then(job).is_some_and(|(.., suspended)| suspended);
    match (was_suspended, suspended) {
        (false, true) => "suspends it: its pods stop, unless it is over".to_owned(),
        (true, false) => "resumes it, unless it is over".to_owned(),
        _ => "no new run; it is heeded unless the Job is over".to_owned(),
    }
}

/// What a change of a CronJob does. When it is due next depends on the clock, so a plan does not say.
pub(super) fn of_cron(action: Action, old: Option<&Object>, new: Option<&Object>) -> String {
    let schedule = |object: Option<&Object>| {
        let cron = object?.cron_job()?;
        let state = if cron.suspend { ", once it is not suspended" } else { "" };
        Some(format!("{} ({}){state}", cron.schedule.text(), cron.time_zone.as_deref().unwrap_or("UTC")))
    };
    let (before, after) = (schedule(old), schedule(new));
    match (action, after) {
        (Action::Delete, _) | (_, None) => "its Jobs go with it, those that run too".to_owned(),
        (Action::Create, Some(after)) => format!("makes a Job at {after}"),
        (_, Some(after)) if before.as_ref() != Some(&after) => format!("makes a Job at {after} from now on"),
        (_, Some(_)) => "holds for Jobs that are made from now on; those that run stay as they are".to_owned(),
    }
}
