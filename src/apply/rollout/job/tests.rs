//! Tables, and properties over random histories.
//!
//! The text language: a pod is `slot state`, with `-` running, `+` running and ready, `v` succeeded, `x` failed, `?` lost with its node,
//! `!` told to stop. The uid follows from the slot and how many pods of that slot are before it, so that `0x 0-` are two pods.

use super::super::{PodEnd, RolloutMemory, Standing, step};
use super::*;
use crate::model::{
    ContainerReport, Exit, ExitCodes, FailureAction, FailureRule, IndexSet, LabelSelector, NodeName, PodConditionPattern,
    PodSnapshot, PodTemplate, RestartPolicy, Strategy, SuccessRule, TemplateHash, Workload,
};
use proptest::prelude::*;
use proptest::strategy::Strategy as Generator;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

const NOW: Moment = Moment(10_000_000);

fn hash(letter: char) -> TemplateHash {
    TemplateHash::new(letter.to_string().repeat(40))
}

fn spec(completions: Option<u32>) -> JobSpec {
    JobSpec {
        run: hash('a'),
        completions,
        indexed: false,
        backoff_limit: 6,
        backoff_limit_per_index: None,
        max_failed_indexes: None,
        active_deadline_seconds: None,
        ttl_seconds_after_finished: None,
        failure_rules: Vec::new(),
        success_rules: Vec::new(),
    }
}

fn indexed(completions: u32) -> JobSpec {
    JobSpec { indexed: true, ..spec(Some(completions)) }
}

fn workload(spec: JobSpec) -> Workload {
    let mut template = PodTemplate::default();
    template.spec.restart_policy = RestartPolicy::Never;
    let letter = spec.run.as_str().chars().next().unwrap();
    Workload {
        replicas: None,
        selector: LabelSelector::default(),
        snapshot: Arc::new(PodSnapshot { hash: hash(letter), template, config: Arc::default() }),
        strategy: Strategy::Job(Box::new(spec)),
        min_ready_seconds: 0,
        progress_deadline_seconds: 600,
        paused: false,
    }
}

/// A pod that a test owns.
#[derive(Debug, Clone)]
struct Pod {
    uid: PodUid,
    slot: u32,
    hash: TemplateHash,
    standing: Standing,
    succeeded: bool,
    at: Moment,
    containers: Vec<ContainerReport>,
    restarts: u32,
}

fn pod(uid: u128, slot: u32, state: char) -> Pod {
    let standing = match state {
        '-' => Standing::Unready,
        '+' => Standing::Ready { since: NOW - Duration::from_secs(100) },
        'v' | 'x' => Standing::Ended,
        '?' => Standing::Lost,
        '!' => Standing::Stopping,
        other => panic!("unknown state {other}"),
    };
    let exit = Exit { code: i32::from(state == 'x'), reason: "Error".to_owned() };
    let containers = vec![ContainerReport { name: "main".to_owned(), last_exit: Some(exit), ..ContainerReport::default() }];
    let uid = PodUid(Uuid::from_u128(uid));
    Pod { uid, slot, hash: hash('a'), standing, succeeded: state == 'v', at: NOW, containers, restarts: 0 }
}

fn pods(text: &str) -> Vec<Pod> {
    let words = text.split_whitespace().enumerate();
    words
        .map(|(place, word)| {
            let (slot, state) = word.split_at(word.len() - 1);
            let slot: u32 = slot.parse().unwrap();
            let twins = text.split_whitespace().take(place).filter(|other| other[..other.len() - 1] == word[..word.len() - 1]);
            pod(u128::from(slot) * 100 + twins.count() as u128 + 1, slot, state.chars().next().unwrap())
        })
        .collect()
}

fn take(workload: &Workload, parallelism: u32, pods: &[Pod], job: &JobMemory, now: Moment) -> RolloutStep {
    let node = NodeName::new("n");
    let states: Vec<PodState<'_>> = pods
        .iter()
        .map(|pod| PodState {
            node: &node,
            heard: true,
            bound: false,
            uid: pod.uid,
            slot: pod.slot,
            hash: &pod.hash,
            standing: pod.standing,
            retired: matches!(pod.standing, Standing::Stopping | Standing::Draining { .. }),
            end: (pod.standing == Standing::Ended).then_some(PodEnd {
                succeeded: pod.succeeded,
                at: pod.at,
                containers: &pod.containers,
            }),
            restarts: pod.restarts,
            message: "",
        })
        .collect();
    let memory = RolloutMemory { job: job.clone(), ..RolloutMemory::default() };
    let known = BTreeSet::new();
    let (nodes, unheard) = (BTreeMap::new(), BTreeMap::new());
    let replicas = parallelism;
    step(&RolloutInput {
        workload,
        replicas,
        pods: &states,
        nodes: &nodes,
        unheard: &unheard,
        known: &known,
        memory: &memory,
        now,
    })
}

/// What is told: `+3` creates slot 3, `-3` retires the pod there.
fn told(step: &RolloutStep, pods: &[Pod]) -> String {
    let texts = step.actions.iter().map(|action| match action {
        Action::Create { slot, .. } => format!("+{slot}"),
        Action::Retire { uid, reason } => {
            let pod = pods.iter().find(|pod| pod.uid == *uid).unwrap();
            format!("-{} {reason:?}", pod.slot)
        }
        Action::Reinstate { .. } => "=".to_owned(),
    });
    texts.collect::<Vec<_>>().join(", ")
}

fn check(spec: JobSpec, parallelism: u32, before: &str, expected: &str) {
    let pods = pods(before);
    let step = take(&workload(spec), parallelism, &pods, &JobMemory::default(), NOW + Duration::from_secs(400));
    assert_eq!(told(&step, &pods), expected, "of {before}: {:?}", step.progress);
}

fn outcome(spec: JobSpec, parallelism: u32, before: &str) -> Option<(bool, String)> {
    let pods = pods(before);
    let step = take(&workload(spec), parallelism, &pods, &JobMemory::default(), NOW);
    step.memory.job.run.outcome.map(|outcome| (outcome.complete, outcome.reason))
}

fn complete() -> Option<(bool, String)> {
    Some((true, "CompletionsReached".to_owned()))
}

fn failed(reason: &str) -> Option<(bool, String)> {
    Some((false, reason.to_owned()))
}

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

/// What may happen to a Job.
#[derive(Debug, Clone)]
enum Turn {
    Succeed(usize),
    Fail(usize),
    Lose(usize),
    Return(usize),
    Vanish(usize),
    Gone(usize),
    Suspend(bool),
    Parallelism(u32),
    Pass(u64),
    Restart,
}

fn turn() -> impl Generator<Value = Turn> {
    prop_oneof![
        6 => (0_usize..12).prop_map(Turn::Succeed),
        3 => (0_usize..12).prop_map(Turn::Fail),
        1 => (0_usize..12).prop_map(Turn::Lose),
        1 => (0_usize..12).prop_map(Turn::Return),
        1 => (0_usize..12).prop_map(Turn::Vanish),
        3 => (0_usize..12).prop_map(Turn::Gone),
        1 => any::<bool>().prop_map(Turn::Suspend),
        1 => (1_u32..5).prop_map(Turn::Parallelism),
        3 => (1_u64..400).prop_map(Turn::Pass),
        1 => Just(Turn::Restart),
    ]
}

struct Story {
    workload: Workload,
    parallelism: u32,
    pods: Vec<Pod>,
    job: JobMemory,
    now: Moment,
    made: u128,
    over: bool,
}

impl Story {
    fn new(spec: JobSpec) -> Self {
        let job = JobMemory::default();
        Self { workload: workload(spec), parallelism: 2, pods: Vec::new(), job, now: NOW, made: 0, over: false }
    }

    fn turn(&mut self, turn: &Turn) {
        match turn {
            Turn::Succeed(index) => self.change(*index, is_running, Standing::Ended, true),
            Turn::Fail(index) => self.change(*index, is_running, Standing::Ended, false),
            Turn::Lose(index) => self.change(*index, is_running, Standing::Lost, false),
            Turn::Return(index) => self.change(*index, |standing| standing == Standing::Lost, Standing::Unready, false),
            Turn::Vanish(index) => self.remove(*index, is_running),
            Turn::Gone(index) => self.remove(*index, |standing| standing == Standing::Stopping),
            Turn::Suspend(paused) => self.workload.paused = *paused,
            Turn::Parallelism(count) => self.parallelism = *count,
            Turn::Pass(seconds) => self.now = self.now + Duration::from_secs(*seconds),
            // What a controller that starts remembers, if everything was recorded.
            Turn::Restart => self.job = JobMemory { run: self.job.run.clone(), ..JobMemory::default() },
        }
    }

    fn change(&mut self, index: usize, is: fn(Standing) -> bool, to: Standing, succeeded: bool) {
        let count = self.pods.len();
        if let Some(pod) = (count > 0).then(|| &mut self.pods[index % count]).filter(|pod| is(pod.standing)) {
            (pod.standing, pod.succeeded, pod.at) = (to, succeeded, self.now);
        }
    }

    fn remove(&mut self, index: usize, is: fn(Standing) -> bool) {
        let count = self.pods.len();
        if count > 0 && is(self.pods[index % count].standing) {
            self.pods.remove(index % count);
        }
    }

    fn settle(&mut self) {
        for _ in 0..20 {
            let step = take(&self.workload, self.parallelism, &self.pods, &self.job, self.now);
            let settled = step.actions.is_empty() && step.memory.job == self.job;
            self.job = step.memory.job.clone();
            if settled {
                return;
            }
            self.perform(&step.actions);
        }
        panic!("it never settles: {:?} {:?}", self.pods, self.job);
    }

    fn perform(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Create { slot, .. } => {
                    assert!(!self.over, "a Job that is over starts a pod");
                    self.made += 1;
                    self.pods.push(pod(self.made, *slot, '-'));
                    let alive = self.alive();
                    assert!(alive <= self.parallelism, "{alive} pods at one time, of {}", self.parallelism);
                    let Strategy::Job(spec) = &self.workload.strategy else { panic!("a Job") };
                    let sum = alive + self.job.run.succeeded;
                    assert!(spec.completions.is_none_or(|most| sum <= most), "{sum} pods could succeed: {:?}", self.pods);
                }
                Action::Retire { uid, .. } => {
                    let found = self.pods.iter_mut().find(|pod| pod.uid == *uid).unwrap();
                    found.standing = Standing::Stopping;
                }
                Action::Reinstate { .. } => panic!("Jobs take no pod back"),
            }
        }
        self.over |= self.job.run.outcome.is_some();
    }

    fn alive(&self) -> u32 {
        let alive = self.pods.iter().filter(|pod| is_running(pod.standing) && !self.job.run.counted.contains(&pod.uid));
        u32::try_from(alive.count()).unwrap()
    }
}

fn is_running(standing: Standing) -> bool {
    matches!(standing, Standing::Unready | Standing::Ready { .. })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn it_keeps_its_limits_ends_once_and_arrives(
        completions in 1_u32..6,
        is_indexed in any::<bool>(),
        turns in proptest::collection::vec(turn(), 0..80),
    ) {
        let patient = JobSpec { backoff_limit: u32::MAX, indexed: is_indexed, ..spec(Some(completions)) };
        let mut story = Story::new(patient);
        story.settle();
        for turn in &turns {
            story.turn(turn);
            let before = story.job.run.outcome.clone();
            story.settle();
            prop_assert!(before.is_none() || before == story.job.run.outcome, "it ended twice");
        }
        story.workload.paused = false;
        for _ in 0..40 {
            story.pods.retain(|pod| !matches!(pod.standing, Standing::Stopping | Standing::Lost));
            story.turn(&Turn::Pass(400));
            story.settle();
            (0..story.pods.len()).for_each(|index| story.turn(&Turn::Succeed(index)));
            story.settle();
        }
        let run = &story.job.run;
        prop_assert_eq!(run.outcome.as_ref().map(|outcome| outcome.complete), Some(true));
        prop_assert!(run.succeeded >= completions);
    }
}
