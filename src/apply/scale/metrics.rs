//! What each metric asks for.

use crate::model::{
    Amounts, Autoscaler, MetricReading, MetricTarget, MetricUsage, NoReading, PodUsage, ScaleMetric, ScaledResource,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// The time after its start in which a pod's cpu says little (`--horizontal-pod-autoscaler-cpu-initialization-period`).
const INITIALIZATION: Duration = Duration::from_secs(300);

/// The time that one sample of cpu covers: a younger readiness than this makes the sample one of start-up.
const SAMPLE_WINDOW: Duration = Duration::from_secs(15);

/// What is known of one pod of the workload. Pods that have ended or are stopping are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sample<'a> {
    /// What it uses; `None` without a fresh sample.
    pub usage: Option<&'a PodUsage>,
    /// What its containers and sidecars request, by name; an amount of 0 is no request.
    pub requests: BTreeMap<&'a str, Amounts>,
    /// Whether it waits to be started.
    pub pending: bool,
    /// Whether it is ready.
    pub ready: bool,
    /// For how long.
    pub ready_for: Duration,
    /// How long ago it started.
    pub age: Duration,
}

/// What every metric of the autoscaler says, in order.
pub(super) fn read(bounds: &Autoscaler, current: u32, samples: &[Sample<'_>]) -> Vec<MetricReading> {
    let tolerance = Tolerance::of(bounds);
    bounds.metrics.iter().map(|metric| reading(metric, &tolerance, current, samples)).collect()
}

fn reading(metric: &ScaleMetric, tolerance: &Tolerance, current: u32, samples: &[Sample<'_>]) -> MetricReading {
    let groups = match Groups::of(metric, samples) {
        Ok(groups) => groups,
        Err(why) => return MetricReading { usage: None, wish: Err(why) },
    };
    if groups.counted.is_empty() {
        return MetricReading { usage: None, wish: Err(NoReading::NoSamples) };
    }
    MetricReading { usage: Some(in_use(&groups.counted)), wish: Ok(wish(metric.target, tolerance, current, &groups)) }
}

/// How many pods it takes to bring usage to its target.
fn wish(target: MetricTarget, tolerance: &Tolerance, current: u32, groups: &Groups) -> u32 {
    let ratio = usage_ratio(target, &groups.counted);
    let rises_with_unready = !groups.unready.is_empty() && ratio > 1.0;
    if !rises_with_unready && groups.missing.is_empty() {
        return if tolerance.covers(ratio) { current } else { times(ratio, groups.counted.len()) };
    }
    let assumed = groups.with_assumptions(target, ratio, rises_with_unready);
    let cautious = usage_ratio(target, &assumed);
    let turned = (ratio < 1.0 && cautious > 1.0) || (ratio > 1.0 && cautious < 1.0);
    if tolerance.covers(cautious) || turned {
        return current;
    }
    let replicas = times(cautious, assumed.len());
    let backwards = (cautious < 1.0 && replicas > current) || (cautious > 1.0 && replicas < current);
    if backwards { current } else { replicas }
}

/// Usage and request of one pod, in the unit of the resource.
#[derive(Debug, Clone, Copy)]
struct Load {
    used: u64,
    requested: u64,
}

/// The pods, sorted by how much their samples say.
#[derive(Default)]
struct Groups {
    counted: Vec<Load>,
    /// Requests of pods that have only just started.
    unready: Vec<u64>,
    /// Requests of pods without a sample.
    missing: Vec<u64>,
}

impl Groups {
    fn of(metric: &ScaleMetric, samples: &[Sample<'_>]) -> Result<Self, NoReading> {
        let mut groups = Self::default();
        for sample in samples {
            let requested = sample.requested(metric)?;
            match sample.used(metric) {
                _ if sample.pending => groups.unready.push(requested),
                None => groups.missing.push(requested),
                Some(_) if metric.resource == ScaledResource::Cpu && sample.is_starting() => groups.unready.push(requested),
                Some(used) => groups.counted.push(Load { used, requested }),
            }
        }
        Ok(groups)
    }

    /// All that count, with what is not known set against the change.
    fn with_assumptions(&self, target: MetricTarget, ratio: f64, with_unready: bool) -> Vec<Load> {
        let mut loads = self.counted.clone();
        if ratio < 1.0 {
            loads.extend(self.missing.iter().map(|request| Load { used: assumed(target, *request), requested: *request }));
        } else if ratio > 1.0 {
            loads.extend(self.missing.iter().map(|request| Load { used: 0, requested: *request }));
        }
        if with_unready {
            loads.extend(self.unready.iter().map(|request| Load { used: 0, requested: *request }));
        }
        loads
    }
}

impl Sample<'_> {
    /// What it uses of the resource, in the container or altogether.
    fn used(&self, metric: &ScaleMetric) -> Option<u64> {
        let usage = self.usage?;
        match (&metric.container, metric.resource) {
            (None, ScaledResource::Cpu) => usage.cpu_milli,
            (None, ScaledResource::Memory) => usage.memory_bytes,
            (Some(name), ScaledResource::Cpu) => usage.containers.get(name)?.cpu_milli,
            (Some(name), ScaledResource::Memory) => usage.containers.get(name).map(|container| container.memory_bytes),
        }
    }

    /// What the container, or all of them together, request: each must. Where the target is no percentage of it, nobody asks: 0.
    fn requested(&self, metric: &ScaleMetric) -> Result<u64, NoReading> {
        let wanted = metric.container.as_deref();
        if let Some(name) = wanted.filter(|name| !self.requests.contains_key(name)) {
            return Err(NoReading::NoContainer(name.to_owned()));
        }
        if matches!(metric.target, MetricTarget::AverageValue(_)) {
            return Ok(0);
        }
        let mut looked_at = self.requests.iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == **name));
        looked_at.try_fold(0, |sum: u64, (name, amounts)| {
            let amount = metric.resource.of(*amounts);
            if amount == 0 { Err(NoReading::NoRequest((*name).to_owned())) } else { Ok(sum.saturating_add(amount)) }
        })
    }

    /// Whether its cpu is that of its start.
    fn is_starting(&self) -> bool {
        self.age < INITIALIZATION && (!self.ready || self.ready_for < SAMPLE_WINDOW)
    }
}

/// The band around 1 in which a ratio changes nothing.
struct Tolerance {
    lowest: f64,
    highest: f64,
}

impl Tolerance {
    fn of(bounds: &Autoscaler) -> Self {
        // The sum of two decimals is rarely exact: 1.1 is meant to be covered by 0.1.
        let part = |milli: u32| f64::from(milli) / 1000.0 + 1e-9;
        Self { lowest: 1.0 - part(bounds.scale_down.tolerance_milli), highest: 1.0 + part(bounds.scale_up.tolerance_milli) }
    }

    fn covers(&self, ratio: f64) -> bool {
        (self.lowest..=self.highest).contains(&ratio)
    }
}

/// Usage over target. Kubernetes computes averages and percentages in whole numbers, so this does too.
fn usage_ratio(target: MetricTarget, pods: &[Load]) -> f64 {
    let usage = in_use(pods);
    match target {
        MetricTarget::Utilization(percent) => f64::from(usage.percent.unwrap_or_default()) / f64::from(percent.max(1)),
        MetricTarget::AverageValue(amount) => real(usage.average) / real(amount.max(1)),
    }
}

fn in_use(pods: &[Load]) -> MetricUsage {
    let sum = |amount: fn(&Load) -> u64| pods.iter().map(|load| u128::from(amount(load))).sum::<u128>();
    let (used, requested) = (sum(|load| load.used), sum(|load| load.requested));
    let average = used / (pods.len().max(1) as u128);
    let percent = (used * 100).checked_div(requested).map(|percent| u32::try_from(percent).unwrap_or(u32::MAX));
    MetricUsage { average: u64::try_from(average).unwrap_or(u64::MAX), percent }
}

/// What a pod without a sample is taken to use when scaling down: its request (or the target, if that is more), which keeps it.
fn assumed(target: MetricTarget, requested: u64) -> u64 {
    match target {
        MetricTarget::Utilization(percent) => {
            let used = u128::from(requested) * u128::from(percent.max(100)) / 100;
            u64::try_from(used).unwrap_or(u64::MAX)
        }
        MetricTarget::AverageValue(amount) => amount,
    }
}

/// Amounts stay far below 2^53, where this is exact.
fn real(amount: u64) -> f64 {
    amount as f64
}

/// The cast saturates, and a ratio is not negative.
fn times(ratio: f64, pods: usize) -> u32 {
    (ratio * real(pods as u64)).ceil() as u32
}
