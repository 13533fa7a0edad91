//! The back-off between a failed pod and the next: 10 s, doubling with every failure in a row up to six minutes.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-backoff-failure-policy>

use crate::model::Moment;
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(360);

/// Failures in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Strikes {
    /// How many.
    count: u32,
    /// When the last one was.
    last: Moment,
}

impl Strikes {
    /// One more.
    pub(super) fn add(&mut self, at: Moment) {
        *self = Self { count: self.count + 1, last: self.last.max(at) };
    }

    /// When the next pod may start, if one has failed.
    pub(super) fn until(&self) -> Option<Moment> {
        let doublings = self.count.checked_sub(1)?;
        Some(self.last + FIRST.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST))
    }

    /// True if no pod may start yet.
    pub(super) fn blocks(&self, now: Moment) -> bool {
        self.until().is_some_and(|until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_ten_seconds_to_six_minutes() {
        let mut strikes = Strikes::default();
        assert_eq!(strikes.until(), None);
        let waits = (0..8).map(|_| {
            strikes.add(Moment(1_000));
            strikes.until().unwrap().since(Moment(1_000)).as_secs()
        });
        assert_eq!(waits.collect::<Vec<_>>(), [10, 20, 40, 80, 160, 320, 360, 360]);
    }
}
