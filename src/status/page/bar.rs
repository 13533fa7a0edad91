//! The bar that shows how far a rollout is: one segment per pod, and one for every pod that is missing.

use super::super::pods::ShownPod;
use crate::model::{Kind, PodPhase, WorkloadView};

/// More pods than this are drawn as one segment per class.
const SEGMENTS_MAX: usize = 48;

/// A class of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    NewReady,
    NewComing,
    Old,
    Leaving,
    Missing,
    Completed,
    Failed,
}

impl Class {
    fn css(self) -> &'static str {
        match self {
            Class::NewReady | Class::Completed => "new",
            Class::Failed => "failed",
            Class::NewComing => "coming",
            Class::Old => "old",
            Class::Leaving => "leaving",
            Class::Missing => "missing",
        }
    }

    /// The words of the legend, which say what the colours say.
    fn legend(self, count: usize) -> String {
        match self {
            Class::NewReady => format!("{count} ready"),
            Class::NewComing => format!("{count} not ready"),
            Class::Old => format!("{count} of an older template"),
            Class::Leaving => format!("{count} stopping"),
            Class::Missing => format!("{count} to be started"),
            Class::Completed => format!("{count} completed"),
            Class::Failed => format!("{count} failed"),
        }
    }
}

/// A bar.
pub(super) struct Bar {
    /// What is drawn.
    pub(super) segments: Vec<Segment>,
    /// What the colours mean.
    pub(super) legend: Vec<Key>,
    /// The whole in words.
    pub(super) words: String,
}

/// A colour and its meaning.
pub(super) struct Key {
    /// Its class in the style sheet.
    pub(super) css: &'static str,
    /// What it says.
    pub(super) words: String,
}

/// A rectangle of a bar.
pub(super) struct Segment {
    /// Where it starts.
    pub(super) x: String,
    /// How wide it is.
    pub(super) width: String,
    /// Its class in the style sheet.
    pub(super) css: &'static str,
}

impl Bar {
    /// The bar of a workload. The pods of a Job come as others end, so none of them is missing.
    pub(super) fn of(kind: Kind, state: &WorkloadView, pods: &[&ShownPod<'_>]) -> Bar {
        let wanted = if kind == Kind::Job { 0 } else { usize::try_from(state.replicas).unwrap_or(usize::MAX) };
        let counts = counts(wanted, state, pods);
        let total: usize = counts.iter().map(|(_, count)| count).sum();
        let legend: Vec<Key> =
            counts.iter().map(|(class, count)| Key { css: class.css(), words: class.legend(*count) }).collect();
        let words: Vec<&str> = legend.iter().map(|key| key.words.as_str()).collect();
        let words = if words.is_empty() { "no pods are wanted".into() } else { words.join(", ") };
        Bar { segments: segments(&counts, total), legend, words }
    }
}

/// How many pods of each class, without empty classes.
fn counts(wanted: usize, state: &WorkloadView, pods: &[&ShownPod<'_>]) -> Vec<(Class, usize)> {
    let class = |pod: &ShownPod<'_>| match (pod.is_stopping(), *pod.hash == state.hash, pod.is_ready()) {
        (false, _, _) if pod.phase() == PodPhase::Succeeded => Class::Completed,
        (false, _, _) if pod.phase() == PodPhase::Failed => Class::Failed,
        (true, _, _) => Class::Leaving,
        (false, true, true) => Class::NewReady,
        (false, true, false) => Class::NewComing,
        (false, false, _) => Class::Old,
    };
    let of = |wanted| pods.iter().filter(|pod| class(pod) == wanted).count();
    let (ready, coming, old, leaving) = (of(Class::NewReady), of(Class::NewComing), of(Class::Old), of(Class::Leaving));
    let missing = wanted.saturating_sub(ready + coming + old);
    [
        (Class::Completed, of(Class::Completed)),
        (Class::Failed, of(Class::Failed)),
        (Class::NewReady, ready),
        (Class::NewComing, coming),
        (Class::Missing, missing),
        (Class::Old, old),
        (Class::Leaving, leaving),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .collect()
}

fn segments(counts: &[(Class, usize)], total: usize) -> Vec<Segment> {
    let each_pod = total <= SEGMENTS_MAX;
    let pieces = counts.iter().flat_map(|(class, count)| {
        let (pieces, width) = if each_pod { (*count, 1) } else { (1, *count) };
        std::iter::repeat_n((*class, width), pieces)
    });
    let mut x = 0;
    let mut segments = Vec::new();
    for (class, width) in pieces {
        segments.push(Segment { x: percent(x, total), width: percent(width, total), css: class.css() });
        x += width;
    }
    segments
}

/// A share as SVG writes it, with two decimals.
fn percent(part: usize, total: usize) -> String {
    let hundredths = part.saturating_mul(10_000) / total.max(1);
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_fill_the_bar_without_overlap() {
        let drawn = segments(&[(Class::NewReady, 2), (Class::Missing, 1), (Class::Old, 1)], 4);
        let places: Vec<(&str, &str)> = drawn.iter().map(|segment| (segment.x.as_str(), segment.css)).collect();
        assert_eq!(places, [("0.00%", "new"), ("25.00%", "new"), ("50.00%", "missing"), ("75.00%", "old")]);
    }

    #[test]
    fn many_pods_are_one_segment_per_class() {
        let drawn = segments(&[(Class::NewReady, 150), (Class::Old, 50)], 200);
        assert_eq!(drawn.len(), 2);
        assert_eq!(drawn[1].x, "75.00%");
    }
}
