//! How fast a pair may talk: a token bucket. Pure.

use crate::model::Moment;
use std::time::Duration;

/// So many bytes in a second, and no more than that at once.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: u32,
    /// When everything that was taken will have been earned.
    earned: Moment,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(per_second: u32, now: Moment) -> Self {
        Self { per_second: per_second.max(1), earned: now }
    }

    /// Takes `bytes`, and says how long to wait before they are sent.
    pub(super) fn take(&mut self, bytes: usize, now: Moment) -> Duration {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // What was not used for more than a second is not saved up.
        self.earned = self.earned.max(now) + Duration::from_secs(1) * bytes / self.per_second;
        self.earned.since(now).saturating_sub(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Moment = Moment(1_000_000);

    #[test]
    fn what_fits_into_a_second_waits_for_nothing_and_the_rest_does() {
        let mut bucket = Bucket::new(1_000, NOON);
        assert_eq!(bucket.take(1_000, NOON), Duration::ZERO);
        assert_eq!(bucket.take(500, NOON), Duration::from_millis(500));
        assert_eq!(bucket.take(500, NOON), Duration::from_secs(1));
        assert_eq!(bucket.take(100, NOON + Duration::from_secs(2)), Duration::ZERO);
    }

    #[test]
    fn nothing_is_saved_up() {
        let mut bucket = Bucket::new(1_000, NOON);
        let later = NOON + Duration::from_secs(3_600);
        assert_eq!(bucket.take(2_000, later), Duration::from_secs(1));
    }
}
