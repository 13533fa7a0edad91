//! The guard's side. It is a process of its own, with one thread and nothing of the agent's.

use super::{EXPIRED, LEASE, ids, locked, processes};
use crate::agent::runtime::lease::{self, Order, Warden};
use crate::clock;
use crate::model::BootMoment;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// How long a guard with nothing to guard waits for more.
pub const LINGER: Duration = Duration::from_secs(60);

/// How often it looks for new files, and for what comes up though it was killed.
const LOOK: Duration = Duration::from_secs(1);

/// Guards the containers whose files are in the working directory, until there have been none for a while.
///
/// # Errors
/// Of the lock there.
pub fn run() -> io::Result<()> {
    // Short of memory, the kernel kills others first. Whoever may not say so is guarded all the same.
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
    serve(Path::new("."), LINGER)
}

fn serve(folder: &Path, linger: Duration) -> io::Result<()> {
    let mut wardens: BTreeMap<String, Warden> = BTreeMap::new();
    let mut needed = clock::boot();
    loop {
        let now = clock::boot();
        look(folder, &mut wardens, now);
        if !wardens.is_empty() {
            needed = now;
        } else if now.since(needed) >= linger {
            // Whoever adds a file now waits for us to be gone, and starts another.
            let _files = locked(folder).ok();
            if ids(folder, LEASE).is_empty() {
                return Ok(());
            }
        }
        lease::pause(wardens.values().map(|warden| warden.pause(now)).min().unwrap_or(LOOK));
    }
}

/// One look at every lease.
fn look(folder: &Path, wardens: &mut BTreeMap<String, Warden>, now: BootMoment) {
    let files = ids(folder, LEASE);
    wardens.retain(|id, _| files.contains(id));
    for id in files {
        let read = || lease::read(&folder.join(format!("{id}.{LEASE}")));
        if !wardens.contains_key(&id) {
            // A file that cannot be read is one that is just being taken away.
            wardens.extend(read().map(|lease| (id.clone(), Warden::new(lease))));
        }
        match wardens.get_mut(&id).map(|warden| warden.look(now, read)) {
            Some(Order::Ask) => {
                let _ = fs::write(folder.join(format!("{id}.{EXPIRED}")), "");
                if let Some(first) = processes(&id).first() {
                    first.signal(Signal::TERM);
                }
            }
            Some(Order::Kill) => lease::kill(|| processes(&id)),
            Some(Order::Leave) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::runtime::LaunchLease;

    #[test]
    fn a_guard_stays_while_it_has_something_to_guard_and_marks_what_has_run_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(format!("c1.{LEASE}"));
        let lease = LaunchLease { until: BootMoment(1), grace: Duration::ZERO };
        lease::write(&path, &lease).expect("a lease");
        let mut wardens = BTreeMap::new();
        look(folder.path(), &mut wardens, clock::boot());
        assert!(folder.path().join(format!("c1.{EXPIRED}")).exists());
        assert_eq!(wardens.len(), 1);
        fs::remove_file(&path).expect("released");
        serve(folder.path(), Duration::ZERO).expect("a regular end");
    }
}
