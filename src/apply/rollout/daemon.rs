//! A DaemonSet: one pod on every node that suits. A node that comes gets its pod, one that does not suit any more loses it.
//!
//! The rules are Kubernetes' (<https://kubernetes.io/docs/tasks/manage-daemon/update-daemon-set/>): with `maxUnavailable` the old pod of a
//! node goes before its new one comes; with `maxSurge` the new one is available before the old one goes. Pods on a lost node stay as
//! they are, and nobody waits for them: they count again when the node returns.

use super::act::FreeSlots;
use super::census::{Census, is_alive, is_available};
use super::turns::{self, Turns};
use super::{Action, PodState, RolloutInput, RolloutMemory, Standing};
use crate::model::{DaemonUpdate, NodeName, StopReason, TemplateHash, Workload};
use std::collections::BTreeMap;

/// Says what to do, and sets the targets to what comes of it.
pub(super) fn act(input: &RolloutInput<'_>, census: &Census, memory: &mut RolloutMemory, update: &DaemonUpdate) -> Vec<Action> {
    let bounds = match update {
        DaemonUpdate::OnDelete => None,
        DaemonUpdate::Rolling { .. } if memory.is_frozen(input) => None,
        DaemonUpdate::Rolling { max_surge, max_unavailable } => {
            let bound = |bound| Workload::update_bound(bound, input.replicas);
            Some((bound(max_surge), bound(max_unavailable)))
        }
    };
    let set = Set {
        input,
        places: places(input, *update == DaemonUpdate::OnDelete),
        newest: memory.newest_allowed(input),
        keeps_any: *update == DaemonUpdate::OnDelete,
        surges: bounds.is_some_and(|(surge, _)| surge > 0),
    };
    let mut actions = Vec::new();
    let mut slots = FreeSlots::of(input.pods);
    set.leave(&mut actions);
    set.heal(&mut slots, &mut actions);
    match bounds {
        Some((0, unavailable)) => set.replace(unavailable.max(1), &mut actions),
        Some((surge, _)) => set.surge(surge, &mut slots, &mut actions),
        None => {}
    }
    memory.aim_at(input, census, &actions);
    actions
}

/// The pods of one node.
#[derive(Default)]
struct Place<'a> {
    /// Whether the node suits, and is heard.
    wanted: bool,
    heard: bool,
    /// Pods that count: the wanted template first (unless any is as good), then what serves.
    alive: Vec<&'a PodState<'a>>,
    /// Pods on their way out.
    leaving: Vec<&'a PodState<'a>>,
    ended: Vec<&'a PodState<'a>>,
}

impl Place<'_> {
    fn is_empty(&self) -> bool {
        self.alive.is_empty() && self.leaving.is_empty() && self.ended.is_empty()
    }
}

fn places<'a>(input: &'a RolloutInput<'a>, keeps_any: bool) -> BTreeMap<&'a NodeName, Place<'a>> {
    let mut places: BTreeMap<&NodeName, Place<'_>> = BTreeMap::new();
    for (node, heard) in input.nodes {
        places.insert(node, Place { wanted: true, heard: *heard, ..Place::default() });
    }
    for pod in input.pods.iter().filter(|pod| pod.standing != Standing::Lost) {
        let place = places.entry(pod.node).or_default();
        match pod.standing {
            standing if is_alive(input, standing) => place.alive.push(pod),
            Standing::Ended => place.ended.push(pod),
            Standing::Unready | Standing::Ready { .. } | Standing::Lost | Standing::Draining { .. } | Standing::Stopping => {
                place.leaving.push(pod);
            }
        }
    }
    for place in places.values_mut() {
        place.alive.sort_by_key(|pod| (!keeps_any && pod.hash != input.hash(), !is_available(input, pod.standing), pod.uid));
    }
    places
}

/// The nodes and their pods.
struct Set<'a> {
    input: &'a RolloutInput<'a>,
    places: BTreeMap<&'a NodeName, Place<'a>>,
    /// The newest template that may go out.
    newest: TemplateHash,
    /// Whether pods of any template are as good as those of the newest.
    keeps_any: bool,
    /// Whether a new pod comes beside the old one.
    surges: bool,
}

impl<'a> Set<'a> {
    /// Pods on nodes that do not suit go, as does what has ended, and the second of one template, or of old ones, on a node.
    fn leave(&self, actions: &mut Vec<Action>) {
        for place in self.places.values() {
            actions.extend(place.ended.iter().map(|pod| Action::Retire { uid: pod.uid, reason: StopReason::Superseded }));
            let surplus = |(index, pod): &(usize, &&PodState<'_>)| {
                let before = &place.alive[..*index];
                let outdated = |pod: &PodState<'_>| pod.hash != self.input.hash();
                before.iter().any(|other| self.keeps_any || other.hash == pod.hash || (outdated(other) && outdated(pod)))
            };
            let going = place.alive.iter().enumerate().filter(|found| !place.wanted || surplus(found));
            let reason = if place.wanted { StopReason::Superseded } else { StopReason::Misplaced };
            actions.extend(going.map(|(_, pod)| Action::Retire { uid: pod.uid, reason }));
        }
    }

    /// Nodes without a pod get one.
    fn heal(&self, slots: &mut FreeSlots, actions: &mut Vec<Action>) {
        for (node, place) in self.places.iter().filter(|(_, place)| place.wanted) {
            let fails = !place.alive.iter().any(|pod| self.serves(pod));
            let back = place.leaving.iter().find(|pod| fails && self.returns(pod));
            if let Some(back) = back {
                actions.push(Action::Reinstate { uid: back.uid });
            } else if place.is_empty() && place.heard {
                let (slot, hash) = (slots.take(), self.newest.clone());
                actions.push(Action::Create { slot, hash, node: Some((*node).clone()) });
            }
        }
    }

    /// True if a retired pod, which was not told to stop yet, may come back: it is what is wanted, or what took its place has failed.
    fn returns(&self, pod: &PodState<'_>) -> bool {
        let fits = self.keeps_any || self.surges || *pod.hash == self.newest;
        fits && matches!(pod.standing, Standing::Draining { since: Some(_) })
    }

    /// The old pod goes, then the new one comes, on so many nodes at a time.
    fn replace(&self, bound: u32, actions: &mut Vec<Action>) {
        let wanted = || self.places.values().filter(|place| place.wanted);
        let turns = Turns {
            bound,
            under_way: count(wanted().filter(|place| self.is_under_way(place))),
            unavailable: count(wanted().filter(|place| !place.alive.iter().any(|pod| self.serves(pod)))),
        };
        let next = turns::next(turns, &self.outdated());
        actions.extend(next.into_iter().map(|pod| Action::Retire { uid: pod.uid, reason: StopReason::Replaced }));
    }

    fn is_under_way(&self, place: &Place<'_>) -> bool {
        match place.alive.first() {
            Some(pod) => pod.hash == self.input.hash() && !self.serves(pod),
            None => !place.leaving.is_empty(),
        }
    }

    /// The new pod comes, then the old one goes, on so many nodes at a time.
    fn surge(&self, bound: u32, slots: &mut FreeSlots, actions: &mut Vec<Action>) {
        let has_new = |place: &&Place<'_>| place.alive.first().is_some_and(|pod| pod.hash == self.input.hash());
        let both = self.places.values().filter(|place| place.wanted).filter(has_new);
        let mut room = bound;
        for place in both.filter(|place| place.alive.len() + place.leaving.len() > 1) {
            room = room.saturating_sub(1);
            let new_serves = place.alive.first().is_some_and(|pod| self.serves(pod));
            let old = place.alive.iter().skip(1).filter(|pod| new_serves && pod.hash != self.input.hash());
            actions.extend(old.map(|pod| Action::Retire { uid: pod.uid, reason: StopReason::Replaced }));
        }
        let outdated = self.outdated();
        let (serving, failing): (Vec<_>, Vec<_>) = outdated.into_iter().partition(|(_, available)| *available);
        for (pod, _) in failing.into_iter().chain(serving).take(room as usize) {
            let (slot, hash) = (slots.take(), self.newest.clone());
            actions.push(Action::Create { slot, hash, node: Some(pod.node.clone()) });
        }
    }

    /// The pods of nodes that have an old one alone, and whether each serves.
    fn outdated(&self) -> Vec<(&'a PodState<'a>, bool)> {
        let places = self
            .places
            .values()
            .filter(|place| place.wanted && place.heard && place.alive.len() == 1 && place.leaving.is_empty());
        let first = places.filter_map(|place| place.alive.first().copied());
        first.filter(|pod| pod.hash != self.input.hash()).map(|pod| (pod, self.serves(pod))).collect()
    }

    fn serves(&self, pod: &PodState<'_>) -> bool {
        is_available(self.input, pod.standing)
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
