//! What became of the effects.

use super::agent::{Agent, RETRY};
use super::event::{ContainerKey, HookKind, ProbeKind, ProbeOutcome};
use super::found::vanished;
use super::pod::{PostStart, State, StopCause, StopStep};
use super::probe::Verdict;
use crate::agent::runtime::{Role, RuntimeError, Started, Usage};
use crate::model::{ContainerUsage, Exit, HostUsage, Moment, PodUid, RuntimeKind};
use std::collections::BTreeMap;
use std::time::Duration;

/// The ledger is written again after this when a write failed.
const SAVE_RETRY: Duration = Duration::from_secs(5);

impl Agent {
    pub(super) fn started(&mut self, key: &ContainerKey, outcome: Result<Started, RuntimeError>, now: Moment) {
        let Some(pod) = self.pods.get_mut(&key.pod) else { return };
        let host_address = self.settings.host_address;
        let process = pod.runtime == Some(RuntimeKind::Process);
        let Some(member) = pod.current_mut(key).filter(|member| member.state == State::Starting) else { return };
        self.dirty.insert(key.pod);
        match outcome {
            Ok(started) => {
                member.image_digest = started.image_digest;
                member.runs(started.id.clone(), now, now);
                member.owns_network = started.address.is_some() && member.role != Role::Sandbox;
                pod.address = if process { Some(host_address) } else { started.address.or(pod.address) };
                pod.first_started.get_or_insert(now);
                pod.note_up();
                self.ledger_dirty = true;
                self.note(key.pod, false, "Started", format!("Started container {}", key.container));
                self.renew_started(key.pod);
                if let Some(exit) = self.early.remove(&started.id) {
                    self.exited(key, exit, false, now);
                }
            }
            Err(error) => self.failed_to_start(key, &error, now),
        }
    }

    fn failed_to_start(&mut self, key: &ContainerKey, error: &RuntimeError, now: Moment) {
        if let RuntimeError::PortInUse { port } = error {
            self.foreign_ports.insert(*port);
        }
        if let RuntimeError::Unavailable { runtime, message } = error {
            self.lost(*runtime, message.clone(), now);
        }
        let Some(pod) = self.pods.get_mut(&key.pod) else { return };
        if let RuntimeError::PortInUse { port } = error {
            pod.ports.retain(|_, given| given != port);
        }
        let Some(member) = pod.current_mut(key) else { return };
        let reason = waiting_reason(error, member.backoff.is_fresh());
        let wait = match error {
            // Another port is tried at once, and the engine is asked again soon: neither is the container's fault.
            RuntimeError::PortInUse { .. } => Duration::ZERO,
            RuntimeError::Unavailable { .. } => RETRY,
            RuntimeError::Image { .. }
            | RuntimeError::ImageAbsent { .. }
            | RuntimeError::Refused { .. }
            | RuntimeError::NotFound(_)
            | RuntimeError::Config { .. }
            | RuntimeError::NoSpace { .. }
            | RuntimeError::Unsupported(_)
            | RuntimeError::Failed { .. } => member.backoff.after_failed_start(),
        };
        member.state = State::BackOff { until: now + wait };
        member.waiting = format!("{reason}: {error}");
        member.changed = now;
        let message = format!("Container {} could not be started: {error}", key.container);
        self.note(key.pod, true, error.reason(), message);
    }

    pub(super) fn stopped(&mut self, key: &ContainerKey, outcome: Result<Exit, RuntimeError>, now: Moment) {
        match outcome {
            Ok(exit) => self.exited(key, exit, false, now),
            Err(RuntimeError::NotFound(_)) => self.exited(key, vanished(), true, now),
            Err(error) => {
                let Some(member) = self.pods.get_mut(&key.pod).and_then(|pod| pod.current_mut(key)) else { return };
                let State::Stopping { step, .. } = &mut member.state else { return };
                *step = StopStep::Ask(now + RETRY);
                member.waiting = format!("cannot be stopped: {error}");
                self.dirty.insert(key.pod);
            }
        }
    }

    pub(super) fn removed(&mut self, key: &ContainerKey, outcome: &Result<(), RuntimeError>, now: Moment) {
        let Some(pod) = self.pods.get_mut(&key.pod) else { return };
        match outcome {
            Ok(()) | Err(RuntimeError::NotFound(_)) => {
                pod.removing.remove(key);
            }
            Err(error) => {
                if let Some((_, retry)) = pod.removing.get_mut(key) {
                    *retry = Some(now + RETRY);
                    pod.waiting = format!("container {} cannot be removed: {error}", key.container);
                }
            }
        }
        self.dirty.insert(key.pod);
    }

    pub(super) fn probed(&mut self, key: &ContainerKey, kind: ProbeKind, outcome: ProbeOutcome, now: Moment) {
        let Some(pod) = self.pods.get_mut(&key.pod) else { return };
        let Some(member) = pod.current_mut(key) else { return };
        if !member.is_running() {
            return;
        }
        let was_ready = member.is_ready();
        let Some(prober) = member.probes.iter_mut().find(|prober| prober.kind == kind) else { return };
        let trouble = match &outcome {
            ProbeOutcome::Unknown(why) => format!("{} probe cannot be made: {why}", kind.as_str()),
            ProbeOutcome::Success | ProbeOutcome::Failure(_) => String::new(),
        };
        let verdict = prober.observe(outcome);
        member.waiting = trouble;
        self.dirty.insert(key.pod);
        if let Some(Verdict::Failed(message)) = verdict {
            if kind != ProbeKind::Readiness {
                member.begin_stop(StopCause::Probe(kind), now, now);
            }
            let text = format!("{} probe of container {} failed: {message}", kind.as_str(), key.container);
            self.note(key.pod, true, "Unhealthy", text);
        }
        let member = self.pods.get_mut(&key.pod).and_then(|pod| pod.current_mut(key));
        self.ledger_dirty |= member.is_some_and(|member| member.is_ready() != was_ready);
    }

    pub(super) fn hooked(&mut self, key: &ContainerKey, kind: HookKind, outcome: Result<(), String>, now: Moment) {
        let Some(pod) = self.pods.get_mut(&key.pod) else { return };
        let Some(member) = pod.current_mut(key) else { return };
        match (kind, &mut member.state, member.post_start) {
            (HookKind::PostStart, State::Running { .. }, PostStart::Running(_)) => {
                member.post_start = PostStart::Done;
                if outcome.is_err() {
                    member.begin_stop(StopCause::Hook(kind), now, now);
                }
                self.ledger_dirty = true;
            }
            (HookKind::PreStop, State::Stopping { step: step @ StopStep::Hooking(_), .. }, _) => *step = StopStep::Ask(now),
            _ => return,
        }
        self.dirty.insert(key.pod);
        if let Err(message) = outcome {
            let text = format!("{} hook of container {} failed: {message}", kind.as_str(), key.container);
            self.note(key.pod, true, &format!("Failed{}Hook", kind.as_str()), text);
        }
    }

    /// Cpu since the last sample, and memory now, of the containers that were asked for.
    pub(super) fn sampled(&mut self, usage: BTreeMap<ContainerKey, Usage>, now: Moment) {
        let mut by_pod: BTreeMap<PodUid, Vec<(String, ContainerUsage)>> = BTreeMap::new();
        for (key, sample) in &usage {
            let cpu_milli = self.samples.get(key).and_then(|(before, last)| cpu_since(*before, last, now, sample));
            let used = ContainerUsage { cpu_milli, memory_bytes: sample.memory_bytes };
            by_pod.entry(key.pod).or_default().push((key.container.clone(), used));
        }
        self.samples = usage.into_iter().map(|(key, sample)| (key, (now, sample))).collect();
        self.outbox.usage.extend(by_pod.into_iter().map(|(uid, containers)| (uid, containers.into_iter().collect())));
    }

    /// The same of the host.
    pub(super) fn host_sampled(&mut self, sample: Usage, now: Moment) {
        let before = self.host_sample.replace((now, sample));
        let cpu_milli = before.and_then(|(before, last)| cpu_since(before, &last, now, &sample));
        self.outbox.host = Some(HostUsage { cpu_milli, memory_bytes: sample.memory_bytes });
    }

    /// Files of volumes were brought up to date, or not: then the next change or start does it.
    pub(super) fn rewritten(&mut self, key: &ContainerKey, outcome: Result<(), String>) {
        if let Err(message) = outcome {
            let message = format!("The mounted files of container {} are not up to date: {message}", key.container);
            self.note(key.pod, true, "FailedMount", message);
        }
    }

    pub(super) fn saved(&mut self, outcome: Result<(), String>, now: Moment) {
        if let Some(save) = self.saving.take() {
            self.recorded = save.assignment;
        }
        self.note_saving(outcome.as_ref().err().map(String::as_str));
        if let Err(message) = outcome {
            self.ledger_dirty = true;
            self.save_at = now + SAVE_RETRY;
            let message = format!("The ledger could not be written and is tried again: {message}");
            self.outbox.events.push(crate::model::PodEvent {
                pod: None,
                warning: true,
                reason: "LedgerNotSaved".into(),
                message,
            });
        }
    }
}

/// As Kubernetes has it: an image that could not be fetched again is waited for.
fn waiting_reason(error: &RuntimeError, is_first: bool) -> &'static str {
    let is_image = matches!(error, RuntimeError::Image { .. });
    if is_image && !is_first { "ImagePullBackOff" } else { error.reason() }
}

/// Cpu from one sample to the next, in thousandths of a core.
fn cpu_since(before: Moment, last: &Usage, now: Moment, sample: &Usage) -> Option<u64> {
    let window_ns = u128::from(now.0.saturating_sub(before.0)) * 1_000_000;
    let used = u128::from(sample.cpu_nanos.saturating_sub(last.cpu_nanos)) * 1000;
    used.checked_div(window_ns).map(|milli| u64::try_from(milli).unwrap_or(u64::MAX))
}
