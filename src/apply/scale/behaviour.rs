//! How fast the number may change: the policies of `behavior`, and the bounds.

use super::history::ScaleHistory;
use crate::model::{Autoscaler, Moment, ScaleChange, ScaleLimit, ScaleRules, SelectPolicy};

/// What policies and bounds make of a wanted number, and which of them was in the way.
pub(super) fn limited(
    bounds: &Autoscaler,
    history: &ScaleHistory,
    current: u32,
    wanted: u32,
    now: Moment,
) -> (u32, Option<ScaleLimit>) {
    if wanted > current {
        let highest = highest(&bounds.scale_up, history, current, now);
        let (most, limit) =
            if highest < bounds.max_replicas { (highest, ScaleLimit::Rise) } else { (bounds.max_replicas, ScaleLimit::Maximum) };
        if wanted > most { (most, Some(limit)) } else { (wanted, None) }
    } else {
        let lowest = lowest(&bounds.scale_down, history, current, now);
        let (least, limit) =
            if lowest > bounds.min_replicas { (lowest, ScaleLimit::Fall) } else { (bounds.min_replicas, ScaleLimit::Minimum) };
        if wanted < least { (least, Some(limit)) } else { (wanted, None) }
    }
}

/// The highest number that the policies allow now. What was added in a period of a policy counts, what was taken away as well.
fn highest(rules: &ScaleRules, history: &ScaleHistory, current: u32, now: Moment) -> u32 {
    let allowed = rules.policies.iter().map(|policy| {
        let start = history.at_period_start(current, policy.period_seconds, now);
        match policy.change {
            ScaleChange::Pods(pods) => start.saturating_add(pods),
            // Rounded up, or a small percentage would never let one pod become two.
            ScaleChange::Percent(percent) => {
                let hundredths = u64::from(start) * (100 + u64::from(percent));
                u32::try_from(hundredths.div_ceil(100)).unwrap_or(u32::MAX)
            }
        }
    });
    let chosen = match rules.select {
        SelectPolicy::Max => allowed.max(),
        SelectPolicy::Min => allowed.min(),
        SelectPolicy::Disabled => None,
    };
    chosen.unwrap_or(current).max(current)
}

/// The lowest number that the policies allow now.
fn lowest(rules: &ScaleRules, history: &ScaleHistory, current: u32, now: Moment) -> u32 {
    let allowed = rules.policies.iter().map(|policy| {
        let start = history.at_period_start(current, policy.period_seconds, now);
        match policy.change {
            ScaleChange::Pods(pods) => start.saturating_sub(pods),
            // What stays is rounded down, as Kubernetes does.
            ScaleChange::Percent(percent) => {
                let hundredths = u64::from(start) * u64::from(100_u32.saturating_sub(percent));
                u32::try_from(hundredths / 100).unwrap_or(u32::MAX)
            }
        }
    });
    let chosen = match rules.select {
        SelectPolicy::Max => allowed.min(),
        SelectPolicy::Min => allowed.max(),
        SelectPolicy::Disabled => None,
    };
    chosen.unwrap_or(current).min(current)
}
