//! The lease of a host process, kept by a thread of its shim: it goes on while the shim's own work waits for a disk.

use super::cgroup;
use super::store::LEASE;
use crate::agent::runtime::LaunchLease;
use crate::agent::runtime::lease::{self, Order, Warden};
use crate::agent::runtime::procfs::{self, Proc};
use crate::clock;
use rustix::process::Signal;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
                Order::Kill => lease::kill(|| {
                    cgroup::kill(&self.cgroups);
                    self.left()
                }),
            }
            lease::pause(warden.pause(now));
        }
    }

    /// Everything below the shim that is still there.
    fn left(&self) -> Vec<Proc> {
        let mut left = procfs::descendants(self.shim.pid);
        left.extend(cgroup::processes(&self.cgroups));
        left.remove(&self.shim.pid);
        left.into_iter().filter_map(Proc::of).filter(|process| process.is_alive()).collect()
    }
}
