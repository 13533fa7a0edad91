//! The host's own network, by the programs `ip` and `nft`: what is there, and our routes.

use super::rules::Table;
use crate::model::Cidr;
use serde::Deserialize;
use std::fmt;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::process::{Command, Output, Stdio};

/// Where the programs are looked for: a service's PATH often lacks the folders of root.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin";

/// A route with fewer fixed bits leads to whatever nobody else has.
const NARROW: u8 = 8;

/// Marks our routes (`ip route show proto 141`); the number is nobody's in iproute2's `rt_protos`, where 186 is BGP's.
const PROTOCOL: &str = "141";

/// Why a program did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// It is not installed.
    #[error("{program} is not installed (Debian: apt-get install {package})")]
    Missing {
        /// What was looked for.
        program: &'static str,
        /// What has it.
        package: &'static str,
    },
    /// The host has other plans with the addresses.
    #[error("this host has a route into {}: {}", .0.range, .0.route)]
    Taken(Overlap),
    /// It said no.
    #[error("{program}: {message}")]
    Refused {
        /// Which.
        program: &'static str,
        /// The end of what it said.
        message: String,
    },
}

/// A range of ours, and what of the host's network is in its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// The range.
    pub range: Cidr,
    /// A route of the host that leads to part of it, as `ip route` shows it.
    pub route: Route,
}

/// One route of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it leads to.
    pub to: Cidr,
    /// By which interface.
    pub interface: String,
    /// Whether an agent has made it.
    pub is_ours: bool,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.to, self.interface)
    }
}

/// What of the host's network is in the way of a cluster's ranges. A part of the pods' range of the size that a node has is not: that is
/// the bridge of a node, which stays when a host is started anew. Blocks.
///
/// # Errors
/// `ip` is missing or fails.
pub fn obstacle(services: Cidr, pods: Cidr, node_prefix: u8) -> Result<Option<Overlap>, HostError> {
    let mut routes = routes()?;
    routes.retain(|route| !(pods.contains(route.to.first()) && route.to.prefix() == node_prefix));
    Ok([services, pods].into_iter().find_map(|range| overlap(range, &routes)))
}

/// The routes of the host, the one for everything else not among them.
fn routes() -> Result<Vec<Route>, HostError> {
    let output = run("ip", "iproute2", &["-j", "-N", "route", "show"], None)?;
    Ok(read_routes(&output.stdout))
}

/// Whether this process may make rules: it is root, and `nft` answers. Blocks.
///
/// # Errors
/// `nft` is missing or refuses.
pub fn may_make_rules() -> Result<(), HostError> {
    run("nft", "nftables", &["list", "tables"], None).map(drop)
}

/// Whether there is a table of this name. Blocks.
#[must_use]
pub fn has_table(table: &Table) -> bool {
    run("nft", "nftables", &["list", "table", "ip", &table.to_string()], None).is_ok()
}

/// Claims a range for the owner of a table, by making both the table and the route. Returns false if somebody else has the range. Blocks.
///
/// # Errors
/// A program is missing or fails.
pub fn claim(range: Cidr, table: &Table) -> Result<bool, HostError> {
    let name = table.to_string();
    run("nft", "nftables", &["add", "table", "ip", &name], None)?;
    match route("add", range) {
        Ok(()) => Ok(true),
        Err(error) => {
            run("nft", "nftables", &["delete", "table", "ip", &name], None)?;
            let is_taken = matches!(&error, HostError::Refused { message, .. } if message.contains("File exists"));
            if is_taken { Ok(false) } else { Err(error) }
        }
    }
}

/// Makes packets to a range come to our rules, on a host without a route for them too. Blocks.
pub(super) fn lead_here(range: Cidr) -> Result<(), HostError> {
    route("replace", range)
}

fn route(verb: &str, range: Cidr) -> Result<(), HostError> {
    let range = range.to_string();
    // By way of the loopback interface, and not as a local address: a listener on all addresses must not answer for them.
    let source = Ipv4Addr::LOCALHOST.to_string();
    run("ip", "iproute2", &["route", verb, &range, "dev", "lo", "src", &source, "proto", PROTOCOL], None).map(drop)
}

/// Carries out a script as one transaction. Blocks.
pub(super) fn apply_rules(script: &str) -> Result<(), HostError> {
    run("nft", "nftables", &["-f", "-"], Some(script)).map(drop)
}

/// The first of the host's routes that overlaps a range. Those for half the world, as VPNs make them, are like the one for everything
/// else: a narrower one takes its part out.
fn overlap(range: Cidr, routes: &[Route]) -> Option<Overlap> {
    let route = routes.iter().find(|route| route.to.prefix() >= NARROW && route.to.overlaps(&range))?;
    Some(Overlap { range, route: route.clone() })
}

fn read_routes(json: &[u8]) -> Vec<Route> {
    #[derive(Deserialize)]
    struct Shown {
        dst: String,
        #[serde(default)]
        dev: String,
        #[serde(default)]
        protocol: String,
    }
    // Nothing at all where there is no route.
    let shown: Vec<Shown> = serde_json::from_slice(json).unwrap_or_default();
    let route = |shown: Shown| {
        let to = if shown.dst.contains('/') { shown.dst } else { format!("{}/32", shown.dst) };
        Some(Route { to: to.parse().ok()?, interface: shown.dev, is_ours: shown.protocol == PROTOCOL })
    };
    shown.into_iter().filter_map(route).collect()
}

fn run(program: &'static str, package: &'static str, args: &[&str], input: Option<&str>) -> Result<Output, HostError> {
    let refused = |error: io::Error| {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        if is_missing {
            HostError::Missing { program, package }
        } else {
            HostError::Refused { program, message: error.to_string() }
        }
    };
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(refused)?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // A program that ends before it has read everything says why below.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(refused)?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let message = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed and said nothing").to_owned();
    Err(HostError::Refused { program, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &[u8] = br#"[{"dst":"default","gateway":"192.0.2.1","dev":"eth0","flags":[]},
        {"dst":"172.18.0.0/16","dev":"br-1","protocol":"2","scope":"253","prefsrc":"172.18.0.1","flags":[]},
        {"dst":"10.96.0.0/16","dev":"lo","protocol":"141","scope":"253","prefsrc":"127.0.0.1","flags":[]},
        {"dst":"10.1.2.3","dev":"wg0","scope":"253","flags":[]},
        {"dst":"0.0.0.0/1","dev":"tun0","flags":[]}]"#;

    fn cidr(text: &str) -> Cidr {
        text.parse().expect("a range")
    }

    #[test]
    fn routes_are_read_as_ip_shows_them() {
        let routes = read_routes(SHOWN);
        let shown: Vec<(String, bool)> = routes.iter().map(|route| (route.to_string(), route.is_ours)).collect();
        let expected = [
            ("172.18.0.0/16 dev br-1", false),
            ("10.96.0.0/16 dev lo", true),
            ("10.1.2.3/32 dev wg0", false),
            ("0.0.0.0/1 dev tun0", false),
        ];
        assert_eq!(shown, expected.map(|(text, is_ours)| (text.to_owned(), is_ours)));
        assert_eq!(read_routes(b""), Vec::new());
    }

    #[test]
    fn a_range_that_the_host_has_a_route_into_is_found() {
        let routes = read_routes(SHOWN);
        let found = |range: &str| overlap(cidr(range), &routes).map(|overlap| overlap.route.to_string());
        assert_eq!(found("10.96.128.0/24").as_deref(), Some("10.96.0.0/16 dev lo"));
        assert_eq!(found("10.0.0.0/8").as_deref(), Some("10.96.0.0/16 dev lo"));
        assert_eq!(found("10.1.0.0/16").as_deref(), Some("10.1.2.3/32 dev wg0"));
        assert_eq!(found("10.244.0.0/16"), None, "routes for everything else overlap nothing");
    }
}
