//! The state directory.
//!
//! ```text
//! identity/          the cluster's keys: to be backed up
//! mirror/            the repository and the audit branch, bare; rebuilt if lost
//! tokens/            hashes of the tokens that let hosts join
//! agent/             the agent's ledger, and files of its pods
//! agent/identity/    the node's key and certificate, once it has joined a controller on another host
//! agent/volumes/     the data of PersistentVolumeClaims: nobody else has it
//! run/agents.sock    where `driftless agent` reaches `driftless controller`
//! controller.lock    held while a controller runs
//! agent.lock         held while an agent runs
//! ```

use crate::cli::{CliError, CliResult};
use crate::clock;
use clap::Args;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::sleep;

/// How long the lock of a process that was just killed may last.
const LAST_BREATH: Duration = Duration::from_secs(2);

/// Between two tries of a lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Where to keep state.
#[derive(Debug, Clone, Args)]
pub(crate) struct StateArgs {
    /// Where to keep keys, a mirror of the repository, and what the pods of this node have on disk; back up identity/ and
    /// agent/volumes/ (the data of claims), the rest is rebuilt [default: /var/lib/driftless as root, else ~/.local/state/driftless]
    #[arg(long, env = "DRIFTLESS_STATE_DIR", value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

impl StateArgs {
    /// Its path, whether it is there or not.
    pub(crate) fn path(&self) -> CliResult<PathBuf> {
        match &self.state_dir {
            Some(dir) => std::path::absolute(dir).map_err(|error| unusable(dir, error)),
            None => default_root(),
        }
    }

    /// The directory, made if it is missing.
    pub(crate) fn open(&self) -> CliResult<StateDir> {
        let root = self.path()?;
        DirBuilder::new().recursive(true).mode(0o700).create(&root).map_err(|error| unusable(&root, error))?;
        Ok(StateDir { root })
    }
}

fn default_root() -> CliResult<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/driftless"));
    }
    let below = |variable: &str, rest: &str| {
        std::env::var_os(variable).map(PathBuf::from).filter(|dir| dir.is_absolute()).map(|dir| dir.join(rest))
    };
    below("XDG_STATE_HOME", "driftless")
        .or_else(|| below("HOME", ".local/state/driftless"))
        .ok_or_else(|| CliError::new("there is no home to keep state in").hint("name a folder with --state-dir"))
}

fn unusable(dir: &Path, error: std::io::Error) -> CliError {
    CliError::with_source(format!("cannot use the state directory {}", dir.display()), error)
        .hint("name a folder that you may write to, on a disk with space, with --state-dir")
}

/// An existing state directory.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    root: PathBuf,
}

impl StateDir {
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn identity(&self) -> PathBuf {
        self.root.join("identity")
    }

    pub(crate) fn mirror(&self) -> PathBuf {
        self.root.join("mirror")
    }

    pub(crate) fn agent(&self) -> PathBuf {
        self.root.join("agent")
    }

    pub(crate) fn tokens(&self) -> PathBuf {
        self.root.join("tokens")
    }

    pub(crate) fn membership(&self) -> PathBuf {
        self.root.join("agent/identity")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("run/agents.sock")
    }

    /// Makes this process the only controller here, for as long as the lock is kept.
    pub(crate) async fn lock_controller(&self) -> CliResult<StateLock> {
        self.lock("controller").await
    }

    /// Makes this process the only agent here, for as long as the lock is kept.
    pub(crate) async fn lock_agent(&self) -> CliResult<StateLock> {
        self.lock("agent").await
    }

    async fn lock(&self, role: &str) -> CliResult<StateLock> {
        let path = self.root.join(format!("{role}.lock"));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(|error| unusable(&self.root, error))?;
        match patiently(&file).await {
            Ok(()) => {
                note_pid(&mut file).map_err(|error| unusable(&self.root, error))?;
                Ok(StateLock { _file: file })
            }
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // The number is a courtesy; the lock is what counts.
                let _ = file.read_to_string(&mut pid);
                Err(CliError::new(format!("another {role} (process {}) uses {}", pid.trim(), self.root.display()))
                    .hint("stop it, or give this one a --state-dir (and a --cluster) of its own"))
            }
            Err(TryLockError::Error(error)) => Err(unusable(&self.root, error)),
        }
    }
}

/// Locks, and gives a process that was killed a moment ago the time to be gone.
async fn patiently(file: &File) -> Result<(), TryLockError> {
    let start = clock::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if clock::now().since(start) < LAST_BREATH => sleep(LOCK_PAUSE).await,
            outcome => return outcome,
        }
    }
}

fn note_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// A lock that ends with this value, or with the process.
#[derive(Debug)]
pub(crate) struct StateLock {
    _file: File,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_controllers_do_not_share_a_state_directory() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateArgs { state_dir: Some(folder.path().join("new/state")) }.open().expect("made");
        let held = state.lock_controller().await.expect("free");
        let agent = state.lock_agent().await.expect("an agent may be here too");
        let refused = state.lock_controller().await.expect_err("held").render();
        assert!(refused.contains(&format!("another controller (process {})", std::process::id())), "{refused}");
        drop((held, agent));
        state.lock_controller().await.expect("free again");
    }

    #[test]
    fn a_state_directory_that_cannot_be_made_says_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("written");
        let refused = StateArgs { state_dir: Some(file.join("state")) }.open().expect_err("refused").render();
        assert!(refused.contains("--state-dir"), "{refused}");
    }
}
