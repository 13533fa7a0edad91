//! Pods that fail: delays, limits, deadlines and policies.

use super::*;

#[test]
fn failed_pods_are_replaced_with_a_growing_delay_until_the_limit() {
    let limited = workload(JobSpec { backoff_limit: 2, ..spec(Some(1)) });
    let first = take(&limited, 1, &pods("0x"), &JobMemory::default(), NOW);
    assert_eq!(told(&first, &[]), "");
    assert_eq!(first.progress, Progress::Waiting(WaitingOn::Retry { failed: 1, left: Duration::from_secs(10) }));
    assert_eq!(first.wake, Some(NOW + Duration::from_secs(10)));
    let due = NOW + Duration::from_secs(10);
    assert_eq!(told(&take(&limited, 1, &pods("0x"), &first.memory.job, due), &[]), "+1");
    let mut both = pods("0x 1x");
    both[1].at = due;
    let second = take(&limited, 1, &both, &first.memory.job, due);
    assert_eq!(second.wake, Some(due + Duration::from_secs(20)));
    let third = take(&limited, 1, &pods("0x 1x 2x"), &second.memory.job, due);
    let reason =
        StalledBy::JobFailed("BackoffLimitExceeded".to_owned(), "Job has reached the specified backoff limit".to_owned());
    assert_eq!(third.progress, Progress::Stalled(reason));
    assert_eq!(outcome(JobSpec { backoff_limit: 0, ..spec(Some(1)) }, 1, "0x"), failed("BackoffLimitExceeded"));
    assert_eq!(outcome(JobSpec { backoff_limit: 0, ..spec(Some(2)) }, 2, "0v 1-"), None);
}

#[test]
fn a_success_ends_the_row_of_failures() {
    let three = workload(spec(Some(3)));
    let mut found = pods("0x 1v");
    found[1].at = NOW + Duration::from_secs(1);
    let step = take(&three, 2, &found, &JobMemory::default(), NOW + Duration::from_secs(1));
    assert_eq!(told(&step, &found), "+2, +3");
}

#[test]
fn restarts_on_the_spot_count_where_containers_restart() {
    let mut on_failure = workload(JobSpec { backoff_limit: 3, ..spec(Some(1)) });
    Arc::make_mut(&mut on_failure.snapshot).template.spec.restart_policy = RestartPolicy::OnFailure;
    let restarted = |count: u32| Pod { restarts: count, ..pods("0-").remove(0) };
    let running = take(&on_failure, 1, &[restarted(2)], &JobMemory::default(), NOW);
    assert_eq!(running.memory.job.run.outcome, None);
    let ended = take(&on_failure, 1, &[restarted(3)], &JobMemory::default(), NOW);
    assert_eq!(ended.memory.job.run.outcome.map(|outcome| outcome.reason), Some("BackoffLimitExceeded".to_owned()));
}

#[test]
fn the_deadline_ends_it_and_stops_what_runs() {
    let hurried = workload(JobSpec { active_deadline_seconds: Some(60), ..spec(Some(1)) });
    let running = pods("0-");
    let begun = take(&hurried, 1, &running, &JobMemory::default(), NOW);
    assert_eq!(begun.wake, Some(NOW + Duration::from_secs(60)));
    let late = take(&hurried, 1, &running, &begun.memory.job, NOW + Duration::from_secs(60));
    assert_eq!(told(&late, &running), "-0 Finished");
    assert_eq!(late.memory.job.run.outcome.map(|outcome| outcome.reason), Some("DeadlineExceeded".to_owned()));
}

#[test]
fn an_index_has_a_limit_of_its_own_where_it_is_given() {
    let limited = JobSpec { backoff_limit: u32::MAX, backoff_limit_per_index: Some(0), ..indexed(3) };
    check(limited.clone(), 3, "0x 1- 2v", "");
    assert_eq!(outcome(limited.clone(), 3, "0x 1v 2v"), failed("FailedIndexes"));
    let picky = JobSpec { max_failed_indexes: Some(0), ..limited.clone() };
    assert_eq!(outcome(picky, 3, "0x 1- 2v"), failed("MaxFailedIndexesExceeded"));
    let patient = JobSpec { backoff_limit_per_index: Some(1), ..limited };
    let step = take(&workload(patient), 3, &pods("0x 1v 2v"), &JobMemory::default(), NOW);
    assert_eq!((told(&step, &[]), step.wake), (String::new(), Some(NOW + Duration::from_secs(10))));
}

#[test]
fn a_failure_policy_says_what_follows() {
    let on_code = |action, operator: &str, values: &[i32]| FailureRule {
        action,
        on_exit_codes: Some(ExitCodes { container_name: None, operator: operator.to_owned(), values: values.to_vec() }),
        on_pod_conditions: Vec::new(),
    };
    let with = |rule| JobSpec { backoff_limit: 0, failure_rules: vec![rule], ..spec(Some(1)) };
    assert_eq!(outcome(with(on_code(FailureAction::FailJob, "In", &[1])), 1, "0x"), failed("PodFailurePolicy"));
    assert_eq!(outcome(with(on_code(FailureAction::FailJob, "NotIn", &[1])), 1, "0x"), failed("BackoffLimitExceeded"));
    assert_eq!(outcome(with(on_code(FailureAction::Ignore, "In", &[1])), 1, "0x"), None);
    check(with(on_code(FailureAction::Ignore, "In", &[1])), 1, "0x", "+1");
    let disrupted = FailureRule {
        action: FailureAction::Ignore,
        on_exit_codes: None,
        on_pod_conditions: vec![PodConditionPattern { r#type: "DisruptionTarget".to_owned() }],
    };
    assert_eq!(outcome(with(disrupted.clone()), 1, "0?"), None, "it was lost with its node, which does not count");
    assert_eq!(outcome(with(disrupted), 1, "0x"), failed("BackoffLimitExceeded"));
}

#[test]
fn a_pod_that_is_lost_or_removed_counts_as_failed_once() {
    let one = workload(spec(Some(1)));
    let lost = take(&one, 1, &pods("0?"), &JobMemory::default(), NOW);
    let again = take(&one, 1, &pods("0?"), &lost.memory.job, NOW + Duration::from_secs(10));
    assert_eq!((again.memory.job.run.failed, told(&again, &[])), (1, "+1".to_owned()));
    let mut returned = pods("0- 1-");
    returned[0].uid = pods("0?")[0].uid;
    let back = take(&one, 1, &returned, &again.memory.job, NOW + Duration::from_secs(11));
    assert_eq!(told(&back, &returned), "-0 Superseded");
    let running = take(&one, 1, &pods("0-"), &JobMemory::default(), NOW);
    let vanished = take(&one, 1, &[], &running.memory.job, NOW);
    assert_eq!((vanished.memory.job.run.failed, told(&vanished, &[])), (1, String::new()));
}
