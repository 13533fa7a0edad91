//! Tables for each strategy, and properties over random histories.
//!
//! The text language: a pod is `slot template state`, with `+` available, `-` not ready, `x` ended, `?` lost with its node,
//! `~` draining and ready, `=` draining and not ready, `!` told to stop, `o` bound to a node that is silent. `0a+ 1b-` are two pods,
//! `0a+@n1` is one on a node that matters. A target is `a=3`.

use super::*;
use crate::model::{BlueGreen, IntOrString, NodeName, PodSnapshot, PodTemplate, StalledBy, Strategy};
use proptest::prelude::*;
use proptest::strategy::Strategy as Generator;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

pub(super) const NOW: Moment = Moment(10_000_000);

pub(super) fn hash(letter: char) -> TemplateHash {
    TemplateHash::new(letter.to_string().repeat(40))
}

pub(super) fn workload(letter: char, strategy: Strategy) -> Workload {
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

/// A pod that a test owns.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    pub(super) slot: u32,
    pub(super) hash: TemplateHash,
    pub(super) standing: Standing,
    pub(super) node: NodeName,
    pub(super) heard: bool,
}

pub(super) fn uid(slot: u32, hash: &TemplateHash) -> PodUid {
    PodUid(Uuid::from_u64_pair(u64::from(slot), u64::from(hash.as_str().as_bytes()[0])))
}

pub(super) fn pods(text: &str) -> Vec<Pod> {
    text.split_whitespace().map(pod).collect()
}

fn pod(text: &str) -> Pod {
    let (text, node) = text.split_once('@').unwrap_or((text, "n"));
    let standing = match &text[2..] {
        "+" => Standing::Ready { since: NOW - Duration::from_secs(100) },
        "-" | "o" => Standing::Unready,
        "x" => Standing::Ended,
        "?" => Standing::Lost,
        "~" => Standing::Draining { since: Some(NOW - Duration::from_secs(100)) },
        "=" => Standing::Draining { since: None },
        "!" => Standing::Stopping,
        other => panic!("unknown state {other}"),
    };
    let hash = hash(text[1..2].chars().next().unwrap());
    Pod { slot: text[..1].parse().unwrap(), hash, standing, node: NodeName::new(node), heard: !text.ends_with('o') }
}

pub(super) fn states(pods: &[Pod]) -> Vec<PodState<'_>> {
    let state = |pod: &'_ Pod| (uid(pod.slot, &pod.hash), pod.slot, pod.standing, pod.heard);
    pods.iter()
        .map(|pod| {
            let (uid, slot, standing, heard) = state(pod);
            let (hash, node, bound) = (&pod.hash, &pod.node, !heard);
            let (retired, end, restarts, message) = (false, None, 0, "no answer");
            PodState { uid, slot, hash, node, heard, bound, standing, retired, end, restarts, message }
        })
        .collect()
}

fn take(workload: &Workload, replicas: u32, pods: &[Pod], memory: &RolloutMemory, now: Moment) -> RolloutStep {
    take_on(workload, replicas, pods, &BTreeMap::new(), memory, now)
}

/// A step of a workload for which it matters which nodes there are, and whether each is heard.
pub(super) fn take_on(
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

pub(super) fn told(actions: &[Action], pods: &[Pod]) -> String {
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
pub(super) fn memory(text: &str) -> RolloutMemory {
    let targets = text.split_whitespace().map(|part| {
        let (letter, count) = part.split_once('=').unwrap();
        (hash(letter.chars().next().unwrap()), count.parse().unwrap())
    });
    RolloutMemory { targets: targets.collect(), ..RolloutMemory::default() }
}

fn check(workload: &Workload, replicas: u32, before: &str, expected: &str) {
    let pods = pods(before);
    let step = take(workload, replicas, &pods, &memory(""), NOW);
    assert_eq!(told(&step.actions, &pods), expected, "for {before:?}, {:?}", step.progress);
}

#[test]
fn rolling_takes_these_steps() {
    let one_more = workload('b', rolling(1, 0));
    check(&one_more, 3, "", "+0b, +1b, +2b");
    check(&one_more, 3, "0a+ 1a+ 2a+", "+3b");
    check(&one_more, 3, "0a+ 1a+ 2a+ 3b-", "");
    check(&one_more, 3, "0a+ 1a+ 2a+ 3b+", "-2a Replaced");
    check(&one_more, 3, "0a+ 1a+ 2a~ 3b+", "");
    check(&one_more, 3, "0a+ 1a+ 2a! 3b+", "");
    check(&one_more, 3, "0a+ 1a+ 2a~ 3b-", "=2a");
    check(&one_more, 3, "0a+ 1a+ 2a= 3b-", "");
    check(&one_more, 3, "0a+ 1a+ 3b+", "+2b");
    check(&one_more, 3, "0b+ 1b+ 2b+", "");
    let one_fewer = workload('b', rolling(0, 1));
    check(&one_fewer, 3, "0a+ 1a+ 2a+", "-2a Replaced");
    check(&one_fewer, 3, "0a+ 1a+ 2a!", "");
    check(&one_fewer, 3, "0a+ 1a+", "+2b");
    check(&one_fewer, 3, "0a+ 1a- 2a+", "-1a Replaced");
}

#[test]
fn a_retired_pod_comes_back_whatever_fails_while_it_drains() {
    let one_more = workload('b', rolling(1, 0));
    check(&one_more, 3, "0a+ 1a- 2a~ 3b+", "=2a");
    check(&one_more, 3, "0a+ 1a- 2a~ 3b-", "=2a");
    check(&workload('a', rolling(0, 1)), 3, "0a+ 1a- 2a- 3a~", "=3a");
    let stalled = RolloutMemory { quarantined: BTreeSet::from([hash('b')]), ..memory("a=2 b=1") };
    let before = pods("0a+ 1a+ 2a~ 3b-");
    assert_eq!(told(&take(&one_more, 3, &before, &stalled, NOW).actions, &before), "=2a");
}

#[test]
fn a_first_rollout_that_never_worked_is_not_taken_for_a_completed_one_after_a_restart() {
    let alone = pods("0b- 1b- 2b-");
    let first = workload('b', rolling(1, 0));
    let begun = take(&first, 3, &alone, &memory("b=3"), NOW);
    let late = take(&first, 3, &alone, &begun.memory, NOW + Duration::from_secs(600));
    assert_eq!(late.progress, Progress::Stalled(StalledBy::Deadline("no answer".to_owned())));
}

#[test]
fn what_is_not_available_goes_first() {
    check(&workload('a', rolling(1, 0)), 2, "0a+ 1a- 2a+", "-1a Superseded");
    check(&workload('b', rolling(1, 0)), 3, "0a- 1a+ 2a+ 3b+", "-0a Replaced");
}

#[test]
fn a_pod_that_ended_or_is_lost_is_replaced() {
    let steady = workload('a', rolling(1, 0));
    check(&steady, 3, "0a+ 1a+ 2ax", "-2a Superseded, +3a");
    check(&steady, 3, "0a+ 1a+ 2a?", "+3a");
    check(&steady, 3, "0a+ 1a+ 2a=", "+3a");
    check(&steady, 3, "0a+ 1a+ 2a+ 3a-", "-3a Superseded");
}

#[test]
fn recreate_takes_these_steps() {
    let recreate = workload('b', Strategy::Recreate);
    check(&recreate, 2, "", "+0b, +1b");
    check(&recreate, 2, "0a+ 1a+", "-1a Replaced, -0a Replaced");
    check(&recreate, 2, "0a! 1a~", "");
    check(&recreate, 2, "0a!", "");
    check(&recreate, 2, "0b+ 1b+", "");
    check(&recreate, 2, "0b+", "+1b");
}

#[test]
fn blue_green_takes_these_steps() {
    let auto = workload('b', blue_green(true, None));
    check(&auto, 2, "", "+0b, +1b");
    check(&auto, 2, "0a+ 1a+", "+2b, +3b");
    check(&auto, 2, "0a+ 1a+ 2b+ 3b-", "");
    check(&auto, 2, "0a+ 1a+ 2b+ 3b+", "");
}

/// Takes steps and performs them on the spot, with every pod ready at once, for so many seconds.
fn play(workload: &Workload, replicas: u32, pods: &mut Vec<Pod>, memory: &mut RolloutMemory, from: Moment, seconds: u64) {
    for second in 0..seconds {
        let now = from + Duration::from_secs(second);
        let taken = take(workload, replicas, pods, memory, now);
        *memory = taken.memory;
        for action in taken.actions {
            match action {
                Action::Create { slot, hash, .. } => {
                    let (standing, node) = (Standing::Ready { since: now }, NodeName::new("n"));
                    pods.push(Pod { slot, hash, standing, node, heard: true });
                }
                Action::Reinstate { .. } => panic!("nothing drains here"),
                Action::Retire { uid: gone, .. } => pods.retain(|pod| uid(pod.slot, &pod.hash) != gone),
            }
        }
    }
}

#[test]
fn blue_green_promotes_when_whole_and_drops_the_old_set_after_the_delay() {
    let mut memory = RolloutMemory { promoted: Some(hash('a')), ..memory("a=2") };
    let mut all = pods("0a+ 1a+");
    let next = workload('b', blue_green(true, None));
    play(&next, 2, &mut all, &mut memory, NOW, 2);
    assert_eq!((memory.promoted.clone(), all.len()), (Some(hash('b')), 4));
    play(&next, 2, &mut all, &mut memory, NOW + Duration::from_secs(2), 28);
    assert_eq!(all.len(), 4, "the old set stays for 30 s");
    play(&next, 2, &mut all, &mut memory, NOW + Duration::from_secs(31), 2);
    assert!(all.iter().all(|pod| pod.hash == hash('b')) && all.len() == 2, "{all:?}");
    assert_eq!(take(&next, 2, &all, &memory, NOW + Duration::from_secs(34)).progress, Progress::Done);
}

#[test]
fn going_back_within_the_delay_is_immediate() {
    let mut memory = RolloutMemory { promoted: Some(hash('a')), ..memory("a=2") };
    let mut all = pods("0a+ 1a+");
    play(&workload('b', blue_green(true, None)), 2, &mut all, &mut memory, NOW, 5);
    assert_eq!(memory.promoted, Some(hash('b')));
    let back = take(&workload('a', blue_green(true, None)), 2, &all, &memory, NOW + Duration::from_secs(6));
    assert_eq!(back.memory.promoted, Some(hash('a')));
    assert!(!back.actions.iter().any(|action| matches!(action, Action::Create { .. })), "{:?}", back.actions);
}

#[test]
fn promotion_by_hand_wants_enough_of_the_hash_of_this_release() {
    let memory = RolloutMemory { promoted: Some(hash('a')), ..memory("a=2 b=2") };
    let all = pods("0a+ 1a+ 2b+ 3b+");
    let promoted = |text: Option<&str>| take(&workload('b', blue_green(false, text)), 2, &all, &memory, NOW).memory.promoted;
    for (text, expected) in [(None, 'a'), (Some("bbbbb"), 'a'), (Some("aaaaaa"), 'a'), (Some("bbbbbb"), 'b')] {
        assert_eq!(promoted(text), Some(hash(expected)), "{text:?}");
    }
    assert_eq!(promoted(Some(&"b".repeat(40))), Some(hash('b')));
}

#[test]
fn a_paused_workload_is_healed_and_scaled_with_its_old_template() {
    let paused = Workload { paused: true, ..workload('b', rolling(1, 0)) };
    let known = RolloutMemory { replicas: Some(3), ..memory("a=3") };
    let before = pods("0a+ 1a+");
    assert_eq!(told(&take(&paused, 3, &before, &known, NOW).actions, &before), "+2a");
    assert_eq!(told(&take(&paused, 4, &before, &known, NOW).actions, &before), "+2a, +3a");
    assert_eq!(told(&take(&paused, 1, &before, &known, NOW).actions, &before), "-1a ScaledDown");
}

#[test]
fn the_deadline_quarantines_only_where_an_old_template_serves() {
    let late = NOW + Duration::from_secs(600);
    let next = workload('b', rolling(1, 0));
    let stuck = pods("0a+ 1a+ 2a+ 3b-");
    let begun = take(&next, 3, &stuck, &memory("a=3 b=1"), NOW);
    assert_eq!(begun.wake, Some(late));
    let failed = take(&next, 3, &stuck, &begun.memory, late);
    assert_eq!(failed.progress, Progress::Stalled(StalledBy::Deadline("no answer".to_owned())));
    assert_eq!(failed.memory.quarantined, BTreeSet::from([hash('b')]));
    let alone = pods("0b- 1b- 2b-");
    let begun = take(&next, 3, &alone, &memory(""), NOW);
    let failed = take(&next, 3, &alone, &RolloutMemory { completed: None, ..begun.memory }, late);
    assert!(failed.memory.quarantined.is_empty());
    let recovered = take(&next, 3, &pods("0b+ 1b+ 2b+"), &failed.memory, late);
    assert_eq!(recovered.progress, Progress::Done);
}

#[test]
fn pods_wait_to_be_available_for_min_ready_seconds() {
    let slow = Workload { min_ready_seconds: 200, ..workload('b', rolling(1, 0)) };
    let young = pods("0b+ 1b+");
    let waiting = take(&slow, 2, &young, &memory("b=2"), NOW);
    assert_eq!(waiting.progress, Progress::Waiting(WaitingOn::Availability { missing: 2 }));
    assert_eq!(waiting.wake, Some(NOW + Duration::from_secs(100)));
    assert_eq!(take(&slow, 2, &young, &waiting.memory, NOW + Duration::from_secs(100)).progress, Progress::Done);
}

#[test]
fn an_old_replica_comes_back_with_its_old_template() {
    let stalled = RolloutMemory { quarantined: BTreeSet::from([hash('b')]), replicas: Some(3), ..memory("a=3 b=1") };
    let before = pods("0a+ 1a+ 3b-");
    assert_eq!(told(&take(&workload('b', rolling(1, 0)), 3, &before, &stalled, NOW).actions, &before), "+2a");
}

#[test]
fn what_was_started_after_the_last_record_is_not_undone_by_a_restart() {
    let remembered = RolloutMemory { remembered: true, replicas: Some(3), ..memory("a=3 b=1") };
    let before = pods("0a+ 2a! 1a+ 3b+ 4b-");
    assert_eq!(told(&take(&workload('b', rolling(1, 0)), 3, &before, &remembered, NOW).actions, &before), "");
    let vanished = pods("0a+ 3b-");
    assert_eq!(told(&take(&workload('b', rolling(1, 0)), 3, &vanished, &remembered, NOW).actions, &vanished), "+1a, +2a");
}

/// What may happen to a workload.
#[derive(Debug, Clone)]
enum Turn {
    Template(char),
    Replicas(u32),
    Ready(usize),
    Unready(usize),
    Vanish(usize),
    Lose(usize),
    Told(usize),
    Gone(usize),
    Pass(u64),
}

fn turn() -> impl Generator<Value = Turn> {
    prop_oneof![
        1 => prop_oneof![Just('a'), Just('b'), Just('c')].prop_map(Turn::Template),
        1 => (0_u32..6).prop_map(Turn::Replicas),
        6 => (0_usize..12).prop_map(Turn::Ready),
        2 => (0_usize..12).prop_map(Turn::Unready),
        1 => (0_usize..12).prop_map(Turn::Vanish),
        1 => (0_usize..12).prop_map(Turn::Lose),
        4 => (0_usize..12).prop_map(Turn::Told),
        4 => (0_usize..12).prop_map(Turn::Gone),
        1 => (1_u64..700).prop_map(Turn::Pass),
    ]
}

/// A workload with a history.
struct Story {
    workload: Workload,
    replicas: u32,
    pods: Vec<Pod>,
    memory: RolloutMemory,
    now: Moment,
}

impl Story {
    fn new(strategy: Strategy) -> Self {
        let memory = RolloutMemory::default();
        Self { workload: workload('a', strategy), replicas: 3, pods: Vec::new(), memory, now: NOW }
    }

    fn turn(&mut self, turn: &Turn) {
        let now = self.now;
        let at = |index: &usize, count: usize| if count == 0 { None } else { Some(index % count) };
        let count = self.pods.len();
        match turn {
            Turn::Template(letter) => self.workload.snapshot = workload(*letter, Strategy::Recreate).snapshot,
            Turn::Replicas(replicas) => self.replicas = *replicas,
            Turn::Pass(seconds) => self.now = now + Duration::from_secs(*seconds),
            Turn::Vanish(index) => drop(at(index, count).map(|index| self.pods.remove(index))),
            Turn::Ready(index) => self.set(at(index, count), Standing::Unready, Standing::Ready { since: now }),
            Turn::Unready(index) => self.set_ready_to(at(index, count), Standing::Unready),
            Turn::Lose(index) => self.set_ready_to(at(index, count), Standing::Lost),
            Turn::Told(index) => self.stop(at(index, count)),
            Turn::Gone(index) => {
                let found = at(index, count).filter(|index| self.pods[*index].standing == Standing::Stopping);
                drop(found.map(|index| self.pods.remove(index)));
            }
        }
    }

    fn set(&mut self, index: Option<usize>, from: Standing, to: Standing) {
        if let Some(pod) = index.map(|index| &mut self.pods[index]).filter(|pod| pod.standing == from) {
            pod.standing = to;
        }
    }

    fn stop(&mut self, index: Option<usize>) {
        if let Some(pod) = index.map(|index| &mut self.pods[index])
            && matches!(pod.standing, Standing::Draining { .. })
        {
            pod.standing = Standing::Stopping;
        }
    }

    fn set_ready_to(&mut self, index: Option<usize>, to: Standing) {
        if let Some(pod) = index.map(|index| &mut self.pods[index])
            && matches!(pod.standing, Standing::Ready { .. })
        {
            pod.standing = to;
        }
    }

    fn occupied(&self) -> u32 {
        u32::try_from(self.pods.iter().filter(|pod| pod.standing != Standing::Lost).count()).unwrap()
    }

    fn available(&self) -> u32 {
        let ready = |pod: &&Pod| matches!(pod.standing, Standing::Ready { .. });
        u32::try_from(self.pods.iter().filter(ready).count()).unwrap()
    }

    /// Takes steps until nothing is to do, and checks the budget after each.
    fn settle(&mut self, most: u32, least: u32) {
        for _ in 0..20 {
            let taken = take(&self.workload, self.replicas, &self.pods, &self.memory, self.now);
            let settled = self.memory.targets == taken.memory.targets && taken.actions.is_empty();
            self.memory = taken.memory;
            if settled {
                return;
            }
            self.perform(&taken.actions, most, least);
        }
        panic!("it never settles: {:?} {:?}", self.pods, self.memory);
    }

    fn perform(&mut self, actions: &[Action], most: u32, least: u32) {
        let before = self.available();
        let creates = actions.iter().filter(|action| matches!(action, Action::Create { .. })).count();
        for action in actions {
            match action {
                Action::Create { slot, hash, .. } => {
                    assert!(self.pods.iter().all(|pod| pod.slot != *slot), "slot {slot} is taken: {:?}", self.pods);
                    let (hash, node) = (hash.clone(), NodeName::new("n"));
                    self.pods.push(Pod { slot: *slot, hash, standing: Standing::Unready, node, heard: true });
                }
                Action::Reinstate { uid: back } => {
                    let pod = self.pods.iter_mut().find(|pod| uid(pod.slot, &pod.hash) == *back).unwrap();
                    let Standing::Draining { since: Some(since) } = pod.standing else { panic!("{pod:?} is taken back") };
                    pod.standing = Standing::Ready { since };
                }
                Action::Retire { uid: gone, .. } => {
                    let pod = self.pods.iter_mut().find(|pod| uid(pod.slot, &pod.hash) == *gone).unwrap();
                    let since = if let Standing::Ready { since } = pod.standing { Some(since) } else { None };
                    pod.standing = Standing::Draining { since };
                }
            }
        }
        assert!(creates == 0 || self.occupied() <= most, "{} pods of at most {most}: {:?}", self.occupied(), self.pods);
        let after = self.available();
        assert!(after >= before || after >= least, "{after} of at least {least} available: {actions:?} {:?}", self.pods);
    }

    /// Everything that can become ready or end does, again and again.
    fn calm(&mut self, bounds: impl Fn(u32) -> (u32, u32)) {
        for _ in 0..60 {
            self.now = self.now + Duration::from_secs(40);
            let now = self.now;
            self.pods.retain(|pod| !matches!(pod.standing, Standing::Stopping | Standing::Lost));
            for pod in &mut self.pods {
                match pod.standing {
                    Standing::Unready => pod.standing = Standing::Ready { since: now },
                    Standing::Draining { .. } => pod.standing = Standing::Stopping,
                    Standing::Ready { .. } | Standing::Ended | Standing::Lost | Standing::Stopping => {}
                }
            }
            let (most, least) = bounds(self.replicas);
            self.settle(most, least);
        }
    }

    fn letters(&self) -> String {
        let mut letters: Vec<&str> = self.pods.iter().map(|pod| &pod.hash.as_str()[..1]).collect();
        letters.sort_unstable();
        letters.concat()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn rolling_stays_within_its_budget_and_arrives(
        surge in 0_u32..3,
        unavailable in 0_u32..3,
        turns in proptest::collection::vec(turn(), 0..60),
    ) {
        let strategy = rolling(i64::from(surge), i64::from(unavailable));
        let bounds = move |replicas: u32| {
            let count = |value: u32| IntOrString::Int(i64::from(value));
            let (surge, unavailable) = Workload::rolling_bounds(&count(surge), &count(unavailable), replicas);
            (replicas + surge, replicas.saturating_sub(unavailable))
        };
        let mut story = Story::new(strategy);
        for turn in &turns {
            story.turn(turn);
            let (most, least) = bounds(story.replicas);
            story.settle(most, least);
            let returnable = story.pods.iter().any(|pod| matches!(pod.standing, Standing::Draining { since: Some(_) }));
            prop_assert!(story.available() >= least || !returnable, "a retired pod is missed: {:?}", story.pods);
        }
        // A template that failed while another served is left alone until it changes: so it changes.
        story.turn(&Turn::Template('d'));
        story.settle(bounds(story.replicas).0, bounds(story.replicas).1);
        story.calm(bounds);
        prop_assert_eq!(story.letters(), "d".repeat(story.replicas as usize));
    }

    #[test]
    fn recreate_never_mixes_templates_and_arrives(turns in proptest::collection::vec(turn(), 0..60)) {
        let mut story = Story::new(Strategy::Recreate);
        for turn in &turns {
            story.turn(turn);
            let before: BTreeMap<PodUid, TemplateHash> =
                story.pods.iter().map(|pod| (uid(pod.slot, &pod.hash), pod.hash.clone())).collect();
            story.settle(story.replicas, 0);
            let new = |pod: &&Pod| !before.contains_key(&uid(pod.slot, &pod.hash));
            if story.pods.iter().any(|pod| new(&pod)) {
                let held = story.pods.iter().filter(|pod| pod.standing != Standing::Lost);
                let hashes: BTreeSet<&TemplateHash> = held.map(|pod| &pod.hash).collect();
                prop_assert!(hashes.len() == 1, "{:?}", story.pods);
            }
        }
        story.turn(&Turn::Template('d'));
        story.calm(|replicas| (replicas, 0));
        prop_assert_eq!(story.letters(), "d".repeat(story.replicas as usize));
    }

    #[test]
    fn blue_green_has_two_sets_at_most_and_arrives(turns in proptest::collection::vec(turn(), 0..60)) {
        let mut story = Story::new(blue_green(true, None));
        for turn in &turns {
            story.turn(turn);
            story.settle(story.replicas * 2, 0);
        }
        story.turn(&Turn::Template('d'));
        story.settle(story.replicas * 2, 0);
        story.calm(|replicas| (replicas * 2, 0));
        prop_assert_eq!(story.letters(), "d".repeat(story.replicas as usize));
        prop_assert_eq!(story.memory.promoted, Some(hash('d')));
    }
}
