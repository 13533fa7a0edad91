//! Random histories: a Job keeps its limits, ends once, and arrives.

use super::*;
use crate::model::Strategy;
use proptest::prelude::*;
use proptest::strategy::Strategy as Generator;

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
