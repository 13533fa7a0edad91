//! When a CronJob makes a Job.
//!
//! A pure function of the CronJob, what is remembered of it, how many of its Jobs run, and the time on the wall. The rules are
//! Kubernetes' (<https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/>): of several missed times the last one counts;
//! with `startingDeadlineSeconds` only those within it; more than a hundred missed ones are given up. There they are given up for
//! good; here the schedule then goes on from now, since nobody would look at a CronJob that stands still.

use crate::model::{ConcurrencyPolicy, CronJob, CronRun, Moment, time_zone};
use jiff::tz::TimeZone;
use std::time::Duration;

/// More missed times than this are given up.
const MISSED_MAX: usize = 100;

/// What to do about a CronJob now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct CronStep {
    /// Make the Job that was due then.
    pub start: Option<Moment>,
    /// Remove the Jobs of it that run.
    pub replace: bool,
    /// What is given up.
    pub missed: Option<Missed>,
    /// When it is due next, as the clock on the wall shows it.
    pub wake: Option<Moment>,
    /// What is remembered from now on.
    pub memory: CronRun,
}

/// Why a time passed without a Job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// It was not started within `startingDeadlineSeconds`.
    TooLate(Moment),
    /// More than a hundred times were missed.
    TooMany,
    /// An earlier Job still runs.
    Forbidden(Moment),
}

/// Takes one step. `active` of its Jobs run; `now` is what the clock on the wall shows.
pub fn step(cron: &CronJob, memory: &CronRun, active: usize, now: Moment) -> CronStep {
    let mut step = CronStep { start: None, replace: false, missed: None, wake: None, memory: memory.clone() };
    let Some(zone) = time_zone(cron.time_zone.as_deref()).filter(|_| !cron.suspend) else { return step };
    step.wake = cron.schedule.next(now, &zone);
    let since = memory.last.map_or(memory.since, |last| last.max(memory.since));
    let from = within_deadline(cron, &mut step, &zone, since, now);
    match due(cron, &zone, from, now) {
        Due::Not => {}
        Due::TooOften => {
            step.missed = Some(Missed::TooMany);
            step.memory.since = now;
        }
        Due::At(at) if cron.concurrency == ConcurrencyPolicy::Forbid && active > 0 => step.missed = Some(Missed::Forbidden(at)),
        Due::At(at) => {
            step.start = Some(at);
            step.replace = cron.concurrency == ConcurrencyPolicy::Replace && active > 0;
            step.memory.last = Some(at);
        }
    }
    step
}

/// From when on missed times still count. What was due before that is missed for good.
fn within_deadline(cron: &CronJob, step: &mut CronStep, zone: &TimeZone, since: Moment, now: Moment) -> Moment {
    let Some(seconds) = cron.starting_deadline_seconds else { return since };
    let limit = now - Duration::from_secs(seconds);
    if limit <= since {
        return since;
    }
    if let Some(at) = cron.schedule.next(since, zone).filter(|at| *at <= limit) {
        step.missed = Some(Missed::TooLate(at));
        step.memory.since = limit;
    }
    limit
}

enum Due {
    Not,
    At(Moment),
    TooOften,
}

fn due(cron: &CronJob, zone: &TimeZone, from: Moment, now: Moment) -> Due {
    let times = std::iter::successors(cron.schedule.next(from, zone), |at| cron.schedule.next(*at, zone));
    let missed: Vec<Moment> = times.take_while(|at| *at <= now).take(MISSED_MAX + 1).collect();
    match missed.last() {
        None => Due::Not,
        Some(_) if missed.len() > MISSED_MAX => Due::TooOften,
        Some(last) => Due::At(*last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LabelSelector, Meta, PodSnapshot, PodTemplate, Schedule, Strategy, TemplateHash, Workload};
    use std::sync::Arc;

    /// Midnight, 2026-01-01.
    const START: Moment = Moment(1_767_225_600_000);

    fn minutes(count: u64) -> Moment {
        START + Duration::from_secs(count * 60)
    }

    fn cron(schedule: &str) -> CronJob {
        let snapshot = PodSnapshot { hash: TemplateHash::new("a"), template: PodTemplate::default(), config: Arc::default() };
        let job = Workload {
            replicas: Some(1),
            selector: LabelSelector::default(),
            snapshot: Arc::new(snapshot),
            strategy: Strategy::Recreate,
            min_ready_seconds: 0,
            progress_deadline_seconds: 600,
            paused: false,
        };
        CronJob {
            schedule: Schedule::parse(schedule).unwrap(),
            time_zone: None,
            concurrency: ConcurrencyPolicy::Allow,
            starting_deadline_seconds: None,
            suspend: false,
            successful_kept: 3,
            failed_kept: 1,
            job_meta: Meta::default(),
            job,
        }
    }

    fn remembered(last: Option<u64>) -> CronRun {
        CronRun { since: START, last: last.map(minutes) }
    }

    #[test]
    fn a_job_is_started_when_it_is_due_and_once() {
        let every = cron("*/10 * * * *");
        let early = step(&every, &remembered(None), 0, minutes(9));
        assert_eq!((early.start, early.wake), (None, Some(minutes(10))));
        let due = step(&every, &early.memory, 0, minutes(10));
        assert_eq!((due.start, due.wake), (Some(minutes(10)), Some(minutes(20))));
        assert_eq!(step(&every, &due.memory, 0, minutes(10)).start, None);
        assert_eq!(step(&every, &due.memory, 0, minutes(19)).start, None);
    }

    #[test]
    fn of_several_missed_times_the_last_one_counts() {
        let step = step(&cron("*/10 * * * *"), &remembered(Some(10)), 0, minutes(45));
        assert_eq!((step.start, step.memory.last), (Some(minutes(40)), Some(minutes(40))));
    }

    #[test]
    fn what_is_too_late_is_missed() {
        let hurried = CronJob { starting_deadline_seconds: Some(60), ..cron("*/10 * * * *") };
        let late = step(&hurried, &remembered(None), 0, minutes(15));
        assert_eq!((late.start, late.missed), (None, Some(Missed::TooLate(minutes(10)))));
        assert_eq!(step(&hurried, &late.memory, 0, minutes(15)).missed, None, "it is said once");
        assert_eq!(step(&hurried, &late.memory, 0, minutes(20)).start, Some(minutes(20)));
    }

    #[test]
    fn more_than_a_hundred_missed_times_are_given_up_and_the_schedule_goes_on() {
        let every = cron("* * * * *");
        assert_eq!(step(&every, &remembered(None), 0, minutes(100)).start, Some(minutes(100)));
        let many = step(&every, &remembered(None), 0, minutes(101));
        assert_eq!((many.start, many.missed), (None, Some(Missed::TooMany)));
        assert_eq!(step(&every, &many.memory, 0, minutes(102)).start, Some(minutes(102)));
    }

    #[test]
    fn a_job_that_runs_forbids_or_is_replaced() {
        let forbid = CronJob { concurrency: ConcurrencyPolicy::Forbid, ..cron("*/10 * * * *") };
        let waits = step(&forbid, &remembered(None), 1, minutes(10));
        assert_eq!((waits.start, waits.missed), (None, Some(Missed::Forbidden(minutes(10)))));
        assert_eq!(step(&forbid, &waits.memory, 0, minutes(14)).start, Some(minutes(10)), "it is made up for");
        let replace = CronJob { concurrency: ConcurrencyPolicy::Replace, ..cron("*/10 * * * *") };
        let instead = step(&replace, &remembered(None), 1, minutes(10));
        assert_eq!((instead.start, instead.replace), (Some(minutes(10)), true));
    }

    #[test]
    fn a_suspended_one_sleeps_and_a_clock_that_is_set_back_repeats_nothing() {
        let suspended = CronJob { suspend: true, ..cron("* * * * *") };
        let asleep = step(&suspended, &remembered(None), 0, minutes(5));
        assert_eq!((asleep.start, asleep.wake), (None, None));
        let back = step(&cron("*/10 * * * *"), &remembered(Some(30)), 0, minutes(5));
        assert_eq!(back.start, None);
        assert_eq!(step(&cron("*/10 * * * *"), &back.memory, 0, minutes(30)).start, None);
        assert_eq!(step(&cron("*/10 * * * *"), &back.memory, 0, minutes(40)).start, Some(minutes(40)));
    }
}
