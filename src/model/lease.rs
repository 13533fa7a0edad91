//! Leases: pods that stop themselves when their controller has not been heard of for a while (`driftless.dev/lease`).
//!
//! An agent says in its heartbeat what its boot clock shows. The controller repeats that, with the pods whose lease it renews, and each of
//! these may run until then plus the term. Since the agent looked at its clock before the controller did, and both measure the same term,
//! a pod has ended by itself before the controller counts it as ended, whatever either clock is set to.

use super::{BootMoment, PodTemplate, PodUid};
use std::collections::BTreeSet;
use std::time::Duration;

/// The annotation that asks for a lease. The manifest room writes it into the templates of the pods that have one.
pub const LEASE: &str = "driftless.dev/lease";

/// How a container has ended that was stopped because the lease of its pod ran out.
pub const LEASE_EXPIRED: &str = "LeaseExpired";

/// What a pod was given that must not run for long without its controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// How long it may run after each renewal.
    pub term: Duration,
    /// How long it may take to end after that, before it is killed: `terminationGracePeriodSeconds`.
    pub grace: Duration,
}

impl Lease {
    /// The shortest term: three heartbeats.
    pub const TERM_MIN: Duration = Duration::from_secs(10);

    /// The longest term: whoever can wait longer needs no lease.
    pub const TERM_MAX: Duration = Duration::from_secs(3600);

    /// What is waited beyond term and grace: for the kill, for a look that comes a second late, and for clocks that do not run alike.
    pub const MARGIN: Duration = Duration::from_secs(5);

    /// Reads a term as people write it: `30s`, `2m`.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse_term(text: &str) -> Result<Duration, &'static str> {
        let span: jiff::SignedDuration = text.parse().map_err(|_| "must be a duration, such as 30s or 2m")?;
        match Duration::try_from(span) {
            Ok(term) if (Self::TERM_MIN..=Self::TERM_MAX).contains(&term) => Ok(term),
            Ok(_) | Err(_) => Err("must be from 10s (three heartbeats) to 1h"),
        }
    }

    /// The lease that pods of a template have, if any.
    #[must_use]
    pub fn of(template: &PodTemplate) -> Option<Self> {
        let term = Self::parse_term(template.metadata.annotations.get(LEASE)?).ok()?;
        Some(Self { term, grace: Duration::from_secs(template.spec.termination_grace_period_seconds) })
    }

    /// How long after its last renewal a pod may still be there.
    #[must_use]
    pub fn over_after(self) -> Duration {
        self.term + self.grace + Self::MARGIN
    }
}

/// The answer to a heartbeat of a node with pods that have a lease.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Renewal {
    /// What the agent's boot clock showed when it sent the heartbeat.
    pub sent: BootMoment,
    /// Pods that may go on. A lease that has run out meanwhile stays over.
    pub extended: BTreeSet<PodUid>,
    /// Those of them that may also begin, or begin again: no other pod of their number can be running.
    pub granted: BTreeSet<PodUid>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_is_a_duration_of_some_heartbeats() {
        for (text, seconds) in [("10s", 10), ("30s", 30), ("1m30s", 90), ("1h", 3600)] {
            assert_eq!(Lease::parse_term(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "30", "9s", "-30s", "61m", "soon", "0s"] {
            assert!(Lease::parse_term(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pod_is_over_after_its_term_its_grace_and_a_margin() {
        let mut template = PodTemplate::default();
        template.spec.termination_grace_period_seconds = 20;
        assert_eq!(Lease::of(&template), None);
        template.metadata.annotations.insert(LEASE.to_owned(), "1m".to_owned());
        assert_eq!(Lease::of(&template).map(Lease::over_after), Some(Duration::from_secs(85)));
    }
}
