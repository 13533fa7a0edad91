//! What is said of a pod: where it stands, and why it is not further.

use super::pod::{Member, Pod, State};
use crate::agent::runtime::Role;
use crate::model::{ContainerReport, ContainerState, Moment, PodPhase, PodReport};

impl Member {
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
            started: self.has_started(),
            ready: self.is_ready(),
            restarts: self.attempt,
            last_exit: self.last_exit.clone(),
        }
    }
}

impl Pod {
    pub(super) fn is_ready(&self) -> bool {
        let mut serving = self.members.iter().filter(|member| matches!(member.role, Role::Main | Role::Sidecar));
        self.stop.is_none() && self.mains().next().is_some() && !self.is_over() && serving.all(Member::is_ready)
    }

    pub(super) fn phase(&self) -> PodPhase {
        let any = |test: fn(&Member) -> bool| self.members.iter().any(test);
        if self.stop.is_some() {
            return PodPhase::Stopping;
        }
        if let Some(phase) = self.end() {
            return phase;
        }
        if any(|member| {
            matches!(member.state, State::BackOff { .. }) && member.last_exit.is_some() && member.role != Role::Sandbox
        }) {
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

    /// How it ended, once nothing of it runs and nothing is started again. How sidecars end does not count.
    fn end(&self) -> Option<PodPhase> {
        let mut containers = self.members.iter().filter(|member| member.role != Role::Sandbox).peekable();
        containers.peek()?;
        if !containers.all(|member| member.state == State::Ended) {
            return None;
        }
        let counts = |member: &&Member| matches!(member.role, Role::Main | Role::Init);
        let failed = self.failure.is_some() || self.members.iter().filter(counts).any(Member::has_failed);
        Some(if failed { PodPhase::Failed } else { PodPhase::Succeeded })
    }

    /// The whole state, with durations up to `now`.
    pub(super) fn report(&self, now: Moment) -> PodReport {
        let since = |moment: Option<Moment>| moment.map(|moment| now.since(moment)).unwrap_or_default();
        PodReport { ready_for: since(self.ready_since), age: since(self.first_started), ..self.report_without_durations() }
    }

    pub(super) fn report_without_durations(&self) -> PodReport {
        let reports =
            |wanted: fn(Role) -> bool| self.members.iter().filter(|member| wanted(member.role)).map(Member::report).collect();
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
            init_containers: reports(|role| matches!(role, Role::Init | Role::Sidecar)),
            containers: reports(|role| role == Role::Main),
            reason: self.failure.as_ref().map(|failure| failure.reason.clone()).unwrap_or_default(),
            message: self.message(),
        }
    }

    fn message(&self) -> String {
        if let Some(failure) = &self.failure {
            return failure.message.clone();
        }
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
