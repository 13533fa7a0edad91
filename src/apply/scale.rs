//! How many pods an autoscaled workload wants: Kubernetes' algorithm for cpu, as a pure function with its history as a value.
//!
//! Sources: <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details>, and for what the page
//! leaves open, `pkg/controller/podautoscaler/replica_calculator.go` (`GetResourceReplicas`, `groupPods`) and `horizontal.go`
//! (`stabilizeRecommendationWithBehaviors`) of Kubernetes 1.31.
//!
//! In short: `ceil(pods × usage ÷ target)`, left alone within 10 %; pods without a sample count against the change (at their full
//! request when scaling down, as idle when scaling up), pods that are not ready yet as idle when scaling up; the highest number of the
//! last 300 s wins on the way down, and a rise is limited to doubling or four pods per 15 s.
//!
//! One difference: an agent does not tell whether a pod was ever ready, so one that is unready counts as not ready *yet* during its
//! first five minutes only.

use crate::model::{Autoscaler, Moment};
use std::collections::VecDeque;
use std::time::Duration;

/// A ratio this near to 1 changes nothing (`--horizontal-pod-autoscaler-tolerance`).
const TOLERANCE: f64 = 0.1;

/// The time after its start in which a pod's cpu says little (`--horizontal-pod-autoscaler-cpu-initialization-period`).
const INITIALIZATION: Duration = Duration::from_secs(300);

/// The time that one sample of cpu covers: a younger readiness than this makes the sample one of start-up.
const SAMPLE_WINDOW: Duration = Duration::from_secs(15);

/// The period of the default `behavior.scaleUp` policies: 4 pods or 100 %, whichever is more.
const RISE_PERIOD: Duration = Duration::from_secs(15);

/// Pods that may be added in a period, however few there are.
const RISE_PODS: u32 = 4;

/// What is known of one pod of the workload. Pods that have ended or are stopping are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// Cpu in use, in thousandths of a core; `None` without a fresh sample.
    pub cpu_milli: Option<u64>,
    /// Cpu requested by its containers, in thousandths of a core.
    pub request_milli: u64,
    /// Whether it is ready.
    pub ready: bool,
    /// For how long.
    pub ready_for: Duration,
    /// How long ago it started.
    pub age: Duration,
}

/// What was recommended and done, as far back as the windows of the autoscaler reach.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScaleHistory {
    /// Whether there was a first look.
    started: bool,
    recommended: VecDeque<(Moment, u32)>,
    /// Changes: how many pods were added (or, if negative, taken away).
    changed: VecDeque<(Moment, i64)>,
}

/// A number of pods, and why it is this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recommendation {
    /// The number of pods.
    pub replicas: u32,
    /// Why.
    pub reason: ScaleReason,
}

/// Why a number of pods is recommended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScaleReason {
    /// The usage asks for it.
    Usage,
    /// The usage is near enough to the target.
    WithinTolerance,
    /// There is no cpu sample of any ready pod.
    NoSamples,
    /// A container requests no cpu, so there is no percentage.
    NoRequest,
    /// The autoscaler names no target for cpu.
    NoTarget,
    /// `spec.replicas` is 0, which switches autoscaling off.
    Disabled,
    /// A recommendation within the stabilisation window holds it.
    Stabilized,
    /// The rise is limited per period.
    Limited,
    /// `minReplicas`
    AtMinimum,
    /// `maxReplicas`
    AtMaximum,
}

/// The number of pods that the workload wants now. `current` is the number it wanted until now.
pub fn recommend(bounds: &Autoscaler, history: &mut ScaleHistory, current: u32, samples: &[Sample], now: Moment) -> u32 {
    explain(bounds, history, current, samples, now).replicas
}

/// [`recommend`], with the reason.
pub fn explain(bounds: &Autoscaler, history: &mut ScaleHistory, current: u32, samples: &[Sample], now: Moment) -> Recommendation {
    if current == 0 && bounds.min_replicas > 0 {
        return Recommendation { replicas: 0, reason: ScaleReason::Disabled };
    }
    history.forget(bounds, now);
    let found = if current > bounds.max_replicas {
        Recommendation { replicas: bounds.max_replicas, reason: ScaleReason::AtMaximum }
    } else if current < bounds.min_replicas {
        Recommendation { replicas: bounds.min_replicas, reason: ScaleReason::AtMinimum }
    } else {
        let wanted = from_usage(bounds, current, samples);
        clamp(limit_rise(history.stabilize(bounds, current, wanted, now), history, current, now), bounds)
    };
    history.note(current, found.replicas, now);
    found
}

/// What the usage alone asks for.
fn from_usage(bounds: &Autoscaler, current: u32, samples: &[Sample]) -> Recommendation {
    let stay = |reason| Recommendation { replicas: current, reason };
    let Some(target) = Target::of(bounds) else { return stay(ScaleReason::NoTarget) };
    if matches!(target, Target::Percent(_)) && samples.iter().any(|sample| sample.request_milli == 0) {
        return stay(ScaleReason::NoRequest);
    }
    let groups = Groups::of(samples);
    if groups.ready.is_empty() {
        return stay(ScaleReason::NoSamples);
    }
    let ratio = target.ratio(&groups.ready);
    let rises_with_unready = !groups.unready.is_empty() && ratio > 1.0;
    if !rises_with_unready && groups.missing.is_empty() {
        if is_near(ratio) {
            return stay(ScaleReason::WithinTolerance);
        }
        return Recommendation { replicas: times(ratio, groups.ready.len()), reason: ScaleReason::Usage };
    }
    let counted = groups.with_assumptions(target, ratio, rises_with_unready);
    let cautious = target.ratio(&counted);
    let turned = (ratio < 1.0 && cautious > 1.0) || (ratio > 1.0 && cautious < 1.0);
    if is_near(cautious) || turned {
        return stay(ScaleReason::WithinTolerance);
    }
    let replicas = times(cautious, counted.len());
    let backwards = (cautious < 1.0 && replicas > current) || (cautious > 1.0 && replicas < current);
    if backwards { stay(ScaleReason::WithinTolerance) } else { Recommendation { replicas, reason: ScaleReason::Usage } }
}

/// The wanted average.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// Of the request, in percent.
    Percent(u32),
    /// Thousandths of a core per pod.
    Milli(u64),
}

/// Usage and request of one pod, in thousandths of a core.
type Usage = (u64, u64);

impl Target {
    fn of(bounds: &Autoscaler) -> Option<Self> {
        let percent = bounds.cpu_percent.filter(|percent| *percent > 0).map(Self::Percent);
        percent.or(bounds.cpu_average_milli.filter(|milli| *milli > 0).map(Self::Milli))
    }

    /// Usage over target. Kubernetes computes the utilisation in whole percent, so this does too.
    fn ratio(self, pods: &[Usage]) -> f64 {
        let used: u64 = pods.iter().map(|(used, _)| used).sum();
        let requested: u64 = pods.iter().map(|(_, requested)| requested).sum();
        match self {
            Self::Percent(percent) => real(used.saturating_mul(100) / requested.max(1)) / f64::from(percent),
            Self::Milli(milli) => real(used / (pods.len().max(1) as u64)) / real(milli),
        }
    }

    /// What a pod without a sample is taken to use when scaling down: its request (or the target, if that is more), which keeps it.
    fn assumed(self, request_milli: u64) -> u64 {
        match self {
            Self::Percent(percent) => request_milli.saturating_mul(u64::from(percent.max(100))) / 100,
            Self::Milli(milli) => milli,
        }
    }
}

/// The pods, sorted by how much their samples say.
#[derive(Default)]
struct Groups {
    ready: Vec<Usage>,
    /// Requests of pods that have only just started.
    unready: Vec<u64>,
    /// Requests of pods without a sample.
    missing: Vec<u64>,
}

impl Groups {
    fn of(samples: &[Sample]) -> Self {
        let mut groups = Self::default();
        for sample in samples {
            let starting = sample.age < INITIALIZATION && (!sample.ready || sample.ready_for < SAMPLE_WINDOW);
            match sample.cpu_milli {
                _ if starting => groups.unready.push(sample.request_milli),
                Some(used) => groups.ready.push((used, sample.request_milli)),
                None => groups.missing.push(sample.request_milli),
            }
        }
        groups
    }

    /// All that count, with what is not known set against the change.
    fn with_assumptions(&self, target: Target, ratio: f64, with_unready: bool) -> Vec<Usage> {
        let mut counted = self.ready.clone();
        if ratio < 1.0 {
            counted.extend(self.missing.iter().map(|request| (target.assumed(*request), *request)));
        } else if ratio > 1.0 {
            counted.extend(self.missing.iter().map(|request| (0, *request)));
        }
        if with_unready {
            counted.extend(self.unready.iter().map(|request| (0, *request)));
        }
        counted
    }
}

impl ScaleHistory {
    /// The number that the windows allow: going down, none of the recommendations within the window may have been higher; going up,
    /// none lower.
    fn stabilize(&mut self, bounds: &Autoscaler, current: u32, wanted: Recommendation, now: Moment) -> Recommendation {
        if !self.started {
            self.started = true;
            // What ran before the first look counts as recommended, so that a controller that starts does not scale down at once.
            self.recommended.push_back((now, current));
        }
        let within = |seconds: u32| {
            let window = Duration::from_secs(u64::from(seconds));
            self.recommended.iter().filter(move |(at, _)| now.since(*at) < window).map(|(_, replicas)| *replicas)
        };
        let least = within(bounds.scale_up_window_seconds).fold(wanted.replicas, u32::min);
        let most = within(bounds.scale_down_window_seconds).fold(wanted.replicas, u32::max);
        let replicas = if current < least { least } else { current.min(most) };
        self.recommended.push_back((now, wanted.replicas));
        let reason = if replicas == wanted.replicas { wanted.reason } else { ScaleReason::Stabilized };
        Recommendation { replicas, reason }
    }

    fn note(&mut self, current: u32, replicas: u32, now: Moment) {
        if replicas != current {
            self.changed.push_back((now, i64::from(replicas) - i64::from(current)));
        }
    }

    fn forget(&mut self, bounds: &Autoscaler, now: Moment) {
        let longest = bounds.scale_down_window_seconds.max(bounds.scale_up_window_seconds);
        let window = Duration::from_secs(u64::from(longest));
        self.recommended.retain(|(at, _)| now.since(*at) < window);
        self.changed.retain(|(at, _)| now.since(*at) < RISE_PERIOD);
    }

    /// The number at the start of the period.
    fn at_period_start(&self, current: u32, now: Moment) -> u32 {
        let recent = self.changed.iter().filter(|(at, _)| now.since(*at) < RISE_PERIOD);
        let net: i64 = recent.map(|(_, delta)| delta).sum();
        u32::try_from((i64::from(current) - net).max(0)).unwrap_or(u32::MAX)
    }
}

fn limit_rise(wanted: Recommendation, history: &ScaleHistory, current: u32, now: Moment) -> Recommendation {
    let start = history.at_period_start(current, now);
    let limit = start.saturating_mul(2).max(start.saturating_add(RISE_PODS)).max(current);
    if wanted.replicas > limit { Recommendation { replicas: limit, reason: ScaleReason::Limited } } else { wanted }
}

fn clamp(wanted: Recommendation, bounds: &Autoscaler) -> Recommendation {
    if wanted.replicas > bounds.max_replicas {
        Recommendation { replicas: bounds.max_replicas, reason: ScaleReason::AtMaximum }
    } else if wanted.replicas < bounds.min_replicas {
        Recommendation { replicas: bounds.min_replicas, reason: ScaleReason::AtMinimum }
    } else {
        wanted
    }
}

fn is_near(ratio: f64) -> bool {
    // The difference of two decimals is rarely exact: 1.1 is meant to be near.
    (1.0 - ratio).abs() <= TOLERANCE + 1e-9
}

/// Thousandths of a core stay far below 2^53, where this is exact.
fn real(amount: u64) -> f64 {
    amount as f64
}

/// The cast saturates, and a ratio is not negative.
fn times(ratio: f64, pods: usize) -> u32 {
    (ratio * real(pods as u64)).ceil() as u32
}

#[cfg(test)]
#[path = "scale_tests.rs"]
mod tests;
