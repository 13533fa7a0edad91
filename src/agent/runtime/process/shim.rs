//! The shim: one per host process, the agent's own binary run as `driftless shim`. It blocks, and has one thread, with a lease a second
//! one that keeps it (`tenancy`).
//!
//! It reads the spec from stdin up to its end, starts the workload, answers in one line on stdout, and from then on copies output to
//! the log until the workload ends. Then it kills what the workload has left, writes how it ended into the record, and ends. The
//! end of the shim is what the agent waits for. A spec that is cut off (the agent died) is not started.

use super::logfile::{Lines, LogFile, Stream};
use super::protocol::{Record, Reply, Spec, VERSION};
use super::tenancy::Tenancy;
use super::{cgroup, names, store};
use crate::agent::runtime::procfs::{self, Proc};
use crate::clock;
use crate::model::{Exit, LEASE_EXPIRED};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How often it looks for orphans to reap and for its log file when nothing happens.
const IDLE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// How often it looks for the end of the workload where the kernel has no pidfd.
const POLLING: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Between two rounds of killing.
const ROUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// Rounds of killing before it gives up: what is left is stuck in the kernel.
const ROUNDS_MAX: u32 = 1000;

/// Why the shim could not do its work. The agent has been told, or is gone.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// The spec did not arrive whole.
    #[error("the spec on stdin cannot be read; `driftless shim` is run by the agent, never by hand")]
    Spec(#[source] io::Error),
    /// The spec is of another version.
    #[error("the spec has version {0}, and this shim speaks {VERSION}")]
    Version(u32),
    /// The record could not be written.
    #[error("the record of the process cannot be written")]
    Record(#[source] io::Error),
    /// The answer could not be written: the agent is gone, and the workload was killed again.
    #[error("the agent is gone")]
    Reply(#[source] io::Error),
}

/// Runs the shim to the end of its workload.
///
/// # Errors
/// See [`ShimError`]; nothing runs then.
pub fn run() -> Result<(), ShimError> {
    let spec = read_spec()?;
    // Already a leader where the agent made it one.
    let _ = rustix::process::setsid();
    // Without it orphans would go to init, and be out of our sight; every kernel that has pidfd has it.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    if spec.no_new_privileges {
        // Of the shim itself, which needs none; its workload inherits it.
        if let Err(error) = rustix::thread::set_no_new_privs(true) {
            return reply(&Reply::Refused(format!("new privileges cannot be ruled out: {error}")));
        }
    }
    if spec.lease.is_some_and(|lease| lease.until <= clock::boot()) {
        return reply(&Reply::Refused("its lease has run out".to_owned()));
    }
    // A workload that does not find other Services by name may still do its work.
    let names = spec.resolv_conf.as_deref().and_then(|text| names::show(&spec.folder, text).err());
    let mut own = match Workload::start(&spec, names.map(|error| error.to_string())) {
        Ok(own) => own,
        Err(message) => return reply(&Reply::Refused(message)),
    };
    let (folder, log, retention) = (spec.folder.clone(), spec.log.clone(), spec.retention);
    let expired = match own.keep_lease(&spec) {
        Ok(expired) => expired,
        Err(error) => {
            own.kill_everything();
            return reply(&Reply::Refused(format!("nobody would end it when its lease runs out: {error}")));
        }
    };
    // The secrets in it are not needed any more.
    drop(spec);
    let started = store::write_record(&folder, &own.record).map_err(ShimError::Record).and_then(|()| reply(&Reply::Running));
    if let Err(error) = started {
        own.kill_everything();
        return Err(error);
    }
    let mut exit = own.supervise(&mut LogFile::new(log, retention));
    if expired.is_some_and(|expired| expired.load(Ordering::SeqCst)) {
        LEASE_EXPIRED.clone_into(&mut exit.reason);
    }
    own.record.exit = Some(exit);
    store::write_record(&folder, &own.record).map_err(ShimError::Record)
}

fn read_spec() -> Result<Spec, ShimError> {
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    io::stdin().lock().read_to_end(&mut bytes).map_err(ShimError::Spec)?;
    let spec: Spec = serde_json::from_slice(&bytes).map_err(|error| ShimError::Spec(io::Error::other(error)))?;
    if spec.version == VERSION { Ok(spec) } else { Err(ShimError::Version(spec.version)) }
}

fn reply(reply: &Reply) -> Result<(), ShimError> {
    let mut line = serde_json::to_vec(reply).map_err(|error| ShimError::Reply(io::Error::other(error)))?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line).and_then(|()| stdout.flush()).map_err(ShimError::Reply)
}

struct Workload {
    pid: i32,
    child: Child,
    handle: Option<OwnedFd>,
    record: Record,
    /// How it ended, once it was reaped.
    status: Option<WaitStatus>,
}

impl Workload {
    fn start(spec: &Spec, names_trouble: Option<String>) -> Result<Self, String> {
        let shim = Proc::of(rustix::process::getpid().as_raw_nonzero().get()).ok_or("the shim does not find itself in /proc")?;
        let name = format!("{}.{}.{}", spec.labels.uid, spec.labels.container, spec.labels.attempt);
        let joined = cgroup::join(&cgroup::create(&name, &spec.limits));
        let child = command(spec).and_then(|mut command| command.spawn());
        let cgroups = cgroup::leave(&joined);
        let child = child.map_err(|error| {
            // Nothing is in them.
            let _ = cgroup::delete(&cgroups);
            let program = spec.argv.first().map(String::as_str).unwrap_or_default();
            format!("cannot run {program:?} in {}: {error}", spec.working_dir.display())
        })?;
        let pid = i32::try_from(child.id()).unwrap_or_default();
        // It cannot be reaped before we do it, so that the pid is its own.
        let workload = Proc::of(pid);
        let record = Record {
            version: VERSION,
            labels: spec.labels.clone(),
            ports: spec.ports.clone(),
            shim,
            workload,
            log: spec.log.clone(),
            cgroups,
            exit: None,
            names_trouble,
        };
        Ok(Self { pid, child, handle: workload.and_then(Proc::open), record, status: None })
    }

    /// Sees to it that the workload ends when its lease does, if it has one. What is returned tells whether it had to.
    fn keep_lease(&self, spec: &Spec) -> io::Result<Option<Arc<AtomicBool>>> {
        let Some(lease) = spec.lease else { return Ok(None) };
        let Record { shim, workload, ref cgroups, .. } = self.record;
        Tenancy { folder: spec.folder.clone(), lease, shim, workload, cgroups: cgroups.clone() }.watch().map(Some)
    }

    /// Copies output until it has ended, and clears up after it.
    fn supervise(&mut self, log: &mut LogFile) -> Exit {
        let stdout = self.child.stdout.take().map(|pipe| (OwnedFd::from(pipe), Lines::new(Stream::Stdout)));
        let stderr = self.child.stderr.take().map(|pipe| (OwnedFd::from(pipe), Lines::new(Stream::Stderr)));
        let mut pipes: Vec<(OwnedFd, Lines)> = stdout.into_iter().chain(stderr).collect();
        while self.status.is_none() {
            let pause = if self.handle.is_some() { IDLE } else { POLLING };
            copy_output(&mut pipes, self.handle.as_ref(), log, &pause);
            log.check();
            self.reap();
        }
        // Asked before the groups are gone.
        let out_of_memory = cgroup::was_out_of_memory(&self.record.cgroups);
        self.kill_everything();
        // All writers are dead: what is in the pipes is the rest.
        while !pipes.is_empty() && copy_output(&mut pipes, None, log, &ROUND) {}
        for (_, lines) in &mut pipes {
            let _ = log.append(&lines.finish(clock::now()));
        }
        exit_of(self.status, out_of_memory)
    }

    /// Takes every child that has ended; grandchildren come to us when their parents end.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid.as_raw_nonzero().get() == self.pid {
                self.status = Some(status);
            }
        }
    }

    /// Kills the workload and all that it has started, whatever sessions and groups they have made.
    fn kill_everything(&mut self) {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        for _ in 0..ROUNDS_MAX {
            cgroup::kill(&self.record.cgroups);
            let mut left = procfs::descendants(own);
            left.extend(cgroup::processes(&self.record.cgroups));
            left.remove(&own);
            for pid in left.iter().filter_map(|pid| Pid::from_raw(*pid)) {
                // It may be gone already.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            self.reap();
            if left.is_empty() {
                break;
            }
            let _ = poll(&mut [], Some(&ROUND));
        }
        // A group that is not empty yet is deleted with the record.
        let _ = cgroup::delete(&self.record.cgroups);
    }
}

fn command(spec: &Spec) -> io::Result<Command> {
    let (program, args) = spec.argv.split_first().ok_or_else(|| io::Error::other("there is no program"))?;
    let mut command = Command::new(program);
    command.args(args).env_clear();
    command.envs(spec.env.iter().map(|(name, value)| (OsStr::new(name), OsStr::from_bytes(&value.0))));
    command.current_dir(PathBuf::from(&spec.working_dir));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Signals to the shim's group are not for it.
    command.process_group(0);
    Ok(command)
}

/// Waits for output or the end of the workload, and copies what there is. False if nothing came.
fn copy_output(pipes: &mut Vec<(OwnedFd, Lines)>, handle: Option<&OwnedFd>, log: &mut LogFile, pause: &Timespec) -> bool {
    let mut polled: Vec<PollFd<'_>> = pipes.iter().map(|(pipe, _)| PollFd::new(pipe, PollFlags::IN)).collect();
    polled.extend(handle.map(|handle| PollFd::from_borrowed_fd(handle.as_fd(), PollFlags::IN)));
    if !matches!(poll(&mut polled, Some(pause)), Ok(1..)) {
        return false;
    }
    let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
    drop(polled);
    let mut buffer = vec![0; 64 * 1024];
    let mut closed = Vec::new();
    for (index, (pipe, lines)) in pipes.iter_mut().enumerate().filter(|(index, _)| ready.get(*index) == Some(&true)) {
        let length = rustix::io::read(&*pipe, &mut buffer).unwrap_or(0);
        let formatted = if length == 0 { lines.finish(clock::now()) } else { lines.push(&buffer[..length], clock::now()) };
        // A full disk loses lines, and never stops the workload.
        let _ = log.append(&formatted);
        if length == 0 {
            closed.push(index);
        }
    }
    for index in closed.into_iter().rev() {
        pipes.remove(index);
    }
    true
}

/// Kubernetes' numbers and words: 128 + n for a signal.
fn exit_of(status: Option<WaitStatus>, out_of_memory: bool) -> Exit {
    let code = status.map_or(137, |status| {
        status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(137)
    });
    let reason = match code {
        0 => "Completed",
        137 if out_of_memory => "OOMKilled",
        _ => "Error",
    };
    Exit { code, reason: reason.to_owned() }
}
