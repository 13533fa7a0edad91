//! How a lease is kept beside what has it: by a process that outlives the agent.
//!
//! Role: the part that the shim of a host process and the guard of containers share. The agent writes how long something may run into a
//! small file on tmpfs, which goes with a reboot as everything does that runs. The [`Warden`] reads it again when that time has come,
//! asks what it watches to end, and [`kill`]s it when the grace is over. Invariants: nothing is needed for it but the file, `/proc` and
//! signals, so it works while the agent, the Engine or the disk hangs; what was asked to end once is not let go on any more.

use super::procfs::Proc;
use super::{LaunchLease, json_file};
use crate::model::BootMoment;
use rustix::event::{Timespec, poll};
use rustix::process::Signal;
use std::io;
use std::path::Path;
use std::time::Duration;

/// The longest time without a look at the clock: sleep does not count in the kernel's timers, and does on the boot clock.
const LOOK: Duration = Duration::from_secs(1);

/// Between two rounds of killing.
const ROUND: Duration = Duration::from_millis(5);

/// Rounds of killing in one look.
const ROUNDS_MAX: u32 = 200;

/// Writes a lease so that a reader sees the old one or the new one.
pub(super) fn write(path: &Path, lease: &LaunchLease) -> io::Result<()> {
    json_file::write(path, lease)
}

/// The lease as it was last written.
pub(super) fn read(path: &Path) -> Option<LaunchLease> {
    json_file::read(path)
}

/// Makes a lease end later; what has none is left alone.
pub(super) fn extend(path: &Path, until: BootMoment) -> io::Result<()> {
    match read(path) {
        Some(lease) if lease.until < until => write(path, &LaunchLease { until, ..lease }),
        Some(_) | None => Ok(()),
    }
}

/// What is to be done with what has a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Let it run.
    Leave,
    /// Ask it to end; it may take until its grace is over.
    Ask,
    /// Kill it, and whatever of it comes up later.
    Kill,
}

/// Watches over one lease.
#[derive(Debug, Clone)]
pub(super) struct Warden {
    lease: LaunchLease,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    Ending,
    Killed,
}

impl Warden {
    pub(super) fn new(lease: LaunchLease) -> Self {
        Self { lease, stage: Stage::Running }
    }

    /// What to do now; `newest` is asked for the lease as it is by now when the known one has run out.
    pub(super) fn look(&mut self, now: BootMoment, newest: impl FnOnce() -> Option<LaunchLease>) -> Order {
        if self.stage == Stage::Running && now >= self.lease.until {
            self.lease = newest().filter(|newest| newest.until > self.lease.until).unwrap_or(self.lease);
        }
        match self.stage {
            Stage::Running if now < self.lease.until => Order::Leave,
            Stage::Running => {
                self.stage = Stage::Ending;
                Order::Ask
            }
            // Counted from the end of the lease: whoever waits for it does so too.
            Stage::Ending if now < self.lease.until + self.lease.grace => Order::Leave,
            Stage::Ending | Stage::Killed => {
                self.stage = Stage::Killed;
                Order::Kill
            }
        }
    }

    /// How long to wait before the next look.
    pub(super) fn pause(&self, now: BootMoment) -> Duration {
        let next = match self.stage {
            Stage::Running => self.lease.until.since(now),
            Stage::Ending => (self.lease.until + self.lease.grace).since(now),
            Stage::Killed => LOOK,
        };
        next.min(LOOK)
    }
}

/// Kills what `left` finds, and what that has started meanwhile, until there is nothing left. Who reaps it is not our business.
pub(super) fn kill(left: impl Fn() -> Vec<Proc>) {
    for _ in 0..ROUNDS_MAX {
        let left = left();
        if left.is_empty() {
            return;
        }
        left.into_iter().for_each(|process| process.signal(Signal::KILL));
        pause(ROUND);
    }
}

/// Waits.
pub(super) fn pause(time: Duration) {
    // A timeout out of range cannot come from our constants.
    let timeout = Timespec::try_from(time).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
    let _ = poll(&mut [], Some(&timeout));
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: LaunchLease = LaunchLease { until: BootMoment(30_000), grace: Duration::from_secs(10) };

    /// What is done at each of these times (in milliseconds), with the lease as the file has it.
    fn check(newest: Option<LaunchLease>, looks: &[(u64, Order)]) {
        let mut warden = Warden::new(LEASE);
        for (at, expected) in looks {
            assert_eq!(warden.look(BootMoment(*at), || newest), *expected, "at {at} with {newest:?}");
        }
    }

    #[test]
    fn what_is_not_renewed_is_asked_to_end_and_killed_after_its_grace() {
        check(Some(LEASE), &[(0, Order::Leave), (29_999, Order::Leave), (30_000, Order::Ask), (39_999, Order::Leave)]);
        check(Some(LEASE), &[(30_000, Order::Ask), (40_000, Order::Kill), (41_000, Order::Kill)]);
    }

    #[test]
    fn a_renewal_that_was_written_in_time_counts_and_one_that_comes_later_does_not() {
        let renewed = LaunchLease { until: BootMoment(60_000), ..LEASE };
        check(Some(renewed), &[(30_500, Order::Leave), (60_000, Order::Ask)]);
        let mut warden = Warden::new(LEASE);
        assert_eq!(warden.look(BootMoment(30_000), || Some(LEASE)), Order::Ask);
        assert_eq!(warden.look(BootMoment(40_000), || Some(renewed)), Order::Kill);
    }

    #[test]
    fn a_host_that_slept_through_the_end_finds_it_on_waking() {
        check(None, &[(29_000, Order::Leave), (500_000, Order::Ask), (500_000, Order::Kill)]);
    }

    #[test]
    fn the_clock_is_looked_at_every_second_and_when_the_time_has_come() {
        let warden = Warden::new(LEASE);
        assert_eq!(warden.pause(BootMoment(0)), LOOK);
        assert_eq!(warden.pause(BootMoment(29_900)), Duration::from_millis(100));
    }

    #[test]
    fn a_lease_is_read_as_it_was_written_and_only_ever_made_longer() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lease");
        extend(&path, BootMoment(50_000)).expect("nothing to do");
        assert_eq!(read(&path), None, "what has no lease gets none");
        write(&path, &LEASE).expect("a lease");
        extend(&path, BootMoment(50_000)).expect("a longer one");
        extend(&path, BootMoment(40_000)).expect("nothing to do");
        assert_eq!(read(&path), Some(LaunchLease { until: BootMoment(50_000), ..LEASE }));
    }
}
