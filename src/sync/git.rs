//! The `git` program: for what needs the user's credential helpers, ssh config, proxies and CA settings.
//!
//! Never a shell, never a prompt, always a time limit. Git gets a global config of ours that includes the user's: only there does
//! `safe.directory` count, and there our remotes live, so that no address appears in an argument list. Output is read in C locale,
//! and redacted before it becomes a message.

use super::SyncError;
use super::address::{Address, Credentials, redact};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// At most so much of git's output is kept; the rest is read and dropped.
const OUTPUT_BYTES_MAX: u64 = 16 << 20;
/// How long git may take to end when it is told to.
const TERM_LIMIT: Duration = Duration::from_secs(5);

/// Variables that would point git at another repository, for example when we are started from a hook.
const FOREIGN: &[&str] = &[
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_QUARANTINE_PATH",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CONFIG_PARAMETERS",
];

/// A remote by the name that our config gives it.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    /// Its name in the config; our tracking refs are `refs/remotes/<name>/…`.
    pub(super) name: &'static str,
    /// Its address.
    pub(super) address: Address,
    /// The address as people may see it.
    pub(super) shown: String,
}

impl Remote {
    /// A remote at `url`, which may be a path relative to the current folder.
    pub(super) fn new(name: &'static str, url: &str) -> Self {
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let address = Address::parse(url, &here);
        let shown = redact(&address.plain);
        Self { name, address, shown }
    }
}

/// Runs git on one bare repository.
#[derive(Debug, Clone)]
pub(super) struct Git {
    repo: PathBuf,
    config: PathBuf,
    credentials: Option<(PathBuf, Credentials)>,
}

/// What a run left.
#[derive(Debug)]
pub(super) struct Output {
    /// Whether it exited with 0.
    pub(super) ok: bool,
    /// Its standard output.
    pub(super) stdout: String,
    /// Its standard error, redacted.
    pub(super) stderr: String,
}

impl Git {
    /// Git on the repository `dir/repo.git` with a config that knows `remote`, which is written here.
    pub(super) fn new(dir: &Path, remote: &Remote) -> Result<Self, SyncError> {
        let config = dir.join(format!("{}.gitconfig", remote.name));
        write_private(&config, &config_text(dir, remote))?;
        let credentials = remote.address.credentials.clone().map(|credentials| (credentials_file(dir, remote), credentials));
        Ok(Self { repo: dir.join("repo.git"), config, credentials })
    }

    /// Runs `git ARGS…` within the limit. `what` says what is being done, for messages.
    pub(super) fn run(&self, what: &str, args: &[&str], limit: Duration) -> Result<Output, SyncError> {
        if let Some((file, credentials)) = &self.credentials {
            // Each time, because git erases from it what a host has refused once.
            write_private(file, &format!("{}\n", credentials.0))?;
        }
        let mut command = Command::new("git");
        command.arg("--git-dir").arg(&self.repo);
        // A hook of the user's own config, or one that a template put into the mirror, is none of our business.
        command.args(["-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "maintenance.auto=false"]);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in FOREIGN {
            command.env_remove(name);
        }
        command.env("GIT_CONFIG_GLOBAL", &self.config).env("GIT_TERMINAL_PROMPT", "0").env("SSH_ASKPASS_REQUIRE", "never");
        command.env("LC_ALL", "C").env("GIT_OPTIONAL_LOCKS", "0").process_group(0);
        let child = command.spawn().map_err(|source| SyncError::NoGit { source })?;
        collect(child, what, limit)
    }
}

/// Waits for a child and reads it out; a child that takes too long is stopped with its whole group (ssh, remote helpers).
fn collect(mut child: Child, what: &str, limit: Duration) -> Result<Output, SyncError> {
    let (done, finished) = mpsc::channel::<()>();
    let stdout = read_aside(child.stdout.take(), done.clone());
    let stderr = read_aside(child.stderr.take(), done);
    // The channel carries nothing: it closes when both pipes have ended, which is when git has.
    let is_late = |limit| matches!(finished.recv_timeout(limit), Err(mpsc::RecvTimeoutError::Timeout));
    let late = is_late(limit);
    if late {
        // First a chance to take its locks and temporary packs away.
        signal_group(&child, Signal::TERM);
        if is_late(TERM_LIMIT) {
            signal_group(&child, Signal::KILL);
        }
    }
    let failed = |source| SyncError::NoGit { source };
    let status = child.wait().map_err(failed)?;
    let stdout = stdout.join().unwrap_or_default();
    let stderr = redact(stderr.join().unwrap_or_default().trim());
    if late {
        return Err(SyncError::Timeout { what: what.to_owned(), limit });
    }
    Ok(Output { ok: status.success(), stdout, stderr })
}

fn read_aside<R: Read + Send + 'static>(pipe: Option<R>, done: mpsc::Sender<()>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What cannot be read is left out of a message; the exit status decides.
            let _ = pipe.by_ref().take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        drop(done);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn signal_group(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended just now.
        let _ = kill_process_group(pid, signal);
    }
}

/// Our global config: limits, then the user's own, which may override them, then what must hold.
fn config_text(dir: &Path, remote: &Remote) -> String {
    let mut text = String::from("# Written by Driftless at every start.\n");
    text.push_str("[core]\n\tsshCommand = ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15\n");
    text.push_str("[http]\n\tlowSpeedLimit = 1000\n\tlowSpeedTime = 30\n");
    let helper = match &remote.address.credentials {
        Some(_) => {
            // Git hands this line to a shell.
            let file = credentials_file(dir, remote).to_string_lossy().replace('\'', "'\\''");
            format!("[credential]\n\thelper = {}\n", quoted(&format!("store --file='{file}'")))
        }
        None => String::new(),
    };
    // Before the user's helpers, so that the password in --repo wins; and again after them, because they may reset the list.
    text.push_str(&helper);
    for path in user_configs() {
        text.push_str(&format!("[include]\n\tpath = {}\n", quoted(&path.to_string_lossy())));
    }
    text.push_str(&helper);
    text.push_str(&format!("[remote \"{}\"]\n\turl = {}\n", remote.name, quoted(&remote.address.plain)));
    for safe in remote.address.local.iter().flat_map(|path| [path.clone(), path.join(".git")]) {
        text.push_str(&format!("[safe]\n\tdirectory = {}\n", quoted(&safe.to_string_lossy())));
    }
    text
}

/// The files that git would have read as the global config. A missing one is passed over by git itself.
fn user_configs() -> Vec<PathBuf> {
    // Git's own variables, read here because ours replaces the first of them.
    if let Some(own) = std::env::var_os("GIT_CONFIG_GLOBAL") {
        return vec![PathBuf::from(own)];
    }
    let home = std::env::home_dir();
    let config =
        std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| home.as_ref().map(|home| home.join(".config")));
    let xdg = config.map(|config| config.join("git/config"));
    xdg.into_iter().chain(home.map(|home| home.join(".gitconfig"))).collect()
}

fn credentials_file(dir: &Path, remote: &Remote) -> PathBuf {
    dir.join(format!("{}.credentials", remote.name))
}

/// A value of a git config file.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// Writes a file that only we may read, replacing it whole. One that is as it should be is left alone: a full disk is no reason to
/// stop reading.
fn write_private(path: &Path, text: &str) -> Result<(), SyncError> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let fresh = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&fresh, path)
    };
    write().map_err(SyncError::io("cannot write", path))
}

/// Puts a failed run into our words.
pub(super) fn classify(what: &str, remote: &Remote, stderr: &str, dir: &Path) -> SyncError {
    let has = |needles: &[&str]| needles.iter().any(|needle| stderr.contains(needle));
    let repo = remote.shown.clone();
    let detail = last_words(stderr);
    if has(&["No space left on device", "Disk quota exceeded"]) {
        return SyncError::DiskFull { at: dir.to_owned() };
    }
    if has(&[
        "Permission denied",
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "terminal prompts disabled",
        "The requested URL returned error: 403",
        "Host key verification failed",
        "dubious ownership",
        "insufficient permission",
    ]) {
        return SyncError::Denied { repo, detail };
    }
    if has(&[
        "does not appear to be a git repository",
        "epository not found",
        "not found",
        "does not exist",
        "not a git repository",
    ]) {
        // git takes a folder that it may not read for no repository.
        return match remote.address.local.as_deref().map(std::fs::read_dir) {
            Some(Err(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                SyncError::Denied { repo, detail: "the folder may not be read".to_owned() }
            }
            Some(_) | None => SyncError::MissingRepo { repo },
        };
    }
    if has(&[
        "Could not resolve",
        "Connection refused",
        "onnection timed out",
        "Operation timed out",
        "Failed to connect",
        "Couldn't connect",
        "Network is unreachable",
        "No route to host",
        "unable to access",
        "unexpected disconnect",
        "hung up unexpectedly",
        "Connection reset",
        "Connection closed",
    ]) {
        return SyncError::Unreachable { repo, detail };
    }
    SyncError::Git { what: what.to_owned(), detail }
}

/// The line of git's output that says most: the first `fatal:` or `error:` line, else the last line.
pub(super) fn last_words(stderr: &str) -> String {
    let said = |line: &&str| ["fatal: ", "error: ", "ERROR: "].iter().any(|prefix| line.starts_with(prefix));
    let denied = stderr.lines().find(|line| line.contains("Permission denied") || line.contains("Host key verification"));
    let line = denied.or_else(|| stderr.lines().find(said)).or_else(|| stderr.lines().last()).unwrap_or("git said nothing");
    let line = ["fatal: ", "error: ", "ERROR: "].iter().fold(line, |line, prefix| line.strip_prefix(prefix).unwrap_or(line));
    line.trim().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classified(stderr: &str) -> SyncError {
        classify("fetching", &Remote::new("source", "https://forge.example/shop.git"), stderr, Path::new("/state"))
    }

    #[test]
    fn gits_words_become_typed_errors() {
        let denied = "git@forge.example: Permission denied (publickey).\nfatal: Could not read from remote repository.";
        assert!(matches!(classified(denied), SyncError::Denied { detail, .. } if detail.contains("publickey")));
        assert!(matches!(
            classified("fatal: unable to access 'https://forge.example/': Could not resolve host: forge.example"),
            SyncError::Unreachable { .. }
        ));
        assert!(matches!(
            classified("remote: Repository not found.\nfatal: repository 'x' not found"),
            SyncError::MissingRepo { .. }
        ));
        assert!(matches!(classified("fatal: write error: No space left on device"), SyncError::DiskFull { .. }));
        assert!(matches!(classified("fatal: detected dubious ownership in repository at '/x'"), SyncError::Denied { .. }));
        assert!(matches!(classified("fatal: something new"), SyncError::Git { detail, .. } if detail == "something new"));
    }

    #[test]
    fn a_run_that_takes_too_long_is_stopped_with_its_children() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & wait"]).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let child = command.spawn().unwrap();
        let error = collect(child, "sleeping", Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.to_string(), "sleeping took more than 0 s and was stopped");
    }

    #[test]
    fn the_config_holds_no_password_and_survives_odd_paths() {
        let remote = Remote::new("source", "https://bot:s3cret@forge.example/a\"b.git");
        let text = config_text(Path::new("/state/mirror"), &remote);
        assert!(!text.contains("s3cret"), "{text}");
        assert!(text.contains("url = \"https://forge.example/a\\\"b.git\""), "{text}");
        assert!(text.contains("store --file='/state/mirror/source.credentials'"), "{text}");
    }
}
