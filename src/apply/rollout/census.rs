//! Counting pods by template.

use super::{RolloutInput, Standing};
use crate::model::{Moment, RestartPolicy, TemplateHash};
use std::collections::BTreeMap;
use std::time::Duration;

/// The pods of one workload, counted.
#[derive(Debug, Default)]
pub(super) struct Census {
    sets: BTreeMap<TemplateHash, Count>,
    /// Pods that hold a slot.
    pub(super) occupied: u32,
    /// Available pods of every template.
    pub(super) available: u32,
    /// Retired pods that are still to be told.
    pub(super) draining: u32,
    /// Pods that were told to stop and are not gone.
    pub(super) stopping: u32,
    /// When the next ready pod becomes available.
    pub(super) next_available: Option<Moment>,
}

/// The pods of one template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Count {
    /// Those that hold a slot: not gone, and not on a lost node.
    pub(super) occupied: u32,
    /// Those that count towards the target.
    pub(super) alive: u32,
    /// Those ready for `minReadySeconds`.
    pub(super) available: u32,
    /// Retired ones that are still to be told, and would be available if they were taken back.
    pub(super) returnable: u32,
}

impl Census {
    pub(super) fn take(input: &RolloutInput<'_>) -> Self {
        let mut census = Self::default();
        for pod in input.pods {
            let count = census.sets.entry(pod.hash.clone()).or_default();
            if pod.standing == Standing::Lost {
                continue;
            }
            count.occupied += 1;
            census.occupied += 1;
            if let Standing::Draining { since } = pod.standing {
                census.draining += 1;
                count.returnable += u32::from(since.is_some_and(|since| input.now >= since + min_ready(input)));
            }
            census.stopping += u32::from(pod.standing == Standing::Stopping);
            if is_alive(input, pod.standing) {
                count.alive += 1;
            }
            if is_available(input, pod.standing) {
                count.available += 1;
                census.available += 1;
            } else if let Standing::Ready { since } = pod.standing {
                let at = since + min_ready(input);
                census.next_available = Some(census.next_available.map_or(at, |next| next.min(at)));
            }
        }
        census
    }

    pub(super) fn of(&self, hash: &TemplateHash) -> Count {
        self.sets.get(hash).copied().unwrap_or_default()
    }

    pub(super) fn sets(&self) -> impl Iterator<Item = (&TemplateHash, &Count)> {
        self.sets.iter()
    }
}

/// True if a pod counts towards its template's target. One that has ended counts only if it is not to be restarted.
pub(super) fn is_alive(input: &RolloutInput<'_>, standing: Standing) -> bool {
    match standing {
        Standing::Unready | Standing::Ready { .. } => true,
        Standing::Ended => runs_once(input),
        Standing::Lost | Standing::Draining { .. } | Standing::Stopping => false,
    }
}

/// True if a pod serves, or has done its work.
pub(super) fn is_available(input: &RolloutInput<'_>, standing: Standing) -> bool {
    match standing {
        Standing::Ready { since } => input.now >= since + min_ready(input),
        Standing::Ended => runs_once(input),
        Standing::Unready | Standing::Lost | Standing::Draining { .. } | Standing::Stopping => false,
    }
}

fn min_ready(input: &RolloutInput<'_>) -> Duration {
    Duration::from_secs(u64::from(input.workload.min_ready_seconds))
}

fn runs_once(input: &RolloutInput<'_>) -> bool {
    input.workload.snapshot.template.spec.restart_policy != RestartPolicy::Always
}
