//! The jail: runs one tool on a copy of some files, with nothing else in reach.
//!
//! ```text
//! renderer ──order, files──▶ `driftless render-jail` ──makes the jail, drops everything──▶ the tool, pid 1 of its own namespace
//!     ▲                              ▲ stdin stays open: its end is the order to kill
//!     └────── stdout, stderr ────────┴───────────────────────────────────────────────────────┘
//! ```
//!
//! In the jail: a user that owns nothing, no capability and no way to gain one, no network but a loopback that is down, a root of its
//! own with the copy (read-only), the tool, the system's programs if the tool is no static binary (read-only), `/dev/null`, and a `/tmp` in
//! memory. No `/proc`, no `/etc`, an environment of `HOME`, `TMPDIR` and `PATH`. Bounded are wall time, cpu, memory of a process, the number of
//! processes, open files, temporary files and output. Output goes through pipes into memory and never to a disk.
//!
//! Namespaces of the kernel are all that is needed: they are made as root, or within a user namespace. Where neither may be made, nothing
//! runs, unless [`Confinement::None`] was asked for; then the bounds hold as far as they do without namespaces.

pub(super) mod inside;
mod protocol;

use super::RenderSettings;
use crate::clock;
use protocol::{Bounds, DONE, FAILED, KILLED, NO_JAIL, Order};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// The largest output that is taken.
pub(super) const OUTPUT_BYTES_MAX: usize = 16 << 20;
/// So much of what the tool complains about is kept.
const COMPLAINT_BYTES_MAX: usize = 64 << 10;
/// How long a run may take.
pub(super) const WALL_MAX: Duration = Duration::from_secs(60);
/// How long the jail may take to end once it is told to.
const END_MAX: Duration = Duration::from_secs(2);
const BOUNDS: Bounds = Bounds { cpu_s: 60, memory_bytes: 1 << 30, tasks: 256, scratch_bytes: 64 << 20 };

/// Whether tools run in the jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Confinement {
    /// In the jail, or not at all.
    #[default]
    Jail,
    /// As a child of this process: whoever may push can run what this user may run.
    None,
}

/// One run.
pub(super) struct Job<'a> {
    pub(super) tool: &'a Path,
    pub(super) args: Vec<String>,
    /// The folder to run in, relative to the root of the copy.
    pub(super) folder: String,
    /// The copy.
    pub(super) files: &'a [(String, Vec<u8>)],
}

/// How a run ended that was whole.
pub(super) enum Ended {
    /// With this output.
    Rendered(Vec<u8>),
    /// The tool refuses; its words, the root of the copy cut off.
    Refused(String),
}

/// Why a run was not whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum JailError {
    #[error("there is no sandbox to run it in: {0}")]
    NoJail(String),
    #[error("it took more than {} s and was stopped", .0.as_secs())]
    Late(Duration),
    #[error("it printed more than {} MiB and was stopped", OUTPUT_BYTES_MAX >> 20)]
    TooMuch,
    #[error("it was killed: it used more than {} s of cpu or more memory than there is", BOUNDS.cpu_s)]
    Killed,
    #[error("it cannot be run")]
    Io(#[source] io::Error),
}

/// Runs a job to its end.
pub(super) fn run(settings: &RenderSettings, job: &Job<'_>) -> Result<Ended, JailError> {
    let scratch = match settings.confinement {
        Confinement::Jail => None,
        Confinement::None => Some(tempfile::Builder::new().prefix("driftless-render-").tempdir().map_err(JailError::Io)?),
    };
    let root = scratch.as_ref().map_or_else(|| PathBuf::from(inside::TREE), |scratch| scratch.path().join("tree"));
    let order = Order {
        tool: job.tool.to_owned(),
        args: job.args.clone(),
        folder: job.folder.clone(),
        files: job.files.iter().map(|(path, bytes)| (path.clone(), bytes.len() as u64)).collect(),
        unconfined: scratch.as_ref().map(|scratch| scratch.path().to_owned()),
        bounds: BOUNDS,
    };
    let mut child = Command::new(&settings.program)
        .arg("render-jail")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(JailError::Io)?;
    // A jail that could not be made does not read to the end; it has said why.
    let _ = hand_over(&mut child, &order, job.files);
    let outcome = collect(&mut child, settings.wall_max);
    let code = finish(child);
    let (output, complaint) = outcome?;
    let words = || String::from_utf8_lossy(&complaint).replace(&format!("{}/", root.display()), "");
    match code.and_then(|code| u8::try_from(code).ok()) {
        Some(DONE) => Ok(Ended::Rendered(output)),
        Some(FAILED) => Ok(Ended::Refused(words())),
        Some(KILLED) => Err(JailError::Killed),
        Some(NO_JAIL) => Err(JailError::NoJail(words().trim().to_owned())),
        Some(_) | None => Err(JailError::NoJail("it ended unexpectedly".to_owned())),
    }
}

/// Writes the order and the files. The pipe stays open: its end would be the end of the tool.
fn hand_over(child: &mut Child, order: &Order, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    let Some(stdin) = child.stdin.as_mut() else { return Ok(()) };
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    stdin.write_all(&line)?;
    for (_, bytes) in files {
        stdin.write_all(bytes)?;
    }
    stdin.flush()
}

/// What one of the two pipes has brought.
enum Piped {
    Output(Option<Vec<u8>>),
    Complaint(Vec<u8>),
}

/// Reads both pipes to their ends, which is when the tool and all that it started are gone.
fn collect(child: &mut Child, limit: Duration) -> Result<(Vec<u8>, Vec<u8>), JailError> {
    let (sender, receiver) = channel();
    let complaints = sender.clone();
    read_aside(child.stdout.take(), sender, |pipe| {
        let mut bytes = Vec::new();
        // What cannot be read is not there.
        let _ = pipe.take(OUTPUT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
        Piped::Output((bytes.len() <= OUTPUT_BYTES_MAX).then_some(bytes))
    });
    read_aside(child.stderr.take(), complaints, |mut pipe| {
        let mut bytes = Vec::new();
        let _ = pipe.by_ref().take(COMPLAINT_BYTES_MAX as u64).read_to_end(&mut bytes);
        let _ = io::copy(&mut pipe, &mut io::sink());
        Piped::Complaint(bytes)
    });
    await_both(&receiver, limit)
}

fn await_both(receiver: &Receiver<Piped>, limit: Duration) -> Result<(Vec<u8>, Vec<u8>), JailError> {
    let start = clock::now();
    let (mut output, mut complaint) = (None, None);
    while output.is_none() || complaint.is_none() {
        match receiver.recv_timeout(limit.saturating_sub(clock::now().since(start))) {
            Ok(Piped::Output(Some(bytes))) => output = Some(bytes),
            Ok(Piped::Output(None)) => return Err(JailError::TooMuch),
            Ok(Piped::Complaint(bytes)) => complaint = Some(bytes),
            Err(_) => return Err(JailError::Late(limit)),
        }
    }
    Ok((output.unwrap_or_default(), complaint.unwrap_or_default()))
}

fn read_aside<R: Read + Send + 'static>(pipe: Option<R>, sender: Sender<Piped>, read: impl FnOnce(R) -> Piped + Send + 'static) {
    if let Some(pipe) = pipe {
        // Whoever waits may have given up.
        thread::spawn(move || drop(sender.send(read(pipe))));
    }
}

/// Ends the jail if it has not ended, and returns its exit code.
fn finish(mut child: Child) -> Option<i32> {
    // The jail kills the tool when stdin ends, and with it everything in its pid namespace.
    drop(child.stdin.take());
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw)?;
    let has_ended = || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), options).is_ok_and(|status| status.is_some())
    };
    let start = clock::now();
    while !has_ended() && clock::now().since(start) < END_MAX {
        thread::park_timeout(Duration::from_millis(1));
    }
    // Before it is waited for, so that its number is still its own. Without a jail this is what ends what the tool has left.
    let _ = kill_process_group(pid, Signal::KILL);
    child.wait().ok().and_then(|status| status.code())
}
