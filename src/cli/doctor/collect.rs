//! Asks the host and the repository. Nothing is changed, and nothing is decided.

mod clock;
mod listeners;
mod repo;

use super::DoctorArgs;
use super::check::Check;
use super::facts::{Cgroups, Docker, Facts, Forwarding, State, Trouble};
use crate::agent::runtime::docker::{self, socket_of};
use crate::cli::{CliError, CliResult, node};
use crate::sync::try_sandbox;
use rustix::fs::{Access, access, statfs, statvfs};
use rustix::process::{Resource, geteuid, getrlimit};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

/// How long a program or a peer may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// `CGROUP2_SUPER_MAGIC` and `TMPFS_MAGIC` of statfs(2): version 1 has a tmpfs that holds its trees.
const CGROUP2: i64 = 0x6367_7270;
const TMPFS: i64 = 0x0102_1994;

/// Trees of version 1 that limits are set in.
const CGROUP1_TREES: [&str; 3] = ["freezer", "memory", "cpu"];

/// Programs, and how each is asked for its version.
const PROGRAMS: [(&str, &[&str], Check); 5] = [
    ("git", &["--version"], Check::Git),
    ("nft", &["--version"], Check::Nft),
    ("kustomize", &["version"], Check::Kustomize),
    ("kubectl", &["version", "--client"], Check::Kustomize),
    ("helm", &["version", "--short"], Check::Helm),
];

/// What the chosen checks need to know.
///
/// # Errors
/// There is no home to keep state in, and no folder was named.
pub(super) async fn facts(args: &DoctorArgs, chosen: &[Check]) -> CliResult<Facts> {
    let asked = |check: Check| chosen.contains(&check);
    let about_repo = [Check::Repository, Check::Push, Check::Manifests, Check::Kustomize, Check::Helm, Check::Sandbox];
    let path = args.state.path()?;
    let sandbox = asked(Check::Sandbox).then(|| try_sandbox(&args.render.settings()));
    Ok(Facts {
        role: args.role,
        programs: programs(chosen).await,
        docker: if asked(Check::Docker) { Some(docker_engine().await) } else { None },
        is_root: geteuid().is_root(),
        capabilities: capabilities(&read("/proc/self/status")),
        cgroups: cgroups(Path::new("/sys/fs/cgroup")),
        sandbox,
        state: state(path.clone()),
        tmpfs: node::secrets_folder(),
        seal_key: args.secrets.key_file(&path).map_err(|error| trouble(&error)).transpose(),
        open_files: getrlimit(Resource::Nofile).current,
        client_ports: pair(&read("/proc/sys/net/ipv4/ip_local_port_range"))
            .and_then(|(low, high)| Some((u16::try_from(low).ok()?, u16::try_from(high).ok()?))),
        listeners: if asked(Check::Ports) { listeners::listeners(args.role).await } else { Vec::new() },
        clock: if asked(Check::Clock) { Some(clock::clock(args.server.as_deref()).await) } else { None },
        controller: match &args.controller {
            Some(address) if asked(Check::Controller) => Some((address.clone(), reached(address).await)),
            Some(_) | None => None,
        },
        repo: args
            .repo
            .as_ref()
            .filter(|_| about_repo.into_iter().any(asked))
            .map(|url| repo::repo(url, args, asked(Check::Push))),
        inotify: inotify(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        forwarding: Forwarding {
            ip_forward: switch("/proc/sys/net/ipv4/ip_forward"),
            bridge_filter: switch("/proc/sys/net/bridge/bridge-nf-call-iptables"),
        },
    })
}

fn trouble(error: &CliError) -> Trouble {
    let (message, hint) = error.parts();
    Trouble { message, hint }
}

/// A file of the kernel's; empty where it is not.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn switch(path: &str) -> Option<bool> {
    read(path).trim().parse::<u8>().ok().map(|value| value != 0)
}

fn pair(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn inotify() -> Option<(u64, u64)> {
    let number = |name: &str| read(&format!("/proc/sys/fs/inotify/{name}")).trim().parse::<u64>().ok();
    Some((number("max_user_instances")?, number("max_user_watches")?))
}

/// `CapEff` of proc_pid_status(5).
fn capabilities(status: &str) -> u64 {
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}

async fn programs(chosen: &[Check]) -> BTreeMap<&'static str, String> {
    let mut found = BTreeMap::new();
    for (name, arguments, check) in PROGRAMS {
        if chosen.contains(&check)
            && let Some(said) = version_of(name, arguments).await
        {
            found.insert(name, said);
        }
    }
    found
}

/// The first line that a program says of its version. Programs of the system's are looked for where PATH of a user may not lead.
async fn version_of(name: &str, arguments: &[&str]) -> Option<String> {
    let folders = std::env::split_paths(&std::env::var_os("PATH")?).collect::<Vec<_>>();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let program =
        folders.into_iter().chain(system).map(|folder| folder.join(name)).find(|path| access(path, Access::EXEC_OK).is_ok())?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = timeout(ANSWER, command.output()).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

async fn docker_engine() -> Docker {
    let host = std::env::var_os("DOCKER_HOST").map(|host| host.to_string_lossy().into_owned());
    let described = async {
        let socket = socket_of(host.as_deref())?;
        docker::describe(socket).await
    };
    match timeout(ANSWER, described).await {
        Ok(Ok(engine)) => Docker::Found {
            version: engine.version,
            api: engine.api,
            cgroup_driver: engine.cgroup_driver,
            storage: engine.storage,
            rootless: engine.rootless,
            free_bytes: free_at(&engine.data).map(|(bytes, _)| bytes),
        },
        Ok(Err(error)) => Docker::Away(error.to_string()),
        Err(_) => Docker::Away(format!("no answer within {} s", ANSWER.as_secs())),
    }
}

fn cgroups(root: &Path) -> Cgroups {
    let kind = statfs(root).map_or(0, |stat| stat.f_type);
    let writable = |path: &Path| access(path, Access::WRITE_OK).is_ok();
    match kind {
        CGROUP2 => Cgroups { version: 2, writable: writable(root) },
        TMPFS => Cgroups { version: 1, writable: CGROUP1_TREES.iter().any(|tree| writable(&root.join(tree))) },
        _ => Cgroups { version: 0, writable: false },
    }
}

fn state(path: PathBuf) -> State {
    let mode = fs::metadata(&path).ok().map(|metadata| metadata.permissions().mode() & 0o7777);
    let there = node::nearest(&path);
    let free = there.and_then(free_at);
    State {
        mode,
        writable: there.is_some_and(|there| access(there, Access::WRITE_OK).is_ok()),
        free_bytes: free.map(|(bytes, _)| bytes),
        free_files: free.and_then(|(_, files)| files),
        path,
    }
}

/// Free bytes and inodes for whoever asks; `None` for inodes where the file system has no limit.
fn free_at(path: &Path) -> Option<(u64, Option<u64>)> {
    let stat = statvfs(path).ok()?;
    Some((stat.f_bavail.saturating_mul(stat.f_frsize), (stat.f_files > 0).then_some(stat.f_favail)))
}

async fn reached(address: &str) -> Result<(), String> {
    let address = address.strip_prefix("https://").unwrap_or(address);
    match timeout(ANSWER, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_as_the_kernel_prints_them() {
        assert_eq!(capabilities("Name:\tx\nCapInh:\t0\nCapEff:\t000001ffffffffff\n"), 0x1ff_ffff_ffff);
        assert_eq!(capabilities(""), 0);
    }

    #[test]
    fn two_numbers_are_a_pair_and_nothing_else_is() {
        assert_eq!(pair("32768\t60999\n"), Some((32_768, 60_999)));
        assert_eq!((pair(""), pair("1"), pair("a b")), (None, None, None));
    }
}
