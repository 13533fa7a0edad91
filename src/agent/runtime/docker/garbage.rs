//! Which images go when the disk fills up. Pure.
//!
//! In: how full the disk is that holds the Engine's data, and the images that we pulled. Out: how much room there must be, and in which order
//! images may go. The rules are the kubelet's, with one more: an image that somebody else brought is never among them.
//! <https://kubernetes.io/docs/concepts/architecture/garbage-collection/#container-image-garbage-collection>

use crate::model::Moment;
use std::time::Duration;

/// When images are taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GarbagePolicy {
    /// Nothing is taken away while less of the disk than this is in use, in percent; 100 is never.
    pub high_percent: u8,
    /// Then images go until this much is in use.
    pub low_percent: u8,
    /// No image goes that was fetched, or in use, so short a time ago.
    pub age_min: Duration,
}

impl Default for GarbagePolicy {
    /// As the kubelet's.
    fn default() -> Self {
        Self { high_percent: 85, low_percent: 80, age_min: Duration::from_secs(120) }
    }
}

/// The disk that holds the Engine's data, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) capacity: u64,
    /// To whoever is not root.
    pub(super) available: u64,
}

/// An image that we pulled, and that is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: String,
    pub(super) pulled: Moment,
    /// When a container of anyone was last seen to use it; if never, when it was pulled.
    pub(super) used: Moment,
    /// Whether one does now, running or not.
    pub(super) in_use: bool,
}

/// How many bytes must be available before no more images go; `None` if there is room enough.
pub(super) fn goal(disk: Disk, policy: GarbagePolicy) -> Option<u64> {
    let percent_of = |percent: u8| u128::from(disk.capacity) * u128::from(percent) / 100;
    let used = u128::from(disk.capacity.saturating_sub(disk.available));
    let is_full = policy.high_percent < 100 && disk.capacity > 0 && used >= percent_of(policy.high_percent);
    is_full.then(|| disk.capacity - u64::try_from(percent_of(policy.low_percent.min(100))).unwrap_or(disk.capacity))
}

/// Those that may go, in the order in which they do: the one that was used longest ago first.
pub(super) fn order(mut candidates: Vec<Candidate>, policy: GarbagePolicy, now: Moment) -> Vec<Candidate> {
    let is_old = |at: Moment| now.since(at) >= policy.age_min;
    candidates.retain(|image| !image.in_use && is_old(image.pulled) && is_old(image.used));
    candidates.sort_by(|a, b| (a.used, a.pulled, &a.id).cmp(&(b.used, b.pulled, &b.id)));
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_below_the_high_threshold_and_then_all_down_to_the_low_one() {
        let policy = GarbagePolicy::default();
        let check = |used: u64, expected: Option<u64>| {
            assert_eq!(goal(Disk { capacity: 1000, available: 1000 - used }, policy), expected, "{used}")
        };
        check(0, None);
        check(849, None);
        check(850, Some(200));
        check(1000, Some(200));
        assert_eq!(goal(Disk { capacity: 0, available: 0 }, policy), None, "a disk that says nothing");
        let never = GarbagePolicy { high_percent: 100, ..policy };
        assert_eq!(goal(Disk { capacity: 1000, available: 0 }, never), None);
        let huge = Disk { capacity: u64::MAX, available: 0 };
        assert_eq!(goal(huge, policy), Some(u64::MAX - u64::try_from(u128::from(u64::MAX) * 80 / 100).unwrap()));
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_what_is_in_use_or_young_never() {
        let image =
            |id: &str, pulled, used, in_use| Candidate { id: id.to_owned(), pulled: Moment(pulled), used: Moment(used), in_use };
        let now = Moment(1_000_000);
        let candidates = vec![
            image("b", 1, 500, false),
            image("a", 1, 400, false),
            image("running", 1, 1, true),
            image("fresh", 999_000, 999_000, false),
            image("just-used", 1, 999_000, false),
            image("twin-2", 2, 500, false),
        ];
        let order = order(candidates, GarbagePolicy::default(), now);
        assert_eq!(order.iter().map(|image| image.id.as_str()).collect::<Vec<_>>(), ["a", "b", "twin-2"]);
    }
}
