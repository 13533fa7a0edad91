//! Bringing a pod to its end, and stopping single containers.
//!
//! Containers are stopped together, then sidecars one by one from the last to the first, then the sandbox. A hook before the stop runs
//! first, and within the grace: <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination>.

use super::agent::Agent;
use super::event::{Effect, HookKind, HookRequest};
use super::pod::{Member, Pod, State, StopCause, StopStep};
use super::{ContainerKey, ask};
use crate::agent::runtime::Role;
use crate::model::{Container, Hook, Moment, PodSnapshot, RuntimeKind};
use std::time::Duration;

/// The grace of a pod whose template is not known: Kubernetes' default.
const GRACE: Duration = Duration::from_secs(30);

/// What is left at least of a grace that hooks and other containers have used up, as with the kubelet.
const LEFT_MIN: Duration = Duration::from_secs(2);

/// A sandbox has nothing to finish.
const SANDBOX_GRACE: Duration = Duration::from_secs(2);

/// A hook that was not heard of for so long after its time is given up.
const LATE: Duration = Duration::from_secs(10);

impl Agent {
    /// One step towards nothing of the pod running or being started. With an order to stop it, what has ended is removed too.
    pub(super) fn wind_down(&mut self, pod: &mut Pod, now: Moment) {
        let began = *pod.winding.get_or_insert(now);
        let listed = pod.runtime.is_none_or(|kind| self.hosts.get(&kind).is_none_or(|host| host.listed));
        for member in &mut pod.members {
            match member.state {
                State::Waiting | State::BackOff { .. } => member.state = State::Ended,
                State::Unknown if !member.ran && listed => member.state = State::Ended,
                State::Unknown if !listed => pod.waiting = "its runtime has not answered yet".to_owned(),
                // A start is waited for; what it started is then stopped.
                State::Unknown | State::Starting | State::Running { .. } | State::Stopping { .. } | State::Ended => {}
            }
        }
        for index in pod.next_to_stop() {
            if let Some(member) = pod.members.get_mut(index) {
                member.begin_stop(StopCause::Ended, began, now);
            }
        }
        pod.bury_ended();
    }

    /// Takes every stop that is due one step further.
    pub(super) fn send_stops(&mut self, pod: &mut Pod, snapshot: Option<&PodSnapshot>, now: Moment) {
        let Some(runtime) = pod.runtime else { return };
        let spec = snapshot.map(|snapshot| &snapshot.template.spec);
        let whole = spec.map_or(GRACE, |spec| Duration::from_secs(spec.termination_grace_period_seconds));
        let target = ask::Target::of(pod);
        for member in &mut pod.members {
            let template = spec.and_then(|spec| spec.all_containers().find(|container| container.name == member.name));
            let grace = member.grace(template, whole);
            let State::Stopping { began, step, .. } = &mut member.state else { continue };
            let Some(id) = member.id.clone() else { continue };
            let key = ContainerKey { pod: target.pod, container: member.name.clone(), attempt: member.attempt };
            let left = grace.saturating_sub(now.since(*began));
            let hook = template.and_then(pre_stop).filter(|_| !left.is_zero());
            match (*step, hook.zip(template)) {
                (StopStep::Hook, Some((hook, template))) => {
                    *step = StopStep::Hooking(now + left + LATE);
                    let action = target.hook(hook, template);
                    let kind = HookKind::PreStop;
                    let request = HookRequest { key, runtime, id, kind, action, timeout: left };
                    self.effects.push(Effect::Hook(Box::new(request)));
                }
                (StopStep::Hooking(until), _) if now < until => {}
                (StopStep::Ask(at), _) if now < at => {}
                (StopStep::Hook | StopStep::Hooking(_) | StopStep::Ask(_), _) => {
                    *step = StopStep::Asked;
                    let grace = if left == grace { grace } else { left.max(LEFT_MIN) };
                    self.effects.push(Effect::Stop { runtime, key, id, grace });
                }
                (StopStep::Asked, _) => {}
            }
        }
    }

    pub(super) fn send_removes(&mut self, pod: &mut Pod, now: Moment) {
        let Some(runtime): Option<RuntimeKind> = pod.runtime else { return };
        for (key, (id, retry)) in &mut pod.removing {
            if retry.is_some_and(|at| at <= now) {
                *retry = None;
                self.effects.push(Effect::Remove { runtime, key: key.clone(), id: id.clone() });
            }
        }
    }
}

fn pre_stop(template: &Container) -> Option<&Hook> {
    template.lifecycle.as_ref()?.pre_stop.as_ref()
}

impl Pod {
    /// Whose turn it is to be stopped.
    fn next_to_stop(&self) -> Vec<usize> {
        let live = |role: Role| {
            let of_role = self.members.iter().enumerate().filter(move |(_, member)| member.role == role);
            of_role.filter(|(_, member)| member.state != State::Ended).map(|(index, _)| index)
        };
        let containers: Vec<usize> = live(Role::Init).chain(live(Role::Main)).collect();
        if !containers.is_empty() {
            return containers;
        }
        live(Role::Sidecar).next_back().or_else(|| live(Role::Sandbox).next()).into_iter().collect()
    }

    /// A pod that was ordered to stop leaves nothing; one that has ended by itself keeps what it has said, and needs no sandbox for it.
    fn bury_ended(&mut self) {
        let all = self.stop.is_some();
        let mut buried = Vec::new();
        for member in &mut self.members {
            if member.state == State::Ended && (all || member.role == Role::Sandbox) {
                buried.extend(member.id.take().map(|id| (member.name.clone(), member.attempt, id)));
                buried.extend(member.previous.take().map(|(attempt, id)| (member.name.clone(), attempt, id)));
            }
        }
        for (name, attempt, id) in buried {
            self.bury(&name, attempt, id, Moment(0));
        }
    }
}

impl Member {
    /// How long it may take to end; `whole` is the grace of its pod.
    fn grace(&self, template: Option<&Container>, whole: Duration) -> Duration {
        if self.role == Role::Sandbox {
            return SANDBOX_GRACE;
        }
        match &self.state {
            State::Stopping { why: StopCause::Probe(kind), .. } => {
                let probe = template.and_then(|template| ask::probe_of(template, *kind));
                probe.and_then(|probe| probe.termination_grace_period_seconds).map_or(whole, Duration::from_secs)
            }
            State::Unknown
            | State::Waiting
            | State::Starting
            | State::Running { .. }
            | State::Stopping { .. }
            | State::BackOff { .. }
            | State::Ended => whole,
        }
    }
}
