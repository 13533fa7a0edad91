//! Ports, clocks and the way to others, and what they mean.

use super::check::{Level, Verdict};
use super::facts::{Clock, Facts, Forwarding, Listener, PortTrouble};
use crate::cli::node::ports_beside;
use std::collections::BTreeSet;

/// A certificate is not valid before it was made, by the clock of who looks at it.
const AHEAD_MAX_S: i64 = 5;

pub(super) fn ports(facts: &Facts) -> Verdict {
    let troubled: Vec<&Listener> = facts.listeners.iter().filter(|listener| listener.trouble.is_some()).collect();
    if troubled.is_empty() {
        let free: Vec<String> = facts.listeners.iter().map(|listener| listener.port.to_string()).collect();
        return Verdict::ok(format!("{} are free", free.join(", ")));
    }
    let described: Vec<String> = troubled.iter().map(|listener| described(listener)).collect();
    let hints: BTreeSet<&str> = troubled.iter().filter_map(|listener| hint(listener)).collect();
    let seen = described.join("; ");
    if hints.is_empty() {
        return Verdict::ok(seen);
    }
    let level = troubled.iter().map(|listener| level(listener)).max().unwrap_or(Level::Ok);
    Verdict { level, seen, hint: Some(hints.into_iter().collect::<Vec<_>>().join("; ")) }
}

fn described(listener: &Listener) -> String {
    let Listener { port, what, trouble } = listener;
    match trouble {
        None => format!("{port} ({what}) is free"),
        Some(PortTrouble::Taken) => format!("{port} ({what}) is taken"),
        Some(PortTrouble::TakenByUs) => format!("{port} ({what}) is served by a Driftless"),
        Some(PortTrouble::Refused(why)) => format!("{port} ({what}): {why}"),
    }
}

fn level(listener: &Listener) -> Level {
    match listener.trouble {
        None | Some(PortTrouble::TakenByUs) => Level::Ok,
        Some(PortTrouble::Refused(_)) => Level::Warning,
        Some(PortTrouble::Taken) => Level::Error,
    }
}

fn hint(listener: &Listener) -> Option<&'static str> {
    match (&listener.trouble, listener.port) {
        (None | Some(PortTrouble::TakenByUs), _) => None,
        (Some(PortTrouble::Taken), 53) => {
            Some("another DNS server listens on every address; bind it to addresses of its own (dnsmasq: bind-interfaces)")
        }
        (Some(PortTrouble::Taken), _) => {
            Some("stop what listens there (`ss -ltnp`), or choose another port with --listen or --agents")
        }
        (Some(PortTrouble::Refused(_)), _) => Some("ports below 1024 need root or CAP_NET_BIND_SERVICE"),
    }
}

pub(super) fn port_range((low, high): (u16, u16)) -> Verdict {
    let ours = ports_beside(&format!("{low} {high}"));
    let (start, end) = (*ours.start(), *ours.end());
    let clients = format!("clients have {low}-{high}");
    let meets = |from: u16, to: u16| from <= high && low <= to;
    if meets(start, end) {
        return Verdict::warning(
            format!("host processes would have {start}-{end}, and {clients}"),
            "a client may take a process' port; leave room: sysctl -w net.ipv4.ip_local_port_range='32768 60999'",
        );
    }
    if meets(7780, 7781) {
        return Verdict::warning(
            format!("{clients}, which holds 7780 and 7781"),
            "a client may take them while Driftless restarts: sysctl -w net.ipv4.ip_local_reserved_ports=7780-7781",
        );
    }
    Verdict::ok(format!("host processes have {start}-{end}, {clients}"))
}

pub(super) fn clock(clock: Clock) -> Verdict {
    let hint = "keep it right with chrony or systemd-timesyncd: certificates and schedules go by it";
    if let Some(ahead) = clock.ahead_s.filter(|ahead| ahead.abs() > AHEAD_MAX_S) {
        let way = if ahead > 0 { "ahead of" } else { "behind" };
        return Verdict::error(format!("{} s {way} the controller's", ahead.abs()), hint);
    }
    let agrees = if clock.ahead_s.is_some() { ", and agrees with the controller's" } else { "" };
    match clock.synchronised {
        Some(true) => Verdict::ok(format!("synchronised{agrees}")),
        Some(false) => Verdict::warning(format!("not synchronised{agrees}"), hint),
        None => Verdict::warning(format!("nobody here says whether it is synchronised{agrees}"), hint),
    }
}

pub(super) fn controller(address: &str, reached: &Result<(), String>) -> Verdict {
    match reached {
        Ok(()) => Verdict::ok(format!("{address} takes connections")),
        Err(why) => Verdict::error(
            format!("{address}: {why}"),
            "check the address, that the controller listens there (--agents), and the firewalls between: TCP 7781 to the controller",
        ),
    }
}

pub(super) fn forwarding(forwarding: Forwarding) -> Verdict {
    match (forwarding.ip_forward, forwarding.bridge_filter) {
        (Some(false), _) => Verdict::warning(
            "net.ipv4.ip_forward is 0",
            "containers reach nothing beyond this host; Docker sets it when it starts, unless it was told not to: sysctl -w net.ipv4.ip_forward=1",
        ),
        (None, _) => {
            Verdict::warning("net.ipv4.ip_forward cannot be read", "containers reach nothing beyond this host if it is 0")
        }
        (Some(true), Some(true)) => Verdict::ok("packets are forwarded, and those of a bridge are seen by the firewall"),
        (Some(true), _) => Verdict::warning(
            "packets are forwarded; those between containers of this host pass the firewall by",
            "rules between pods of one host need it: modprobe br_netfilter, and sysctl -w net.bridge.bridge-nf-call-iptables=1",
        ),
    }
}
