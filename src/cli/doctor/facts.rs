//! What was found: plain values, so that what they mean can be judged without a host.

use super::Role;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything that was asked for. What costs time is `None` if no check needs it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Facts {
    pub(super) role: Role,
    /// First lines of what programs say of their version; absent if a program is.
    pub(super) programs: BTreeMap<&'static str, String>,
    pub(super) docker: Option<Docker>,
    pub(super) is_root: bool,
    /// The effective capabilities, a bit each.
    pub(super) capabilities: u64,
    pub(super) cgroups: Cgroups,
    /// Whether rendering has its sandbox, and if not, why.
    pub(super) sandbox: Option<Result<(), String>>,
    pub(super) state: State,
    /// Where secrets of pods would be kept.
    pub(super) tmpfs: Option<PathBuf>,
    /// The file of the key that seals them; `None` if they are not to be sealed.
    pub(super) seal_key: Option<Result<PathBuf, Trouble>>,
    /// The soft limit of open files; `None` if there is none.
    pub(super) open_files: Option<u64>,
    /// The ports that the kernel gives to clients.
    pub(super) client_ports: Option<(u16, u16)>,
    /// Whether the ports that we listen on are free.
    pub(super) listeners: Vec<Listener>,
    pub(super) clock: Option<Clock>,
    /// The controller that was named, and whether it takes connections.
    pub(super) controller: Option<(String, Result<(), String>)>,
    pub(super) repo: Option<Repo>,
    /// `max_user_instances` and `max_user_watches`
    pub(super) inotify: Option<(u64, u64)>,
    /// As `uname -r` prints it.
    pub(super) kernel: String,
    pub(super) forwarding: Forwarding,
}

/// The Docker Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Docker {
    /// It does not answer, with the reason and what to do.
    Away(String),
    /// It does.
    Found {
        /// `20.10.24`
        version: String,
        /// The version of its API that is spoken.
        api: String,
        /// `systemd`, `cgroupfs`
        cgroup_driver: String,
        /// `overlay2`
        storage: String,
        /// Whether its containers live in a network that the host cannot reach.
        rootless: bool,
        /// Free bytes below its data folder, where that can be seen.
        free_bytes: Option<u64>,
    },
}

/// Control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cgroups {
    /// 2, 1, or 0 where there are none.
    pub(super) version: u8,
    /// Whether groups can be made.
    pub(super) writable: bool,
}

/// The state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) path: PathBuf,
    /// Its permissions, if it is there.
    pub(super) mode: Option<u32>,
    /// Whether it, or the folder that it is to be made in, can be written.
    pub(super) writable: bool,
    pub(super) free_bytes: Option<u64>,
    /// Free inodes; `None` where the file system has no limit.
    pub(super) free_files: Option<u64>,
}

/// A port that we listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listener {
    /// `7780`, and what for.
    pub(super) port: u16,
    pub(super) what: &'static str,
    /// Why it cannot be had.
    pub(super) trouble: Option<PortTrouble>,
}

/// Why a port cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PortTrouble {
    /// Somebody listens there.
    Taken,
    /// A Driftless does.
    TakenByUs,
    /// The kernel's words.
    Refused(String),
}

/// The clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    /// Whether a service keeps it right; `None` if nobody says.
    pub(super) synchronised: Option<bool>,
    /// How far it is ahead of the server's, in seconds, if that answers.
    pub(super) ahead_s: Option<i64>,
}

/// Which packets the kernel lets through, and past the firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forwarding {
    /// `net.ipv4.ip_forward`
    pub(super) ip_forward: Option<bool>,
    /// `net.bridge.bridge-nf-call-iptables`; `None` if its module is not loaded.
    pub(super) bridge_filter: Option<bool>,
}

/// The repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repo {
    /// Its address, without credentials.
    pub(super) shown: String,
    /// What was fetched.
    pub(super) fetched: Result<Fetched, Trouble>,
    /// Whether `driftless/*` may be pushed; `None` if that was not tried.
    pub(super) push: Option<Result<(), Trouble>>,
}

/// What is in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) branch: String,
    /// Abbreviated.
    pub(super) commit: String,
    /// Folders with a kustomization.
    pub(super) kustomizations: usize,
    /// Folders with a chart.
    pub(super) charts: usize,
    /// What its manifests are; an error is one of the path.
    pub(super) manifests: Result<Manifests, Trouble>,
}

/// The manifests, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Manifests {
    pub(super) objects: usize,
    pub(super) units: usize,
    pub(super) held: usize,
    pub(super) errors: usize,
    pub(super) warnings: usize,
    /// The first error, with its place.
    pub(super) first_error: Option<String>,
}

/// An error with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}
