//! Random histories of a workload, step by step, and what must hold after each.

use super::{NOW, Pod, nodes, take_on, uid, workload};
use crate::apply::rollout::{Action, RolloutMemory, Standing};
use crate::model::{Moment, NodeName, Strategy, Workload};
use proptest::prelude::*;
use proptest::strategy::Strategy as Generator;
use std::collections::BTreeMap;
use std::time::Duration;

/// Steps that may follow one another without a turn between them.
const STEPS_MAX: usize = 20;

/// What may happen to a workload. A number means one of the pods that are there, or a node.
#[derive(Debug, Clone)]
pub(super) enum Turn {
    Template(char),
    Replicas(u32),
    Ready(usize),
    Unready(usize),
    Vanish(usize),
    Lose(usize),
    Told(usize),
    Gone(usize),
    /// A node of a DaemonSet comes, or goes with its pods.
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
        1 => (1_u64..700).prop_map(Turn::Pass),
    ]
}

/// Turns of which one in 21 is another: a pod that is lost with its node, or a node.
fn turns(other: impl Generator<Value = Turn>) -> impl Generator<Value = Vec<Turn>> {
    proptest::collection::vec(prop_oneof![20 => turn(), 1 => other], 0..60)
}

/// What may happen where any node will do.
pub(super) fn turns_anywhere() -> impl Generator<Value = Vec<Turn>> {
    turns((0_usize..12).prop_map(Turn::Lose))
}

/// What may happen where every pod has its place.
pub(super) fn turns_in_places() -> impl Generator<Value = Vec<Turn>> {
    turns((0_usize..5).prop_map(Turn::Node))
}

/// What must hold after each step.
pub(super) trait Bounds {
    /// Panics if the step from `before` to `after` goes too far.
    fn check(&self, before: &Story, actions: &[Action], after: &Story);
}

/// A workload with a history.
#[derive(Clone)]
pub(super) struct Story {
    pub(super) workload: Workload,
    pub(super) replicas: u32,
    /// For a DaemonSet: the nodes that are there.
    pub(super) nodes: Option<BTreeMap<NodeName, bool>>,
    pub(super) pods: Vec<Pod>,
    pub(super) memory: RolloutMemory,
    now: Moment,
}

impl Story {
    pub(super) fn new(strategy: Strategy) -> Self {
        let nodes = matches!(strategy, Strategy::Daemon(_)).then(|| nodes("n0 n1 n2"));
        let memory = RolloutMemory::default();
        Self { workload: workload('a', strategy), replicas: 3, nodes, pods: Vec::new(), memory, now: NOW }
    }

    pub(super) fn turn(&mut self, turn: &Turn) {
        let now = self.now;
        let is_ready = |standing: Standing| matches!(standing, Standing::Ready { .. });
        match turn {
            Turn::Template(letter) => self.workload.snapshot = workload(*letter, Strategy::Recreate).snapshot,
            Turn::Replicas(replicas) => self.replicas = *replicas,
            Turn::Pass(seconds) => self.now = now + Duration::from_secs(*seconds),
            Turn::Node(index) => self.toggle(*index),
            Turn::Ready(index) => self.set(*index, |standing| standing == Standing::Unready, Standing::Ready { since: now }),
            Turn::Unready(index) => self.set(*index, is_ready, Standing::Unready),
            Turn::Lose(index) => self.set(*index, is_ready, Standing::Lost),
            Turn::Told(index) => {
                self.set(*index, |standing| matches!(standing, Standing::Draining { .. }), Standing::Stopping);
            }
            Turn::Vanish(index) => self.remove(*index, |_| true),
            Turn::Gone(index) => self.remove(*index, |standing| standing == Standing::Stopping),
        }
    }

    fn at(&self, index: usize, suits: impl Fn(Standing) -> bool) -> Option<usize> {
        let index = index.checked_rem(self.pods.len())?;
        suits(self.pods[index].standing).then_some(index)
    }

    fn set(&mut self, index: usize, from: impl Fn(Standing) -> bool, to: Standing) {
        if let Some(index) = self.at(index, from) {
            self.pods[index].standing = to;
        }
    }

    fn remove(&mut self, index: usize, suits: impl Fn(Standing) -> bool) {
        if let Some(index) = self.at(index, suits) {
            self.pods.remove(index);
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

    /// Takes steps until nothing is to do, and checks each.
    pub(super) fn settle(&mut self, bounds: &impl Bounds) {
        for _ in 0..STEPS_MAX {
            let none = BTreeMap::new();
            let nodes = self.nodes.as_ref().unwrap_or(&none);
            let replicas = self.nodes.as_ref().map_or(self.replicas, |nodes| u32::try_from(nodes.len()).unwrap());
            let taken = take_on(&self.workload, replicas, &self.pods, nodes, &self.memory, self.now);
            let settled = self.memory.targets == taken.memory.targets && taken.actions.is_empty();
            self.memory = taken.memory;
            if settled {
                return;
            }
            let before = self.clone();
            for action in &taken.actions {
                self.perform(action);
            }
            bounds.check(&before, &taken.actions, self);
        }
        panic!("it never settles: {:?} {:?}", self.pods, self.memory);
    }

    fn perform(&mut self, action: &Action) {
        match action {
            Action::Create { slot, hash, node } => {
                assert!(self.pods.iter().all(|pod| pod.slot != *slot), "slot {slot} is taken: {:?}", self.pods);
                let node = node.clone().unwrap_or_else(|| NodeName::new("n"));
                self.pods.push(Pod {
                    slot: *slot,
                    hash: hash.clone(),
                    standing: Standing::Unready,
                    node,
                    heard: true,
                    retired: false,
                });
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

    /// The last template comes, and everything that can become ready or end does, again and again.
    pub(super) fn end(&mut self, bounds: &impl Bounds) {
        // A template that failed while another served is left alone until it changes: so it changes.
        self.turn(&Turn::Template('d'));
        self.settle(bounds);
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
            self.settle(bounds);
        }
    }
}
