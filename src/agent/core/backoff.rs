//! How long a container that keeps ending waits before it is started again.
//!
//! As the kubelet does it: the first restart is at once, the next after 10 s, then twice as long each time up to 5 minutes; ten
//! minutes of running wipe the slate: <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy>.

use std::time::Duration;

/// The first wait that is not zero.
const FIRST: Duration = Duration::from_secs(10);

/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(300);

/// Running so long makes the next end a first one.
const RESET_AFTER: Duration = Duration::from_secs(600);

/// The waits of one container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    /// It ended after running for so long: how long to wait.
    pub(super) fn after_exit(&mut self, ran_for: Duration) -> Duration {
        if ran_for >= RESET_AFTER {
            self.next = Duration::ZERO;
        }
        let wait = self.next;
        self.next = (wait * 2).clamp(FIRST, LONGEST);
        wait
    }

    /// Whether nothing has gone wrong lately.
    pub(super) fn is_fresh(&self) -> bool {
        self.next.is_zero()
    }

    /// It could not even be started: how long to wait. Never zero.
    pub(super) fn after_failed_start(&mut self) -> Duration {
        let wait = self.next.max(FIRST);
        self.next = (wait * 2).min(LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use std::time::Duration;

    #[test]
    fn waits_double_from_ten_seconds_to_five_minutes() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..9).map(|_| backoff.after_exit(Duration::from_secs(1)).as_secs()).collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn ten_minutes_of_running_wipe_the_slate() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.after_exit(Duration::from_secs(1));
        }
        assert_eq!(backoff.after_exit(Duration::from_secs(599)).as_secs(), 160, "not yet");
        assert_eq!(backoff.after_exit(Duration::from_secs(600)).as_secs(), 0);
        assert_eq!(backoff.after_exit(Duration::from_secs(1)).as_secs(), 10);
    }

    #[test]
    fn a_start_that_fails_waits_at_once() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..6).map(|_| backoff.after_failed_start().as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 300]);
    }
}
