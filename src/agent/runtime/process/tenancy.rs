//! The lease of a host process, kept by a thread of its shim: it goes on while the shim's own work waits for a disk.

use super::cgroup;
use super::procfs::{self, Proc};
use super::store::LEASE;
use crate::agent::runtime::LaunchLease;
use crate::agent::runtime::lease::{self, Order, Warden};
use crate::clock;
use rustix::event::{Timespec, poll};
use rustix::process::{Pid, Signal};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two rounds of killing.
const ROUND: Duration = Duration::from_millis(5);

/// Rounds of killing in one look.
const ROUNDS_MAX: u32 = 200;

/// What is watched.
pub(super) struct Tenancy {
    /// The folder with the newest lease.
    pub(super) folder: PathBuf,
    pub(super) lease: LaunchLease,
    /// The shim, everything below which belongs to the workload.
    pub(super) shim: Proc,
    pub(super) workload: Option<Proc>,
    pub(super) cgroups: Vec<PathBuf>,
}

impl Tenancy {
    /// Begins to watch. What is returned tells whether the workload was asked to end.
    pub(super) fn watch(self) -> io::Result<Arc<AtomicBool>> {
        // Short of memory, the kernel kills others first: the workload too, which was started before.
        let _ = fs::write("/proc/self/oom_score_adj", "-1000");
        let expired = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&expired);
        // It ends with the shim.
        std::thread::Builder::new().name("lease".to_owned()).spawn(move || self.keep(&told))?;
        Ok(expired)
    }

    fn keep(&self, expired: &AtomicBool) {
        let path = self.folder.join(LEASE);
        let mut warden = Warden::new(self.lease);
        loop {
            let now = clock::boot();
            match warden.look(now, || lease::read(&path)) {
                Order::Leave => {}
                Order::Ask => {
                    expired.store(true, Ordering::SeqCst);
                    if let Some(workload) = self.workload {
                        workload.signal(Signal::TERM);
                    }
                }
                Order::Kill => self.kill(),
            }
            pause(warden.pause(now));
        }
    }

    /// Kills everything below the shim. Who reaps it is not our business.
    fn kill(&self) {
        for _ in 0..ROUNDS_MAX {
            cgroup::kill(&self.cgroups);
            let mut left = procfs::descendants(self.shim.pid);
            left.extend(cgroup::processes(&self.cgroups));
            left.retain(|pid| *pid != self.shim.pid && Proc::of(*pid).is_some_and(Proc::is_alive));
            if left.is_empty() {
                return;
            }
            for pid in left.into_iter().filter_map(Pid::from_raw) {
                // It may be gone already.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            pause(ROUND);
        }
    }
}

fn pause(duration: Duration) {
    // A timeout out of range cannot come from our constants.
    let timeout = Timespec::try_from(duration).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
    let _ = poll(&mut [], Some(&timeout));
}
