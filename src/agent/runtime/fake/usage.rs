//! What the containers of the simulator's host use.

use super::{Behaviour, FakeContainer, FakeHost};
use crate::agent::core::{ContainerKey, Event};
use crate::agent::runtime::{ContainerId, Usage};
use crate::model::{Moment, RuntimeKind};

impl FakeHost {
    pub(super) fn sample(&mut self, wanted: Vec<(RuntimeKind, ContainerKey, ContainerId)>, now: Moment) {
        let usage = |id: &ContainerId| Some(self.usage_of(self.containers.get(id)?, now));
        let samples = wanted.into_iter().filter_map(|(_, key, id)| Some((key, usage(&id)?))).collect();
        self.answer(now, Event::Sampled(samples));
    }

    pub(super) fn sample_host(&mut self, now: Moment) {
        let all = self.containers.values().map(|container| self.usage_of(container, now));
        let whole = all.fold(Usage::default(), |sum, of| Usage {
            cpu_nanos: sum.cpu_nanos + of.cpu_nanos,
            memory_bytes: sum.memory_bytes + of.memory_bytes,
        });
        self.answer(now, Event::HostSampled(whole));
    }

    fn usage_of(&self, container: &FakeContainer, now: Moment) -> Usage {
        let Behaviour { cpu_milli, memory_bytes, .. } = self.behaviour(&container.program);
        Usage { cpu_nanos: now.since(container.started).as_millis() as u64 * cpu_milli * 1000, memory_bytes }
    }
}
