//! Tables and properties for ReplicaSets, StatefulSets and DaemonSets, in the text language of `tests`.

use super::tests::{NOW, Pod, hash, memory, pods, take_on, told, uid, workload};
use super::*;
use crate::model::{IntOrString, Stateful, Strategy};
use proptest::prelude::*;
use proptest::strategy::Strategy as Generator;
use std::time::Duration;

fn stateful(partition: u32, bound: i64) -> Strategy {
    let max_unavailable = IntOrString::Int(bound);
    Strategy::Stateful(Stateful { update: StatefulUpdate::Rolling { partition, max_unavailable }, ..Stateful::default() })
}

fn parallel() -> Strategy {
    Strategy::Stateful(Stateful { parallel: true, ..Stateful::default() })
}

fn daemon(surge: i64, unavailable: i64) -> Strategy {
    let (max_surge, max_unavailable) = (IntOrString::Int(surge), IntOrString::Int(unavailable));
    Strategy::Daemon(DaemonUpdate::Rolling { max_surge, max_unavailable })
}

fn take(workload: &Workload, replicas: u32, before: &str, known: &RolloutMemory) -> (String, Progress) {
    let pods = pods(before);
    let step = take_on(workload, replicas, &pods, &BTreeMap::new(), known, NOW);
    (told(&step.actions, &pods), step.progress)
}

fn check(workload: &Workload, replicas: u32, before: &str, expected: &str) {
    let (actions, progress) = take(workload, replicas, before, &memory(""));
    assert_eq!(actions, expected, "for {before:?}, {progress:?}");
}

/// `n1 n2?`: nodes that suit; one that is silent has a question mark.
fn nodes(text: &str) -> BTreeMap<NodeName, bool> {
    text.split_whitespace().map(|name| (NodeName::new(name.trim_end_matches('?')), !name.ends_with('?'))).collect()
}

fn check_daemon(workload: &Workload, on: &str, before: &str, expected: &str) {
    let (pods, nodes) = (pods(before), nodes(on));
    let step = take_on(workload, u32::try_from(nodes.len()).unwrap(), &pods, &nodes, &memory(""), NOW);
    assert_eq!(told(&step.actions, &pods), expected, "for {before:?} on {on:?}, {:?}", step.progress);
}

#[test]
fn a_replica_set_gives_its_new_template_to_new_pods_only() {
    let set = workload('b', Strategy::OnDelete);
    check(&set, 3, "", "+0b, +1b, +2b");
    check(&set, 3, "0a+ 1a+ 2a+", "");
    check(&set, 3, "0a+ 1a+", "+2b");
    check(&set, 3, "0a+ 1ax 2a+", "-1a Superseded");
    check(&set, 1, "0a+ 1b- 2a+", "-2a Replaced, -1b Superseded");
    assert_eq!(take(&set, 2, "0a+ 1a+", &memory("a=2")).1, Progress::Done);
}

#[test]
fn stateful_pods_come_in_order_and_go_in_reverse() {
    let set = workload('a', stateful(0, 1));
    check(&set, 3, "", "+0a");
    check(&set, 3, "0a-", "");
    check(&set, 3, "0a+", "+1a");
    check(&set, 3, "0a+ 1a+ 2a+", "");
    check(&set, 3, "0a+ 2a+", "+1a");
    check(&set, 1, "0a+ 1a+ 2a+", "-2a ScaledDown");
    check(&set, 1, "0a+ 1a+ 2a!", "");
    check(&set, 1, "0a+ 1a+", "-1a ScaledDown");
    check(&set, 1, "0a- 1a+", "-1a ScaledDown");
    check(&set, 3, "0a+ 1a~ 2a+", "=1a");
}

#[test]
fn parallel_stateful_pods_come_and_go_at_once() {
    let set = workload('a', parallel());
    check(&set, 3, "", "+0a, +1a, +2a");
    check(&set, 3, "1a-", "+0a, +2a");
    check(&set, 1, "0a+ 1a+ 2a+", "-2a ScaledDown, -1a ScaledDown");
}

#[test]
fn a_new_template_goes_from_the_highest_number_down() {
    let set = workload('b', stateful(0, 1));
    check(&set, 3, "0a+ 1a+ 2a+", "-2a Replaced");
    check(&set, 3, "0a+ 1a+ 2a!", "");
    check(&set, 3, "0a+ 1a+", "+2b");
    check(&set, 3, "0a+ 1a+ 2b-", "");
    check(&set, 3, "0a+ 1a+ 2b+", "-1a Replaced");
    check(&set, 3, "0b+ 1b+ 2b+", "");
    check(&workload('b', stateful(0, 2)), 4, "0a+ 1a+ 2a+ 3a+", "-3a Replaced, -2a Replaced");
    check(&workload('b', stateful(0, 2)), 4, "0a+ 1a+ 2b- 3b+", "-1a Replaced");
}

#[test]
fn numbers_below_the_partition_keep_and_regain_the_old_template() {
    let set = workload('b', stateful(2, 1));
    let known = RolloutMemory { completed: Some(hash('a')), ..memory("a=3") };
    assert_eq!(take(&set, 3, "0a+ 1a+ 2a+", &known).0, "-2a Replaced");
    assert_eq!(take(&set, 3, "0a+ 1a+", &known).0, "+2b");
    assert_eq!(take(&set, 3, "0a+ 2b+", &known).0, "+1a");
    assert_eq!(take(&set, 3, "0a+ 1a+ 2b+", &known), (String::new(), Progress::Done));
}

#[test]
fn a_broken_pod_does_not_stand_in_the_way_of_its_own_fix() {
    let fixed = workload('c', stateful(0, 1));
    check(&fixed, 3, "0a+ 1a+ 2b-", "-2b Replaced");
    check(&fixed, 3, "0a-", "-0a Replaced");
    check(&workload('a', stateful(0, 1)), 3, "0a+ 1a+ 2b-", "-2b Replaced");
    // One at a time all the same: the fix may be broken too.
    check(&fixed, 3, "0b- 1b- 2b-", "-2b Replaced");
    check(&fixed, 3, "0b- 1b- 2c-", "");
}

#[test]
fn a_number_waits_for_its_silent_node() {
    let set = workload('a', stateful(0, 1));
    let waits = Progress::Waiting(WaitingOn::Node(NodeName::new("n7")));
    assert_eq!(take(&set, 2, "0a+ 1ao@n7", &memory("a=2")), (String::new(), waits.clone()));
    assert_eq!(take(&workload('b', stateful(0, 1)), 2, "0a+ 1ao@n7", &memory("a=2")), (String::new(), waits.clone()));
    let pods = pods("0a+");
    let states = super::tests::states(&pods);
    let (nodes, known) = (BTreeMap::new(), BTreeSet::new());
    let unheard = BTreeMap::from([(1, NodeName::new("n7"))]);
    let (memory, workload) = (memory("a=2"), &set);
    let input = RolloutInput {
        workload,
        replicas: 2,
        pods: &states,
        nodes: &nodes,
        unheard: &unheard,
        known: &known,
        memory: &memory,
        now: NOW,
    };
    let step = step(&input);
    assert_eq!((step.actions, step.progress, step.memory.target(&hash('a'))), (Vec::new(), waits, 2));
}

#[test]
fn a_rollout_that_waits_for_a_node_does_not_age() {
    let set = workload('b', stateful(0, 1));
    let begun = take_on(&set, 2, &pods("0ao 1b+"), &BTreeMap::new(), &memory("a=1 b=1"), NOW);
    let late = take_on(&set, 2, &pods("0ao 1b+"), &BTreeMap::new(), &begun.memory, NOW + Duration::from_secs(6_000));
    assert_eq!(late.progress, Progress::Waiting(WaitingOn::Node(NodeName::new("n"))));
}

#[test]
fn a_failed_template_stops_at_one_number_and_what_vanishes_comes_back_old() {
    let set = workload('b', stateful(0, 1));
    let failed = RolloutMemory { quarantined: BTreeSet::from([hash('b')]), ..memory("a=2 b=1") };
    assert_eq!(take(&set, 3, "0a+ 1a+ 2b-", &failed).0, "");
    assert_eq!(take(&set, 3, "0a+ 2b-", &failed).0, "+1a");
}

#[test]
fn a_daemon_set_has_a_pod_on_every_node_that_suits() {
    let set = workload('a', daemon(0, 1));
    check_daemon(&set, "n1 n2", "", "+0a@n1, +1a@n2");
    check_daemon(&set, "n1 n2 n3", "0a+@n1 1a+@n2", "+2a@n3");
    check_daemon(&set, "n1", "0a+@n1 1a+@n2", "-1a Misplaced");
    check_daemon(&set, "n1 n2", "0a+@n1 1a~@n2", "=1a");
    check_daemon(&set, "n1 n2", "0a+@n1 1a!@n2", "");
    check_daemon(&set, "n1 n2?", "0a+@n1", "");
    check_daemon(&set, "n1", "0a+@n1 1a?@n2", "");
    check_daemon(&set, "n1", "0ax@n1", "-0a Superseded");
    check_daemon(&set, "n1", "0a+@n1 1a+@n1", "-1a Superseded");
}

#[test]
fn a_new_daemon_takes_the_place_of_the_old_one_node_by_node() {
    let set = workload('b', daemon(0, 1));
    check_daemon(&set, "n1 n2", "0a+@n1 1a+@n2", "-0a Replaced");
    check_daemon(&set, "n1 n2", "0a!@n1 1a+@n2", "");
    check_daemon(&set, "n1 n2", "1a+@n2", "+0b@n1");
    check_daemon(&set, "n1 n2", "0b-@n1 1a+@n2", "");
    check_daemon(&set, "n1 n2", "0b+@n1 1a+@n2", "-1a Replaced");
    check_daemon(&set, "n1 n2", "0a+@n1 1a-@n2", "-1a Replaced");
    check_daemon(&workload('b', daemon(0, 2)), "n1 n2 n3", "0a+@n1 1a+@n2 2a+@n3", "-0a Replaced, -1a Replaced");
    check_daemon(&workload('b', Strategy::Daemon(DaemonUpdate::OnDelete)), "n1 n2", "0a+@n1", "+1b@n2");
}

#[test]
fn a_surging_daemon_comes_before_the_old_one_goes() {
    let set = workload('b', daemon(1, 0));
    check_daemon(&set, "n1 n2", "0a+@n1 1a+@n2", "+2b@n1");
    check_daemon(&set, "n1 n2", "0a+@n1 1a+@n2 2b-@n1", "");
    check_daemon(&set, "n1 n2", "0a+@n1 1a+@n2 2b+@n1", "-0a Replaced");
    check_daemon(&set, "n1 n2", "0a~@n1 1a+@n2 2b-@n1", "=0a");
    check_daemon(&set, "n1 n2", "0a!@n1 1a+@n2 2b+@n1", "");
    check_daemon(&set, "n1 n2", "1a+@n2 2b+@n1", "+0b@n2");
}

#[test]
fn a_failed_daemon_leaves_the_old_ones_alone() {
    let set = workload('b', daemon(1, 0));
    let failed = RolloutMemory { quarantined: BTreeSet::from([hash('b')]), ..memory("a=2 b=1") };
    let (before, on) = (pods("0a+@n1 1a+@n2 2b-@n1"), nodes("n1 n2 n3"));
    let step = take_on(&set, 3, &before, &on, &failed, NOW);
    assert_eq!(told(&step.actions, &before), "+3a@n3");
}

/// What may happen to the pods of a set, and to the nodes of a DaemonSet.
#[derive(Debug, Clone)]
enum Turn {
    Template(char),
    Replicas(u32),
    Ready(usize),
    Unready(usize),
    Vanish(usize),
    Told(usize),
    Gone(usize),
    Node(usize),
    Pass(u64),
}

fn turn() -> impl Generator<Value = Turn> {
    prop_oneof![
        1 => prop_oneof![Just('a'), Just('b'), Just('c')].prop_map(Turn::Template),
        1 => (0_u32..6).prop_map(Turn::Replicas),
        6 => (0_usize..12).prop_map(Turn::Ready),
        2 => (0_usize..12).prop_map(Turn::Unready),
        1 => (0_usize..12).prop_map(Turn::Vanish),
        4 => (0_usize..12).prop_map(Turn::Told),
        4 => (0_usize..12).prop_map(Turn::Gone),
        1 => (0_usize..5).prop_map(Turn::Node),
        1 => (1_u64..700).prop_map(Turn::Pass),
    ]
}

/// A set with a history.
struct Story {
    workload: Workload,
    replicas: u32,
    /// For a DaemonSet: the nodes that are there.
    nodes: Option<BTreeMap<NodeName, bool>>,
    pods: Vec<Pod>,
    memory: RolloutMemory,
    now: Moment,
}

impl Story {
    fn new(strategy: Strategy) -> Self {
        let nodes = matches!(strategy, Strategy::Daemon(_)).then(|| nodes("n0 n1 n2"));
        let memory = RolloutMemory::default();
        Self { workload: workload('a', strategy), replicas: 3, nodes, pods: Vec::new(), memory, now: NOW }
    }

    fn turn(&mut self, turn: &Turn) {
        let now = self.now;
        match turn {
            Turn::Template(letter) => self.workload.snapshot = workload(*letter, Strategy::Recreate).snapshot,
            Turn::Replicas(replicas) => self.replicas = *replicas,
            Turn::Pass(seconds) => self.now = now + Duration::from_secs(*seconds),
            Turn::Node(index) => self.toggle(*index),
            Turn::Ready(index) => self.pick(*index, |pod| {
                if pod.standing == Standing::Unready {
                    pod.standing = Standing::Ready { since: now };
                }
            }),
            Turn::Unready(index) => self.pick(*index, |pod| {
                if matches!(pod.standing, Standing::Ready { .. }) {
                    pod.standing = Standing::Unready;
                }
            }),
            Turn::Told(index) => self.pick(*index, |pod| {
                if matches!(pod.standing, Standing::Draining { .. }) {
                    pod.standing = Standing::Stopping;
                }
            }),
            Turn::Vanish(index) => drop((!self.pods.is_empty()).then(|| self.pods.remove(index % self.pods.len()))),
            Turn::Gone(index) => {
                let found = (!self.pods.is_empty()).then(|| index % self.pods.len());
                let found = found.filter(|index| self.pods[*index].standing == Standing::Stopping);
                drop(found.map(|index| self.pods.remove(index)));
            }
        }
    }

    fn pick(&mut self, index: usize, change: impl Fn(&mut Pod)) {
        if let Some(pod) = (!self.pods.is_empty()).then(|| index % self.pods.len()).map(|index| &mut self.pods[index]) {
            change(pod);
        }
    }

    /// A node of a DaemonSet is lost, or comes back with what it has.
    fn toggle(&mut self, index: usize) {
        let Some(nodes) = &mut self.nodes else { return };
        let node = NodeName::new(format!("n{index}"));
        let lost = nodes.remove(&node).is_some();
        if !lost {
            nodes.insert(node.clone(), true);
        }
        for pod in self.pods.iter_mut().filter(|pod| pod.node == node) {
            pod.standing = if lost { Standing::Lost } else { Standing::Unready };
        }
    }

    fn is_available(&self, place: impl Fn(&Pod) -> bool) -> bool {
        self.pods.iter().any(|pod| place(pod) && matches!(pod.standing, Standing::Ready { .. }))
    }

    /// Places without an available pod.
    fn unavailable(&self) -> usize {
        match &self.nodes {
            Some(nodes) => nodes.keys().filter(|node| !self.is_available(|pod| pod.node == **node)).count(),
            None => (0..self.replicas).filter(|number| !self.is_available(|pod| pod.slot == *number)).count(),
        }
    }

    /// Takes steps until nothing is to do, and checks each.
    fn settle(&mut self, surge: usize, bound: usize) {
        for _ in 0..30 {
            let none = BTreeMap::new();
            let nodes = self.nodes.as_ref().unwrap_or(&none);
            let replicas = self.nodes.as_ref().map_or(self.replicas, |nodes| u32::try_from(nodes.len()).unwrap());
            let taken = take_on(&self.workload, replicas, &self.pods, nodes, &self.memory, self.now);
            let settled = self.memory.targets == taken.memory.targets && taken.actions.is_empty();
            self.memory = taken.memory;
            if settled {
                return;
            }
            self.perform(&taken.actions, surge, bound);
        }
        panic!("it never settles: {:?} {:?}", self.pods, self.memory);
    }

    fn perform(&mut self, actions: &[Action], surge: usize, bound: usize) {
        let before = self.unavailable();
        let mut beside = false;
        for action in actions {
            match action {
                Action::Create { slot, hash, node } => {
                    let of_slot = |pod: &Pod| pod.slot == *slot;
                    assert!(!self.pods.iter().any(of_slot), "two pods in slot {slot}: {actions:?} {:?}", self.pods);
                    let node = node.clone().unwrap_or_else(|| NodeName::new("n"));
                    beside |= self.pods.iter().any(|pod| pod.node == node);
                    self.pods.push(Pod { slot: *slot, hash: hash.clone(), standing: Standing::Unready, node, heard: true });
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
        let after = self.unavailable();
        assert!(after <= before || after <= bound, "{after} of at most {bound} unavailable: {actions:?} {:?}", self.pods);
        self.check_nodes(surge, beside);
    }

    /// Never more than the surge on a node, and no new pod comes beside an old one while that is so on as many nodes as may be. Where
    /// a template is wanted again, both may be there already.
    fn check_nodes(&self, surge: usize, beside: bool) {
        let Some(nodes) = &self.nodes else { return };
        let mut doubled = 0;
        for node in nodes.keys() {
            let here: Vec<&Pod> = self.pods.iter().filter(|pod| pod.node == *node).collect();
            let fresh = here.iter().filter(|pod| pod.standing == Standing::Unready && pod.hash == self.workload.snapshot.hash);
            doubled += usize::from(here.len() > 1 && fresh.count() > 0);
            assert!(here.len() <= 1 + surge, "{} pods on {node}: {:?}", here.len(), self.pods);
        }
        assert!(!beside || doubled <= surge, "{doubled} nodes have two pods: {:?}", self.pods);
    }

    /// Everything that can become ready or end does, again and again.
    fn calm(&mut self, surge: usize, bound: usize) {
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
            self.settle(surge, bound);
        }
    }

    /// `0d 1d`, or `n0d n1d`.
    fn shape(&self) -> Vec<String> {
        let place = |pod: &Pod| if self.nodes.is_some() { pod.node.to_string() } else { pod.slot.to_string() };
        let mut shape: Vec<String> = self.pods.iter().map(|pod| place(pod) + &pod.hash.as_str()[..1]).collect();
        shape.sort_unstable();
        shape
    }

    fn wanted_shape(&self) -> Vec<String> {
        match &self.nodes {
            Some(nodes) => nodes.keys().map(|node| format!("{node}d")).collect(),
            None => (0..self.replicas).map(|number| format!("{number}d")).collect(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_stateful_set_never_has_two_of_a_number_and_arrives(
        bound in 1_u32..3,
        at_once in any::<bool>(),
        turns in proptest::collection::vec(turn(), 0..60),
    ) {
        let Strategy::Stateful(spec) = stateful(0, i64::from(bound)) else { unreachable!() };
        let mut story = Story::new(Strategy::Stateful(Stateful { parallel: at_once, ..spec }));
        for turn in &turns {
            story.turn(turn);
            story.settle(0, bound as usize);
        }
        story.turn(&Turn::Template('d'));
        story.settle(0, bound as usize);
        story.calm(0, bound as usize);
        prop_assert_eq!(story.shape(), story.wanted_shape());
    }

    #[test]
    fn a_daemon_set_keeps_to_its_nodes_and_arrives(
        surge in 0_usize..2,
        turns in proptest::collection::vec(turn(), 0..60),
    ) {
        let bound = 1 - surge;
        let mut story = Story::new(daemon(i64::try_from(surge).unwrap(), i64::try_from(bound).unwrap()));
        for turn in &turns {
            story.turn(turn);
            story.settle(surge, bound.max(1));
        }
        story.turn(&Turn::Template('d'));
        story.settle(surge, bound.max(1));
        story.calm(surge, bound.max(1));
        prop_assert_eq!(story.shape(), story.wanted_shape());
    }
}
