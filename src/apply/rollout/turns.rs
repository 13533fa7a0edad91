//! Updates that go from place to place: the numbers of a StatefulSet, the nodes of a DaemonSet. Each place has one pod, and a new one
//! takes its place after the old one has gone.
//!
//! Two bounds hold. So many places may be *under way* at once (their old pod is leaving, or their new one is not available yet): a
//! broken template takes down no more than that. And an available pod is taken down only while fewer than so many places are without
//! one. A place whose old pod is not available anyway loses nothing by its turn, so that it comes first and needs the first bound only:
//! a broken pod never stands in the way of its own fix, which in Kubernetes it does
//! (<https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback>).

use super::PodState;

/// The places, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turns {
    /// How many may be without an available pod, at least 1.
    pub(super) bound: u32,
    /// How many are on their way from one template to the other.
    pub(super) under_way: u32,
    /// How many are without an available pod.
    pub(super) unavailable: u32,
}

/// The pods whose turn it is, of those that are out of date, in the order in which they are to be replaced. Each comes with whether
/// it is available.
pub(super) fn next<'a>(turns: Turns, outdated: &[(&'a PodState<'a>, bool)]) -> Vec<&'a PodState<'a>> {
    let Turns { bound, mut under_way, mut unavailable } = turns;
    let mut chosen = Vec::new();
    for (pod, _) in outdated.iter().filter(|(_, available)| !available) {
        if under_way < bound {
            under_way += 1;
            chosen.push(*pod);
        }
    }
    for (pod, _) in outdated.iter().filter(|(_, available)| *available) {
        if under_way < bound && unavailable < bound {
            under_way += 1;
            unavailable += 1;
            chosen.push(*pod);
        }
    }
    chosen
}
