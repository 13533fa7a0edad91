//! Starting a process, and running a command beside one.

use super::protocol::{Hidden, Reply, Spec, VERSION};
use super::store::{self, Entry, failed, shim_folder};
use super::{ProcessSettings, names, rights};
use crate::agent::runtime::procfs::{Proc, descendants};
use crate::agent::runtime::{ContainerLaunch, EnvValue, ExecResult, Mount, RuntimeError, lease};
use crate::model::Protocol;
use rustix::process::{Pid, Signal};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use zeroize::Zeroizing;

/// Where programs are looked for when the launch says nothing.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A shim that has not answered after so long is stuck.
const REPLY_MAX: Duration = Duration::from_secs(30);

/// Starts a process under a shim, or returns the one that this launch has started before.
pub(super) async fn start(settings: &ProcessSettings, launch: &ContainerLaunch) -> Result<Entry, RuntimeError> {
    let folder = shim_folder(&settings.folders, &launch.labels);
    if let Some(entry) = store::read(&folder) {
        let entry = entry.settle().await;
        if entry.is_running() {
            return Ok(entry);
        }
        entry.delete()?;
    }
    rights::check(&launch.security)?;
    check_ports(settings.address, launch)?;
    make_folder(&folder)?;
    let home = settings.folders.pod_state(launch.labels.uid).join("work").join(&launch.labels.container);
    make_folder(&home)?;
    for mount in &launch.mounts {
        link(&home, mount)?;
    }
    let outcome = spawn(settings, launch, &folder, &home).await;
    if outcome.is_err() {
        // Nothing runs from it.
        let _ = fs::remove_dir_all(&folder);
    }
    outcome
}

async fn spawn(settings: &ProcessSettings, launch: &ContainerLaunch, folder: &Path, home: &Path) -> Result<Entry, RuntimeError> {
    let action = || format!("cannot start {}", launch.labels.container_name());
    let shim_failed = |error: io::Error| failed("cannot run the shim", &settings.program, &error);
    let spec = spec_of(settings, launch, folder, home);
    let bytes = Zeroizing::new(
        serde_json::to_vec(&spec).map_err(|error| RuntimeError::Failed { action: action(), message: error.to_string() })?,
    );
    drop(spec);
    if let Some(lease) = &launch.lease {
        let path = folder.join(store::LEASE);
        lease::write(&path, lease).map_err(|error| failed("cannot write", &path, &error))?;
    }
    let lock = lock(folder)?;
    // Its name is for `ps`; everything else goes through the pipe.
    let mut child = Command::new(&settings.program)
        .arg("shim")
        .arg(launch.labels.container_name())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(lock))
        .spawn()
        .map_err(shim_failed)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let mut stdin = stdin.ok_or_else(|| shim_failed(io::Error::other("no pipe")))?;
    let stdout = stdout.ok_or_else(|| shim_failed(io::Error::other("no pipe")))?;
    stdin.write_all(&bytes).await.map_err(shim_failed)?;
    // The end of the pipe says that the spec is whole.
    drop(stdin);
    let mut line = String::new();
    let read = tokio::time::timeout(REPLY_MAX, BufReader::new(stdout).read_line(&mut line)).await;
    let answered = matches!(read, Ok(Ok(_)));
    match serde_json::from_str::<Reply>(&line).ok().filter(|_| answered) {
        Some(Reply::Running) => {}
        Some(Reply::Refused(message)) => return Err(RuntimeError::Refused { message }),
        None => {
            // It is ours and has not said that anything runs.
            let _ = child.start_kill();
            let message = fs::read_to_string(folder.join(store::LOCK)).unwrap_or_default();
            let message = if message.is_empty() { "the shim gave no answer".to_owned() } else { message };
            return Err(RuntimeError::Failed { action: action(), message });
        }
    }
    let entry = store::read(folder);
    entry.ok_or_else(|| RuntimeError::Failed { action: action(), message: "the shim left no record".to_owned() })
}

/// The shim's stderr is the locked file: the lock is held for as long as one of them lives, and an agent that finds it held waits for
/// the record.
fn lock(folder: &Path) -> Result<fs::File, RuntimeError> {
    let path = folder.join(store::LOCK);
    let file = fs::File::create(&path).map_err(|error| failed("cannot write", &path, &error))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|error| failed("cannot lock", &path, &error.into()))?;
    Ok(file)
}

fn spec_of(settings: &ProcessSettings, launch: &ContainerLaunch, folder: &Path, home: &Path) -> Spec {
    let hide = |value: &EnvValue| Hidden(Zeroizing::new(value.expose().to_vec()));
    let mut env: Vec<(String, Hidden)> = launch.env.iter().map(|(name, value)| (name.clone(), hide(value))).collect();
    let given = |name: &str| launch.env.iter().any(|(known, _)| known == name);
    if !given("PATH") {
        env.push(("PATH".to_owned(), Hidden(Zeroizing::new(search_path().into_bytes()))));
    }
    if !given("HOME") {
        env.push(("HOME".to_owned(), Hidden(Zeroizing::new(home.as_os_str().as_bytes().to_vec()))));
    }
    let labels = &launch.labels;
    let log = settings.folders.pod_state(labels.uid).join("logs").join(format!("{}.{}.log", labels.container, labels.attempt));
    Spec {
        version: VERSION,
        folder: folder.to_owned(),
        labels: labels.clone(),
        ports: launch.ports.clone(),
        argv: launch.command.iter().chain(&launch.args).cloned().collect(),
        env,
        working_dir: launch.working_dir.as_ref().map_or_else(|| home.to_owned(), |path| home.join(path)),
        log,
        retention: launch.log,
        limits: launch.limits,
        no_new_privileges: launch.security.no_new_privileges,
        resolv_conf: names::resolv_conf(launch.network.resolver.as_ref()),
        lease: launch.lease,
    }
}

/// The system's folders, and ours last, so that `driftless` itself is found.
fn search_path() -> String {
    match std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_string_lossy().into_owned())) {
        Some(own) => format!("{PATH}:{own}"),
        None => PATH.to_owned(),
    }
}

fn make_folder(path: &Path) -> Result<(), RuntimeError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| failed("cannot make", path, &error))
}

/// Makes a mount's target, below the process' own folder, lead to its source.
fn link(home: &Path, mount: &Mount) -> Result<(), RuntimeError> {
    if !mount.source.exists() {
        return Err(RuntimeError::Refused { message: format!("the mount's source {} does not exist", mount.source.display()) });
    }
    let target = home.join(mount.target.trim_start_matches('/'));
    if let Some(parent) = target.parent() {
        make_folder(parent)?;
    }
    match fs::read_link(&target) {
        Ok(source) if source == mount.source => return Ok(()),
        Ok(_) => fs::remove_file(&target).map_err(|error| failed("cannot replace", &target, &error))?,
        Err(_) => {}
    }
    symlink(&mount.source, &target).map_err(|error| failed("cannot link", &target, &error))
}

/// Finds out whether another program has a port, before the process does and fails for a reason that is not its own.
fn check_ports(address: IpAddr, launch: &ContainerLaunch) -> Result<(), RuntimeError> {
    for port in &launch.ports {
        let Some(number) = port.host_port else { continue };
        let at = SocketAddr::new(address, number);
        let outcome = match port.protocol {
            Protocol::Tcp => TcpListener::bind(at).map(|_| ()),
            Protocol::Udp => UdpSocket::bind(at).map(|_| ()),
        };
        if outcome.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse) {
            return Err(RuntimeError::PortInUse { port: number });
        }
    }
    Ok(())
}

/// Runs a command with the environment and in the folder of a process.
pub(super) async fn run_beside(
    workload: Proc,
    command: &[String],
    timeout: Duration,
    output_max: usize,
) -> Result<ExecResult, RuntimeError> {
    let refused = |message: String| RuntimeError::Refused { message };
    let (program, args) = command.split_first().ok_or_else(|| refused("the command is empty".to_owned()))?;
    let proc = PathBuf::from(format!("/proc/{}", workload.pid));
    let environ = fs::read(proc.join("environ")).map(Zeroizing::new);
    let environ = environ.map_err(|error| failed("cannot read", &proc.join("environ"), &error))?;
    let pairs = environ.split(|byte| *byte == 0).filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        Some((OsStr::from_bytes(&pair[..at]), OsStr::from_bytes(&pair[at + 1..])))
    });
    let spawned = Command::new(program)
        .args(args)
        .env_clear()
        .envs(pairs)
        .current_dir(proc.join("cwd"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        // As a shell says it: the command is at fault, not the runtime.
        Err(error) => return Ok(ExecResult { code: Some(127), output: format!("cannot run {program:?}: {error}") }),
    };
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let mut output = Vec::new();
    let mut errors = Vec::new();
    let work = async {
        let (read, also, status) = tokio::join!(
            drain(stdout.as_mut(), &mut output, output_max),
            drain(stderr.as_mut(), &mut errors, output_max),
            child.wait()
        );
        read.and(also).and(status)
    };
    let outcome = tokio::time::timeout(timeout, work).await;
    let code = match outcome {
        Ok(Ok(status)) => Some(status.code().unwrap_or(137)),
        Ok(Err(error)) => return Err(refused(format!("cannot run {program:?}: {error}"))),
        Err(_) => {
            kill_tree(pid);
            None
        }
    };
    output.extend(errors);
    output.truncate(output_max);
    Ok(ExecResult { code, output: String::from_utf8_lossy(&output).into_owned() })
}

/// A command that ran out of time, with what it has started.
fn kill_tree(pid: Option<i32>) {
    let Some(pid) = pid else { return };
    let mut all = descendants(pid);
    all.insert(pid);
    for pid in all.into_iter().filter_map(Pid::from_raw) {
        // It may have ended just now.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// Reads to the end and keeps the beginning, so that a talkative command does not block on a full pipe.
async fn drain<R: tokio::io::AsyncRead + Unpin>(pipe: Option<&mut R>, kept: &mut Vec<u8>, max: usize) -> io::Result<()> {
    let Some(pipe) = pipe else { return Ok(()) };
    let mut buffer = [0; 4096];
    loop {
        let length = pipe.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let room = max.saturating_sub(kept.len()).min(length);
        kept.extend_from_slice(&buffer[..room]);
    }
}
