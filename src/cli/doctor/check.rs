//! The checks, and from facts to verdicts.

use super::facts::{Facts, Trouble};
use super::{Role, host, reach, repository};
use clap::ValueEnum;

/// One thing that is looked at. The order is that of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Check {
    /// Git, and its version
    Git,
    /// The kernel's version
    Kernel,
    /// Root, or which capabilities
    Rights,
    /// The Docker Engine, its API, cgroup driver and storage
    Docker,
    /// Control groups, for the limits of host processes
    Cgroups,
    /// nftables, for the addresses of Services
    Nft,
    /// Whether packets are forwarded, and seen by the firewall
    Forwarding,
    /// The state directory and its permissions
    State,
    /// Free space
    Disk,
    /// A tmpfs for secrets, and the key that seals them
    Secrets,
    /// How many files may be open
    OpenFiles,
    /// The ports that we listen on
    Ports,
    /// Ports for host processes beside those of the kernel
    PortRange,
    /// Whether the clock is right
    Clock,
    /// Whether the controller can be reached
    Controller,
    /// How many folders can be watched
    Inotify,
    /// The sandbox of rendering
    Sandbox,
    /// Kustomize, or kubectl, where the repository uses it
    Kustomize,
    /// Helm, where the repository uses it
    Helm,
    /// Whether the repository can be fetched
    Repository,
    /// Whether driftless/* can be pushed to it
    Push,
    /// Its manifests
    Manifests,
}

/// `1 error`, `2 errors`
pub(super) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// How well a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Ok,
    /// Something will be less than it could be.
    Warning,
    /// Something will not work.
    Error,
}

impl Level {
    /// As the report has it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// What a check says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Level,
    /// What was seen.
    pub(super) seen: String,
    /// What to do.
    pub(super) hint: Option<String>,
}

impl Verdict {
    pub(super) fn ok(seen: impl Into<String>) -> Self {
        Self { level: Level::Ok, seen: seen.into(), hint: None }
    }

    pub(super) fn warning(seen: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { level: Level::Warning, seen: seen.into(), hint: Some(hint.into()) }
    }

    pub(super) fn error(seen: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { level: Level::Error, seen: seen.into(), hint: Some(hint.into()) }
    }

    /// An error of what was tried, with what to do `otherwise` if it does not say.
    pub(super) fn of(trouble: &Trouble, otherwise: &str) -> Self {
        Self::error(&trouble.message, trouble.hint.as_deref().unwrap_or(otherwise))
    }

    /// An error on a host for agents alone, where Services must work; else a warning.
    pub(super) fn serious_for_agents(role: Role, seen: impl Into<String>, hint: impl Into<String>) -> Self {
        let verdict = Self::warning(seen, hint);
        if role == Role::Agent { Self { level: Level::Error, ..verdict } } else { verdict }
    }
}

impl Check {
    /// As it is written.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it matters for what is to run.
    pub(super) fn concerns(self, role: Role) -> bool {
        match self {
            Check::State | Check::Disk | Check::OpenFiles | Check::Clock | Check::Ports | Check::Controller => true,
            Check::Git
            | Check::Inotify
            | Check::Sandbox
            | Check::Kustomize
            | Check::Helm
            | Check::Repository
            | Check::Push
            | Check::Manifests => role != Role::Agent,
            Check::Kernel
            | Check::Rights
            | Check::Docker
            | Check::Cgroups
            | Check::Nft
            | Check::Forwarding
            | Check::Secrets
            | Check::PortRange => role != Role::Controller,
        }
    }

    /// Whether it says nothing without a repository.
    pub(super) fn needs_repo(self) -> bool {
        matches!(self, Check::Repository | Check::Push | Check::Manifests)
    }

    /// What the facts mean. `None` if nothing is known of it, as of a repository that was not named.
    pub(super) fn judge(self, facts: &Facts) -> Option<Verdict> {
        match self {
            Check::Git => Some(host::git(facts)),
            Check::Kernel => Some(host::kernel(facts)),
            Check::Rights => Some(host::rights(facts)),
            Check::Docker => facts.docker.as_ref().map(|docker| host::docker(docker, facts)),
            Check::Cgroups => Some(host::cgroups(facts.cgroups)),
            Check::Nft => Some(host::nft(facts)),
            Check::Forwarding => Some(reach::forwarding(facts.forwarding)),
            Check::State => Some(host::state(&facts.state)),
            Check::Disk => host::disk(&facts.state),
            Check::Secrets => Some(host::secrets(facts)),
            Check::OpenFiles => Some(host::open_files(facts.open_files)),
            Check::Ports => Some(reach::ports(facts)),
            Check::PortRange => facts.client_ports.map(reach::port_range),
            Check::Clock => facts.clock.map(reach::clock),
            Check::Controller => facts.controller.as_ref().map(|(address, reached)| reach::controller(address, reached)),
            Check::Inotify => facts.inotify.map(host::inotify),
            Check::Sandbox => facts.sandbox.as_ref().map(|sandbox| repository::sandbox(sandbox, facts)),
            Check::Kustomize => Some(repository::kustomize(facts)),
            Check::Helm => Some(repository::helm(facts)),
            Check::Repository => facts.repo.as_ref().map(repository::fetch),
            Check::Push => facts.repo.as_ref()?.push.as_ref().map(repository::push),
            Check::Manifests => repository::manifests(facts.repo.as_ref()?),
        }
    }
}
