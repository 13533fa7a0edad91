//! Options that several commands share: what to watch, where to keep state, and the config file behind them.

mod config;
mod ingress;
mod listen;
mod network;
mod period;
mod secrets;
mod state;
mod tunnel;

pub(crate) use config::ConfigArgs;
pub use config::parse;
pub(crate) use ingress::IngressArgs;
pub(crate) use listen::bind_status;
pub(crate) use network::NetworkArgs;
pub(crate) use period::Period;
pub(crate) use secrets::{SecretsArgs, SecretsChoice};
pub(crate) use state::{StateArgs, StateDir};
pub(crate) use tunnel::TunnelArgs;

use super::node::Reserve;
use crate::agent::net::dns::Resolvers;
use crate::agent::runtime::docker::GarbagePolicy;
use crate::controller::shell::ShellSettings;
use crate::model::{Allows, Grant};
use crate::sync::{Confinement, RenderSettings, RepoSpec};
use clap::Args;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// What to watch.
#[derive(Debug, Clone, Args)]
pub(crate) struct WatchArgs {
    /// The repository: a URL, user@host:path, or the path of one on this machine
    #[arg(long, env = "DRIFTLESS_REPO", value_name = "URL_OR_PATH", hide_env_values = true)]
    pub(crate) repo: String,
    /// The branch to follow [default: the one that the repository's HEAD names]
    #[arg(long, env = "DRIFTLESS_BRANCH", value_name = "BRANCH")]
    pub(crate) branch: Option<String>,
    /// The folder of the repository that holds the manifests [default: its root]
    #[arg(long, env = "DRIFTLESS_PATH", value_name = "DIR")]
    pub(crate) path: Option<String>,
    /// The cluster's name: on labels, and in the audit branch's (`driftless/audit-NAME`; plain `driftless/audit` by default)
    #[arg(long, env = "DRIFTLESS_CLUSTER", value_name = "NAME", default_value = "default", value_parser = cluster_name)]
    pub(crate) cluster: String,
    /// How often the repository is asked for news; one on this machine is watched as well, so a push counts at once
    #[arg(long, env = "DRIFTLESS_POLL_INTERVAL", value_name = "DURATION", default_value = "30s")]
    pub(crate) poll_interval: Period,
    /// Push the audit branch to this repository instead of the watched one
    #[arg(long, env = "DRIFTLESS_AUDIT_REMOTE", value_name = "URL_OR_PATH", hide_env_values = true)]
    pub(crate) audit_remote: Option<String>,
    #[command(flatten)]
    pub(crate) render: RenderArgs,
}

/// How to render.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct RenderArgs {
    /// Run kustomize and helm without a sandbox: whoever may push to the repository can then run programs as this user
    #[arg(long, env = "DRIFTLESS_RENDER_UNCONFINED")]
    pub(crate) render_unconfined: bool,
}

impl RenderArgs {
    /// What the renderer is told.
    pub(crate) fn settings(self) -> RenderSettings {
        let confinement = if self.render_unconfined { Confinement::None } else { Confinement::Jail };
        RenderSettings { confinement, ..RenderSettings::default() }
    }
}

/// What pods may do to the host.
#[derive(Debug, Clone, Args)]
pub(crate) struct AllowArgs {
    /// What pods may do to this host, beyond a container's own walls: host-path=DIR (and below), privileged, host-network, host-pid,
    /// host-ipc, capabilities (more than Docker's own), unconfined (no seccomp), sysctls (unsafe ones), root-process; nothing by
    /// default
    #[arg(long, env = "DRIFTLESS_ALLOW", value_name = "GRANT", value_delimiter = ',')]
    allow: Vec<Grant>,
}

/// What pods may not request.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ReserveArgs {
    /// What of this host is kept from pods, as cpu=500m,memory=1Gi [default: no cpu, and a tenth of the memory up to 256Mi]
    #[arg(long, env = "DRIFTLESS_RESERVE", value_name = "AMOUNTS", default_value = "", hide_default_value = true)]
    pub(crate) reserve: Reserve,
}

/// Where names are looked up that are not the cluster's.
#[derive(Debug, Clone, Args)]
pub(crate) struct NamesArgs {
    /// Whom pods ask for names outside of the cluster, as ADDRESS or ADDRESS:PORT, in this order [default: the resolvers that
    /// /etc/resolv.conf names]
    #[arg(long, env = "DRIFTLESS_DNS_UPSTREAM", value_name = "ADDRESS", value_delimiter = ',', value_parser = resolver)]
    dns_upstream: Vec<SocketAddr>,
}

impl NamesArgs {
    /// What DNS is told.
    pub(crate) fn resolvers(&self) -> Resolvers {
        match self.dns_upstream.as_slice() {
            [] => Resolvers::File(PathBuf::from("/etc/resolv.conf")),
            given => Resolvers::Given(given.to_vec()),
        }
    }
}

fn resolver(text: &str) -> Result<SocketAddr, String> {
    let address = |text: &str| text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 53));
    text.parse().ok().or_else(|| address(text)).ok_or_else(|| "write an address, as 9.9.9.9 or [2620:fe::fe]:53".to_owned())
}

impl AllowArgs {
    /// What the agent enforces and tells the controller.
    pub(crate) fn allows(&self) -> Allows {
        self.allow.iter().cloned().collect()
    }
}

/// When images go that nothing uses any more.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct GarbageArgs {
    /// Take images away that Driftless pulled and no container uses, once this much of the disk of Docker's data is in use; 100 for never
    #[arg(long, env = "DRIFTLESS_IMAGE_GC_HIGH_THRESHOLD", value_name = "PERCENT", default_value = "85", value_parser = clap::value_parser!(u8).range(0..=100))]
    image_gc_high_threshold: u8,
    /// Until this much is in use; those that were used longest ago go first
    #[arg(long, env = "DRIFTLESS_IMAGE_GC_LOW_THRESHOLD", value_name = "PERCENT", default_value = "80", value_parser = clap::value_parser!(u8).range(0..=100))]
    image_gc_low_threshold: u8,
    /// No image goes that was pulled or in use so short a time ago
    #[arg(long, env = "DRIFTLESS_MINIMUM_IMAGE_TTL_DURATION", value_name = "DURATION", default_value = "2m")]
    minimum_image_ttl_duration: Period,
}

impl GarbageArgs {
    /// What the Docker runtime is told.
    pub(crate) fn policy(self) -> GarbagePolicy {
        GarbagePolicy {
            high_percent: self.image_gc_high_threshold,
            low_percent: self.image_gc_low_threshold,
            age_min: self.minimum_image_ttl_duration.duration(),
        }
    }
}

impl WatchArgs {
    /// What the controller's shell is told.
    pub(crate) fn settings(&self, state: &StateDir) -> ShellSettings {
        let repo = RepoSpec { url: self.repo.clone(), branch: self.branch.clone(), path: self.path.clone().unwrap_or_default() };
        ShellSettings {
            repo,
            cluster: self.cluster.clone(),
            identity_dir: state.identity(),
            mirror_dir: state.mirror(),
            poll_interval: self.poll_interval.duration(),
            audit_remote: self.audit_remote.clone(),
            render: self.render.settings(),
            network: None,
            admission: None,
        }
    }
}

/// A DNS label, since it becomes part of a ref and of labels.
pub(crate) fn cluster_name(text: &str) -> Result<String, String> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = !text.is_empty() && text.len() <= 63 && text.chars().all(|c| is_word(c) || c == '-');
    if fits && text.starts_with(is_word) && text.ends_with(is_word) {
        return Ok(text.to_owned());
    }
    Err("a name is made of lower-case letters, digits and inner dashes, at most 63".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_is_an_address_with_or_without_a_port() {
        for (text, expected) in
            [("9.9.9.9", "9.9.9.9:53"), ("10.0.0.2:5353", "10.0.0.2:5353"), ("2620:fe::fe", "[2620:fe::fe]:53")]
        {
            assert_eq!(resolver(text).map(|address| address.to_string()), Ok(expected.to_owned()));
        }
        for bad in ["", "dns.example.org", "9.9.9", "9.9.9.9:x"] {
            assert!(resolver(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cluster_name_fits_into_a_ref_and_a_label() {
        assert_eq!(cluster_name("prod-2"), Ok("prod-2".to_owned()));
        for bad in ["", "Prod", "-prod", "prod-", "a/b", "a..b", &"x".repeat(64)] {
            assert!(cluster_name(bad).is_err(), "{bad}");
        }
    }
}
