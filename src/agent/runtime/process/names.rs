//! Whom a process asks for names: an `/etc/resolv.conf` of its own, in a mount namespace of its own.
//!
//! The host's own file stays as it is, for everybody else. The namespace follows what is mounted and unmounted on the host, and
//! what is mounted in it is seen in it alone.

use crate::agent::runtime::{LookUp, NameServer, Resolver};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::thread::{CapabilitySet, UnshareFlags};
use std::fs;
use std::io;
use std::path::Path;

/// Where the C library looks.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// A name with fewer dots is looked for in the domains of the cluster first, as in Kubernetes: `web.shop.svc.cluster.local` has four.
const NDOTS: &str = "options ndots:5";

/// What the file says, if the process is to ask somebody else than the host does, and may be shown it.
pub(super) fn resolv_conf(resolver: Option<&Resolver>) -> Option<String> {
    let text = text(resolver?)?;
    let capabilities = rustix::thread::capabilities(None).ok()?;
    capabilities.effective.contains(CapabilitySet::SYS_ADMIN).then_some(text)
}

fn text(resolver: &Resolver) -> Option<String> {
    let config = &resolver.config;
    let (server, mut searches) = match &resolver.first {
        LookUp::Nowhere => (None, Vec::new()),
        LookUp::Cluster { server: NameServer::At(server), searches } => (Some(server.to_string()), searches.clone()),
        LookUp::Host | LookUp::Cluster { server: NameServer::Gateway, .. } => return None,
    };
    let ndots = server.is_some() && config.options.iter().all(|option| option.name != "ndots");
    let servers: Vec<String> = server.into_iter().chain(config.nameservers.iter().cloned()).collect();
    if servers.is_empty() {
        return None;
    }
    let mut lines: Vec<String> = servers.iter().map(|server| format!("nameserver {server}")).collect();
    searches.extend(config.searches.iter().cloned());
    if !searches.is_empty() {
        lines.push(format!("search {}", searches.join(" ")));
    }
    lines.extend(ndots.then(|| NDOTS.to_owned()));
    for option in &config.options {
        let value = option.value.as_ref().map_or_else(String::new, |value| format!(":{value}"));
        lines.push(format!("options {}{value}", option.name));
    }
    lines.push(String::new());
    Some(lines.join("\n"))
}

/// Takes a mount namespace for this (single-threaded) process, in which the file says this. The text is kept in `folder`.
pub(super) fn show(folder: &Path, text: &str) -> io::Result<()> {
    // Where it is a link into another folder (systemd-resolved), the file that it leads to is covered.
    let covered = fs::canonicalize(RESOLV_CONF)?;
    let own = folder.join("resolv.conf");
    fs::write(&own, text)?;
    unshare(UnshareFlags::NEWNS)?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    Ok(mount_bind(&own, &covered)?)
}

#[expect(
    deprecated,
    reason = "it is deprecated for UnshareFlags::FILES alone, which is not used here; the other one is not safe to call"
)]
fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    rustix::thread::unshare(flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DnsConfig, DnsOption};

    #[test]
    fn the_file_says_what_the_template_and_the_cluster_say_and_nothing_where_the_hosts_is_right() {
        let option = |name: &str, value: Option<&str>| DnsOption { name: name.to_owned(), value: value.map(str::to_owned) };
        let config = DnsConfig {
            nameservers: vec!["1.2.3.4".to_owned()],
            searches: vec!["example.org".to_owned()],
            options: vec![option("edns0", None)],
        };
        let searches = vec!["shop.svc.cluster.local".to_owned(), "svc.cluster.local".to_owned()];
        let cluster = LookUp::Cluster { server: NameServer::At([127, 53, 1, 2].into()), searches };
        let check = |first: &LookUp, config: &DnsConfig, expected: Option<&str>| {
            assert_eq!(text(&Resolver { first: first.clone(), config: config.clone() }).as_deref(), expected);
        };
        let own = "nameserver 127.53.1.2\nsearch shop.svc.cluster.local svc.cluster.local\noptions ndots:5\n";
        check(&cluster, &DnsConfig::default(), Some(own));
        let both = "nameserver 127.53.1.2\nnameserver 1.2.3.4\nsearch shop.svc.cluster.local svc.cluster.local example.org\n\
                    options ndots:5\noptions edns0\n";
        check(&cluster, &config, Some(both));
        check(&LookUp::Nowhere, &config, Some("nameserver 1.2.3.4\nsearch example.org\noptions edns0\n"));
        check(&LookUp::Nowhere, &DnsConfig::default(), None);
        check(&LookUp::Host, &config, None);
        let fewer = DnsConfig { options: vec![option("ndots", Some("2"))], ..DnsConfig::default() };
        let few = "nameserver 127.53.1.2\nsearch shop.svc.cluster.local svc.cluster.local\noptions ndots:2\n";
        check(&cluster, &fewer, Some(few));
    }
}
