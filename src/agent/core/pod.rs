//! One pod and its containers, as the agent knows them.

use super::backoff::Backoff;
use super::event::{ContainerKey, HookKind, ProbeKind};
use super::ledger::{ContainerRecord, Failure, PodRecord};
use super::probe::Prober;
use crate::agent::runtime::{ContainerId, Role, SANDBOX};
use crate::model::{BootMoment, Container, Exit, Moment, PodReport, PodRun, RuntimeKind, StopOrder};
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
    /// When it came to this node: what `activeDeadlineSeconds` counts from.
    pub(super) accepted: Option<Moment>,
    pub(super) first_started: Option<Moment>,
    pub(super) ready_since: Option<Moment>,
    /// Whether all containers have run at the same time once.
    pub(super) was_up: bool,
    /// Whether its init containers have done their work, since the sandbox was made.
    pub(super) initialized: bool,
    /// Why it has failed as a whole, whatever its containers say.
    pub(super) failure: Option<Failure>,
    /// Since when it is brought to its end; `None` while it is to run.
    pub(super) winding: Option<Moment>,
    /// When it has been active for too long.
    pub(super) deadline: Option<Moment>,
    /// When its lease runs out, if it was ever given one; a pod without a lease has none.
    pub(super) lease_until: Option<BootMoment>,
    /// Whether it was said that it has.
    pub(super) lease_noted: bool,
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
    pub(super) role: Role,
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
    /// How far the hook is that runs after the start of this attempt.
    pub(super) post_start: PostStart,
    /// Whether the network that it runs in is its own.
    pub(super) owns_network: bool,
    /// Whether the probes of this attempt were made: without its template nobody knows whether it is ready.
    pub(super) armed: bool,
    /// Whether it was ready before the agent restarted.
    pub(super) was_ready: bool,
    /// The version of the configuration that is in its files; `None` if nobody knows.
    pub(super) config: Option<String>,
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
    /// It is being stopped.
    Stopping {
        /// Why.
        why: StopCause,
        /// Since when it had run.
        since: Moment,
        /// Since when it is being stopped: its grace counts from then.
        began: Moment,
        /// How far that is.
        step: StopStep,
    },
    /// It ended, or could not be started, and is started again then, if its restart policy says so.
    BackOff {
        /// When.
        until: Moment,
    },
    /// It ended for good.
    Ended,
}

/// How far a stop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopStep {
    /// The hook before the stop comes next, if there is one.
    Hook,
    /// The hook is under way, and given up at this time.
    Hooking(Moment),
    /// The runtime is asked at this time.
    Ask(Moment),
    /// The runtime was asked.
    Asked,
}

/// How far the hook after the start is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PostStart {
    /// It comes next, if there is one.
    Due,
    /// It is under way, and given up at this time.
    Running(Moment),
    /// It is done, or there is none.
    Done,
}

/// Why a container is being stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StopCause {
    /// Its pod comes to its end.
    Ended,
    /// This probe failed; it is started again after.
    Probe(ProbeKind),
    /// This hook failed; it is started again after.
    Hook(HookKind),
    /// The sandbox is gone; it is started again in another.
    Sandbox,
}

impl Member {
    pub(super) fn new(name: &str, role: Role, state: State, now: Moment) -> Self {
        Self {
            name: name.to_owned(),
            role,
            attempt: 0,
            state,
            id: None,
            ran: false,
            previous: None,
            image_digest: None,
            last_exit: None,
            backoff: Backoff::default(),
            probes: Vec::new(),
            post_start: PostStart::Done,
            owns_network: false,
            armed: false,
            was_ready: false,
            config: None,
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
            post_start: if record.hooked { PostStart::Done } else { PostStart::Due },
            // Listings asked for from now on tell about it.
            changed: Moment(0),
            ..Self::new(&record.name, record.role, State::Unknown, now)
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
            role: self.role,
            hooked: self.post_start == PostStart::Done,
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

    /// Makes the probes of a container that runs, once its template is known and its hook is done.
    pub(super) fn arm(&mut self, template: &Container) {
        let State::Running { since } = self.state else { return };
        if self.armed || self.post_start != PostStart::Done {
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

    /// Running, its hook done, and started up: what comes after a sidecar may start.
    pub(super) fn has_started(&self) -> bool {
        self.is_running() && self.armed && self.passed(ProbeKind::Startup)
    }

    /// It ended with something else than success.
    pub(super) fn has_failed(&self) -> bool {
        self.last_exit.as_ref().is_some_and(|exit| exit.code != 0)
    }

    /// A stop begins, if it runs.
    pub(super) fn begin_stop(&mut self, why: StopCause, began: Moment, now: Moment) {
        if let State::Running { since } = self.state {
            self.state = State::Stopping { why, since, began, step: StopStep::Hook };
            self.changed = now;
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
            accepted: None,
            first_started: None,
            ready_since: None,
            was_up: false,
            initialized: false,
            failure: None,
            winding: None,
            deadline: None,
            lease_until: None,
            lease_noted: false,
            waiting: String::new(),
            removing: BTreeMap::new(),
            reported: None,
        }
    }

    pub(super) fn from_record(record: &PodRecord, now: Moment) -> Self {
        let mut mains = record.containers.iter().filter(|container| container.role == Role::Main).peekable();
        Self {
            claimed: true,
            stop: record.stop.clone(),
            runtime: record.runtime,
            ports: record.ports.clone(),
            reached: record.ports.clone(),
            members: record.containers.iter().map(|container| Member::from_record(container, now)).collect(),
            address: record.address,
            accepted: record.accepted,
            initialized: record.initialized,
            failure: record.failure.clone(),
            was_up: mains.peek().is_some() && mains.all(|container| container.id.is_some()),
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
            accepted: self.accepted,
            initialized: self.initialized,
            failure: self.failure.clone(),
        }
    }

    pub(super) fn key(&self, member: &Member) -> ContainerKey {
        ContainerKey { pod: self.run.uid, container: member.name.clone(), attempt: member.attempt }
    }

    pub(super) fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    pub(super) fn member_mut(&mut self, name: &str) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.name == name)
    }

    /// The sandbox that containers can be started in.
    pub(super) fn sandbox(&self) -> Option<&ContainerId> {
        self.member(SANDBOX).filter(|member| member.is_running())?.id.as_ref()
    }

    /// What the template's `containers` are.
    pub(super) fn mains(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.role == Role::Main)
    }

    /// Remembers whether all containers run at the same time.
    pub(super) fn note_up(&mut self) {
        let up = self.mains().all(Member::is_running);
        self.was_up |= up;
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

    /// Whether it has come to its end by itself: its containers have, or one that they need has failed.
    pub(super) fn is_over(&self) -> bool {
        let ended = |member: &Member| member.state == State::Ended;
        let mut mains = self.mains().peekable();
        let done = mains.peek().is_some() && mains.all(ended);
        let mut inits = self.members.iter().filter(|member| member.role == Role::Init);
        // In a pod that was initialized, a failed start is an earlier one: the one that succeeded is no longer there to be found.
        let never_initialized = !self.initialized && inits.any(|member| ended(member) && member.has_failed());
        done || self.failure.is_some() || never_initialized
    }

    /// Its init containers are to run once more before anything else: nothing is left of what they were run for.
    pub(super) fn begin_anew(&mut self) {
        self.initialized = false;
        for member in &mut self.members {
            if member.state == State::Ended && member.role != Role::Main {
                member.state = State::Waiting;
            }
        }
    }
}
