//! Rollouts: tables for each strategy, and properties over random histories.
//!
//! The text language: a pod is `slot template state`, with `+` available, `-` not ready, `x` ended, `?` lost with its node, `%` the same and given up,
//! `~` draining and ready, `=` draining and not ready, `!` told to stop, `o` bound to a node that is silent. `0a+ 1b-` are two pods,
//! `0a+@n1` is one on a node that matters. A target is `a=3`.

mod deployments;
mod properties;
mod sets;
mod story;

use super::{Action, PodState, RolloutInput, RolloutMemory, RolloutStep, Standing, step};
use crate::model::{
    BlueGreen, DaemonUpdate, IntOrString, Moment, NodeName, PodSnapshot, PodTemplate, PodUid, Stateful, StatefulUpdate, Strategy,
    TemplateHash, Workload,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const NOW: Moment = Moment(10_000_000);

fn hash(letter: char) -> TemplateHash {
    TemplateHash::new(letter.to_string().repeat(40))
}

fn workload(letter: char, strategy: Strategy) -> Workload {
    let snapshot = PodSnapshot { hash: hash(letter), template: PodTemplate::default(), config: Arc::default() };
    Workload {
        replicas: None,
        selector: crate::model::LabelSelector::default(),
        snapshot: Arc::new(snapshot),
        strategy,
        min_ready_seconds: 0,
        progress_deadline_seconds: 600,
        paused: false,
    }
}

fn rolling(surge: i64, unavailable: i64) -> Strategy {
    Strategy::Rolling { max_surge: IntOrString::Int(surge), max_unavailable: IntOrString::Int(unavailable) }
}

fn blue_green(auto: bool, promote: Option<&str>) -> Strategy {
    Strategy::BlueGreen(BlueGreen {
        active_service: "api".to_owned(),
        preview_service: None,
        auto_promotion: auto,
        auto_promotion_seconds: 0,
        scale_down_delay_seconds: 30,
        promote: promote.map(str::to_owned),
    })
}

fn stateful(partition: u32, bound: i64) -> Strategy {
    let max_unavailable = IntOrString::Int(bound);
    Strategy::Stateful(Stateful { update: StatefulUpdate::Rolling { partition, max_unavailable }, ..Stateful::default() })
}

fn daemon(surge: i64, unavailable: i64) -> Strategy {
    let (max_surge, max_unavailable) = (IntOrString::Int(surge), IntOrString::Int(unavailable));
    Strategy::Daemon(DaemonUpdate::Rolling { max_surge, max_unavailable })
}

/// A pod that a test owns.
#[derive(Debug, Clone)]
struct Pod {
    slot: u32,
    hash: TemplateHash,
    standing: Standing,
    node: NodeName,
    heard: bool,
    retired: bool,
}

fn uid(slot: u32, hash: &TemplateHash) -> PodUid {
    PodUid(Uuid::from_u64_pair(u64::from(slot), u64::from(hash.as_str().as_bytes()[0])))
}

fn pods(text: &str) -> Vec<Pod> {
    text.split_whitespace().map(pod).collect()
}

fn pod(text: &str) -> Pod {
    let (text, node) = text.split_once('@').unwrap_or((text, "n"));
    let standing = match &text[2..] {
        "+" => Standing::Ready { since: NOW - Duration::from_secs(100) },
        "-" | "o" => Standing::Unready,
        "x" => Standing::Ended,
        "?" | "%" => Standing::Lost,
        "~" => Standing::Draining { since: Some(NOW - Duration::from_secs(100)) },
        "=" => Standing::Draining { since: None },
        "!" => Standing::Stopping,
        other => panic!("unknown state {other}"),
    };
    let hash = hash(text[1..2].chars().next().unwrap());
    let (heard, retired) = (!text.ends_with('o'), text.ends_with('%'));
    Pod { slot: text[..1].parse().unwrap(), hash, standing, node: NodeName::new(node), heard, retired }
}

fn states(pods: &[Pod]) -> Vec<PodState<'_>> {
    let state = |pod: &'_ Pod| (uid(pod.slot, &pod.hash), pod.slot, pod.standing, pod.heard);
    pods.iter()
        .map(|pod| {
            let (uid, slot, standing, heard) = state(pod);
            let (hash, node, bound) = (&pod.hash, &pod.node, !heard);
            let (retired, end, restarts, message) = (pod.retired, None, 0, "no answer");
            let drained = pod.node.as_str() == "drained";
            PodState { uid, slot, hash, node, heard, bound, drained, standing, retired, end, restarts, message }
        })
        .collect()
}

/// A step of a workload for which it matters which nodes there are, and whether each is heard.
fn take_on(
    workload: &Workload,
    replicas: u32,
    pods: &[Pod],
    nodes: &BTreeMap<NodeName, bool>,
    memory: &RolloutMemory,
    now: Moment,
) -> RolloutStep {
    let known: BTreeSet<TemplateHash> = "abcd".chars().map(hash).collect();
    let (pods, unheard) = (states(pods), BTreeMap::new());
    step(&RolloutInput { workload, replicas, pods: &pods, nodes, unheard: &unheard, known: &known, memory, now })
}

fn told(actions: &[Action], pods: &[Pod]) -> String {
    let letter = |hash: &TemplateHash| hash.as_str()[..1].to_owned();
    let texts = actions.iter().map(|action| match action {
        Action::Create { slot, hash, node } => {
            let node = node.as_ref().map(|node| format!("@{node}")).unwrap_or_default();
            format!("+{slot}{}{node}", letter(hash))
        }
        Action::Reinstate { uid: back } => {
            let pod = pods.iter().find(|pod| uid(pod.slot, &pod.hash) == *back).unwrap();
            format!("={}{}", pod.slot, letter(&pod.hash))
        }
        Action::Retire { uid: gone, reason } => {
            let pod = pods.iter().find(|pod| uid(pod.slot, &pod.hash) == *gone).unwrap();
            format!("-{}{} {reason:?}", pod.slot, letter(&pod.hash))
        }
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// `a=3 b=1`
fn memory(text: &str) -> RolloutMemory {
    let targets = text.split_whitespace().map(|part| {
        let (letter, count) = part.split_once('=').unwrap();
        (hash(letter.chars().next().unwrap()), count.parse().unwrap())
    });
    RolloutMemory { targets: targets.collect(), ..RolloutMemory::default() }
}

/// `n1 n2?`: nodes that suit; one that is silent has a question mark.
fn nodes(text: &str) -> BTreeMap<NodeName, bool> {
    text.split_whitespace().map(|name| (NodeName::new(name.trim_end_matches('?')), !name.ends_with('?'))).collect()
}
