//! The guard: ends containers whose lease has run out, whatever has become of the agent and the Engine.
//!
//! A container cannot do that itself: its first process cannot be killed from within, and our init becomes the image's program. So a small
//! process of ours beside the agent does it, which was started once and outlives agents, as the keeper does. For each container with a lease
//! the agent leaves a file for it, named by the container's id, before the container is started; the guard finds the processes of a
//! container by that id in their cgroups (`find`), under every version of cgroups and every driver of the Engine, and signals them itself.
//!
//! Invariants: a container with a lease is started only while a guard lives that will see its file; the guard needs nothing but tmpfs,
//! `/proc` and signals. It ends when it has had nothing to guard for [`LINGER`]. If it is killed, the agent's next renewal starts another;
//! if both are, nothing ends the containers before an agent is back.
//!
//! Deliberately absent: who gets a lease, and anything that the Engine would have to be asked.

mod find;
mod watch;

pub use watch::{LINGER, run};

use crate::agent::runtime::{ContainerId, LaunchLease, lease};
use crate::model::{BootMoment, Exit, LEASE_EXPIRED};
use rustix::fs::{FlockOperation, flock};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(super) use find::processes;

/// The guard holds this locked for as long as it lives.
const ALIVE: &str = "guard.lock";

/// Whoever adds a file holds this locked, and so does a guard that is about to end.
const FILES: &str = "files.lock";

/// What the file of a lease is called behind the id.
const LEASE: &str = "lease";

/// The same of one that has run out.
const EXPIRED: &str = "expired";

/// The agent's side.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    folder: PathBuf,
    program: PathBuf,
}

impl Guard {
    /// The guard whose files are in this folder, which need not be there; `program` is our own binary.
    pub(super) fn new(folder: PathBuf, program: PathBuf) -> Self {
        Self { folder, program }
    }

    /// Puts a container under guard. Once this returns it may be started.
    ///
    /// # Errors
    /// No guard could be started, or it could not be told.
    pub(super) fn hold(&self, id: &ContainerId, lease: &LaunchLease) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        self.guarded(|| lease::write(&self.path(id, LEASE), lease))
    }

    /// Makes leases end later. What was asked to end already ends all the same.
    ///
    /// # Errors
    /// As for [`Guard::hold`].
    pub(super) fn renew(&self, leases: &BTreeMap<ContainerId, BootMoment>) -> io::Result<()> {
        if !self.folder.exists() {
            return Ok(());
        }
        self.guarded(|| leases.iter().try_for_each(|(id, until)| lease::extend(&self.path(id, LEASE), *until)))
    }

    /// The end of a container's lease, if it has one.
    pub(super) fn end_of(&self, id: &ContainerId) -> Option<BootMoment> {
        lease::read(&self.path(id, LEASE)).map(|lease| lease.until)
    }

    /// How a container has ended, as it is to be told.
    pub(super) fn told(&self, id: &str, exit: Exit) -> Exit {
        let expired = self.path(&ContainerId(id.to_owned()), EXPIRED).exists();
        if expired { Exit { reason: LEASE_EXPIRED.to_owned(), ..exit } } else { exit }
    }

    /// The ids of the containers that it has, or knows the end of.
    pub(super) fn ids(&self) -> BTreeSet<ContainerId> {
        [LEASE, EXPIRED].into_iter().flat_map(|end| ids(&self.folder, end)).map(ContainerId).collect()
    }

    /// A container has ended and is not started again: how it ended is all that is left to tell.
    pub(super) fn settle(&self, id: &ContainerId) {
        // It may be gone already.
        let _ = fs::remove_file(self.path(id, LEASE));
    }

    /// A container is gone.
    pub(super) fn release(&self, id: &ContainerId) {
        for end in [LEASE, EXPIRED] {
            // It may be gone already.
            let _ = fs::remove_file(self.path(id, end));
        }
    }

    fn path(&self, id: &ContainerId, end: &str) -> PathBuf {
        self.folder.join(format!("{}.{end}", id.0))
    }

    /// Changes files while a guard is certain to see them.
    fn guarded<T>(&self, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let _files = locked(&self.folder)?;
        self.wake()?;
        change()
    }

    /// Starts a guard, unless one lives.
    fn wake(&self) -> io::Result<()> {
        let alive = open(&self.folder.join(ALIVE))?;
        match flock(&alive, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
            outcome => outcome?,
        }
        // Its standard input is the lock, which it so holds until it ends, in whatever way.
        let mut child = Command::new(&self.program)
            .arg("guard")
            .env_clear()
            .current_dir(&self.folder)
            .stdin(Stdio::from(alive))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C for the agent is none for it.
            .process_group(0)
            .spawn()?;
        // It may end while we live, and wants somebody to take note.
        std::thread::spawn(move || drop(child.wait()));
        Ok(())
    }
}

/// The ids that files with this end are named by.
fn ids(folder: &Path, end: &str) -> BTreeSet<String> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| Some(name.to_str()?.strip_suffix(end)?.strip_suffix('.')?.to_owned())).collect()
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(path)
}

/// Nobody else changes which files there are, until it is dropped.
fn locked(folder: &Path) -> io::Result<File> {
    let file = open(&folder.join(FILES))?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_held_is_found_renewed_and_released() {
        let folder = tempfile::tempdir().expect("a folder");
        // As good as a guard for as long as it runs.
        let guard = Guard::new(folder.path().join("leases"), PathBuf::from("/bin/true"));
        let (id, gone) = (ContainerId("c1".to_owned()), ContainerId("c2".to_owned()));
        let lease = LaunchLease { until: BootMoment(30_000), grace: Duration::from_secs(1) };
        guard.renew(&[(id.clone(), BootMoment(1))].into()).expect("nothing to do");
        guard.hold(&id, &lease).expect("held");
        let later = BootMoment(40_000);
        guard.renew(&[(id.clone(), later), (gone.clone(), later)].into()).expect("renewed");
        assert_eq!((guard.end_of(&id), guard.end_of(&gone)), (Some(later), None));
        assert_eq!(guard.ids(), BTreeSet::from([id.clone()]));
        let exit = Exit { code: 143, reason: "Error".to_owned() };
        assert_eq!(guard.told("c1", exit.clone()), exit);
        fs::write(guard.path(&id, EXPIRED), "").expect("as the guard does it");
        assert_eq!(guard.told("c1", exit.clone()).reason, LEASE_EXPIRED);
        guard.settle(&id);
        assert_eq!((guard.ids().len(), guard.end_of(&id)), (1, None), "the guard is done with it, and its end is known");
        assert_eq!(guard.told("c1", exit).reason, LEASE_EXPIRED);
        guard.release(&id);
        assert_eq!((guard.ids(), guard.end_of(&id)), (BTreeSet::new(), None));
    }

    #[test]
    fn without_a_program_that_guards_nothing_is_held() {
        let folder = tempfile::tempdir().expect("a folder");
        let guard = Guard::new(folder.path().to_owned(), PathBuf::from("/no/such/program"));
        let lease = LaunchLease { until: BootMoment(30_000), grace: Duration::from_secs(1) };
        guard.hold(&ContainerId("c1".to_owned()), &lease).expect_err("nobody would end it");
        assert!(guard.ids().is_empty());
    }
}
