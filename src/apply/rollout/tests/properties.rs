//! Whatever happens, each strategy stays within its bounds, and arrives once things calm down.

use super::story::{Bounds, Story, turns_anywhere, turns_in_places};
use super::{Pod, blue_green, daemon, hash, rolling, stateful, uid};
use crate::apply::rollout::{Action, Standing};
use crate::model::{IntOrString, NodeName, PodUid, Stateful, Strategy, TemplateHash, Workload};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn is_available(pod: &&Pod) -> bool {
    matches!(pod.standing, Standing::Ready { .. })
}

/// Bounds for pods of which each is as good as another.
struct Counts {
    most: u32,
    least: u32,
}

impl Counts {
    fn occupied(story: &Story) -> u32 {
        u32::try_from(story.pods.iter().filter(|pod| pod.standing != Standing::Lost).count()).unwrap()
    }

    fn available(story: &Story) -> u32 {
        u32::try_from(story.pods.iter().filter(is_available).count()).unwrap()
    }
}

impl Bounds for Counts {
    /// Nothing is created beyond the most, and nothing is retired below the least.
    fn check(&self, before: &Story, actions: &[Action], after: &Story) {
        let creates = actions.iter().any(|action| matches!(action, Action::Create { .. }));
        let (occupied, pods) = (Self::occupied(after), &after.pods);
        assert!(!creates || occupied <= self.most, "{occupied} pods of at most {}: {pods:?}", self.most);
        let (was, is) = (Self::available(before), Self::available(after));
        assert!(is >= was || is >= self.least, "{is} of at least {} available: {actions:?} {pods:?}", self.least);
    }
}

/// Bounds for pods that each have a place: a number, or a node.
struct Places {
    surge: usize,
    unavailable: usize,
}

impl Places {
    /// Places without an available pod.
    fn unavailable(story: &Story) -> usize {
        let has = |at: &dyn Fn(&Pod) -> bool| story.pods.iter().filter(is_available).any(at);
        match &story.nodes {
            Some(nodes) => nodes.keys().filter(|node| !has(&|pod| pod.node == **node)).count(),
            None => (0..story.replicas).filter(|number| !has(&|pod| pod.slot == *number)).count(),
        }
    }

    /// Whether a pod was created where there was one already.
    fn is_beside(before: &Story, actions: &[Action]) -> bool {
        let mut taken: BTreeSet<&NodeName> = before.pods.iter().map(|pod| &pod.node).collect();
        let mut created = actions.iter().filter_map(|action| match action {
            Action::Create { node, .. } => node.as_ref(),
            Action::Reinstate { .. } | Action::Retire { .. } => None,
        });
        created.any(|node| !taken.insert(node))
    }

    /// Never more than the surge on a node, and no new pod comes beside an old one while that is so on as many nodes as may be. Where
    /// a template is wanted again, both may be there already.
    fn check_nodes(&self, nodes: &BTreeMap<NodeName, bool>, beside: bool, after: &Story) {
        let mut doubled = 0;
        for node in nodes.keys() {
            let here: Vec<&Pod> = after.pods.iter().filter(|pod| pod.node == *node).collect();
            let is_fresh = |pod: &&Pod| pod.standing == Standing::Unready && pod.hash == after.workload.snapshot.hash;
            doubled += usize::from(here.len() > 1 && here.iter().copied().any(|pod| is_fresh(&pod)));
            assert!(here.len() <= 1 + self.surge, "{} pods on {node}: {:?}", here.len(), after.pods);
        }
        assert!(!beside || doubled <= self.surge, "{doubled} nodes have two pods: {:?}", after.pods);
    }
}

impl Bounds for Places {
    fn check(&self, before: &Story, actions: &[Action], after: &Story) {
        let (was, is, most) = (Self::unavailable(before), Self::unavailable(after), self.unavailable);
        assert!(is <= was || is <= most, "{is} of at most {most} unavailable: {actions:?} {:?}", after.pods);
        if let Some(nodes) = &after.nodes {
            self.check_nodes(nodes, Self::is_beside(before, actions), after);
        }
    }
}

/// The templates of all pods: `dda`.
fn letters(story: &Story) -> String {
    let mut letters: Vec<&str> = story.pods.iter().map(|pod| &pod.hash.as_str()[..1]).collect();
    letters.sort_unstable();
    letters.concat()
}

/// `0d 1d`, or `n0d n1d`.
fn shape(story: &Story) -> Vec<String> {
    let place = |pod: &Pod| if story.nodes.is_some() { pod.node.to_string() } else { pod.slot.to_string() };
    let mut shape: Vec<String> = story.pods.iter().map(|pod| place(pod) + &pod.hash.as_str()[..1]).collect();
    shape.sort_unstable();
    shape
}

fn wanted_shape(story: &Story) -> Vec<String> {
    match &story.nodes {
        Some(nodes) => nodes.keys().map(|node| format!("{node}d")).collect(),
        None => (0..story.replicas).map(|number| format!("{number}d")).collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn rolling_stays_within_its_budget_and_arrives(
        surge in 0_u32..3,
        unavailable in 0_u32..3,
        turns in turns_anywhere(),
    ) {
        let strategy = rolling(i64::from(surge), i64::from(unavailable));
        let bounds = move |replicas: u32| {
            let count = |value: u32| IntOrString::Int(i64::from(value));
            let (surge, unavailable) = Workload::rolling_bounds(&count(surge), &count(unavailable), replicas);
            Counts { most: replicas + surge, least: replicas.saturating_sub(unavailable) }
        };
        let mut story = Story::new(strategy);
        for turn in &turns {
            story.turn(turn);
            let bounds = bounds(story.replicas);
            story.settle(&bounds);
            let returnable = story.pods.iter().any(|pod| matches!(pod.standing, Standing::Draining { since: Some(_) }));
            let available = Counts::available(&story);
            prop_assert!(available >= bounds.least || !returnable, "a retired pod is missed: {:?}", story.pods);
        }
        story.end(&bounds(story.replicas));
        prop_assert_eq!(letters(&story), "d".repeat(story.replicas as usize));
    }

    #[test]
    fn recreate_never_mixes_templates_and_arrives(turns in turns_anywhere()) {
        let mut story = Story::new(Strategy::Recreate);
        for turn in &turns {
            story.turn(turn);
            let before: BTreeMap<PodUid, TemplateHash> =
                story.pods.iter().map(|pod| (uid(pod.slot, &pod.hash), pod.hash.clone())).collect();
            story.settle(&Counts { most: story.replicas, least: 0 });
            let new = |pod: &&Pod| !before.contains_key(&uid(pod.slot, &pod.hash));
            if story.pods.iter().any(|pod| new(&pod)) {
                let held = story.pods.iter().filter(|pod| pod.standing != Standing::Lost);
                let hashes: BTreeSet<&TemplateHash> = held.map(|pod| &pod.hash).collect();
                prop_assert!(hashes.len() == 1, "{:?}", story.pods);
            }
        }
        story.end(&Counts { most: story.replicas, least: 0 });
        prop_assert_eq!(letters(&story), "d".repeat(story.replicas as usize));
    }

    #[test]
    fn blue_green_has_two_sets_at_most_and_arrives(turns in turns_anywhere()) {
        let mut story = Story::new(blue_green(true, None));
        for turn in &turns {
            story.turn(turn);
            story.settle(&Counts { most: story.replicas * 2, least: 0 });
        }
        story.end(&Counts { most: story.replicas * 2, least: 0 });
        prop_assert_eq!(letters(&story), "d".repeat(story.replicas as usize));
        prop_assert_eq!(story.memory.promoted, Some(hash('d')));
    }

    #[test]
    fn a_stateful_set_never_has_two_of_a_number_and_arrives(
        bound in 1_u32..3,
        at_once in any::<bool>(),
        turns in turns_in_places(),
    ) {
        let Strategy::Stateful(spec) = stateful(0, i64::from(bound)) else { unreachable!() };
        let bounds = Places { surge: 0, unavailable: bound as usize };
        let mut story = Story::new(Strategy::Stateful(Stateful { parallel: at_once, ..spec }));
        for turn in &turns {
            story.turn(turn);
            story.settle(&bounds);
        }
        story.end(&bounds);
        prop_assert_eq!(shape(&story), wanted_shape(&story));
    }

    #[test]
    fn a_daemon_set_keeps_to_its_nodes_and_arrives(surge in 0_usize..2, turns in turns_in_places()) {
        let bounds = Places { surge, unavailable: 1 };
        let mut story = Story::new(daemon(i64::try_from(surge).unwrap(), 1 - i64::try_from(surge).unwrap()));
        for turn in &turns {
            story.turn(turn);
            story.settle(&bounds);
        }
        story.end(&bounds);
        prop_assert_eq!(shape(&story), wanted_shape(&story));
    }
}
