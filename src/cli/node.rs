//! This host as a node: its name, what it has, where files of pods go, and its runtimes.

use super::{CliError, CliResult};
use crate::agent::launch::Folders;
use crate::agent::net::dns::{NameLimits, NamesSettings, Resolvers};
use crate::agent::runtime::Runtime;
use crate::agent::runtime::docker::{Docker, DockerSettings, socket_of};
use crate::agent::runtime::process::{ProcessRuntime, ProcessSettings};
use crate::model::{Allows, Amounts, NODE_PORTS, NodeFacts, NodeName, Quantity, RuntimeKind};
use clap::ValueEnum;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Where host processes listen.
pub(super) const HOST_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The largest part of the memory that is kept from pods.
const RESERVE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Ports for host processes where the kernel does not say which ones it gives to clients: below those that Services have on every node.
const PORTS: RangeInclusive<u16> = 20_000..=*NODE_PORTS.start() - 1;

/// How long Docker may take to answer before it counts as absent.
const DOCKER_ANSWER: Duration = Duration::from_secs(5);

/// `TMPFS_MAGIC` of statfs(2).
const TMPFS: i64 = 0x0102_1994;

/// The name: as given, else the host's, made into a DNS label.
pub(super) fn name(given: Option<&str>) -> NodeName {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    NodeName::new(label(given.unwrap_or(&host)))
}

fn label(host: &str) -> String {
    let first = host.split('.').next().unwrap_or("").to_lowercase();
    let fitting: String = first.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(63).collect();
    match fitting.trim_matches('-') {
        "" => "node".to_owned(),
        name => name.to_owned(),
    }
}

/// What the agent says of this host, with so much of it kept from pods.
pub(super) fn facts(name: &NodeName, runtimes: &Runtimes, allows: Allows, reserve: Reserve) -> NodeFacts {
    let system = rustix::system::uname();
    let arch = go_arch(&system.machine().to_string_lossy());
    let capacity = capacity();
    NodeFacts {
        name: name.clone(),
        labels: BTreeMap::from([
            ("kubernetes.io/hostname".to_owned(), name.to_string()),
            ("kubernetes.io/os".to_owned(), "linux".to_owned()),
            ("kubernetes.io/arch".to_owned(), arch.clone()),
        ]),
        capacity,
        allocatable: reserve.rest_of(capacity),
        runtimes: runtimes.kinds(),
        leases: runtimes.kinds().into_iter().filter(|kind| enforces_leases(*kind)).collect(),
        allows,
        os: "linux".to_owned(),
        arch,
        kernel: system.release().to_string_lossy().into_owned(),
        engine: runtimes.offered.iter().find_map(|runtime| runtime.engine()),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        address: HOST_ADDRESS.to_string(),
        tunnel: Vec::new(),
        ingress: false,
    }
}

/// Whether something of ours can stop what runs there: a process under its shim is its user's own, a container takes the rights to signal any
/// process.
fn enforces_leases(kind: RuntimeKind) -> bool {
    match kind {
        RuntimeKind::Process => true,
        RuntimeKind::Docker => rustix::process::geteuid().is_root(),
    }
}

/// What is kept from pods: for the system, the engine and the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reserve {
    /// Thousandths of a core; none unless it is said.
    cpu_milli: Option<u64>,
    /// A tenth of the memory, at most 256 MiB, unless it is said.
    memory_bytes: Option<u64>,
}

impl Reserve {
    fn rest_of(self, capacity: Amounts) -> Amounts {
        let memory = self.memory_bytes.unwrap_or_else(|| (capacity.memory_bytes / 10).min(RESERVE_BYTES_MAX));
        Amounts {
            cpu_milli: capacity.cpu_milli.saturating_sub(self.cpu_milli.unwrap_or(0)),
            memory_bytes: capacity.memory_bytes.saturating_sub(memory),
        }
    }
}

impl FromStr for Reserve {
    type Err = String;

    /// `cpu=500m,memory=1Gi`, either or both.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut reserve = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, amount) =
                part.split_once('=').ok_or_else(|| format!("{part} is no reserve; write cpu=500m,memory=1Gi"))?;
            let quantity = Quantity::parse(amount).filter(|_| !amount.starts_with('-'));
            let quantity = quantity.ok_or_else(|| format!("{amount:?} is not a quantity"))?;
            match name {
                "cpu" => reserve.cpu_milli = Some(quantity.milli()),
                "memory" => reserve.memory_bytes = Some(quantity.value()),
                other => return Err(format!("{other} cannot be reserved; cpu and memory can")),
            }
        }
        Ok(reserve)
    }
}

/// As Go, and so Kubernetes, names it.
fn go_arch(machine: &str) -> String {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" | "armv6l" => "arm",
        other => other,
    }
    .to_owned()
}

fn capacity() -> Amounts {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = rustix::system::sysinfo();
    let memory_bytes = memory.totalram.saturating_mul(memory.mem_unit.into());
    Amounts { cpu_milli: u64::try_from(cores).unwrap_or(1) * 1_000, memory_bytes }
}

/// Ports for host processes: outside of the range that the kernel gives to clients, so that no connection takes one away.
pub(super) fn ports() -> RangeInclusive<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    ports_beside(&text)
}

pub(super) fn ports_beside(range: &str) -> RangeInclusive<u16> {
    let mut ends = range.split_whitespace().filter_map(|number| number.parse::<u16>().ok());
    let (Some(low), Some(high)) = (ends.next(), ends.next()) else { return PORTS };
    if low > *PORTS.start() + 1_000 {
        *PORTS.start()..=(low - 1).min(*PORTS.end())
    } else if high < u16::MAX - 1_000 {
        high + 1..=u16::MAX
    } else {
        PORTS
    }
}

/// Where files of pods go. Secrets are among them, so one folder is on tmpfs. It is named after the state directory, so that
/// clusters of one name beside each other do not meet.
///
/// # Errors
/// No tmpfs may be written.
pub(super) fn folders(cluster: &str, state: &Path) -> CliResult<Folders> {
    let digest = blake3::hash(state.as_os_str().as_encoded_bytes()).to_hex();
    let own = format!("{cluster}-{}", digest.get(..8).unwrap_or_default());
    let run = bases().map(|base| base.join(&own)).find(|dir| is_ours_on_tmpfs(dir));
    let run = run.ok_or_else(|| {
        CliError::new("there is no tmpfs to keep secrets of pods on").hint(
            "tried /run/driftless, $XDG_RUNTIME_DIR/driftless and /dev/shm; run as root, in a login session, or mount a tmpfs at /dev/shm",
        )
    })?;
    Ok(Folders { run, state: state.to_owned() })
}

/// Where a tmpfs may be that this user can write to, the best first.
fn bases() -> impl Iterator<Item = PathBuf> {
    let uid = rustix::process::getuid().as_raw();
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let bases = [Some(PathBuf::from("/run/driftless")), runtime_dir.map(|dir| dir.join("driftless"))];
    bases.into_iter().flatten().chain([PathBuf::from(format!("/dev/shm/driftless-{uid}"))])
}

/// The folder of [`bases`] that would be used. Nothing is made.
pub(super) fn secrets_folder() -> Option<PathBuf> {
    let usable = |there: &Path| {
        rustix::fs::access(there, rustix::fs::Access::WRITE_OK).is_ok()
            && rustix::fs::statfs(there).is_ok_and(|stat| stat.f_type == TMPFS)
    };
    bases().find(|base| nearest(base).is_some_and(usable))
}

/// A path, or the nearest folder above it that is there.
pub(super) fn nearest(path: &Path) -> Option<&Path> {
    path.ancestors().find(|folder| folder.exists())
}

fn is_ours_on_tmpfs(dir: &Path) -> bool {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir).is_ok();
    let is_owned = || rustix::fs::stat(dir).is_ok_and(|stat| stat.st_uid == rustix::process::geteuid().as_raw());
    let is_tmpfs = || rustix::fs::statfs(dir).is_ok_and(|stat| stat.f_type == TMPFS);
    made && is_owned() && is_tmpfs() && rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok()
}

/// How names of the cluster are answered here. `None` where port 53 may not be had: nothing else is asked by a `resolv.conf`.
pub(super) fn names(folders: &Folders, resolvers: Resolvers) -> Option<NamesSettings> {
    let host = names_address(folders);
    // Whether it is free now does not matter: it is tried again.
    let denied = UdpSocket::bind(host).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    (!denied).then(|| NamesSettings { host, resolvers, limits: NameLimits::default() })
}

/// Where host processes ask: an address of the loopback network that follows from the agent's own folder, so that agents beside each other
/// do not meet. systemd-resolved has 127.0.0.53 and 127.0.0.54.
fn names_address(folders: &Folders) -> SocketAddr {
    let digest = blake3::hash(folders.run.as_os_str().as_encoded_bytes());
    let [third, fourth, ..] = *digest.as_bytes();
    SocketAddr::from(([127, 53, third, fourth % 254 + 1], 53))
}

/// For people: where names are answered, or why not.
pub(super) fn told_of_names(names: Option<&NamesSettings>) -> String {
    match names {
        Some(names) => format!("answered at {} on this host, and to containers at their gateway", names.host),
        None => "not answered: port 53 needs root or CAP_NET_BIND_SERVICE; pods find Services by their environment variables"
            .to_owned(),
    }
}

/// Which runtimes to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum RuntimeChoice {
    /// Host processes, and containers if a Docker Engine answers
    #[default]
    Auto,
    /// Containers only
    Docker,
    /// Host processes only
    Process,
}

/// The runtimes of this host.
pub(super) struct Runtimes {
    /// What pods may be run with.
    pub(super) offered: Vec<Arc<dyn Runtime>>,
    /// The one of them that has images.
    pub(super) docker: Option<Docker>,
    /// For people: which, and why not the others.
    pub(super) told: String,
}

impl Runtimes {
    fn kinds(&self) -> BTreeSet<RuntimeKind> {
        self.offered.iter().map(|runtime| runtime.kind()).collect()
    }

    /// Looks for what was asked for. Docker that was asked for by name and is away is waited for by the agent.
    ///
    /// # Errors
    /// `DOCKER_HOST` names what we cannot use, and Docker was asked for.
    pub(super) async fn find(choice: RuntimeChoice, cluster: &str, node: &NodeName, folders: &Folders) -> CliResult<Self> {
        let mut found = Self { offered: Vec::new(), docker: None, told: String::new() };
        if choice != RuntimeChoice::Docker {
            found.add_process(cluster, node, folders);
        }
        if choice != RuntimeChoice::Process {
            found.add_docker(choice, cluster, node, folders).await?;
        }
        Ok(found)
    }

    fn add_process(&mut self, cluster: &str, node: &NodeName, folders: &Folders) {
        self.offered.push(Arc::new(ProcessRuntime::new(ProcessSettings {
            cluster: cluster.to_owned(),
            node: node.clone(),
            folders: folders.clone(),
            // Not its path: an upgrade replaces the file there while we run.
            program: PathBuf::from("/proc/self/exe"),
            address: HOST_ADDRESS,
        })));
        self.told.push_str("process (runtimeClassName: process)");
    }

    async fn add_docker(&mut self, choice: RuntimeChoice, cluster: &str, node: &NodeName, folders: &Folders) -> CliResult<()> {
        let host = std::env::var_os("DOCKER_HOST").map(|host| host.to_string_lossy().into_owned());
        let refused = |error| CliError::with_source("Docker cannot be used", error);
        let socket = match socket_of(host.as_deref()) {
            Ok(socket) => socket,
            Err(error) if choice == RuntimeChoice::Docker => return Err(refused(error)),
            Err(error) => {
                self.tell(&format!("no docker: {error}"));
                return Ok(());
            }
        };
        let (cluster, node, folders) = (cluster.to_owned(), node.clone(), folders.clone());
        let settings = DockerSettings { socket, cluster, node, program: own_program(), folders };
        let docker = Docker::with_logins(settings, docker_logins());
        let reached = timeout(DOCKER_ANSWER, docker.connect()).await;
        let trouble = match reached {
            Ok(Ok(())) => {
                self.tell(&docker.engine().unwrap_or_else(|| "docker".to_owned()));
                self.offer(docker);
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", DOCKER_ANSWER.as_secs()),
        };
        if choice == RuntimeChoice::Docker {
            self.tell(&format!("docker, once it can be reached: {trouble}"));
            self.offer(docker);
        } else {
            self.tell(&format!("no docker: {trouble}"));
        }
        Ok(())
    }

    fn offer(&mut self, docker: Docker) {
        self.docker = Some(docker.clone());
        self.offered.push(Arc::new(docker));
    }

    fn tell(&mut self, text: &str) {
        if !self.told.is_empty() {
            self.told.push_str("; ");
        }
        self.told.push_str(text);
    }
}

/// This very program, also when an upgrade has replaced its file: not `/proc/self`, which is another program in another process.
pub(super) fn own_program() -> PathBuf {
    PathBuf::from(format!("/proc/{}/exe", std::process::id()))
}

/// Where `docker login` of the agent's user keeps what it was told.
fn docker_logins() -> Option<PathBuf> {
    logins_below(std::env::var_os("DOCKER_CONFIG").map(PathBuf::from), std::env::home_dir())
}

fn logins_below(config: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let given = |dir: &PathBuf| !dir.as_os_str().is_empty();
    let folder = config.filter(given).or_else(|| home.filter(given).map(|home| home.join(".docker")))?;
    Some(folder.join("config.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_kept_from_pods() {
        let (gib, host) = (1 << 30, Amounts { cpu_milli: 4_000, memory_bytes: 8 << 30 });
        for (text, cpu, memory) in [
            ("", 4_000, 8 * gib - RESERVE_BYTES_MAX),
            ("cpu=500m", 3_500, 8 * gib - RESERVE_BYTES_MAX),
            ("cpu=1,memory=2Gi", 3_000, 6 * gib),
            ("memory=0", 4_000, 8 * gib),
            ("memory=99Gi", 4_000, 0),
        ] {
            let reserve: Reserve = text.parse().expect(text);
            assert_eq!(reserve.rest_of(host), Amounts { cpu_milli: cpu, memory_bytes: memory }, "{text}");
        }
        for bad in ["cpu", "cpu=lots", "disk=1Gi", "memory=-1"] {
            assert!(bad.parse::<Reserve>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_name_becomes_a_label() {
        for (host, expected) in [("Web_1.example.org", "web-1"), ("a", "a"), ("-x-", "x"), ("", "node"), ("___", "node")] {
            assert_eq!(label(host), expected, "{host}");
        }
    }

    #[test]
    fn logins_are_those_of_docker_login() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(logins_below(path("/etc/d"), path("/root")), path("/etc/d/config.json"));
        assert_eq!(logins_below(path(""), path("/root")), path("/root/.docker/config.json"));
        assert_eq!(logins_below(None, path("/root")), path("/root/.docker/config.json"));
        assert_eq!(logins_below(None, path("")), None);
    }

    #[test]
    fn ports_for_processes_lie_outside_the_range_of_clients() {
        assert_eq!(ports_beside("32768\t60999\n"), 20_000..=29_999);
        assert_eq!(ports_beside("1024\t60999\n"), 61_000..=65_535);
        assert_eq!(ports_beside("25000 60999"), 20_000..=24_999);
        assert_eq!(ports_beside("nonsense"), PORTS);
    }

    #[test]
    fn names_are_answered_on_the_loopback_network_and_for_each_agent_elsewhere() {
        let at = |run: &str| names_address(&Folders { run: run.into(), state: "/state".into() });
        let (one, other) = (at("/run/driftless/a-1"), at("/run/driftless/b-1"));
        assert_ne!(one, other);
        assert_eq!(one, at("/run/driftless/a-1"), "the same after a restart");
        assert!(one.ip().is_loopback() && one.port() == 53);
    }

    #[test]
    fn folders_of_clusters_with_one_name_differ_by_their_state() {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let run = |state: &Path| folders("default", state).expect("a tmpfs").run;
        let (first, second) = (run(a.path()), run(b.path()));
        assert_ne!(first, second);
        for dir in [first, second] {
            std::fs::remove_dir(dir).expect("removed");
        }
    }
}
