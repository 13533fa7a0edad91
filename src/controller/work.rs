//! What a workload carries from pass to pass.

use crate::apply::rollout::RolloutMemory;
use crate::apply::scale::ScaleHistory;
use crate::model::{Autoscaler, Moment, NodeName, PodUid, Progress, Revision, ScaleDecision, TemplateHash};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A workload at work.
#[derive(Debug, Clone)]
pub(super) struct Work {
    /// For its rollout.
    pub(super) memory: RolloutMemory,
    /// How far it is.
    pub(super) progress: Progress,
    /// The number of pods wanted at the last step.
    pub(super) replicas: u32,
    /// Pods that vanished and are not to be replaced (`driftless.dev/drift: report | ignore`).
    pub(super) forgone: u32,
    /// How often its pods vanished or ended lately.
    pub(super) churn: Churn,
    /// The pod that leaves its node as soon as one more is ready elsewhere.
    pub(super) moving: Option<Moving>,
    /// What the autoscaler last asked for.
    pub(super) autoscaled: Option<u32>,
    /// For its autoscaler.
    pub(super) scaling: Scaling,
    /// The commit that each template came from.
    pub(super) origins: BTreeMap<TemplateHash, Revision>,
    /// What the names of images of each template were first resolved to.
    pub(super) images: BTreeMap<TemplateHash, BTreeMap<String, String>>,
    /// Of a Job: the pods that ran when it was last recorded, on nodes that have not said hello since.
    pub(super) remembered: BTreeMap<NodeName, u32>,
    /// StatefulSet: what the memory says of its pods.
    pub(super) numbers: Option<Numbers>,
    /// StatefulSet: the numbers of which a pod was known in this reign.
    pub(super) seen: BTreeSet<u32>,
}

/// A pod that waits for its replacement, so that one more than otherwise is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moving {
    /// The pod.
    pub(super) uid: PodUid,
    /// Since when one more is wanted.
    pub(super) since: Moment,
}

/// What an autoscaler carries from look to look.
#[derive(Debug, Clone, Default)]
pub(super) struct Scaling {
    pub(super) history: ScaleHistory,
    /// What it is told.
    pub(super) told: Option<Autoscaler>,
    /// What it decided at its last look by what it is told.
    pub(super) decision: Option<ScaleDecision>,
    /// When it last changed the number of pods.
    pub(super) last_scale: Option<Moment>,
}

/// The pods of a StatefulSet as an earlier controller recorded them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Numbers {
    /// How many were wanted.
    pub(super) replicas: u32,
    /// The node of each number.
    pub(super) places: BTreeMap<u32, NodeName>,
    /// Of those with a lease, after how many seconds without a controller they have stopped.
    pub(super) leases: BTreeMap<u32, u64>,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            memory: RolloutMemory::default(),
            progress: Progress::Progressing("new".to_owned()),
            replicas: 0,
            forgone: 0,
            churn: Churn::default(),
            moving: None,
            autoscaled: None,
            scaling: Scaling::default(),
            origins: BTreeMap::new(),
            images: BTreeMap::new(),
            remembered: BTreeMap::new(),
            numbers: None,
            seen: BTreeSet::new(),
        }
    }
}

/// Pods that vanish or end for good are replaced, at first at once, then with growing delays: someone else may be at it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Churn {
    /// When pods vanished, within the window.
    times: Vec<Moment>,
    /// Nothing is replaced before this.
    pub(super) not_before: Option<Moment>,
}

impl Churn {
    /// Replacements before the delays begin.
    const FREE: u32 = 5;
    const WINDOW: Duration = Duration::from_secs(600);
    const DELAY_MIN: Duration = Duration::from_secs(10);
    const DELAY_MAX: Duration = Duration::from_secs(300);

    /// Notes that a pod vanished or ended.
    pub(super) fn note(&mut self, now: Moment) {
        self.times.retain(|at| now.since(*at) < Self::WINDOW);
        self.times.push(now);
        let over = u32::try_from(self.times.len()).unwrap_or(u32::MAX).saturating_sub(Self::FREE);
        if over > 0 {
            let delay = Self::DELAY_MIN.saturating_mul(2_u32.saturating_pow((over - 1).min(10))).min(Self::DELAY_MAX);
            self.not_before = Some(now + delay);
        }
    }

    /// The time before which nothing is replaced, if it lies ahead.
    pub(super) fn delay(&self, now: Moment) -> Option<Moment> {
        self.not_before.filter(|at| *at > now)
    }

    /// True if someone else seems to keep removing pods.
    pub(super) fn is_contended(&self) -> bool {
        self.not_before.is_some()
    }
}
