//! Autoscaling: samples in, a number of pods out. What the autoscaler sets is not drift.

use super::core::Controller;
use super::happenings::Happening;
use super::records::Occasion;
use super::timers::Timer;
use crate::apply::scale::{Sample, recommend};
use crate::model::{Autoscaler, Moment, ObjectKey};
use std::time::Duration;

/// How often an autoscaler decides (`--horizontal-pod-autoscaler-sync-period`).
const PERIOD: Duration = Duration::from_secs(15);

/// A sample of cpu that is older says nothing.
const SAMPLE_AGE_MAX: Duration = Duration::from_secs(60);

impl Controller {
    /// Puts a workload under its autoscaler, or takes it out.
    pub(super) fn set_autoscaler(&mut self, key: &ObjectKey) {
        let written = self.written(key);
        let bounds = self.autoscaler(key).map(|bounds| (bounds.min_replicas, bounds.max_replicas));
        let Some(work) = self.works.get_mut(key) else { return };
        let (Some(written), Some((min, max))) = (written, bounds) else {
            work.autoscaled = None;
            self.timers.clear(&Timer::Scale(key.clone()));
            return;
        };
        let current = work.autoscaled.unwrap_or(written);
        work.autoscaled = Some(if written == 0 { 0 } else { current.clamp(min, max.max(min)) });
        self.timers.set_if_none(Timer::Scale(key.clone()), self.now + PERIOD);
    }

    /// An autoscaler is due.
    pub(super) fn autoscale(&mut self, key: &ObjectKey) {
        let Some(bounds) = self.autoscaler(key).cloned() else { return };
        self.timers.set(Timer::Scale(key.clone()), self.now + PERIOD);
        if !self.is_acting() {
            return;
        }
        let samples = self.samples(key);
        let now = self.now;
        let Some(work) = self.works.get_mut(key) else { return };
        let Some(current) = work.autoscaled else { return };
        let wanted = recommend(&bounds, &mut work.history, current, &samples, now);
        if wanted == current {
            return;
        }
        work.autoscaled = Some(wanted);
        let message = format!("scaled {current} → {wanted} by its autoscaler");
        self.records.batch(Occasion::Scale, key, message.clone());
        self.arm_batch();
        self.records.touch(key);
        self.touch_workload(key);
        let reason = "SuccessfulRescale";
        self.happenings.note(Happening { about: key, pod: None, warning: false, reason, message }, now);
    }

    fn samples(&self, key: &ObjectKey) -> Vec<Sample> {
        let fresh = |(milli, at): (u64, Moment)| (self.now.since(at) < SAMPLE_AGE_MAX).then_some(milli);
        let pods = self.placements.of_workload(key).filter(|placement| placement.retired.is_none());
        pods.map(|placement| Sample {
            cpu_milli: placement.cpu.and_then(fresh),
            request_milli: placement.request.amounts.cpu_milli,
            ready: placement.ready_since.is_some(),
            ready_for: placement.ready_since.map(|since| self.now.since(since)).unwrap_or_default(),
            age: self.now.since(placement.since),
        })
        .collect()
    }

    fn autoscaler(&self, key: &ObjectKey) -> Option<&Autoscaler> {
        self.inputs.object(self.inputs.autoscalers.get(key)?)?.autoscaler()
    }

    fn written(&self, key: &ObjectKey) -> Option<u32> {
        Some(self.inputs.object(key)?.workload()?.replicas.unwrap_or(1))
    }
}
