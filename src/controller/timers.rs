//! When to wake: the earliest of keyed times.

use crate::model::{Moment, NodeName, ObjectKey, PodUid};
use std::collections::{BTreeMap, BTreeSet};

/// What a time is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Nodes that have not said hello are waited for no longer.
    Hold,
    /// A node may have become silent, or been so for too long.
    Node(NodeName),
    /// A node may not have heard what was sent.
    Resend(NodeName),
    /// What changed among peers is to be told.
    Peers,
    /// A pod may have stayed on a tainted node for as long as it may.
    Evict(NodeName),
    /// A replacement of a pod on a node that is being drained may have taken too long.
    Drain(PodUid),
    /// A rollout changes with time alone.
    Workload(ObjectKey),
    /// An autoscaler is due.
    Scale(ObjectKey),
    /// A CronJob is due.
    Cron(ObjectKey),
    /// A pod has been out of use for long enough.
    Drained(PodUid),
    /// Batched corrections are due to be recorded.
    Batch,
    /// A full recompute is due.
    Check,
}

/// The times, each key at most once.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_key: BTreeMap<Timer, Moment>,
    queue: BTreeSet<(Moment, Timer)>,
}

impl Timers {
    /// Sets the time of a key, instead of an earlier wish.
    pub(super) fn set(&mut self, key: Timer, at: Moment) {
        self.clear(&key);
        self.by_key.insert(key.clone(), at);
        self.queue.insert((at, key));
    }

    /// Sets the time of a key unless it has one.
    pub(super) fn set_if_none(&mut self, key: Timer, at: Moment) {
        if !self.by_key.contains_key(&key) {
            self.set(key, at);
        }
    }

    pub(super) fn clear(&mut self, key: &Timer) {
        if let Some((key, at)) = self.by_key.remove_entry(key) {
            self.queue.remove(&(at, key));
        }
    }

    /// Takes one key whose time has come.
    pub(super) fn pop(&mut self, now: Moment) -> Option<Timer> {
        if self.queue.first()?.0 > now {
            return None;
        }
        let (_, key) = self.queue.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    pub(super) fn next(&self) -> Option<Moment> {
        self.queue.first().map(|(at, _)| *at)
    }
}
