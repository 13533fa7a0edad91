//! How many pods run, and when a Job is over.

use super::*;

#[test]
fn pods_are_made_up_to_the_parallelism_and_never_beyond_the_completions() {
    check(spec(Some(1)), 1, "", "+0");
    check(spec(Some(5)), 2, "", "+0, +1");
    check(spec(Some(5)), 2, "0- 1-", "");
    check(spec(Some(5)), 2, "0v 1-", "+2");
    check(spec(Some(3)), 2, "0v 1v", "+2");
    check(spec(Some(3)), 2, "0v 1v 2-", "");
    check(spec(Some(3)), 8, "", "+0, +1, +2");
    check(spec(Some(2)), 2, "0x 1-", "+2");
    check(spec(Some(2)), 1, "0- 1+", "-0 ScaledDown");
    check(spec(Some(2)), 1, "0! 1+", "");
    check(spec(Some(2)), 0, "", "");
}

#[test]
fn a_job_is_complete_when_enough_have_succeeded() {
    assert_eq!(outcome(spec(Some(2)), 2, "0v 1-"), None);
    assert_eq!(outcome(spec(Some(2)), 2, "0v 1v"), complete());
    assert_eq!(outcome(spec(Some(0)), 2, ""), complete());
    assert_eq!(outcome(spec(None), 2, "0v 1-"), None, "the other worker still empties the queue");
    assert_eq!(outcome(spec(None), 2, "0v 1v"), complete());
    check(spec(None), 3, "0v 1-", "");
    check(spec(None), 3, "0x 1-", "+2, +3");
    check(spec(Some(1)), 2, "0v 1-", "-1 Finished");
}

#[test]
fn what_is_over_never_starts_again() {
    let over = take(&workload(spec(Some(1))), 1, &pods("0v"), &JobMemory::default(), NOW);
    assert_eq!(over.progress, Progress::Done);
    let much_later = NOW + Duration::from_secs(1_000_000);
    for left in ["", "0v", "0x"] {
        let again = take(&workload(spec(Some(4))), 4, &pods(left), &over.memory.job, much_later);
        assert_eq!((told(&again, &[]), again.progress), (String::new(), Progress::Done), "with {left}");
    }
}

#[test]
fn a_new_template_is_a_new_run_after_the_pods_of_the_last_are_gone() {
    let over = take(&workload(spec(Some(1))), 1, &pods("0v"), &JobMemory::default(), NOW).memory.job;
    let next = workload(JobSpec { run: hash('b'), ..spec(Some(1)) });
    let left = pods("0v");
    let begun = take(&next, 1, &left, &over, NOW);
    assert_eq!(told(&begun, &left), "-0 Replaced");
    let waiting = take(&next, 1, &pods("0!"), &begun.memory.job, NOW);
    assert_eq!((told(&waiting, &[]), waiting.progress), (String::new(), Progress::Waiting(WaitingOn::Stops)));
    assert_eq!(told(&take(&next, 1, &[], &waiting.memory.job, NOW), &[]), "+0");
}

#[test]
fn changed_configuration_is_no_new_run() {
    let over = take(&workload(spec(Some(1))), 1, &pods("0v"), &JobMemory::default(), NOW).memory.job;
    let mut reconfigured = workload(spec(Some(1)));
    Arc::make_mut(&mut reconfigured.snapshot).hash = hash('c');
    let left = pods("0v");
    let step = take(&reconfigured, 1, &left, &over, NOW);
    assert_eq!((told(&step, &left), step.progress), (String::new(), Progress::Done));
}

#[test]
fn ended_pods_are_kept_until_the_time_to_live_is_over() {
    let short = workload(JobSpec { ttl_seconds_after_finished: Some(30), ..spec(Some(1)) });
    let left = pods("0v");
    let over = take(&short, 1, &left, &JobMemory::default(), NOW);
    assert_eq!((told(&over, &left), over.wake), (String::new(), Some(NOW + Duration::from_secs(30))));
    let expired = take(&short, 1, &left, &over.memory.job, NOW + Duration::from_secs(30));
    assert_eq!(told(&expired, &left), "-0 Finished");
}

#[test]
fn a_suspended_job_runs_nothing_and_its_deadline_starts_anew() {
    let hurried = JobSpec { active_deadline_seconds: Some(60), ..spec(Some(2)) };
    let suspended = Workload { paused: true, ..workload(hurried.clone()) };
    let running = pods("0- 1v");
    let step = take(&suspended, 2, &running, &JobMemory::default(), NOW);
    assert_eq!((told(&step, &running), step.progress), ("-0 ScaledDown".to_owned(), Progress::Waiting(WaitingOn::Unpause)));
    let resumed = take(&workload(hurried), 2, &pods("1v"), &step.memory.job, NOW + Duration::from_secs(600));
    assert_eq!(told(&resumed, &[]), "+0");
    assert_eq!(resumed.memory.job.run.started, Some(NOW + Duration::from_secs(600)));
}

#[test]
fn each_index_runs_until_it_has_succeeded_once() {
    check(indexed(3), 2, "", "+0, +1");
    check(indexed(3), 2, "0v 1-", "+2");
    check(indexed(3), 3, "0v 1x 2-", "+1");
    check(indexed(3), 3, "0- 0- 1v", "-0 ScaledDown");
    check(indexed(2), 2, "0v 1- 4-", "-4 ScaledDown");
    assert_eq!(outcome(indexed(2), 2, "0v 1v"), complete());
    assert_eq!(outcome(indexed(2), 2, "0v 0v"), None);
}

#[test]
fn a_success_policy_is_enough() {
    let rule = |indexes: Option<&[u32]>, count| SuccessRule {
        succeeded_indexes: indexes.map(|indexes| indexes.iter().copied().collect::<IndexSet>()),
        succeeded_count: count,
    };
    let with = |rule| JobSpec { success_rules: vec![rule], ..indexed(4) };
    let enough = Some((true, "SuccessPolicy".to_owned()));
    assert_eq!(outcome(with(rule(Some(&[0]), None)), 4, "0v 1- 2- 3-"), enough);
    assert_eq!(outcome(with(rule(Some(&[1, 2]), None)), 4, "0v 1v 2- 3-"), None);
    assert_eq!(outcome(with(rule(Some(&[1, 2]), Some(1))), 4, "0v 1v 2- 3-"), enough);
    assert_eq!(outcome(with(rule(None, Some(3))), 4, "0v 1v 2- 3-"), None);
    assert_eq!(outcome(with(rule(None, Some(2))), 4, "0v 1v 2- 3-"), enough);
}

#[test]
fn a_job_in_doubt_runs_nothing_until_its_template_changes() {
    let run = JobRun { run: Some(hash('a')), doubt: Some("it may have run".to_owned()), ..JobRun::default() };
    let doubted = JobMemory { run, ..JobMemory::default() };
    let step = take(&workload(spec(Some(1))), 1, &[], &doubted, NOW);
    assert_eq!(told(&step, &[]), "");
    assert_eq!(step.progress, Progress::Stalled(StalledBy::Forgotten("it may have run".to_owned())));
    let changed = workload(JobSpec { run: hash('b'), ..spec(Some(1)) });
    assert_eq!(told(&take(&changed, 1, &[], &doubted, NOW), &[]), "+0");
}
