//! The end of every call: samples, the ledger, the report, the alarm.

use super::agent::{Agent, REPORT_PAUSE, SAVE_PATIENCE, Save};
use super::event::{Effect, NodeTrouble};
use crate::agent::runtime::Role;
use crate::model::{Moment, NodeProblem, Report};

impl Agent {
    /// Asks for what the host, containers and sidecars use when its time has come.
    pub(super) fn sample(&mut self, now: Moment) {
        let Some(every) = self.settings.sample_every else { return };
        if now < self.sample_at {
            return;
        }
        self.sample_at = now + every;
        self.effects.push(Effect::SampleHost);
        let mut wanted = Vec::new();
        for pod in self.pods.values() {
            let Some(runtime) = pod.runtime else { continue };
            for member in
                pod.members.iter().filter(|member| member.is_running() && matches!(member.role, Role::Main | Role::Sidecar))
            {
                wanted.extend(member.id.clone().map(|id| (runtime, pod.key(member), id)));
            }
        }
        if !wanted.is_empty() {
            self.effects.push(Effect::Sample(wanted));
        }
    }

    pub(super) fn flush(&mut self, now: Moment) {
        if self.ledger_dirty && self.saving.is_none() && now >= self.save_at {
            self.ledger_dirty = false;
            self.saving = Some(Save { assignment: self.assignment, begun: now });
            let ledger = self.ledger();
            self.effects.push(Effect::SaveLedger(Box::new(ledger)));
        }
        if self.can_report(now) && now >= self.outbox.not_before {
            let report = self.take_report(now);
            self.effects.push(Effect::Report(Box::new(report)));
            self.outbox.not_before = now + REPORT_PAUSE;
        }
        let alarm = self.next_alarm(now);
        if alarm.is_some() && alarm != self.alarm {
            self.alarm = alarm;
            self.effects.extend(alarm.map(Effect::WakeAt));
        }
    }

    /// A report acknowledges the assignment, so it waits until that is in the ledger: an agent that is killed in between would start again
    /// what it was ordered to stop, or not start what it was given, and its controller would not know. A disk that takes no ledger, or
    /// does not answer, holds up nothing.
    fn can_report(&self, now: Moment) -> bool {
        self.connected && self.has_news() && self.report_is_held_until().is_none_or(|until| now >= until)
    }

    /// Until when a report waits at most, if it does.
    fn report_is_held_until(&self) -> Option<Moment> {
        if self.recorded >= self.assignment || self.unsaved.is_some() {
            return None;
        }
        // Where none is under way, the one that is due has begun in this call.
        self.saving.map(|save| save.begun + SAVE_PATIENCE)
    }

    fn has_news(&self) -> bool {
        let outbox = &self.outbox;
        outbox.acknowledge
            || !outbox.pods.is_empty()
            || !outbox.gone.is_empty()
            || !outbox.endpoints.is_empty()
            || !outbox.events.is_empty()
            || !outbox.usage.is_empty()
            || outbox.host.is_some()
            || outbox.service_problems
            || outbox.node_problems
            || outbox.volumes
            || outbox.conditions
            || outbox.away
    }

    fn take_report(&mut self, now: Moment) -> Report {
        let outbox = std::mem::take(&mut self.outbox);
        Report {
            assignment: self.assignment,
            network: self.network_echo().version,
            ingress: self.ingress_version(),
            pods: outbox.pods.iter().filter_map(|uid| self.pods.get(uid)).map(|pod| pod.report(now)).collect(),
            gone: outbox.gone.into_iter().collect(),
            endpoints: outbox.endpoints,
            events: outbox.events,
            usage: outbox.usage,
            host: outbox.host,
            service_problems: outbox.service_problems.then(|| self.service_problems.clone()),
            node_problems: outbox.node_problems.then(|| self.all_node_problems()),
            volumes: outbox.volumes.then(|| self.volumes.clone()),
            away: self.absence(now).filter(|_| outbox.away),
            conditions: outbox.conditions.then(|| self.conditions.clone()),
        }
    }

    fn all_node_problems(&self) -> Vec<NodeProblem> {
        let of_reason = |(reason, messages): (&NodeTrouble, &Vec<String>)| {
            let problem = |message: &String| NodeProblem { reason: reason.as_str().to_owned(), message: message.clone() };
            messages.iter().map(problem).collect::<Vec<_>>()
        };
        self.node_problems.iter().flat_map(of_reason).collect()
    }

    /// The next time at which something is to be done though nothing happens.
    fn next_alarm(&self, now: Moment) -> Option<Moment> {
        let pods = self.timers.values().copied().min();
        let hosts = self.hosts.values().map(|host| host.list_at).min();
        let sample = self.settings.sample_every.map(|_| self.sample_at);
        let can = self.connected && self.has_news();
        let report = can.then(|| self.outbox.not_before.max(self.report_is_held_until().unwrap_or_default()));
        let save = (self.ledger_dirty && self.saving.is_none()).then_some(self.save_at);
        let earliest = [pods, hosts, sample, report, save, self.next_erasure(now)].into_iter().flatten().min()?;
        // What is already due was done in this call, or waits for an event.
        Some(earliest.max(Moment(now.0 + 1)))
    }
}
