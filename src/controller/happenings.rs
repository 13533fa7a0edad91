//! What happened, for `driftless events`: bounded, and the same thing said again is counted.

use crate::model::{EventView, Moment, ObjectKey};
use std::collections::VecDeque;

/// The most events that are kept.
const KEPT_MAX: usize = 1_000;

/// How far back the same event is looked for.
const MERGE_WITHIN: usize = 64;

/// Events, oldest first.
#[derive(Debug, Default)]
pub(super) struct Happenings {
    kept: VecDeque<EventView>,
}

/// One thing that happened.
pub(super) struct Happening<'a> {
    pub(super) about: &'a ObjectKey,
    pub(super) pod: Option<&'a str>,
    pub(super) warning: bool,
    pub(super) reason: &'a str,
    pub(super) message: String,
}

impl Happenings {
    pub(super) fn note(&mut self, happening: Happening<'_>, now: Moment) {
        let Happening { about, pod, warning, reason, message } = happening;
        let same = |event: &EventView| {
            event.about == *about && event.pod.as_deref() == pod && event.reason == reason && event.message == message
        };
        let start = self.kept.len().saturating_sub(MERGE_WITHIN);
        let found = self.kept.range(start..).rposition(same).and_then(|at| self.kept.remove(start + at));
        let event = match found {
            Some(event) => EventView { count: event.count.saturating_add(1), last: now, ..event },
            None => EventView {
                about: about.clone(),
                pod: pod.map(str::to_owned),
                warning,
                reason: reason.to_owned(),
                message,
                count: 1,
                first: now,
                last: now,
            },
        };
        if self.kept.len() >= KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(event);
    }

    pub(super) fn all(&self) -> Vec<EventView> {
        self.kept.iter().cloned().collect()
    }
}
