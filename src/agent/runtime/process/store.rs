//! The records of processes, and what they say together with `/proc`.

use super::logfile;
use super::protocol::{Record, VERSION};
use super::{cgroup, logfile::files};
use crate::agent::launch::Folders;
use crate::agent::runtime::procfs::{self, Proc};
use crate::agent::runtime::{ContainerId, ContainerStatus, Labels, RunState, RuntimeError, json_file, lease};
use crate::model::{BootMoment, Exit, RuntimeKind};
use rustix::process::{Pid, Signal};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The record's file in the folder of a shim.
const RECORD: &str = "record.json";

/// The file that the shim holds locked for as long as it lives.
pub(super) const LOCK: &str = "lock";

/// The file of its lease, if it has one.
pub(super) const LEASE: &str = "lease.json";

/// How long a shim that another agent has started may take to write its record.
const STARTING_MAX: Duration = Duration::from_secs(5);

/// One process that was started here.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) folder: PathBuf,
    pub(super) record: Record,
}

/// The folder of one start.
pub(super) fn shim_folder(folders: &Folders, labels: &Labels) -> PathBuf {
    folders.pod_run(labels.uid).join("shims").join(format!("{}.{}", labels.container, labels.attempt))
}

/// Writes a record so that a reader sees the old one or the new one.
pub(super) fn write_record(folder: &Path, record: &Record) -> io::Result<()> {
    json_file::write(&folder.join(RECORD), record)
}

/// The entry of a folder, if it has a record that we understand.
pub(super) fn read(folder: &Path) -> Option<Entry> {
    let bytes = fs::read(folder.join(RECORD)).ok()?;
    match serde_json::from_slice::<Record>(&bytes) {
        Ok(record) if record.version == VERSION => Some(Entry { folder: folder.to_owned(), record }),
        Ok(record) => {
            tracing::error!(folder = %folder.display(), version = record.version, "a process was started by another version: left alone");
            None
        }
        Err(error) => {
            tracing::error!(folder = %folder.display(), %error, "the record of a process cannot be read: left alone");
            None
        }
    }
}

/// Every entry. With `wait`, shims that are just being started (by an agent that has died since) are waited for. Blocks.
pub(super) fn entries(folders: &Folders, wait: bool) -> Result<Vec<Entry>, RuntimeError> {
    let mut found = Vec::new();
    for pod in children(&folders.run.join("pods"))? {
        for folder in children(&pod.join("shims"))? {
            match read(&folder) {
                Some(entry) => found.push(entry),
                None if wait && !folder.join(RECORD).exists() => found.extend(wait_for_start(&folder)),
                None => {}
            }
        }
    }
    Ok(found)
}

fn children(folder: &Path) -> Result<Vec<PathBuf>, RuntimeError> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed("cannot list processes in", folder, &error)),
    }
}

/// A folder without a record whose lock is held belongs to a shim that is about to write it.
fn wait_for_start(folder: &Path) -> Option<Entry> {
    let lock = fs::File::open(folder.join(LOCK)).ok()?;
    let step = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    let mut waited = Duration::ZERO;
    while waited < STARTING_MAX {
        let free = rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok();
        if let Some(entry) = read(folder) {
            return Some(entry);
        }
        if free {
            return None;
        }
        let _ = rustix::event::poll(&mut [], Some(&step));
        waited += Duration::from_millis(20);
    }
    None
}

/// An I/O error as the runtime says it.
pub(super) fn failed(action: &str, path: &Path, error: &io::Error) -> RuntimeError {
    if error.kind() == io::ErrorKind::StorageFull {
        return RuntimeError::NoSpace { path: path.display().to_string() };
    }
    RuntimeError::Failed { action: format!("{action} {}", path.display()), message: error.to_string() }
}

impl Entry {
    /// `pid:start time`
    pub(super) fn id(&self) -> Option<ContainerId> {
        self.record.workload.map(|workload| ContainerId(format!("{}:{}", workload.pid, workload.start)))
    }

    /// How it ended, if it did.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.record.exit.clone().or_else(|| read(&self.folder).and_then(|entry| entry.record.exit))
    }

    /// Its shim lives: it runs, or is being cleared up after.
    pub(super) fn is_running(&self) -> bool {
        self.record.exit.is_none() && self.record.shim.is_alive()
    }

    /// Brings the record in line with what there is: a workload whose shim is gone is killed.
    pub(super) async fn settle(self) -> Self {
        if self.record.exit.is_none() && !self.record.shim.is_alive() {
            let exit = Some(self.ended().await);
            return Self { record: Record { exit, ..self.record }, ..self };
        }
        self
    }

    /// Waits for the end.
    pub(super) async fn ended(&self) -> Exit {
        if let Some(handle) = self.record.shim.open() {
            wait_for(handle, self.record.shim).await;
        }
        match (self.exit(), self.folder.join(RECORD).exists()) {
            (Some(exit), _) => exit,
            (None, true) => self.end_orphan(),
            // Deleted since: whoever did it has waited for the end, which the shim has brought about.
            (None, false) => Exit { code: 137, reason: "ContainerStatusUnknown".to_owned() },
        }
    }

    /// The shim is gone and has not said how its workload ended: somebody has killed it. What it supervised cannot be supervised
    /// again, and must be gone before another copy starts.
    fn end_orphan(&self) -> Exit {
        let exit = Exit { code: 137, reason: "ShimLost".to_owned() };
        let step = rustix::event::Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
        for _ in 0..200 {
            let mut left = cgroup::processes(&self.record.cgroups);
            if let Some(workload) = self.record.workload.filter(|workload| workload.is_alive()) {
                left.extend(procfs::descendants(workload.pid));
                left.insert(workload.pid);
            }
            if left.is_empty() {
                break;
            }
            cgroup::kill(&self.record.cgroups);
            for pid in left.into_iter().filter_map(Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            let _ = rustix::event::poll(&mut [], Some(&step));
        }
        let record = Record { exit: Some(exit.clone()), ..self.record.clone() };
        if let Err(error) = write_record(&self.folder, &record) {
            tracing::warn!(folder = %self.folder.display(), %error, "the end of a process could not be recorded");
        }
        exit
    }

    /// Sends a signal to the workload.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(workload) = self.record.workload {
            workload.signal(signal);
        }
    }

    /// Makes its lease end later, if it has one.
    pub(super) fn renew(&self, until: BootMoment) -> Result<(), RuntimeError> {
        let path = self.folder.join(LEASE);
        lease::extend(&path, until).map_err(|error| failed("cannot write", &path, &error))
    }

    /// Deletes everything of an ended process.
    pub(super) fn delete(&self) -> Result<(), RuntimeError> {
        for file in files(&self.record.log) {
            remove(fs::remove_file(&file), &file)?;
        }
        let groups = &self.record.cgroups;
        if let Err(error) = cgroup::delete(groups) {
            return Err(RuntimeError::Failed { action: "cannot delete a cgroup".to_owned(), message: error.to_string() });
        }
        remove(fs::remove_dir_all(&self.folder), &self.folder)
    }

    /// As the agent sees it.
    pub(super) fn status(&self, address: IpAddr) -> Option<ContainerStatus> {
        let state = match self.exit() {
            Some(exit) => RunState::Exited(exit),
            None => RunState::Running,
        };
        Some(ContainerStatus {
            id: self.id()?,
            runtime: RuntimeKind::Process,
            labels: self.record.labels.clone(),
            state,
            age: self.record.workload.map(Proc::age).unwrap_or_default(),
            address: Some(address),
            ports: self.record.ports.clone(),
            image_digest: None,
            lease: lease::read(&self.folder.join(LEASE)).map(|lease| lease.until),
        })
    }

    /// The files of its log, oldest first.
    pub(super) fn log_files(&self) -> Vec<PathBuf> {
        logfile::files(&self.record.log)
    }
}

fn remove(outcome: io::Result<()>, path: &Path) -> Result<(), RuntimeError> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("cannot delete", path, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Waits until a process has ended.
async fn wait_for(handle: OwnedFd, process: Proc) {
    #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd stays open, which is what that is about")]
    let watched = AsyncFd::with_interest(handle, Interest::READABLE);
    match watched {
        Ok(watched) => {
            // An error would mean that the runtime is ending, and we with it.
            let _ = watched.readable().await;
        }
        Err(error) => {
            tracing::warn!(pid = process.pid, %error, "cannot watch a process: asking for it instead");
            while process.is_alive() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}
