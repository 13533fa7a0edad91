//! What the kernel is told (nftables): which packets to the addresses of the cluster are turned to the proxy, and which are refused.
//!
//! One table of our own, so that no rule of anybody else's is touched, with hooks before Docker's own (priority -110). TCP to an address
//! and port that lead somewhere is redirected to one port of the proxy, which asks where the client wanted to; UDP to a port for each
//! address and port. Redirected means: to this host's address on the interface that a packet came in by, so what comes in by an
//! interface on which the proxy does not listen is refused. Everything else to these addresses is refused at once, as kube-proxy does.

use crate::model::Cidr;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::net::Ipv4Addr;

/// The rules of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    /// The name of the table.
    pub(super) table: Table,
    /// The addresses of Services.
    pub(super) services: Cidr,
    /// The addresses of pods on all nodes.
    pub(super) pods: Cidr,
    /// The port of the proxy to which TCP is redirected.
    pub(super) port: u16,
    /// Addresses and ports that are reached by TCP.
    pub(super) streams: BTreeSet<(Ipv4Addr, u16)>,
    /// Addresses and ports that are reached by UDP, each with the port of the proxy.
    pub(super) datagrams: BTreeMap<(Ipv4Addr, u16), u16>,
}

/// The name of a table: `driftless-CLUSTER`, or with more after it where several agents of one cluster are on one host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Table(String);

impl Table {
    /// The table for a cluster of this name. What is no letter, digit or dash is left out: a name in a script must be one word.
    #[must_use]
    pub fn of(cluster: &str) -> Self {
        let word: String = cluster.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        Self(format!("driftless-{word}"))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Rules {
    /// The script for `nft -f`: one transaction that brings the table to this state, whatever it was in. Every word of it comes from
    /// a number, an address or a [`Table`].
    pub(super) fn script(&self) -> String {
        let Self { table, services, pods, port, .. } = self;
        let table = &format!("ip {table}");
        let mut script = String::new();
        let mut line = |text: String| {
            script.push_str(&text);
            script.push('\n');
        };
        line(format!("add table {table}"));
        line(format!("add set {table} streams {{ type ipv4_addr . inet_service ; }}"));
        line(format!("add map {table} datagrams {{ type ipv4_addr . inet_service : inet_service ; }}"));
        line(format!("flush set {table} streams"));
        line(format!("flush map {table} datagrams"));
        line(format!("add chain {table} caught"));
        line(format!("add chain {table} refused"));
        for (name, hook, kind, priority) in HOOKS {
            line(format!("add chain {table} {name} {{ type {kind} hook {hook} priority {priority} ; policy accept ; }}"));
        }
        line(format!("flush table {table}"));
        line(format!("add rule {table} caught ip daddr . tcp dport @streams redirect to :{port}"));
        line(format!("add rule {table} caught meta l4proto udp redirect to :ip daddr . udp dport map @datagrams"));
        line(format!("add rule {table} refused ip protocol tcp reject with tcp reset"));
        line(format!("add rule {table} refused reject with icmp type port-unreachable"));
        for (name, _, kind, _) in HOOKS {
            if *kind == "nat" {
                line(format!("add rule {table} {name} ip daddr {{ {services}, {pods} }} jump caught"));
            } else {
                line(format!("add rule {table} {name} ip daddr {services} jump refused"));
                // Where no bridge has them, our route leads them here.
                line(format!("add rule {table} {name} oifname lo ip daddr {pods} jump refused"));
            }
        }
        script.push_str(&elements(table, "streams", self.streams.iter().map(|at| Pair(*at).to_string())));
        let datagrams = self.datagrams.iter().map(|(at, port)| format!("{} : {port}", Pair(*at)));
        script.push_str(&elements(table, "datagrams", datagrams));
        script
    }
}

/// Our chains: name, hook, kind, priority. Addresses are translated before Docker does (-100), and what is left of them is refused after
/// that, before anybody else filters.
const HOOKS: &[(&str, &str, &str, i32)] = &[
    ("arriving", "prerouting", "nat", -110),
    ("leaving", "output", "nat", -110),
    ("passing", "forward", "filter", -10),
    ("left", "output", "filter", -10),
];

/// An address and a port as nftables has them.
struct Pair((Ipv4Addr, u16));

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self((address, port)) = self;
        write!(f, "{address} . {port}")
    }
}

fn elements(table: &str, set: &str, elements: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = elements.collect();
    let mut text = String::new();
    if !all.is_empty() {
        // Writing to a String does not fail.
        let _ = writeln!(text, "add element {table} {set} {{ {} }}", all.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            table: Table::of("prod"),
            services: "10.96.0.0/16".parse().expect("a range"),
            pods: "10.244.0.0/16".parse().expect("a range"),
            port: 20_001,
            streams: BTreeSet::new(),
            datagrams: BTreeMap::new(),
        }
    }

    #[test]
    fn a_table_has_one_word_whatever_the_cluster_is_called() {
        assert_eq!(Table::of("prod-2").to_string(), "driftless-prod-2");
        assert_eq!(Table::of("x; flush ruleset\n").to_string(), "driftless-xflushruleset");
    }

    #[test]
    fn a_script_names_what_leads_somewhere_and_nothing_where_there_is_nothing() {
        assert!(!rules().script().contains("add element"));
        let service = Ipv4Addr::new(10, 96, 0, 7);
        let rules = Rules {
            streams: BTreeSet::from([(service, 80), (service, 443)]),
            datagrams: BTreeMap::from([((service, 53), 20_002)]),
            ..rules()
        };
        let script = rules.script();
        assert!(script.contains("add element ip driftless-prod streams { 10.96.0.7 . 80, 10.96.0.7 . 443 }\n"), "{script}");
        assert!(script.contains("add element ip driftless-prod datagrams { 10.96.0.7 . 53 : 20002 }\n"), "{script}");
    }
}
