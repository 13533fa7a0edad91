//! One pod and its containers, as the agent knows them.

use super::backoff::Backoff;
use super::event::{ContainerKey, ProbeKind};
use super::ledger::{ContainerRecord, PodRecord};
use super::probe::Prober;
use crate::agent::runtime::ContainerId;
use crate::model::{
    Container, ContainerReport, ContainerState, Exit, Moment, PodPhase, PodReport, PodRun, RuntimeKind, StopOrder,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// One pod.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    pub(super) run: PodRun,
    /// Whether the assignment in force names it.
    pub(super) claimed: bool,
    pub(super) stop: Option<StopOrder>,
    pub(super) runtime: Option<RuntimeKind>,
    /// Host port of each container port, for a process pod.
    pub(super) ports: BTreeMap<u16, u16>,
    /// Container port → port at `address`, for the report.
    pub(super) reached: BTreeMap<u16, u16>,
    pub(super) members: Vec<Member>,
    pub(super) address: Option<IpAddr>,
    pub(super) first_started: Option<Moment>,
    pub(super) ready_since: Option<Moment>,
    /// Whether all containers have run at the same time once.
    pub(super) was_up: bool,
    /// Why the whole pod waits; empty if it does not.
    pub(super) waiting: String,
    /// Ended containers being deleted; the time is that of the next try, `None` while one is under way.
    pub(super) removing: BTreeMap<ContainerKey, (ContainerId, Option<Moment>)>,
    /// What was last reported, durations left out.
    pub(super) reported: Option<PodReport>,
}

/// One container of a pod, over all of its starts.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) attempt: u32,
    pub(super) state: State,
    /// The runtime's id of this attempt, running or ended.
    pub(super) id: Option<ContainerId>,
    /// Whether this attempt has run: then the next start is another attempt.
    pub(super) ran: bool,
    /// The attempt before, which is kept for its log.
    pub(super) previous: Option<(u32, ContainerId)>,
    pub(super) image_digest: Option<String>,
    pub(super) last_exit: Option<Exit>,
    pub(super) backoff: Backoff,
    pub(super) probes: Vec<Prober>,
    /// Whether the probes of this attempt were made: without its template nobody knows whether it is ready.
    pub(super) armed: bool,
    /// Whether it was ready before the agent restarted.
    pub(super) was_ready: bool,
    /// Why it waits; empty if it does not.
    pub(super) waiting: String,
    /// When an event last changed it: older listings say nothing about it.
    pub(super) changed: Moment,
}

/// What a container does. Its transitions are the methods of `Member` and `super::step`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// From the ledger; its runtime was not listed yet.
    Unknown,
    /// Not started.
    Waiting,
    /// A start is under way.
    Starting,
    /// It runs.
    Running {
        /// Since when.
        since: Moment,
    },
    /// A stop is under way, or failed and is tried again at `retry`.
    Stopping {
        /// Why.
        why: StopCause,
        /// Since when it had run.
        since: Moment,
        /// When to try again.
        retry: Option<Moment>,
    },
    /// It ended, or could not be started, and is started again then, if its restart policy says so.
    BackOff {
        /// When.
        until: Moment,
    },
    /// It ended for good.
    Ended,
}

/// Why a container is being stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StopCause {
    /// Its pod was ordered to stop.
    Ordered,
    /// This probe failed; it is started again after.
    Probe(ProbeKind),
    /// The container whose network it shares was restarted; it is started again after.
    Network,
}

impl Member {
    pub(super) fn new(name: &str, state: State, now: Moment) -> Self {
        Self {
            name: name.to_owned(),
            attempt: 0,
            state,
            id: None,
            ran: false,
            previous: None,
            image_digest: None,
            last_exit: None,
            backoff: Backoff::default(),
            probes: Vec::new(),
            armed: false,
            was_ready: false,
            waiting: String::new(),
            changed: now,
        }
    }

    fn from_record(record: &ContainerRecord, now: Moment) -> Self {
        Self {
            attempt: record.attempt,
            state: if record.ended { State::Ended } else { State::Unknown },
            id: record.id.clone(),
            ran: record.id.is_some(),
            last_exit: record.last_exit.clone(),
            was_ready: record.ready,
            // Listings asked for from now on tell about it.
            changed: Moment(0),
            ..Self::new(&record.name, State::Unknown, now)
        }
    }

    fn record(&self) -> ContainerRecord {
        ContainerRecord {
            name: self.name.clone(),
            attempt: self.attempt,
            id: self.id.clone(),
            last_exit: self.last_exit.clone(),
            ended: self.state == State::Ended,
            ready: self.is_ready(),
        }
    }

    /// It runs from now on (or has, since `since`).
    pub(super) fn runs(&mut self, id: ContainerId, since: Moment, now: Moment) {
        self.id = Some(id);
        self.ran = true;
        self.state = State::Running { since };
        self.probes.clear();
        self.armed = false;
        self.waiting.clear();
        self.changed = now;
    }

    /// Makes the probes of a container that runs, once its template is known.
    pub(super) fn arm(&mut self, template: &Container) {
        let State::Running { since } = self.state else { return };
        if self.armed {
            return;
        }
        self.armed = true;
        let probes = [
            (ProbeKind::Startup, &template.startup_probe),
            (ProbeKind::Liveness, &template.liveness_probe),
            (ProbeKind::Readiness, &template.readiness_probe),
        ];
        for (kind, probe) in probes {
            let Some(probe) = probe else { continue };
            let mut prober = Prober::new(kind, probe, since);
            if self.was_ready && kind != ProbeKind::Liveness {
                prober.assume_passed();
            }
            self.probes.push(prober);
        }
        self.was_ready = false;
    }

    pub(super) fn passed(&self, kind: ProbeKind) -> bool {
        self.probes.iter().filter(|prober| prober.kind == kind).all(|prober| prober.passed() == Some(true))
    }

    /// Running, started up, and its readiness probe (if any) succeeds. Until its runtime was listed, what it was before.
    pub(super) fn is_ready(&self) -> bool {
        match self.state {
            State::Running { .. } => self.armed && self.passed(ProbeKind::Startup) && self.passed(ProbeKind::Readiness),
            State::Unknown => self.was_ready,
            State::Waiting | State::Starting | State::Stopping { .. } | State::BackOff { .. } | State::Ended => false,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    fn report(&self) -> ContainerReport {
        let state = match self.state {
            State::Unknown if self.ran => ContainerState::Running,
            State::Unknown | State::Waiting | State::Starting => ContainerState::Waiting,
            State::Running { .. } | State::Stopping { .. } => ContainerState::Running,
            State::BackOff { .. } => ContainerState::BackOff,
            State::Ended => ContainerState::Ended,
        };
        ContainerReport {
            name: self.name.clone(),
            id: self.id.as_ref().map(|id| id.0.clone()).unwrap_or_default(),
            image_digest: self.image_digest.clone(),
            state,
            ready: self.is_ready(),
            restarts: self.attempt,
            last_exit: self.last_exit.clone(),
        }
    }
}

impl Pod {
    pub(super) fn new(run: PodRun) -> Self {
        Self {
            run,
            claimed: false,
            stop: None,
            runtime: None,
            ports: BTreeMap::new(),
            reached: BTreeMap::new(),
            members: Vec::new(),
            address: None,
            first_started: None,
            ready_since: None,
            was_up: false,
            waiting: String::new(),
            removing: BTreeMap::new(),
            reported: None,
        }
    }

    pub(super) fn from_record(record: &PodRecord, now: Moment) -> Self {
        Self {
            claimed: true,
            stop: record.stop.clone(),
            runtime: record.runtime,
            ports: record.ports.clone(),
            reached: record.ports.clone(),
            members: record.containers.iter().map(|container| Member::from_record(container, now)).collect(),
            address: record.address,
            was_up: !record.containers.is_empty() && record.containers.iter().all(|container| container.id.is_some()),
            ..Self::new(record.run.clone())
        }
    }

    pub(super) fn record(&self) -> PodRecord {
        PodRecord {
            run: self.run.clone(),
            stop: self.stop.clone(),
            runtime: self.runtime,
            address: self.address,
            ports: self.ports.clone(),
            containers: self.members.iter().map(Member::record).collect(),
        }
    }

    pub(super) fn key(&self, member: &Member) -> ContainerKey {
        ContainerKey { pod: self.run.uid, container: member.name.clone(), attempt: member.attempt }
    }

    pub(super) fn member_mut(&mut self, name: &str) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.name == name)
    }

    /// The member, if this is its current attempt.
    pub(super) fn current_mut(&mut self, key: &ContainerKey) -> Option<&mut Member> {
        self.member_mut(&key.container).filter(|member| member.attempt == key.attempt)
    }

    /// Hands an ended container over to be deleted.
    pub(super) fn bury(&mut self, container: &str, attempt: u32, id: ContainerId, now: Moment) {
        let key = ContainerKey { pod: self.run.uid, container: container.to_owned(), attempt };
        self.removing.entry(key).or_insert((id, Some(now)));
    }

    pub(super) fn is_ready(&self) -> bool {
        self.stop.is_none() && !self.members.is_empty() && self.members.iter().all(Member::is_ready)
    }

    pub(super) fn phase(&self) -> PodPhase {
        let all = |test: fn(&Member) -> bool| !self.members.is_empty() && self.members.iter().all(test);
        let any = |test: fn(&Member) -> bool| self.members.iter().any(test);
        if self.stop.is_some() {
            return PodPhase::Stopping;
        }
        if all(|member| member.state == State::Ended) {
            let clean = all(|member| member.last_exit.as_ref().is_none_or(|exit| exit.code == 0));
            return if clean { PodPhase::Succeeded } else { PodPhase::Failed };
        }
        if any(|member| matches!(member.state, State::BackOff { .. }) && member.last_exit.is_some()) {
            return PodPhase::CrashLoop;
        }
        if self.was_up {
            return PodPhase::Running;
        }
        if any(|member| !matches!(member.state, State::Unknown | State::Waiting)) {
            PodPhase::Starting
        } else {
            PodPhase::Pending
        }
    }

    /// The whole state, with durations up to `now`.
    pub(super) fn report(&self, now: Moment) -> PodReport {
        let since = |moment: Option<Moment>| moment.map(|moment| now.since(moment)).unwrap_or_default();
        PodReport { ready_for: since(self.ready_since), age: since(self.first_started), ..self.report_without_durations() }
    }

    pub(super) fn report_without_durations(&self) -> PodReport {
        PodReport {
            uid: self.run.uid,
            name: self.run.name.clone(),
            workload: self.run.workload.clone(),
            hash: self.run.hash.clone(),
            slot: self.run.slot,
            revision: self.run.revision.clone(),
            phase: self.phase(),
            ready: self.is_ready(),
            ready_for: std::time::Duration::ZERO,
            age: std::time::Duration::ZERO,
            address: self.address,
            ports: self.reached.clone(),
            containers: self.members.iter().map(Member::report).collect(),
            message: self.message(),
        }
    }

    fn message(&self) -> String {
        if !self.waiting.is_empty() {
            return self.waiting.clone();
        }
        if let Some(member) = self.members.iter().find(|member| !member.waiting.is_empty()) {
            return member.waiting.clone();
        }
        if !self.claimed && self.stop.is_none() {
            return "unclaimed: in no list of the assignment in force, so it is kept running".to_owned();
        }
        String::new()
    }
}
