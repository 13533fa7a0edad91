//! Autoscaling: samples in, a number of pods out. What the autoscaler sets is not drift.

use super::core::Controller;
use super::happenings::Happening;
use super::placements::Placement;
use super::records::Occasion;
use super::timers::Timer;
use super::work::Scaling;
use crate::apply::scale::{Sample, decide};
use crate::model::{Autoscaler, ObjectKey, PodPhase};
use std::time::Duration;

/// How often an autoscaler decides (`--horizontal-pod-autoscaler-sync-period`).
const PERIOD: Duration = Duration::from_secs(15);

/// A sample that is older says nothing.
pub(super) const SAMPLE_AGE_MAX: Duration = Duration::from_secs(60);

impl Controller {
    /// Puts a workload under its autoscaler, or takes it out.
    pub(super) fn set_autoscaler(&mut self, key: &ObjectKey) {
        let written = self.written(key);
        let told = self.autoscaler(key).cloned();
        let Some(work) = self.works.get_mut(key) else { return };
        let (Some(written), Some(told)) = (written, told) else {
            work.autoscaled = None;
            work.scaling = Scaling::default();
            self.timers.clear(&Timer::Scale(key.clone()));
            return;
        };
        let current = work.autoscaled.unwrap_or(written);
        let most = told.max_replicas.max(told.min_replicas);
        work.autoscaled = Some(if written == 0 { 0 } else { current.clamp(told.min_replicas, most) });
        if work.scaling.told.as_ref() != Some(&told) {
            work.scaling.told = Some(told);
            work.scaling.decision = None;
        }
        self.timers.set_if_none(Timer::Scale(key.clone()), self.now + PERIOD);
    }

    /// An autoscaler is due.
    pub(super) fn autoscale(&mut self, key: &ObjectKey) {
        let Some(bounds) = self.autoscaler(key).cloned() else { return };
        self.timers.set(Timer::Scale(key.clone()), self.now + PERIOD);
        if !self.is_acting() {
            return;
        }
        let Some(work) = self.works.get_mut(key) else { return };
        let Some(current) = work.autoscaled else { return };
        let mut history = std::mem::take(&mut work.scaling.history);
        let decision = decide(&bounds, &mut history, current, &self.samples(key), self.now);
        let (wanted, because) = (decision.replicas, decision.because(&bounds));
        let Some(work) = self.works.get_mut(key) else { return };
        work.scaling.history = history;
        work.scaling.decision = Some(decision);
        if wanted != current {
            work.autoscaled = Some(wanted);
            work.scaling.last_scale = Some(self.now);
            self.note_scaled(key, current, wanted, &because);
        }
    }

    /// The record is about the workload, the event about the autoscaler, as in Kubernetes.
    fn note_scaled(&mut self, key: &ObjectKey, current: u32, wanted: u32, because: &str) {
        self.batch(Occasion::Scale, key, format!("scaled {current} → {wanted} by its autoscaler: {because}"));
        self.records.touch(key);
        self.touch_workload(key);
        let Some(about) = self.inputs.autoscalers.get(key) else { return };
        let message = format!("New size: {wanted}; reason: {because}");
        let happening = Happening { about, pod: None, warning: false, reason: "SuccessfulRescale", message };
        self.happenings.note(happening, self.now);
    }

    /// What is known of the pods that count: those that are to stay and have not ended.
    fn samples(&self, key: &ObjectKey) -> Vec<Sample<'_>> {
        let counts = |placement: &&Placement| placement.retired.is_none() && placement.ended_since.is_none();
        self.placements.of_workload(key).filter(counts).filter_map(|placement| self.sample(placement)).collect()
    }

    fn sample<'a>(&'a self, placement: &'a Placement) -> Option<Sample<'a>> {
        let template = self.template_of(placement)?;
        let requests = template.spec.lasting_containers().map(|container| (container.name.as_str(), container.requests()));
        let fresh = placement.usage.as_ref().filter(|(_, at)| self.now.since(*at) < SAMPLE_AGE_MAX);
        Some(Sample {
            usage: fresh.map(|(usage, _)| usage),
            requests: requests.collect(),
            pending: placement.report.as_ref().is_none_or(|report| report.phase < PodPhase::Running),
            ready: placement.ready_since.is_some(),
            ready_for: placement.ready_since.map(|since| self.now.since(since)).unwrap_or_default(),
            age: self.now.since(placement.since),
        })
    }

    fn autoscaler(&self, key: &ObjectKey) -> Option<&Autoscaler> {
        self.inputs.object(self.inputs.autoscalers.get(key)?)?.autoscaler()
    }

    fn written(&self, key: &ObjectKey) -> Option<u32> {
        Some(self.inputs.object(key)?.workload()?.replicas.unwrap_or(1))
    }
}
