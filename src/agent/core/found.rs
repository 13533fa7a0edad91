//! What the runtimes say of their containers: adoption, and what vanished.
//!
//! A listing tells about the time when it was asked for. What an event has changed since then it does not judge.

use super::agent::{Agent, RETRY};
use super::event::{ContainerKey, Effect};
use super::pod::{Member, Pod, PostStart, State, StopCause};
use crate::agent::runtime::{ContainerId, ContainerStatus, Role, RunState, RuntimeEvent};
use crate::model::{Exit, LEASE_EXPIRED, Moment, PodEvent, PodRun, PodUid, RuntimeKind};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// A listing that was not answered for so long is asked for again.
const LIST_LATE: Duration = Duration::from_secs(30);

/// How a container that is no longer there has ended, in Kubernetes' words.
pub(super) fn vanished() -> Exit {
    Exit { code: 137, reason: "ContainerStatusUnknown".to_owned() }
}

impl Agent {
    /// Lists the runtimes whose time has come.
    pub(super) fn list_hosts(&mut self, now: Moment) {
        for (kind, host) in &mut self.hosts {
            if host.list_at <= now {
                host.list_at = now + LIST_LATE;
                self.effects.push(Effect::List(*kind));
            }
        }
    }

    pub(super) fn lost(&mut self, runtime: RuntimeKind, message: String, now: Moment) {
        let Some(host) = self.hosts.get_mut(&runtime) else { return };
        host.answered = true;
        host.lost = Some(message);
        host.list_at = now + RETRY;
        self.mark(runtime);
    }

    fn mark(&mut self, runtime: RuntimeKind) {
        let of = self.pods.iter().filter(|(_, pod)| pod.runtime.is_none_or(|kind| kind == runtime));
        self.dirty.extend(of.map(|(uid, _)| *uid));
    }

    /// Takes a listing in: adopts what is there, notices what is not.
    pub(super) fn found(
        &mut self,
        runtime: RuntimeKind,
        asked: Moment,
        containers: Vec<ContainerStatus>,
        gateway: Option<IpAddr>,
        now: Moment,
    ) {
        let list_every = self.settings.list_every;
        let Some(host) = self.hosts.get_mut(&runtime) else { return };
        host.listed = true;
        host.answered = true;
        host.lost = None;
        host.list_at = now + list_every;
        let moved = host.gateway != gateway;
        host.gateway = gateway;
        if moved {
            self.intercept();
            self.effects.extend(gateway.map(Effect::AnswerAt));
            for service in self.services.keys().cloned().collect::<Vec<_>>() {
                self.publish(&service);
            }
        }
        let mut seen = BTreeSet::new();
        for container in containers {
            if !self.is_ours(&container) {
                continue;
            }
            if container.state == RunState::Dead {
                self.found_dead(container, now);
            } else {
                seen.insert(ContainerKey::from(&container.labels));
                self.found_one(container, asked, now);
            }
        }
        self.miss(runtime, asked, &seen, now);
        self.settle_doubts(runtime, &seen);
        self.settle_unseen();
        self.mark(runtime);
    }

    fn is_ours(&self, container: &ContainerStatus) -> bool {
        container.labels.cluster == self.settings.cluster && container.labels.node == self.settings.facts.name
    }

    /// What is left where a removal was begun, by whomever: to its pod it is gone, and it is removed until it is.
    fn found_dead(&mut self, container: ContainerStatus, now: Moment) {
        self.forget_previous(&container.id);
        let key = ContainerKey::from(&container.labels);
        match self.pods.get_mut(&key.pod) {
            Some(pod) => {
                pod.runtime = Some(container.runtime);
                pod.bury(&key.container, key.attempt, container.id, now);
                self.dirty.insert(key.pod);
            }
            None => self.effects.push(Effect::Remove { runtime: container.runtime, key, id: container.id }),
        }
    }

    fn found_one(&mut self, container: ContainerStatus, asked: Moment, now: Moment) {
        let labels = &container.labels;
        let uid = labels.uid;
        if let Some(since) = self.gone.get(&uid) {
            // Left over from a pod that was ordered to stop, and has been reported as gone.
            if *since < asked {
                let (runtime, key) = (container.runtime, ContainerKey::from(labels));
                self.effects.push(Effect::Remove { runtime, key, id: container.id });
            }
            return;
        }
        let mut pod = self.pods.remove(&uid).unwrap_or_else(|| {
            self.ledger_dirty = true;
            Pod::new(PodRun {
                uid,
                name: labels.pod.clone(),
                workload: labels.workload.clone(),
                slot: labels.slot,
                hash: labels.hash.clone(),
                revision: labels.revision.clone(),
                images: BTreeMap::new(),
            })
        });
        pod.runtime = Some(container.runtime);
        pod.adopt(container, asked, now);
        self.pods.insert(uid, pod);
        self.dirty.insert(uid);
    }

    /// What should be there and was not listed.
    fn miss(&mut self, runtime: RuntimeKind, asked: Moment, seen: &BTreeSet<ContainerKey>, now: Moment) {
        let mut notes = Vec::new();
        for (uid, pod) in &mut self.pods {
            if pod.runtime.is_some_and(|kind| kind != runtime) {
                continue;
            }
            let stopping = pod.winding.is_some();
            for member in &mut pod.members {
                let key = ContainerKey { pod: *uid, container: member.name.clone(), attempt: member.attempt };
                if seen.contains(&key) || member.changed >= asked {
                    continue;
                }
                match member.state {
                    State::Unknown if !member.ran => member.state = State::Waiting,
                    State::Unknown | State::Running { .. } | State::Stopping { .. } => {
                        notes.push((*uid, format!("Container {} is no longer there", member.name)));
                        member.id = None;
                        member.ended(vanished(), stopping, now);
                    }
                    State::BackOff { .. } | State::Ended => member.id = None,
                    State::Waiting | State::Starting => {}
                }
            }
            pod.note_loss();
        }
        for (uid, message) in notes {
            self.ledger_dirty = true;
            self.note(uid, true, "Vanished", message);
        }
    }

    /// Pods of an old ledger of which nothing was found are no longer ours to start: whether they are to run, the controller says.
    fn settle_doubts(&mut self, runtime: RuntimeKind, seen: &BTreeSet<ContainerKey>) {
        let found: BTreeSet<PodUid> = seen.iter().map(|key| key.pod).collect();
        for uid in std::mem::take(&mut self.doubted).difference(&found) {
            let Some(pod) = self.pods.get(uid) else { continue };
            if pod.runtime.is_some_and(|kind| kind != runtime) {
                self.doubted.insert(*uid);
                continue;
            }
            self.pods.remove(uid);
            self.ledger_dirty = true;
        }
    }

    pub(super) fn noticed(&mut self, runtime: RuntimeKind, event: RuntimeEvent, now: Moment) {
        match event {
            RuntimeEvent::Resync => {
                if let Some(host) = self.hosts.get_mut(&runtime) {
                    host.list_at = now;
                }
            }
            RuntimeEvent::Warning { reason, message } => {
                self.outbox.events.push(PodEvent { pod: None, warning: true, reason: reason.to_owned(), message });
            }
            RuntimeEvent::Exited { id, exit } => match self.owner(&id) {
                Some(key) => self.exited(&key, exit, false, now),
                None => self.remember_early(id, exit),
            },
            RuntimeEvent::Removed { id } => match self.owner(&id) {
                Some(key) => self.exited(&key, vanished(), true, now),
                None => self.forget_previous(&id),
            },
        }
    }

    /// Whose current start an id is.
    fn owner(&self, id: &ContainerId) -> Option<ContainerKey> {
        self.pods.values().find_map(|pod| {
            let member = pod.members.iter().find(|member| member.id.as_ref() == Some(id))?;
            Some(pod.key(member))
        })
    }

    /// An end may be heard of before the start returns.
    fn remember_early(&mut self, id: ContainerId, exit: Exit) {
        let starting = |pod: &Pod| pod.members.iter().any(|member| member.state == State::Starting);
        if self.pods.values().any(starting) {
            self.early.insert(id, exit);
        } else {
            self.early.clear();
        }
    }

    fn forget_previous(&mut self, id: &ContainerId) {
        for member in self.pods.values_mut().flat_map(|pod| &mut pod.members) {
            if member.previous.as_ref().is_some_and(|(_, previous)| previous == id) {
                member.previous = None;
            }
        }
    }

    /// The current start of a container has ended; with `removed`, nothing is left of it.
    pub(super) fn exited(&mut self, key: &ContainerKey, exit: Exit, removed: bool, now: Moment) {
        let Some(pod) = self.pods.get_mut(&key.pod) else { return };
        let stopping = pod.winding.is_some();
        let Some(member) = pod.current_mut(key) else { return };
        if removed {
            member.id = None;
        }
        if !member.can_end() {
            self.dirty.insert(key.pod);
            return;
        }
        let text = format!("Container {} ended with code {} ({})", member.name, exit.code, exit.reason);
        let warning = exit.code != 0 && !stopping;
        member.ended(exit, stopping, now);
        self.ledger_dirty = true;
        self.note(key.pod, warning, "Exited", text);
        self.dirty.insert(key.pod);
    }
}

impl Pod {
    /// Takes over a container that was found. Nothing is started or stopped for it, but for a second copy.
    fn adopt(&mut self, container: ContainerStatus, asked: Moment, now: Moment) {
        let labels = &container.labels;
        let name = labels.container.clone();
        if self.member_mut(&name).is_none() {
            self.members.push(Member::new(&name, labels.role, State::Unknown, Moment(0)));
        }
        for port in &container.ports {
            if let (RuntimeKind::Process, Some(given)) = (container.runtime, port.host_port) {
                self.ports.entry(port.container_port).or_insert(given);
            }
            let reached = if container.runtime == RuntimeKind::Process { port.host_port } else { Some(port.container_port) };
            self.reached.entry(port.container_port).or_insert(reached.unwrap_or(port.container_port));
        }
        if container.address.is_some() && container.state == RunState::Running {
            self.address = container.address;
        }
        let started = now - container.age;
        if container.state == RunState::Running {
            self.first_started = Some(self.first_started.map_or(started, |first| first.min(started)));
        }
        self.accepted.get_or_insert(started);
        if container.state == RunState::Running {
            self.lease_until = self.lease_until.max(container.lease);
        }
        let stopping = self.winding.is_some();
        let Some(member) = self.member_mut(&name) else { return };
        if labels.attempt < member.attempt {
            let keep = labels.attempt + 1 == member.attempt && container.state != RunState::Running;
            if keep && member.previous.is_none() {
                member.previous = Some((labels.attempt, container.id));
            } else if member.previous.as_ref().is_none_or(|(_, id)| *id != container.id) {
                self.bury(&name, labels.attempt, container.id, now);
            }
            return;
        }
        if labels.attempt > member.attempt {
            // The ledger was behind.
            let older = member.id.take().map(|id| (member.attempt, id));
            member.previous = older.or(member.previous.take());
            member.attempt = labels.attempt;
            member.state = State::Unknown;
            member.post_start = PostStart::Due;
            member.changed = Moment(0);
        }
        if member.changed < asked {
            member.settle(container, started, stopping, now);
        }
        // It is not started before the init containers have done their work.
        self.initialized |= member.role == Role::Main && member.is_running();
        self.note_up();
    }

    /// After a reboot nothing is left of a host process, nor of what its init containers have made in memory.
    fn note_loss(&mut self) {
        let nothing_left = self.members.iter().all(|member| member.id.is_none() && member.state != State::Starting);
        let goes_on = self.mains().any(|member| member.state != State::Ended);
        if self.initialized && self.winding.is_none() && nothing_left && goes_on {
            self.begin_anew();
        }
    }
}

impl Member {
    /// Brings this attempt in line with what was found.
    fn settle(&mut self, container: ContainerStatus, started: Moment, stopping: bool, now: Moment) {
        self.image_digest = container.image_digest;
        self.owns_network = container.address.is_some() && self.role != Role::Sandbox;
        match (&self.state, container.state) {
            (State::Unknown | State::Waiting | State::Starting | State::BackOff { .. } | State::Ended, RunState::Running) => {
                self.runs(container.id, started, now);
            }
            (State::Running { .. } | State::Stopping { .. }, RunState::Running) => self.id = Some(container.id),
            (State::Unknown | State::Waiting | State::Running { .. } | State::Stopping { .. }, RunState::Exited(exit)) => {
                self.id = Some(container.id);
                self.ended(exit, stopping, now);
            }
            (State::BackOff { .. } | State::Ended, RunState::Exited(_)) => self.id = Some(container.id),
            (State::Starting, RunState::Exited(_)) => {}
            // Made and not started: the next start finds it.
            (State::Unknown, RunState::Created) => self.state = State::Waiting,
            // What is dead is not adopted.
            (_, RunState::Created | RunState::Dead) => {}
        }
    }

    /// Whether it runs as far as is known.
    pub(super) fn can_end(&self) -> bool {
        matches!(self.state, State::Running { .. } | State::Stopping { .. } | State::Unknown)
    }

    /// It ended. What follows (another start, or nothing) is decided in the pod's next step.
    pub(super) fn ended(&mut self, exit: Exit, stopping: bool, now: Moment) {
        let (since, reason) = match &self.state {
            State::Running { since } => (Some(*since), None),
            State::Stopping { why, since, .. } => match why {
                StopCause::Probe(kind) => (Some(*since), Some(format!("{}Probe", kind.as_str()))),
                StopCause::Hook(kind) => (Some(*since), Some(format!("{}Hook", kind.as_str()))),
                StopCause::Ended | StopCause::Sandbox => (Some(*since), None),
            },
            State::Unknown | State::Waiting | State::Starting | State::BackOff { .. } | State::Ended => (None, None),
        };
        // An init container has done its work when it succeeds, whatever the template says.
        let over = stopping || (self.role == Role::Init && exit.code == 0);
        // It is not at fault if its lease ran out, and begins again as soon as it has one.
        let at_fault = exit.reason != LEASE_EXPIRED;
        let ran = since.map(|since| now.since(since)).unwrap_or_default();
        let wait = if at_fault { self.backoff.after_exit(ran) } else { Duration::ZERO };
        self.last_exit = Some(Exit { reason: reason.unwrap_or(exit.reason), ..exit });
        self.ran = true;
        self.probes.clear();
        self.was_ready = false;
        self.changed = now;
        self.state = if over { State::Ended } else { State::BackOff { until: now + wait } };
    }
}
