//! A StatefulSet: numbered pods, never two of one number. The rules are Kubernetes'
//! (<https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/>): pods come in the order of their numbers, each when all
//! before it are available; they go in the reverse order; a new template goes from the highest number down. With the policy
//! `Parallel` they come and go all at once, and only updates keep their order.
//!
//! A number is taken until the node of its pod has acknowledged the end, also while that node is away: it is waited for, for ever, unless the
//! pod is known to have stopped by itself (it is lost, then: `driftless.dev/lease`).
//! Where Kubernetes waits for broken pods before it goes on, see [`super::turns`].

use super::census::{Census, is_alive, is_available};
use super::turns::{self, Turns};
use super::{Action, PodState, RolloutInput, RolloutMemory, Standing};
use crate::model::{Stateful, StatefulUpdate, StopReason, TemplateHash, Workload};
use std::collections::BTreeMap;
use std::ops::Range;

/// Says what to do, and sets the targets to what comes of it.
pub(super) fn act(input: &RolloutInput<'_>, census: &Census, memory: &mut RolloutMemory, spec: &Stateful) -> Vec<Action> {
    let set = Set::of(input, memory, spec);
    let mut actions = Vec::new();
    set.retire_ended(&mut actions);
    set.shrink(&mut actions);
    set.take_back(&mut actions);
    set.grow(&mut actions);
    set.update(&mut actions);
    memory.aim_at(input, census, &actions);
    actions
}

/// The pods by number.
struct Set<'a> {
    input: &'a RolloutInput<'a>,
    spec: &'a Stateful,
    /// The numbers that are wanted.
    wanted: Range<u32>,
    seats: BTreeMap<u32, Vec<&'a PodState<'a>>>,
    /// What may go out by now, and what pods below the partition are made of.
    newest: TemplateHash,
    base: TemplateHash,
    quarantined: bool,
}

impl<'a> Set<'a> {
    fn of(input: &'a RolloutInput<'a>, memory: &RolloutMemory, spec: &'a Stateful) -> Self {
        let mut seats: BTreeMap<u32, Vec<&PodState<'_>>> = BTreeMap::new();
        for pod in input.pods {
            seats.entry(pod.slot).or_default().push(pod);
        }
        for pods in seats.values_mut() {
            pods.sort_by_key(|pod| (!is_available(input, pod.standing), !is_alive(input, pod.standing), pod.uid));
        }
        let wanted = spec.first..spec.first.saturating_add(input.replicas);
        let quarantined = memory.is_frozen(input);
        Self { input, spec, wanted, seats, newest: memory.newest_allowed(input), base: memory.base(input), quarantined }
    }

    /// The template that a new pod of this number is made of.
    fn template(&self, number: u32) -> &TemplateHash {
        match self.spec.update {
            StatefulUpdate::Rolling { partition, .. } if number < partition => &self.base,
            StatefulUpdate::Rolling { .. } | StatefulUpdate::OnDelete => &self.newest,
        }
    }

    fn pods(&self, number: u32) -> &[&'a PodState<'a>] {
        self.seats.get(&number).map_or(&[], Vec::as_slice)
    }

    /// The pod that serves under this number, or will.
    fn alive(&self, number: u32) -> Option<&'a PodState<'a>> {
        self.pods(number).iter().copied().find(|pod| is_alive(self.input, pod.standing))
    }

    fn is_served(&self, number: u32) -> bool {
        self.alive(number).is_some_and(|pod| is_available(self.input, pod.standing))
    }

    /// True if no pod holds the number, as far as every node is known.
    fn is_free(&self, number: u32) -> bool {
        self.pods(number).iter().all(|pod| is_left(pod)) && !self.input.unheard.contains_key(&number)
    }

    /// Pods that will not run again make room, those that are lost among them, as does the second of one number, which only a lost memory
    /// can bring about.
    fn retire_ended(&self, actions: &mut Vec<Action>) {
        for pods in self.seats.values() {
            let alive = pods.iter().filter(|pod| is_alive(self.input, pod.standing));
            let surplus = alive.skip(1);
            let ended = pods.iter().filter(|pod| pod.standing == Standing::Ended && !is_alive(self.input, pod.standing));
            let lost = pods.iter().filter(|pod| pod.standing == Standing::Lost && !pod.retired);
            actions.extend(
                surplus.chain(ended).chain(lost).map(|pod| Action::Retire { uid: pod.uid, reason: StopReason::Superseded }),
            );
        }
    }

    /// Numbers that are not wanted go, the highest first; in order, each when those above it have gone.
    fn shrink(&self, actions: &mut Vec<Action>) {
        let held = self.seats.iter().filter(|(_, pods)| !pods.iter().all(|pod| is_left(pod)));
        for (_, pods) in held.rev().filter(|(number, _)| !self.wanted.contains(*number)) {
            let alive = pods.iter().find(|pod| is_alive(self.input, pod.standing));
            actions.extend(alive.map(|pod| Action::Retire { uid: pod.uid, reason: StopReason::ScaledDown }));
            if !self.spec.parallel {
                break;
            }
        }
    }

    /// Retired pods that were not told to stop yet come back if they are what is wanted after all.
    fn take_back(&self, actions: &mut Vec<Action>) {
        let keeps_any = self.spec.update == StatefulUpdate::OnDelete;
        for number in self.wanted.clone().filter(|number| self.alive(*number).is_none()) {
            let fits = |pod: &&&PodState<'_>| {
                matches!(pod.standing, Standing::Draining { since: Some(_) }) && (keeps_any || pod.hash == self.template(number))
            };
            actions.extend(self.pods(number).iter().find(fits).map(|pod| Action::Reinstate { uid: pod.uid }));
        }
    }

    /// Numbers that nobody holds are filled, the lowest first; in order, each when all below it are available.
    fn grow(&self, actions: &mut Vec<Action>) {
        for number in self.wanted.clone() {
            if self.is_free(number) {
                actions.push(Action::Create { slot: number, hash: self.template(number).clone(), node: None });
            }
            if !self.spec.parallel && !self.is_served(number) {
                break;
            }
        }
    }

    /// Pods of another template than the newest are replaced, from the highest number down.
    fn update(&self, actions: &mut Vec<Action>) {
        let StatefulUpdate::Rolling { partition, max_unavailable } = &self.spec.update else { return };
        if self.quarantined {
            return;
        }
        let turns = Turns {
            bound: Workload::update_bound(max_unavailable, self.input.replicas).max(1),
            under_way: self.count(|number| self.is_under_way(number)),
            unavailable: self.count(|number| !self.is_served(number)),
        };
        let outdated: Vec<(&PodState<'_>, bool)> = self
            .wanted
            .clone()
            .rev()
            .filter(|number| number >= partition)
            .filter_map(|number| self.alive(number))
            .filter(|pod| pod.heard && pod.hash != self.input.hash())
            .map(|pod| (pod, is_available(self.input, pod.standing)))
            .collect();
        let next = turns::next(turns, &outdated);
        actions.extend(next.into_iter().map(|pod| Action::Retire { uid: pod.uid, reason: StopReason::Replaced }));
    }

    /// True if a pod of the number is leaving, or its new one is not available yet.
    fn is_under_way(&self, number: u32) -> bool {
        match self.alive(number) {
            Some(pod) => pod.hash == self.input.hash() && !is_available(self.input, pod.standing),
            None => !self.pods(number).iter().all(|pod| is_left(pod)),
        }
    }

    fn count(&self, holds: impl Fn(u32) -> bool) -> u32 {
        u32::try_from(self.wanted.clone().filter(|number| holds(*number)).count()).unwrap_or(u32::MAX)
    }
}

/// True of a pod that is given up: it has stopped by itself, and is told to go when its node returns.
fn is_left(pod: &PodState<'_>) -> bool {
    pod.standing == Standing::Lost && pod.retired
}
