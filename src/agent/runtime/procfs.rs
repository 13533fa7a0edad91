//! Processes as `/proc` shows them: <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>.

use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// `USER_HZ`: what `/proc` counts in, on every architecture that Linux has now.
const TICKS_PER_SECOND: u64 = 100;

/// A process, and no other one that later gets the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Proc {
    pub(super) pid: i32,
    /// In ticks since boot.
    pub(super) start: u64,
}

/// One line of `/proc/PID/stat`, as far as we use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) state: char,
    pub(super) parent: i32,
    /// Its own and its waited children's cpu, in ticks.
    pub(super) cpu_ticks: u64,
    pub(super) start: u64,
    pub(super) resident_pages: u64,
}

impl Stat {
    pub(super) fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name, in parentheses, may contain anything: what follows the last parenthesis counts.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            cpu_ticks: number(11)? + number(12)? + number(13)? + number(14)?,
            start: number(19)?,
            resident_pages: number(21)?,
        })
    }

    /// Whether it merely waits to be reaped.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

impl Proc {
    /// The process with this pid now.
    pub(super) fn of(pid: i32) -> Option<Self> {
        Stat::read(pid).map(|stat| Self { pid, start: stat.start })
    }

    /// Whether it still exists and is not merely waiting to be reaped.
    pub(super) fn is_alive(self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.start == self.start && !stat.has_ended())
    }

    /// A handle that can never mean another process. `None` if it has ended.
    pub(super) fn open(self) -> Option<OwnedFd> {
        let handle = rustix::process::pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Between reading the pid and opening it another process may have got it: the start time tells.
        (Stat::read(self.pid)?.start == self.start).then_some(handle)
    }

    /// Sends a signal, if it is still there.
    pub(super) fn signal(self, signal: Signal) {
        if let Some(handle) = self.open() {
            // It may end at any moment, which is what is wanted.
            let _ = rustix::process::pidfd_send_signal(handle, signal);
        }
    }

    /// How long ago it was started.
    pub(super) fn age(self) -> Duration {
        let uptime = fs::read_to_string("/proc/uptime").ok();
        let seconds: f64 = uptime.as_deref().and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or_default();
        let started = Duration::from_millis(self.start * 1000 / TICKS_PER_SECOND);
        Duration::try_from_secs_f64(seconds).unwrap_or_default().saturating_sub(started)
    }
}

/// Everything below a process, itself left out.
pub(super) fn descendants(root: i32) -> BTreeSet<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if let Some(stat) = Stat::read(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = BTreeSet::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if found.insert(*child) {
                open.push(*child);
            }
        }
    }
    found
}

/// Nanoseconds of cpu and bytes of memory of some processes.
pub(super) fn usage(pids: &BTreeSet<i32>) -> (u64, u64) {
    const NANOS_PER_TICK: u64 = 1_000_000_000 / TICKS_PER_SECOND;
    /// Nearly everywhere; it only scales what is shown as memory where no cgroup tells it exactly.
    const PAGE: u64 = 4096;
    let stats = pids.iter().filter_map(|pid| Stat::read(*pid));
    stats.fold((0, 0), |(cpu, memory), stat| (cpu + stat.cpu_ticks * NANOS_PER_TICK, memory + stat.resident_pages * PAGE))
}

#[cfg(test)]
mod tests {
    use super::{Proc, Stat, descendants};

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let line = "42 (a) S (b) R 7 1 1 0 -1 0 0 0 0 0 1 2 3 4 20 0 1 0 9876 1000 55 0";
        let stat = Stat::parse(line).expect("parses");
        assert_eq!(stat, Stat { state: 'R', parent: 7, cpu_ticks: 10, start: 9876, resident_pages: 55 });
    }

    #[test]
    fn this_process_is_alive_and_one_with_another_start_is_not() {
        let own = Proc::of(std::process::id().try_into().expect("a pid")).expect("exists");
        assert!(own.is_alive());
        assert!(own.open().is_some());
        let other = Proc { start: own.start + 1, ..own };
        assert!(!other.is_alive());
        assert!(other.open().is_none());
    }

    #[test]
    fn a_child_is_a_descendant() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep starts");
        let own = std::process::id().try_into().expect("a pid");
        let found = descendants(own).contains(&child.id().try_into().expect("a pid"));
        child.kill().expect("ends");
        child.wait().expect("is reaped");
        assert!(found);
    }
}
