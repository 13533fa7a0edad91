//! Jobs step by step: a text language for their pods, tables by topic, and properties over random histories.
//!
//! A pod is `slot state`, with `-` running, `+` running and ready, `v` succeeded, `x` failed, `?` lost with its node,
//! `!` told to stop. The uid follows from the slot and how many pods of that slot are before it, so that `0x 0-` are two pods.

use super::super::{PodEnd, RolloutMemory, Standing, step};
use super::*;
use crate::model::{
    ContainerReport, Exit, ExitCodes, FailureAction, FailureRule, IndexSet, LabelSelector, NodeName, PodConditionPattern,
    PodSnapshot, PodTemplate, RestartPolicy, Strategy, SuccessRule, TemplateHash, Workload,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

mod failures;
mod properties;
mod runs;

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
            drained: false,
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
