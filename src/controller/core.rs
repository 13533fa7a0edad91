//! The core: one event in, effects out.

use super::claims::Claims;
use super::endpoints::Services;
use super::event::{Effect, Event, Settings};
use super::happenings::Happenings;
use super::ingress::Ingresses;
use super::inputs::Inputs;
use super::membership::Members;
use super::network::Network;
use super::nodes::Nodes;
use super::placements::Placements;
use super::priority::Nominated;
use super::records::Records;
use super::timers::{Timer, Timers};
use super::work::Work;
use crate::apply::schedule;
use crate::model::{Counters, CronRun, Epoch, Generation, Health, Moment, NodeName, ObjectKey, PodUid};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How often a full recompute is compared with the incremental result.
const CHECK_EVERY: Duration = Duration::from_secs(300);

/// The controller's core: synchronous, without I/O, clock or randomness.
#[derive(Debug)]
pub struct Controller {
    pub(super) settings: Settings,
    pub(super) epoch: Epoch,
    pub(super) started: Moment,
    pub(super) now: Moment,
    pub(super) health: Health,
    pub(super) inputs: Inputs,
    pub(super) nodes: Nodes,
    pub(super) members: Members,
    pub(super) capacity: schedule::Nodes,
    pub(super) placements: Placements,
    pub(super) nominated: Nominated,
    pub(super) works: BTreeMap<ObjectKey, Work>,
    pub(super) crons: BTreeMap<ObjectKey, CronRun>,
    /// By how much the clock on the wall is ahead of ours, which it was not when the process began.
    pub(super) wall_ahead_ms: i64,
    pub(super) services: Services,
    pub(super) network: Network,
    pub(super) ingresses: Ingresses,
    pub(super) claims: Claims,
    pub(super) dirty: Dirty,
    pub(super) timers: Timers,
    pub(super) records: Records,
    pub(super) happenings: Happenings,
    pub(super) trouble: Trouble,
    pub(super) counters: Counters,
    /// Counts the pods made in this reign.
    pub(super) incarnations: u64,
    /// Counts what status could show differently.
    pub(super) version: u64,
    pub(super) out: Vec<Effect>,
    /// The time of the last [`Effect::WakeAt`].
    pub(super) wish: Option<Moment>,
}

/// What a pass is to look at.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    pub(super) crons: BTreeSet<ObjectKey>,
    pub(super) workloads: BTreeSet<ObjectKey>,
    pub(super) services: BTreeSet<ObjectKey>,
    /// The table of Ingress.
    pub(super) ingress: bool,
    pub(super) nodes: BTreeSet<NodeName>,
    /// True if pods may have to leave nodes that are being drained.
    pub(super) drains: bool,
    /// Retired pods that may be released.
    pub(super) retired: BTreeSet<PodUid>,
    /// Workloads that wait for a node that can take a pod.
    pub(super) unplaced: BTreeSet<ObjectKey>,
}

/// What is wrong outside of the cluster.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Why the repo cannot be read, and what to do.
    pub(super) sync: Option<(String, Option<String>)>,
    /// Records that are not pushed.
    pub(super) audit_queued: usize,
    /// Why the last push failed.
    pub(super) audit: Option<String>,
    /// The last difference between the full and the incremental result.
    pub(super) divergence: Option<String>,
}

impl Controller {
    /// A controller that reigns in `epoch`. It changes nothing until [`Event::Restored`], the first [`Event::Loaded`], and a
    /// hello of every node that the memory names (or `replace_after` since `now`).
    #[must_use]
    pub fn new(settings: Settings, epoch: Epoch, now: Moment) -> Self {
        let services = settings.network.as_ref().map(|network| network.services);
        Self {
            settings,
            epoch,
            started: now,
            now,
            health: Health::Starting,
            inputs: Inputs::of(services),
            nodes: Nodes::default(),
            members: Members::default(),
            capacity: schedule::Nodes::default(),
            placements: Placements::default(),
            nominated: Nominated::new(),
            works: BTreeMap::new(),
            crons: BTreeMap::new(),
            wall_ahead_ms: 0,
            services: Services::default(),
            network: Network::default(),
            ingresses: Ingresses::default(),
            claims: Claims::default(),
            dirty: Dirty::default(),
            timers: Timers::default(),
            records: Records::default(),
            happenings: Happenings::default(),
            trouble: Trouble::default(),
            counters: Counters::default(),
            incarnations: 0,
            version: 0,
            out: Vec::new(),
            wish: None,
        }
    }

    /// Takes an event in and says what is to be done, in order. `now` may stand still, and never runs backwards for us.
    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        self.now = self.now.max(now);
        let woken = matches!(event, Event::Wake);
        if !matches!(event, Event::AgentHeartbeat { .. } | Event::Wake) {
            self.version += 1;
        }
        self.take_in(event);
        while let Some(timer) = self.timers.pop(self.now) {
            self.fire(timer);
        }
        self.proceed();
        if self.is_acting() {
            self.pass();
        }
        self.finish(woken)
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::Restored(restored) => self.restore(*restored),
            Event::Loaded(loaded) => self.inputs.queue_revision(*loaded),
            Event::SyncFailed { message, hint } => self.trouble.sync = Some((message, hint)),
            Event::SyncRecovered => self.trouble.sync = None,
            Event::NodeJoined { node, member, token } => self.join(&node, member, &token),
            Event::AgentHello { node, hello } if self.is_removed(&node) => drop(hello),
            Event::AgentHello { node, hello } => self.hello(&node, *hello),
            Event::AgentReport { node, report } => self.report(&node, *report),
            Event::AgentHeartbeat { node, sent } => {
                self.heard(&node);
                self.renew(&node, sent);
            }
            Event::AgentLost { node } => self.disconnected(&node),
            Event::AuditState { queued, error } => {
                self.trouble.audit_queued = queued;
                self.trouble.audit = error;
            }
            Event::Reclaimed(epoch) => self.reclaim(epoch),
            Event::StoodDown(epoch) => self.health = Health::StoodDown(epoch),
            Event::ClockSet { ahead_ms } => self.clock_set(ahead_ms),
            Event::Wake => {}
        }
    }

    fn fire(&mut self, timer: Timer) {
        self.version += 1;
        match timer {
            Timer::Hold => {}
            Timer::Node(name) => self.judge_node(&name),
            Timer::Resend(name) => self.resend(&name),
            Timer::Peers => self.tell_peers(),
            Timer::Evict(name) => self.evict(&name),
            Timer::Drain(_) => self.dirty.drains = true,
            Timer::Workload(key) => self.touch_workload(&key),
            Timer::Scale(key) => self.autoscale(&key),
            Timer::Cron(key) => drop(self.dirty.crons.insert(key)),
            Timer::Drained(uid) => drop(self.dirty.retired.insert(uid)),
            Timer::Batch => self.flush_batch(),
            Timer::Check => self.check_now(),
        }
    }

    /// Decides whether to act, and takes the newest revision over if so.
    fn proceed(&mut self) {
        if matches!(self.health, Health::StoodDown(_)) {
            return;
        }
        if !self.is_acting() {
            self.health = match self.hold_reason() {
                Some(reason) => reason,
                None => self.begin(),
            };
        }
        if self.is_acting()
            && let Some(loaded) = self.inputs.take_revision()
        {
            self.revise(loaded);
        }
    }

    pub(super) fn is_acting(&self) -> bool {
        self.health == Health::Acting
    }

    /// Why it does not act yet.
    fn hold_reason(&mut self) -> Option<Health> {
        if !self.inputs.restored || !self.inputs.has_revision() {
            return Some(Health::Starting);
        }
        let (until, reason) = self.hold()?;
        if self.now >= until {
            return None;
        }
        self.timers.set(Timer::Hold, until);
        Some(Health::Holding(reason))
    }

    /// Nodes that the memory names are waited for as long as for a lost one. Without a memory, an agent that has served an
    /// earlier controller shows that there was one: then the others are given the time to come back.
    fn hold(&self) -> Option<(Moment, String)> {
        let unheard: Vec<&str> = self.nodes.unheard().map(NodeName::as_str).collect();
        if !unheard.is_empty() {
            let until = self.started + self.inputs.newest_policy().replace_after;
            return Some((until, format!("waiting for {} to say hello", unheard.join(", "))));
        }
        let until = self.started + super::nodes::SILENCE;
        self.inputs.memory_lost.then(|| (until, "the cluster memory is missing; waiting for agents to return".to_owned()))
    }

    /// From now on it acts: everything is looked at once.
    fn begin(&mut self) -> Health {
        self.give_up_remembered_jobs();
        self.timers.set(Timer::Check, self.now + CHECK_EVERY);
        self.dirty_everything();
        Health::Acting
    }

    pub(super) fn dirty_everything(&mut self) {
        self.dirty.workloads.extend(self.works.keys().cloned());
        self.dirty.crons.extend(self.crons.keys().cloned());
        self.dirty.services.extend(self.services.keys());
        self.dirty.nodes.extend(self.nodes.by_name.keys().cloned());
        self.dirty.ingress = true;
    }

    /// A higher epoch was claimed: every node is told anew.
    fn reclaim(&mut self, epoch: Epoch) {
        self.epoch = self.epoch.max(epoch);
        for (name, node) in &mut self.nodes.by_name {
            node.assignment = None;
            node.acknowledged = Generation(0);
            self.dirty.nodes.insert(name.clone());
        }
        self.placements.untell();
    }

    fn check_now(&mut self) {
        self.timers.set(Timer::Check, self.now + CHECK_EVERY);
        if let Err(difference) = self.check() {
            self.counters.divergences += 1;
            self.trouble.divergence = Some(difference);
            self.dirty_everything();
        }
    }

    /// Hands the effects out, with the next time to wake if it differs from the last wish.
    fn finish(&mut self, woken: bool) -> Vec<Effect> {
        self.tell_roll();
        if matches!(self.health, Health::StoodDown(_)) {
            self.out.clear();
            return Vec::new();
        }
        let next = self.timers.next();
        if next.is_some() && (woken || next != self.wish) {
            self.out.extend(next.map(Effect::WakeAt));
        }
        self.wish = next;
        std::mem::take(&mut self.out)
    }
}
