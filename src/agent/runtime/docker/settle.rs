//! What a launch leaves to the image and to the host, looked up before the container is made.

use super::Shared;
use super::engine::Session;
use super::init::{self, Init};
use super::wire::{ReadError, encode};
use crate::agent::runtime::{ContainerLaunch, LookUp, NameServer, Resolver, RuntimeError, Seccomp, Security};
use crate::model::DnsOption;
use hyper::StatusCode;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::Path;

/// Where the host says how names are looked up.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What was looked up.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// `user` or `user:group`; the image's own if absent.
    pub(super) user: Option<String>,
    /// The text of a seccomp profile.
    pub(super) seccomp: Option<String>,
    /// How names are looked up; the Engine's way where it is empty.
    pub(super) dns: Dns,
    /// How it gets the secrets of its environment, if it has any.
    pub(super) init: Option<Init>,
}

/// The lines of a `resolv.conf`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dns {
    pub(super) servers: Vec<String>,
    pub(super) searches: Vec<String>,
    pub(super) options: Vec<String>,
}

/// `GET /images/ID/json`, as far as it says how its programs run.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Image {
    config: Option<ImageConfig>,
}

/// What an image says of its containers.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ImageConfig {
    user: Option<String>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
}

impl ImageConfig {
    /// With a group or without; empty for root.
    pub(super) fn user(&self) -> &str {
        self.user.as_deref().unwrap_or_default()
    }

    pub(super) fn entrypoint(&self) -> &[String] {
        self.entrypoint.as_deref().unwrap_or_default()
    }

    pub(super) fn cmd(&self) -> &[String] {
        self.cmd.as_deref().unwrap_or_default()
    }

    /// One with an entry point and a command.
    #[cfg(test)]
    pub(super) fn of(entrypoint: &[&str], cmd: &[&str]) -> Self {
        let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        Self { user: None, entrypoint: words(entrypoint), cmd: words(cmd) }
    }
}

impl Shared {
    /// Looks up what the launch needs; fetches its image if that must be looked into.
    pub(super) async fn settle(&self, launch: &ContainerLaunch) -> Result<Settled, RuntimeError> {
        let security = &launch.security;
        let needs_init = init::is_needed(launch);
        let of_image = needs_init || security.user.is_none() && (security.non_root || security.group.is_some());
        let image = if of_image { self.image_config(launch).await? } else { ImageConfig::default() };
        let user = user(security, image.user()).map_err(|message| RuntimeError::Config { message })?;
        let seccomp = match &security.seccomp {
            Seccomp::Profile(file) => Some(read_profile(file).await?),
            Seccomp::RuntimeDefault | Seccomp::Unconfined => None,
        };
        let dns = match &launch.network.resolver {
            None => Dns::default(),
            Some(resolver) => {
                // A host without the file has no servers to add to.
                let host = tokio::fs::read_to_string(RESOLV_CONF).await.unwrap_or_default();
                merge(resolver, &host, self.engine.session().await?.gateway())
            }
        };
        let init = if needs_init { Some(self.init(launch, &image, user.as_deref()).await?) } else { None };
        Ok(Settled { user, seccomp, dns, init })
    }

    /// What the image says.
    async fn image_config(&self, launch: &ContainerLaunch) -> Result<ImageConfig, RuntimeError> {
        let session = self.engine.session().await?;
        if let Some(config) = self.config_of(&session, launch).await? {
            return Ok(config);
        }
        self.fetch_missing(launch, "it is not on this host".to_owned()).await?;
        Ok(self.config_of(&session, launch).await?.unwrap_or_default())
    }

    /// `None` if the image is not there.
    async fn config_of(&self, session: &Session, launch: &ContainerLaunch) -> Result<Option<ImageConfig>, RuntimeError> {
        let image = launch.image.as_deref().unwrap_or_default();
        match session.get::<Image>(&format!("/images/{}/json", encode(image))).await {
            Ok(found) => Ok(Some(found.config.unwrap_or_default())),
            Err(ReadError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(self.engine.read_failed(&format!("inspecting image {image}"), error)),
        }
    }
}

async fn read_profile(file: &Path) -> Result<String, RuntimeError> {
    tokio::fs::read_to_string(file).await.map_err(|error| RuntimeError::Config {
        message: format!("seccompProfile: cannot read {} on this host: {error}", file.display()),
    })
}

/// The user in the Engine's words, or why it may not run: `runAsNonRoot` wants to be sure, as in Kubernetes.
fn user(security: &Security, image_user: &str) -> Result<Option<String>, String> {
    let name = image_user.split(':').next().unwrap_or_default();
    if security.non_root && security.user.is_none() {
        match name.parse::<u32>() {
            Ok(0) => return Err("the container has runAsNonRoot, and its image runs as root; set runAsUser".to_owned()),
            Ok(_) => {}
            Err(_) if name.is_empty() => {
                return Err("the container has runAsNonRoot, and its image runs as root; set runAsUser".to_owned());
            }
            Err(_) => {
                return Err(format!(
                    "the container has runAsNonRoot, and its image names the user {name:?}, who may be root; set runAsUser to its number"
                ));
            }
        }
    }
    Ok(match (security.user, security.group) {
        (None, None) => None,
        (Some(user), None) => Some(user.to_string()),
        (Some(user), Some(group)) => Some(format!("{user}:{group}")),
        (None, Some(group)) => Some(format!("{}:{group}", if name.is_empty() { "0" } else { name })),
    })
}

/// How many dots a name has that is looked up as it is first, as in Kubernetes.
const NDOTS: &str = "ndots:5";

/// The template's lines after those that come first. Servers on the host's loopback are not the container's. `gateway` is where the node's
/// own server listens.
fn merge(resolver: &Resolver, host: &str, gateway: Option<IpAddr>) -> Dns {
    let config = &resolver.config;
    let at = |server: &NameServer| match server {
        NameServer::At(address) => Some(*address),
        NameServer::Gateway => gateway,
    };
    let of_cluster = match &resolver.first {
        LookUp::Cluster { server, searches } => at(server).map(|server| (server, searches.clone())),
        LookUp::Nowhere | LookUp::Host => None,
    };
    let mut dns = match (&resolver.first, of_cluster) {
        (LookUp::Nowhere, _) => Dns::default(),
        (LookUp::Cluster { .. }, Some((server, mut searches))) => {
            add(&mut searches, &parse(host).searches);
            Dns { servers: vec![server.to_string()], searches, options: vec![NDOTS.to_owned()] }
        }
        (LookUp::Host | LookUp::Cluster { .. }, _) => {
            let mut dns = parse(host);
            if config.nameservers.is_empty() {
                // The Engine finds the host's servers better than we do.
                dns.servers.clear();
            }
            dns
        }
    };
    add(&mut dns.servers, &config.nameservers);
    add(&mut dns.searches, &config.searches);
    for DnsOption { name, value } in &config.options {
        dns.options.retain(|option| option.split(':').next() != Some(name));
        dns.options.push(value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}:{value}")));
    }
    dns
}

fn add(lines: &mut Vec<String>, more: &[String]) {
    for line in more {
        if !lines.contains(line) {
            lines.push(line.clone());
        }
    }
}

/// <https://man7.org/linux/man-pages/man5/resolv.conf.5.html>; of several `search` lines the last counts.
fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => {
                dns.servers.extend(words.take(1).filter(|server| !server.starts_with("127.") && server != "::1"))
            }
            Some("search" | "domain") => dns.searches = words.collect(),
            Some("options") => dns.options.extend(words),
            Some(_) | None => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DnsConfig;

    #[test]
    fn a_user_is_the_templates_with_what_the_image_says_beside_it() {
        let security = |user, group| Security { user, group, ..Security::default() };
        let cases = [
            (security(None, None), "", None),
            (security(Some(7), None), "nginx", Some("7")),
            (security(Some(7), Some(8)), "", Some("7:8")),
            (security(None, Some(8)), "", Some("0:8")),
            (security(None, Some(8)), "nginx:web", Some("nginx:8")),
        ];
        for (security, image, expected) in cases {
            assert_eq!(user(&security, image), Ok(expected.map(str::to_owned)), "{security:?} {image}");
        }
    }

    #[test]
    fn an_image_must_name_a_number_other_than_0_for_a_container_that_may_not_be_root() {
        let security = Security { non_root: true, ..Security::default() };
        for (image, refused) in
            [("", true), ("0", true), ("0:5", true), ("root", true), ("nginx", true), ("101", false), ("101:101", false)]
        {
            assert_eq!(user(&security, image).is_err(), refused, "{image:?}");
        }
        let named = Security { user: Some(5), ..security };
        assert_eq!(user(&named, ""), Ok(Some("5".to_owned())), "the template's user is known");
    }

    #[test]
    fn lookups_come_on_top_of_the_hosts_or_instead_of_them() {
        let option = |name: &str, value: Option<&str>| DnsOption { name: name.to_owned(), value: value.map(str::to_owned) };
        let config = DnsConfig {
            nameservers: vec!["1.2.3.4".to_owned()],
            searches: vec!["shop.example".to_owned()],
            options: vec![option("ndots", Some("2")), option("edns0", None)],
        };
        let host = "# a comment\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nsearch a.example b.example\noptions ndots:5 rotate\n";
        let own = merge(&Resolver { first: LookUp::Nowhere, config: config.clone() }, host, None);
        assert_eq!((own.servers, own.searches), (vec!["1.2.3.4".to_owned()], vec!["shop.example".to_owned()]));
        let both = merge(&Resolver { first: LookUp::Host, config: config.clone() }, host, None);
        assert_eq!(both.servers, ["9.9.9.9", "1.2.3.4"]);
        assert_eq!(both.searches, ["a.example", "b.example", "shop.example"]);
        assert_eq!(both.options, ["rotate", "ndots:2", "edns0"]);

        let searches = vec!["shop.svc.cluster.local".to_owned(), "svc.cluster.local".to_owned()];
        let first = LookUp::Cluster { server: NameServer::Gateway, searches };
        let gateway = "10.244.3.1".parse().ok();
        let cluster = merge(&Resolver { first: first.clone(), config: DnsConfig::default() }, host, gateway);
        assert_eq!((cluster.servers, cluster.options), (vec!["10.244.3.1".to_owned()], vec!["ndots:5".to_owned()]));
        assert_eq!(cluster.searches, ["shop.svc.cluster.local", "svc.cluster.local", "a.example", "b.example"]);
        let more = merge(&Resolver { first, config }, host, gateway);
        assert_eq!((more.servers.len(), more.searches.len()), (2, 5));
        assert_eq!(more.options, ["ndots:2", "edns0"], "the template's wins");
    }
}
