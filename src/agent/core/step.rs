//! One step of one pod: from what is known of it to the effects that bring it closer to what is wanted.
//!
//! The order of its starts is Kubernetes': the sandbox, the init containers one after the other (the next after a sidecar once that has
//! started up), then the containers. If the sandbox goes, everything starts again in another:
//! <https://kubernetes.io/docs/concepts/workloads/pods/init-containers/>.

use super::agent::Agent;
use super::event::Effect;
use super::ledger::Failure;
use super::pod::{Member, Pod, PostStart, State, StopCause, StopStep};
use crate::agent::launch;
use crate::agent::runtime::{Role, SANDBOX};
use crate::model::{Container, Exit, Moment, PodSnapshot, PodUid, RestartPolicy, RuntimeKind};
use std::sync::Arc;
use std::time::Duration;

impl Agent {
    /// Looks at one pod, and says when to look again.
    pub(super) fn step(&mut self, uid: PodUid, now: Moment) {
        let Some(mut pod) = self.pods.remove(&uid) else {
            self.timers.remove(&uid);
            return;
        };
        let snapshot = self.templates.get(&pod.run.hash).cloned();
        if pod.stop.is_some() {
            pod.waiting.clear();
            self.wind_down(&mut pod, now);
        } else {
            self.step_run(&mut pod, snapshot.as_ref(), now);
        }
        self.send_stops(&mut pod, snapshot.as_deref(), now);
        self.send_removes(&mut pod, now);
        let ended = pod.members.iter().all(|member| member.state == State::Ended);
        if pod.stop.is_some() && self.has_listed(&pod) && ended && pod.removing.is_empty() {
            self.forget(uid, now);
            return;
        }
        pod.ready_since = if pod.is_ready() { pod.ready_since.or(Some(now)) } else { None };
        let state = pod.report_without_durations();
        if pod.reported.as_ref() != Some(&state) {
            pod.reported = Some(state);
            self.outbox.pods.insert(uid);
        }
        // What is due and was not done waits for an event.
        let lease_end = self.lease_end(&pod).filter(|_| pod.stop.is_none());
        match pod.wake().into_iter().chain(lease_end).min().filter(|at| *at > now) {
            Some(at) => self.timers.insert(uid, at),
            None => self.timers.remove(&uid),
        };
        self.pods.insert(uid, pod);
    }

    /// Whether all that a pod has left is known: an earlier agent may have ended its containers, and not come to remove them.
    fn has_listed(&self, pod: &Pod) -> bool {
        let mut hosts = self.hosts.iter().filter(|(kind, _)| pod.runtime.is_none_or(|runtime| runtime == **kind));
        hosts.all(|(_, host)| host.listed)
    }

    /// Everything of the pod has been removed.
    fn forget(&mut self, uid: PodUid, now: Moment) {
        self.timers.remove(&uid);
        self.outbox.pods.remove(&uid);
        self.outbox.gone.insert(uid);
        self.gone.insert(uid, now);
        self.ledger_dirty = true;
        self.samples.retain(|key, _| key.pod != uid);
        self.effects.push(Effect::Forget(uid));
    }

    fn step_run(&mut self, pod: &mut Pod, snapshot: Option<&Arc<PodSnapshot>>, now: Moment) {
        pod.waiting.clear();
        let Some(snapshot) = snapshot else {
            let lost = self.lost_secrets.get(&pod.run.hash);
            pod.waiting = lost.map_or("waiting for its template from the controller", |lost| lost.loss.waits()).to_owned();
            return;
        };
        let spec = &snapshot.template.spec;
        self.ledger_dirty |= pod.settle_ends(spec.restart_policy);
        self.check_deadline(pod, spec.active_deadline_seconds, now);
        if pod.is_over() {
            self.wind_down(pod, now);
            return;
        }
        let kind = if spec.is_process() { RuntimeKind::Process } else { RuntimeKind::Docker };
        let obstacle = self.unreachable(kind).or_else(|| self.erasure_under_way(&pod.run));
        if let Some(reason) = obstacle.or_else(|| self.lacks_lease(pod, snapshot, now)) {
            pod.waiting = reason;
        }
        if launch::needs_sandbox(spec) && !self.step_sandbox(pod, snapshot, now) {
            return;
        }
        if self.step_inits(pod, snapshot, now) {
            self.step_mains(pod, snapshot, now);
        }
    }

    /// `activeDeadlineSeconds`: <https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-termination-and-cleanup>.
    fn check_deadline(&mut self, pod: &mut Pod, seconds: Option<u64>, now: Moment) {
        pod.deadline = seconds.zip(pod.accepted).map(|(seconds, accepted)| accepted + Duration::from_secs(seconds));
        if pod.is_over() || pod.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        let message = "Pod was active on the node longer than the specified deadline".to_owned();
        self.fail(pod, "DeadlineExceeded", message);
    }

    /// The pod has failed as a whole. What of it runs is stopped; it stays to be looked at until it is ordered to go.
    fn fail(&mut self, pod: &mut Pod, reason: &str, message: String) {
        self.note(pod.run.uid, true, reason, message.clone());
        pod.failure = Some(Failure { reason: reason.to_owned(), message });
        self.ledger_dirty = true;
    }

    /// Why nothing can be started on a runtime.
    fn unreachable(&self, kind: RuntimeKind) -> Option<String> {
        let name = kind.as_str();
        match self.hosts.get(&kind) {
            None => Some(format!("this node has no {name} runtime")),
            Some(host) => host.lost.as_ref().map(|message| format!("the {name} runtime is out of reach: {message}")),
        }
    }

    /// Sees to the sandbox. True if containers can be started.
    fn step_sandbox(&mut self, pod: &mut Pod, snapshot: &Arc<PodSnapshot>, now: Moment) -> bool {
        let Some(sandbox) = pod.member(SANDBOX) else { return false };
        match sandbox.state {
            State::Running { .. } => return true,
            State::Unknown | State::Starting | State::Stopping { .. } => return false,
            State::Waiting | State::BackOff { .. } | State::Ended => {}
        }
        if pod.is_whole_without_sandbox() {
            return true;
        }
        let ran_before = sandbox.ran || sandbox.attempt > 0;
        if ran_before && snapshot.template.spec.restart_policy == RestartPolicy::Never {
            let message = "its sandbox ended, and restartPolicy Never forbids to start its containers in another".to_owned();
            self.fail(pod, "SandboxChanged", message);
            self.wind_down(pod, now);
            return false;
        }
        if pod.members.iter().any(Member::is_running) {
            let text = "Pod sandbox changed, it will be killed and re-created.".to_owned();
            self.note(pod.run.uid, false, "SandboxChanged", text);
            for member in &mut pod.members {
                member.begin_stop(StopCause::Sandbox, now, now);
            }
        }
        if pod.members.iter().any(|member| matches!(member.state, State::Starting | State::Stopping { .. })) {
            return false;
        }
        pod.begin_anew();
        self.step_member(pod, snapshot, None, now);
        false
    }

    /// One init container after the other. True once all have done their work.
    fn step_inits(&mut self, pod: &mut Pod, snapshot: &Arc<PodSnapshot>, now: Moment) -> bool {
        for template in &snapshot.template.spec.init_containers {
            let initialized = pod.initialized;
            let Some(member) = pod.member_mut(&template.name) else { continue };
            if member.role == Role::Init && (initialized || member.state == State::Ended) {
                member.retire();
                continue;
            }
            self.step_member(pod, snapshot, Some(template), now);
            let started = pod.member(&template.name).is_some_and(|member| member.role == Role::Sidecar && member.has_started());
            if !pod.initialized && !started {
                return false;
            }
        }
        self.ledger_dirty |= !pod.initialized;
        pod.initialized = true;
        true
    }

    /// The containers. One with a hook after its start holds the next ones back until that is done, as with the kubelet; others
    /// start together.
    fn step_mains(&mut self, pod: &mut Pod, snapshot: &Arc<PodSnapshot>, now: Moment) {
        for template in &snapshot.template.spec.containers {
            self.step_member(pod, snapshot, Some(template), now);
            let hooks = template.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.post_start.is_some());
            let begins = |member: &Member| match member.state {
                State::Starting => true,
                State::Running { .. } => member.post_start != PostStart::Done,
                State::Unknown | State::Waiting | State::Stopping { .. } | State::BackOff { .. } | State::Ended => false,
            };
            if hooks && !pod.was_up && pod.member(&template.name).is_some_and(begins) {
                return;
            }
        }
    }

    /// Starts a container when its time has come, and looks after one that runs. Without a template it is the sandbox.
    fn step_member(&mut self, pod: &mut Pod, snapshot: &Arc<PodSnapshot>, template: Option<&Container>, now: Moment) {
        let reachable = pod.waiting.is_empty();
        let Some(member) = pod.member_mut(template.map_or(SANDBOX, |template| &template.name)) else { return };
        match member.state {
            State::BackOff { until } if now < until => {
                if member.waiting.is_empty() {
                    let wait = until.since(now).as_secs();
                    member.waiting = format!("back-off {wait}s restarting failed container {}", member.name);
                }
            }
            State::Waiting | State::BackOff { .. } if reachable => self.start(pod, snapshot, template, now),
            State::Running { .. } => {
                if let Some(template) = template {
                    self.refresh(pod, snapshot, template);
                    self.ask(pod, template, now);
                }
            }
            State::Unknown | State::Waiting | State::Starting | State::Stopping { .. } | State::BackOff { .. } | State::Ended => {
            }
        }
    }
}

impl Pod {
    /// What has ended and is not started again has ended for good. True if there is such.
    fn settle_ends(&mut self, policy: RestartPolicy) -> bool {
        let mut any = false;
        for member in &mut self.members {
            let over = member.ran && !restarts(member.role, policy, member.last_exit.as_ref());
            if over && matches!(member.state, State::BackOff { .. }) {
                member.state = State::Ended;
                any = true;
            }
        }
        any
    }

    /// Versions without sandboxes had a pod's containers in the network of the first: they run on, until one has to be started.
    fn is_whole_without_sandbox(&self) -> bool {
        let mut containers = self.members.iter().filter(|member| member.role != Role::Sandbox);
        let own = self.members.iter().any(|member| member.is_running() && member.owns_network);
        own && containers.all(|member| member.is_running() || matches!(member.role, Role::Init) || member.state == State::Ended)
    }

    /// When to look at it again, if nothing happens.
    fn wake(&self) -> Option<Moment> {
        let goes_on = self.winding.is_none();
        let members = self.members.iter().filter_map(|member| match &member.state {
            State::BackOff { until } => Some(*until),
            State::Stopping { step: StopStep::Hooking(at) | StopStep::Ask(at), .. } => Some(*at),
            State::Running { .. } if goes_on => member.next_question(),
            State::Unknown
            | State::Waiting
            | State::Starting
            | State::Running { .. }
            | State::Stopping { step: StopStep::Hook | StopStep::Asked, .. }
            | State::Ended => None,
        });
        let removals = self.removing.values().filter_map(|(_, retry)| *retry);
        members.chain(removals).chain(self.deadline.filter(|_| goes_on)).min()
    }
}

impl Member {
    /// It has done its work, or its work is not needed again.
    fn retire(&mut self) {
        if matches!(self.state, State::Waiting | State::BackOff { .. }) {
            self.state = State::Ended;
        }
    }
}

/// `restartPolicy`: <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy>. Init containers end for good
/// when they succeed, and sidecars are always restarted.
fn restarts(role: Role, policy: RestartPolicy, exit: Option<&Exit>) -> bool {
    let failed = exit.is_none_or(|exit| exit.code != 0);
    match (role, policy) {
        (Role::Sandbox | Role::Sidecar, _) | (Role::Main, RestartPolicy::Always) => true,
        (Role::Init, RestartPolicy::Always | RestartPolicy::OnFailure) | (Role::Main, RestartPolicy::OnFailure) => failed,
        (Role::Init | Role::Main, RestartPolicy::Never) => false,
    }
}
