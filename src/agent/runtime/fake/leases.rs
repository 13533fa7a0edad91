//! What stands beside the containers of the simulator's host and ends them, the agent alive or not.

use super::{FakeHost, Later};
use crate::agent::runtime::ContainerId;
use crate::model::{BootMoment, Exit, LEASE_EXPIRED, Moment, RuntimeKind};
use std::collections::BTreeMap;

impl FakeHost {
    /// Leases end later, unless they have run out.
    pub(super) fn renew(&mut self, leases: &BTreeMap<(RuntimeKind, ContainerId), BootMoment>) {
        for ((_, id), until) in leases {
            let Some(lease) = self.containers.get_mut(id).and_then(|container| container.status.lease.as_mut()) else { continue };
            *lease = (*lease).max(*until);
        }
    }

    /// When the boot clock shows this.
    pub(super) fn moment(&self, boot: BootMoment) -> Moment {
        Moment(boot.0.saturating_add_signed(self.boot_ahead_ms.saturating_neg()))
    }

    /// What stands beside a container looks whether its lease has run out.
    pub(super) fn expire(&mut self, id: &ContainerId, now: Moment) {
        let Some(container) = self.containers.get(id).filter(|_| self.runs(id)) else { return };
        let Some(until) = container.status.lease else { return };
        let due = self.moment(until);
        if due > now {
            return self.later(due, Later::Expire(id.clone()));
        }
        let (grace, behaviour) = (container.grace, self.behaviour(&container.program));
        let (after, code) =
            if behaviour.stop_takes <= grace { (behaviour.stop_takes, behaviour.stop_code) } else { (grace, 137) };
        let exit = Exit { code, reason: LEASE_EXPIRED.to_owned() };
        self.later(now + after, Later::Exit { id: id.clone(), exit });
    }

    /// The clock that gives the host its time is set, which moves neither the boot clock nor what is under way.
    pub fn set_boot_ahead(&mut self, ahead_ms: i64) {
        let by = std::mem::replace(&mut self.boot_ahead_ms, ahead_ms).saturating_sub(ahead_ms);
        let queue = std::mem::take(&mut self.queue);
        let moved = queue.into_iter().map(|((at, serial), later)| ((Moment(at.0.saturating_add_signed(by)), serial), later));
        self.queue = moved.collect();
    }
}
