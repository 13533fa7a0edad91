//! What was recommended and done lately.

use crate::model::{Autoscaler, Moment};
use std::collections::VecDeque;
use std::time::Duration;

/// What was recommended and done, as far back as the windows and periods of the autoscaler reach.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScaleHistory {
    /// Whether there was a first look.
    started: bool,
    recommended: VecDeque<(Moment, u32)>,
    /// Changes: how many pods were added (or, if negative, taken away).
    changed: VecDeque<(Moment, i64)>,
}

impl ScaleHistory {
    /// A look begins. What ran before the first one counts as recommended, so that a controller that starts does not scale down at
    /// once.
    pub(super) fn begin(&mut self, bounds: &Autoscaler, current: u32, now: Moment) {
        if !self.started {
            self.started = true;
            self.recommended.push_back((now, current));
        }
        let directions = [&bounds.scale_up, &bounds.scale_down];
        let window = directions.map(|rules| rules.window_seconds).into_iter().max().unwrap_or_default();
        let periods = directions.into_iter().flat_map(|rules| &rules.policies).map(|policy| policy.period_seconds);
        let period = periods.max().unwrap_or_default();
        self.recommended.retain(|(at, _)| now.since(*at) < seconds(window));
        self.changed.retain(|(at, _)| now.since(*at) < seconds(period));
    }

    /// The number that the windows allow: going down, none of the recommendations within the window may have been higher; going up,
    /// none lower.
    pub(super) fn stabilize(&mut self, bounds: &Autoscaler, current: u32, wanted: u32, now: Moment) -> u32 {
        let within = |window: u32| {
            let recent = self.recommended.iter().filter(move |(at, _)| now.since(*at) < seconds(window));
            recent.map(|(_, replicas)| *replicas)
        };
        let least = within(bounds.scale_up.window_seconds).fold(wanted, u32::min);
        let most = within(bounds.scale_down.window_seconds).fold(wanted, u32::max);
        self.recommended.push_back((now, wanted));
        current.max(least).min(most)
    }

    /// A look has ended with a number.
    pub(super) fn note(&mut self, current: u32, replicas: u32, now: Moment) {
        if replicas != current {
            self.changed.push_back((now, i64::from(replicas) - i64::from(current)));
        }
    }

    /// The number of pods at the start of the period that ends now.
    pub(super) fn at_period_start(&self, current: u32, period_seconds: u32, now: Moment) -> u32 {
        let recent = self.changed.iter().filter(|(at, _)| now.since(*at) < seconds(period_seconds));
        let net: i64 = recent.map(|(_, delta)| delta).sum();
        u32::try_from((i64::from(current) - net).max(0)).unwrap_or(u32::MAX)
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}
