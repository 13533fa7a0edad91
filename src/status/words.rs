//! How states are said to people: the same words on the page, in tables and in conditions.

use crate::model::{Health, Moment, Progress, StalledBy, StopReason, WaitingOn};
use std::time::Duration;

/// A duration as kubectl prints ages: two units where that helps, and never more than four characters or so.
///
/// The steps are those of `k8s.io/apimachinery/pkg/util/duration.HumanDuration`.
pub(super) fn age(duration: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    const YEAR: u64 = 365 * DAY;
    let seconds = duration.as_secs();
    let pair = |big: u64, big_unit: char, small: u64, small_unit: char| {
        let (whole, rest) = (seconds / big, seconds % big / small);
        if rest == 0 { format!("{whole}{big_unit}") } else { format!("{whole}{big_unit}{rest}{small_unit}") }
    };
    match seconds {
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => pair(MINUTE, 'm', 1, 's'),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => pair(HOUR, 'h', MINUTE, 'm'),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => pair(DAY, 'd', HOUR, 'h'),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => pair(YEAR, 'y', DAY, 'd'),
        s => format!("{}y", s / YEAR),
    }
}

/// The age of an RFC 3339 time, as kubectl prints it; `None` if it is no time.
#[must_use]
pub fn age_of(time: &str, now: Moment) -> Option<String> {
    Some(age(now.since(moment_of(time)?)))
}

/// The moment of an RFC 3339 time; `None` if it is no time.
pub(super) fn moment_of(time: &str) -> Option<Moment> {
    let stamp = time.parse::<jiff::Timestamp>().ok()?;
    u64::try_from(stamp.as_millisecond()).ok().map(Moment)
}

/// Where a rollout stands: a word that tools may match, and a sentence for people.
pub(super) struct Standing {
    /// `Done`, `Progressing`, `Waiting` or `Stalled`.
    pub(super) word: &'static str,
    /// The sentence; empty when there is nothing to say.
    pub(super) sentence: String,
}

/// Says where a rollout stands.
pub(super) fn standing(progress: &Progress) -> Standing {
    match progress {
        Progress::Done => Standing { word: "Done", sentence: String::new() },
        Progress::Progressing(what) => Standing { word: "Progressing", sentence: what.clone() },
        Progress::Waiting(on) => Standing { word: "Waiting", sentence: waiting(on) },
        Progress::Stalled(by) => Standing { word: "Stalled", sentence: stalled(by) },
    }
}

fn waiting(on: &WaitingOn) -> String {
    match on {
        WaitingOn::Placement(refusals) => format!("no node can take a pod: {refusals}"),
        WaitingOn::Availability { missing: 1 } => "1 new pod is not available yet".into(),
        WaitingOn::Availability { missing } => format!("{missing} new pods are not available yet"),
        WaitingOn::Drain => "agents are taking an old pod out of its Services".into(),
        WaitingOn::Stops => "old pods are ending".into(),
        WaitingOn::Promotion(hash) => {
            format!("the new set is ready: promote it by a commit that sets driftless.dev/promote: {hash}")
        }
        WaitingOn::Delay(left) => format!("{} of a delay are left", age(*left)),
        WaitingOn::Node(node) => format!("its node {node} is away, and it waits for it"),
        WaitingOn::Unpause => "spec.paused is true: the new template waits for a commit that unpauses it".into(),
        WaitingOn::Completion { succeeded, wanted: Some(wanted) } => format!("{succeeded} of {wanted} pods have completed"),
        WaitingOn::Completion { succeeded, wanted: None } => format!("{succeeded} pods have completed"),
        WaitingOn::Retry { failed, left } => format!("{failed} pods failed; the next starts in {}", age(*left)),
    }
}

fn stalled(by: &StalledBy) -> String {
    match by {
        StalledBy::Deadline(seen) if seen.is_empty() => {
            "no progress within progressDeadlineSeconds; what serves is left as it is".into()
        }
        StalledBy::Deadline(seen) => {
            format!("no progress within progressDeadlineSeconds; what serves is left as it is. Last seen: {seen}")
        }
        StalledBy::Quarantined(hash) => {
            format!("template {} failed before and is unchanged: push a fix, or revert the commit", hash.short())
        }
        StalledBy::JobFailed(_, message) => message.clone(),
        StalledBy::Forgotten(why) => why.clone(),
    }
}

/// Says why a pod is stopped.
pub(super) fn stop_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Replaced => "a newer template takes its place",
        StopReason::ScaledDown => "fewer replicas are wanted",
        StopReason::Pruned => "a commit deleted its workload",
        StopReason::RolledBack => "its rollout was given up",
        StopReason::Superseded => "another pod has taken its slot",
        StopReason::Finished => "its Job is over",
        StopReason::Misplaced => "its node is not one for it any more",
        StopReason::Evicted => "a taint of its node sends it away",
        StopReason::Preempted => "a pod of higher priority needs its room",
        StopReason::Drained => "its node is being drained",
    }
}

/// The word and the sentence for the controller's health.
pub(super) fn health(health: &Health) -> (&'static str, String) {
    match health {
        Health::Starting => {
            ("Starting", "nothing is changed until a revision is loaded and the known nodes have said hello".into())
        }
        Health::Holding(reason) => ("Holding", reason.clone()),
        Health::Acting => ("Acting", String::new()),
        Health::StoodDown(epoch) => {
            ("StoodDown", format!("another controller has claimed epoch {}; this one changes nothing", epoch.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectl_prints_them() {
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_100, "3h5m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (700_000, "8d"),
            (63_072_000, "2y"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(age(Duration::from_secs(seconds)), expected, "{seconds} seconds");
        }
    }

    #[test]
    fn a_stalled_rollout_says_what_was_last_seen() {
        let standing = standing(&Progress::Stalled(StalledBy::Deadline("web: exit code 3".into())));
        assert_eq!(standing.word, "Stalled");
        assert!(standing.sentence.ends_with("Last seen: web: exit code 3"), "{}", standing.sentence);
    }
}
