//! When to probe, and what the results mean: the kubelet's rules as state without a clock.
//!
//! <https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/>. A probe first runs `initialDelaySeconds`
//! after the start of its container, then every `periodSeconds`. A result counts after `failureThreshold` or `successThreshold` of its
//! kind in a row. Until the startup probe has succeeded, the others wait. Readiness starts as failed, liveness as succeeded.
//!
//! One difference, which is never visible in what is promised: until it first succeeds, a readiness probe runs more often
//! than its period (from 50 ms, doubling), so that a rollout does not wait for the rest of a period after a quick start.

use super::event::{ProbeKind, ProbeOutcome};
use crate::model::{Moment, Probe};
use std::time::Duration;

/// The first pause of a readiness probe that has not succeeded yet.
const EAGER: Duration = Duration::from_millis(50);

/// A result that is this late after its timeout is given up, and the probe made again.
const LATE: Duration = Duration::from_secs(10);

/// One probe of one start of one container.
#[derive(Debug, Clone)]
pub(super) struct Prober {
    pub(super) kind: ProbeKind,
    period: Duration,
    timeout: Duration,
    success_threshold: u32,
    failure_threshold: u32,
    /// The verdict; `None` before the first.
    passed: Option<bool>,
    /// The last result and how often it came in a row.
    streak: (bool, u32),
    next: Moment,
    in_flight: Option<Moment>,
    /// The pause after the next probe while it is eager.
    eager: Option<Duration>,
}

/// A verdict that was just reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Enough successes.
    Passed,
    /// Enough failures; the last one's message.
    Failed(String),
}

impl Prober {
    /// The state for a container that started at `started`.
    pub(super) fn new(kind: ProbeKind, probe: &Probe, started: Moment) -> Self {
        let seconds = |value: u32| Duration::from_secs(u64::from(value));
        Self {
            kind,
            period: seconds(probe.period_seconds.max(1)),
            timeout: seconds(probe.timeout_seconds.max(1)),
            success_threshold: probe.success_threshold.max(1),
            failure_threshold: probe.failure_threshold.max(1),
            passed: None,
            streak: (false, 0),
            next: started + seconds(probe.initial_delay_seconds),
            in_flight: None,
            eager: (kind == ProbeKind::Readiness).then_some(EAGER),
        }
    }

    /// Takes over what was known before the agent restarted: it had passed.
    pub(super) fn assume_passed(&mut self) {
        self.passed = Some(true);
    }

    /// The verdict; `None` before the first.
    pub(super) fn passed(&self) -> Option<bool> {
        self.passed
    }

    /// How long one probe may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether it is time to probe; if so, the probe counts as under way.
    pub(super) fn begin(&mut self, now: Moment) -> bool {
        if now < self.wake() {
            return false;
        }
        let pause = match self.eager {
            Some(pause) if pause < self.period => {
                self.eager = Some(pause * 2);
                pause
            }
            Some(_) | None => self.period,
        };
        self.in_flight = Some(now);
        self.next = now + pause;
        true
    }

    /// When [`Prober::begin`] is worth asking again.
    pub(super) fn wake(&self) -> Moment {
        match self.in_flight {
            Some(since) => since + self.timeout + LATE,
            None => self.next,
        }
    }

    /// Takes a result in. `Some` if it makes a verdict: a new one, or a failure that is complete once more.
    pub(super) fn observe(&mut self, outcome: ProbeOutcome) -> Option<Verdict> {
        self.in_flight.take()?;
        let (success, message) = match outcome {
            ProbeOutcome::Success => (true, String::new()),
            ProbeOutcome::Failure(message) => (false, message),
            // Not the container's fault: as if the probe had not been made.
            ProbeOutcome::Unknown(_) => return None,
        };
        if !success && self.eager.is_some_and(|pause| pause < self.period) {
            // An extra probe: it must not use the threshold up.
            self.streak = (false, 0);
            return None;
        }
        let repeated = if self.streak.0 == success { self.streak.1.saturating_add(1) } else { 1 };
        self.streak = (success, repeated);
        let threshold = if success { self.success_threshold } else { self.failure_threshold };
        if repeated < threshold {
            return None;
        }
        let news = self.passed != Some(success) || (!success && repeated == threshold);
        self.passed = Some(success);
        if success {
            self.eager = None;
        }
        news.then_some(if success { Verdict::Passed } else { Verdict::Failed(message) })
    }
}

#[cfg(test)]
mod tests {
    use super::{Prober, Verdict};
    use crate::agent::core::{ProbeKind, ProbeOutcome};
    use crate::model::{Moment, Probe};
    use std::time::Duration;

    fn probe(delay: u32, period: u32, success: u32, failure: u32) -> Probe {
        Probe {
            initial_delay_seconds: delay,
            period_seconds: period,
            success_threshold: success,
            failure_threshold: failure,
            ..Probe::default()
        }
    }

    /// Runs a probe at every moment it is due; `script` has a result for each, `+` or `-` or `?`. Shows the seconds of each probe
    /// and the verdicts.
    fn check(kind: ProbeKind, probe: &Probe, script: &str, expected: &str) {
        let start = Moment(100_000);
        let mut prober = Prober::new(kind, probe, start);
        let mut shown = Vec::new();
        for result in script.chars() {
            let now = prober.wake();
            assert!(!prober.begin(now - Duration::from_millis(1)), "probed before it was due");
            assert!(prober.begin(now), "not due at its own time");
            let outcome = match result {
                '+' => ProbeOutcome::Success,
                '-' => ProbeOutcome::Failure("no".to_owned()),
                _ => ProbeOutcome::Unknown("?".to_owned()),
            };
            let verdict = match prober.observe(outcome) {
                None => "",
                Some(Verdict::Passed) => " pass",
                Some(Verdict::Failed(_)) => " fail",
            };
            shown.push(format!("{}{verdict}", now.since(start).as_secs_f64()));
        }
        assert_eq!(shown.join(", "), expected);
    }

    #[test]
    fn liveness_fails_after_failure_threshold_failures_in_a_row() {
        check(ProbeKind::Liveness, &probe(5, 10, 1, 3), "+--+---", "5 pass, 15, 25, 35, 45, 55, 65 fail");
    }

    #[test]
    fn readiness_passes_after_success_threshold_successes_in_a_row() {
        check(ProbeKind::Readiness, &probe(0, 1, 2, 1), "+-++", "0, 0.05, 0.15, 0.35 pass");
    }

    #[test]
    fn readiness_is_eager_until_it_first_passes_and_then_keeps_its_period() {
        check(
            ProbeKind::Readiness,
            &probe(0, 1, 1, 3),
            "-------+-",
            "0, 0.05, 0.15, 0.35, 0.75, 1.55, 2.55 fail, 3.55 pass, 4.55",
        );
    }

    #[test]
    fn startup_is_never_eager_since_its_failures_count() {
        check(ProbeKind::Startup, &probe(0, 2, 1, 2), "-+", "0, 2 pass");
    }

    #[test]
    fn a_probe_that_could_not_be_made_counts_as_nothing() {
        check(ProbeKind::Liveness, &probe(0, 1, 1, 2), "-?-", "0, 1, 2 fail");
    }

    #[test]
    fn a_result_that_never_comes_is_given_up() {
        let mut prober = Prober::new(ProbeKind::Liveness, &probe(0, 1, 1, 1), Moment(0));
        assert!(prober.begin(Moment(0)));
        assert!(!prober.begin(Moment(10_999)), "one at a time");
        assert!(prober.begin(Moment(11_000)), "given up after timeout and 10 s");
    }
}
