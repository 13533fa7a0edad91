//! How many pods an autoscaled workload wants: Kubernetes' algorithm, as a pure function with its history as a value.
//!
//! Role: `metrics` reads what each metric asks for, the highest of which counts; `history` keeps it within what was recommended
//! lately; `behaviour` limits how fast it changes. Inputs: the autoscaler, samples of the pods, the number until now, the time.
//! Output: a [`ScaleDecision`].
//!
//! Sources: <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details>, and for what the page
//! leaves open, `pkg/controller/podautoscaler` of Kubernetes 1.34: `replica_calculator.go` (`GetResourceReplicas`, `groupPods`) and
//! `horizontal.go` (`computeReplicasForMetrics`, `stabilizeRecommendationWithBehaviors`, `convertDesiredReplicasWithBehaviorRate`).
//!
//! Differences: an agent does not tell whether a pod was ever ready, so for cpu one that is unready counts as not ready *yet* during
//! its first five minutes only; and an autoscaler without `behavior` has the default one, where Kubernetes' controller still has an
//! older rule of its own (at most twice as many at a look).

use crate::model::{Autoscaler, MetricReading, Moment, ScaleBasis, ScaleDecision};

mod behaviour;
mod history;
mod metrics;

pub use history::ScaleHistory;
pub use metrics::Sample;

/// The number of pods that the workload wants now, and why. `current` is the number it wanted until now.
pub fn decide(
    bounds: &Autoscaler,
    history: &mut ScaleHistory,
    current: u32,
    samples: &[Sample<'_>],
    now: Moment,
) -> ScaleDecision {
    let readings = metrics::read(bounds, current, samples);
    let found = |replicas, basis| ScaleDecision { replicas, basis, stabilized: false, limit: None, readings: Vec::new() };
    history.begin(bounds, current, now);
    let decision = if current == 0 {
        found(0, ScaleBasis::Disabled)
    } else if current > bounds.max_replicas {
        found(bounds.max_replicas, ScaleBasis::Bounds)
    } else if current < bounds.min_replicas {
        found(bounds.min_replicas, ScaleBasis::Bounds)
    } else {
        match choose(&readings, current) {
            Ok((wish, metric)) => {
                let stable = history.stabilize(bounds, current, wish, now);
                let (replicas, limit) = behaviour::limited(bounds, history, current, stable, now);
                ScaleDecision { stabilized: stable != wish, limit, ..found(replicas, ScaleBasis::Metric(metric)) }
            }
            Err(silent) => found(current, ScaleBasis::Silence(silent)),
        }
    };
    history.note(current, decision.replicas, now);
    ScaleDecision { readings, ..decision }
}

/// The highest wish and whose it is. Where a metric says nothing the others may only add pods: what it would ask for is not known.
/// Then, and if none says anything, the first silent one is the reason why nothing changes.
fn choose(readings: &[MetricReading], current: u32) -> Result<(u32, usize), usize> {
    let mut highest: Option<(u32, usize)> = None;
    for (index, reading) in readings.iter().enumerate() {
        if let Ok(wish) = reading.wish
            && highest.is_none_or(|(most, _)| wish > most)
        {
            highest = Some((wish, index));
        }
    }
    match (highest, readings.iter().position(|reading| reading.wish.is_err())) {
        (Some((wish, _)), Some(silent)) if wish < current => Err(silent),
        (Some(highest), _) => Ok(highest),
        (None, silent) => Err(silent.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
