//! The network of a cluster: the ranges of its Services and pods.

use crate::agent::net::Table;
use crate::agent::net::host::{self, HostError};
use crate::cli::{CliError, CliResult};
use crate::model::{Cidr, NetworkSettings};
use clap::Args;
use std::str::FromStr;

/// Where Services have their addresses unless set otherwise.
const SERVICES: &str = "10.96.0.0/16";

/// What is written to keep addresses of Services on their host.
const LOOPBACK: &str = "loopback";

/// A range for Services of fewer addresses leaves too few beside those that are left to be written.
const SERVICES_PREFIX_MAX: u8 = 26;

/// The ranges of a cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct NetworkArgs {
    /// Where Services have their addresses; `loopback`: on each host by itself, as where the kernel's rules cannot be made (that takes
    /// root, and nft) [default: 10.96.0.0/16]
    #[arg(long, env = "DRIFTLESS_SERVICE_CIDR", value_name = "RANGE")]
    service_cidr: Option<ServiceRange>,
    /// Where pods have their addresses: 256 of them for each node
    #[arg(long, env = "DRIFTLESS_POD_CIDR", value_name = "RANGE", default_value = "10.244.0.0/16")]
    pod_cidr: Cidr,
}

/// `--service-cidr`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServiceRange {
    /// Addresses that never leave their host.
    Loopback,
    /// Virtual addresses.
    Of(Cidr),
}

impl FromStr for ServiceRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == LOOPBACK {
            return Ok(ServiceRange::Loopback);
        }
        text.parse().map(ServiceRange::Of).map_err(|error: crate::model::NoCidr| error.to_string())
    }
}

impl NetworkArgs {
    /// The network of a cluster of hosts; `None` if addresses of Services stay on theirs.
    ///
    /// # Errors
    /// The ranges overlap, or cannot be used.
    pub(crate) fn of_cluster(&self) -> CliResult<Option<NetworkSettings>> {
        let services = match self.service_cidr {
            Some(ServiceRange::Loopback) => return Ok(None),
            Some(ServiceRange::Of(range)) => range,
            None => usual_services()?,
        };
        check(services, self.pod_cidr)?;
        Ok(Some(NetworkSettings {
            pods: self.pod_cidr,
            node_prefix: NetworkSettings::NODE_PREFIX,
            services,
            domain: NetworkSettings::DOMAIN.to_owned(),
        }))
    }

    /// The network of a host alone, claimed for the agent whose rules are in this table, and a line that says what it is. Where nothing
    /// was asked for and there can be none, addresses of Services are of the loopback range. Blocks.
    ///
    /// # Errors
    /// What was asked for cannot be had.
    pub(crate) fn of_host(&self, table: &Table) -> CliResult<(Option<NetworkSettings>, String)> {
        let Some(settings) = self.of_cluster()? else {
            return Ok((None, "Services at 127.64.0.0/10, on this host only".to_owned()));
        };
        match claim(&settings, table) {
            Ok(()) => Ok((Some(settings.clone()), format!("Services at {}, pods at {}", settings.services, settings.pods))),
            Err(obstacle) if self.service_cidr.is_none() => {
                Ok((None, format!("Services at 127.64.0.0/10, on this host only: {obstacle}")))
            }
            Err(obstacle) => Err(CliError::new(format!("--service-cidr {} cannot be used: {obstacle}", settings.services))
                .hint("choose another range, or --service-cidr loopback")),
        }
    }
}

fn usual_services() -> CliResult<Cidr> {
    SERVICES.parse().map_err(|error| CliError::with_source("no usual range", error))
}

fn check(services: Cidr, pods: Cidr) -> CliResult<()> {
    if services.overlaps(&pods) {
        let message = format!("--service-cidr {services} and --pod-cidr {pods} overlap");
        return Err(CliError::new(message).hint("choose ranges that have no address in common"));
    }
    if services.prefix() > SERVICES_PREFIX_MAX {
        let message = format!("--service-cidr {services} is too small: it must have 64 addresses or more");
        return Err(CliError::new(message).hint("a /16 is usual"));
    }
    if pods.prefix() > NetworkSettings::NODE_PREFIX {
        let message = format!("--pod-cidr {pods} is too small: each node takes a /{} of it", NetworkSettings::NODE_PREFIX);
        return Err(CliError::new(message).hint("a /16 has room for 256 nodes"));
    }
    Ok(())
}

/// Why a range cannot be had on this host.
#[derive(Debug, thiserror::Error)]
enum Obstacle {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(
        "another cluster of Driftless on this host has {range} (`nft list tables` shows its table; `ip route show proto 186`, its routes)"
    )]
    Another { range: Cidr },
}

/// Claims the ranges for the owner of a table, who may have done so before.
fn claim(settings: &NetworkSettings, table: &Table) -> Result<(), Obstacle> {
    host::may_make_rules()?;
    if host::has_table(table) {
        return Ok(());
    }
    match host::obstacle(settings.services, settings.pods, settings.node_prefix)? {
        Some(overlap) if overlap.route.is_ours => return Err(Obstacle::Another { range: overlap.range }),
        Some(overlap) => return Err(HostError::Taken(overlap).into()),
        None => {}
    }
    if host::claim(settings.services, table)? { Ok(()) } else { Err(Obstacle::Another { range: settings.services }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(services: &str, pods: &str) -> NetworkArgs {
        NetworkArgs { service_cidr: Some(services.parse().expect("a range")), pod_cidr: pods.parse().expect("a range") }
    }

    #[test]
    fn ranges_that_cannot_be_used_are_refused_by_the_names_of_their_flags() {
        let cases = [
            ("10.0.0.0/8", "10.244.0.0/16", "--service-cidr 10.0.0.0/8 and --pod-cidr 10.244.0.0/16 overlap"),
            ("10.96.0.0/27", "10.244.0.0/16", "--service-cidr 10.96.0.0/27 is too small"),
            ("10.96.0.0/16", "10.244.0.0/25", "--pod-cidr 10.244.0.0/25 is too small"),
        ];
        for (services, pods, expected) in cases {
            let error = args(services, pods).of_cluster().expect_err(expected);
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(args("10.96.0.0/16", "10.244.0.0/24").of_cluster().expect("a network").is_some());
    }

    #[test]
    fn loopback_is_no_network() {
        assert_eq!(args(LOOPBACK, "10.244.0.0/16").of_cluster().expect("no error"), None);
        assert!("10.96.0.1/16".parse::<ServiceRange>().is_err());
    }
}
