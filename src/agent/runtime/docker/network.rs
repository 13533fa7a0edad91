//! Our own bridge network: `driftless-<cluster>`, made when the Engine is first used, with the addresses that this node was given.

use super::engine::{Engine, Session};
use super::labels::CLUSTER;
use super::wire::{ReadError, encode};
use crate::agent::runtime::{Bridge, RuntimeError};
use crate::model::Cidr;
use bollard::errors::Error as BollardError;
use bollard::models::{self, NetworkCreateRequest};
use hyper::StatusCode;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::net::IpAddr;
use std::time::Duration;

/// The option that names the host's interface.
const INTERFACE: &str = "com.docker.network.bridge.name";

/// Characters of an interface's name.
const INTERFACE_MAX: usize = 15;

/// How long another agent that makes the network is waited for: 5 s.
const LOCK_TRIES: u32 = 250;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// `GET /networks/NAME`, as far as we read it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(rename = "IPAM", default)]
    ipam: Ipam,
    #[serde(default)]
    options: Option<BTreeMap<String, String>>,
    /// The running ones, by id.
    #[serde(default)]
    containers: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Ipam {
    config: Option<Vec<IpamConfig>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct IpamConfig {
    subnet: Option<String>,
    gateway: Option<String>,
}

/// The name of a cluster's network.
pub(super) fn name_of(cluster: &str) -> String {
    format!("driftless-{cluster}")
}

/// The host's interface on it, by a name that can be known before: at most 15 characters, as the kernel wants it.
fn interface_of(cluster: &str) -> String {
    let readable = format!("dl-{cluster}");
    let digest = blake3::hash(cluster.as_bytes()).to_hex();
    if readable.len() <= INTERFACE_MAX { readable } else { format!("dl-{}", &digest[..12]) }
}

/// Sees to it that the network is there, with `range` as its addresses if that is given and nothing is in the way: what is there serves
/// until then.
pub(super) async fn ensure(
    engine: &Engine,
    session: &Session,
    cluster: &str,
    range: Option<Cidr>,
) -> Result<Bridge, RuntimeError> {
    let found = find(engine, session, cluster).await?;
    found.as_ref().map_or(Ok(()), |network| check_ours(network, cluster))?;
    let trouble = match range.filter(|range| found.as_ref().and_then(Network::range) != Some(*range)) {
        None => None,
        Some(range) => obstacle(engine, session, found.as_ref(), (cluster, range)).await?,
    };
    match (found, trouble) {
        (Some(network), Some(trouble)) => Ok(network.bridge(Some(trouble))),
        (Some(network), None) if range.is_none_or(|range| network.range() == Some(range)) => Ok(network.bridge(None)),
        (_, None) => make(engine, session, cluster, range).await.map(|network| network.bridge(None)),
        (None, trouble) => make(engine, session, cluster, None).await.map(|network| network.bridge(trouble)),
    }
}

/// What keeps the network from having these addresses: those of another network, or a container on the one that is there. That one is
/// taken away if nothing does.
async fn obstacle(
    engine: &Engine,
    session: &Session,
    found: Option<&Network>,
    (cluster, range): (&str, Cidr),
) -> Result<Option<String>, RuntimeError> {
    let name = name_of(cluster);
    let all: Vec<Network> = session.get("/networks").await.map_err(|error| engine.read_failed("listing networks", error))?;
    let other = all.iter().find(|other| other.name != name && other.range().is_some_and(|taken| taken.overlaps(&range)));
    if let Some(other) = other {
        return Ok(Some(format!(
            "the Docker network {name} cannot have this node's range {range}: the network {} has addresses of it; remove that one, or \
             choose another --pod-cidr",
            other.name
        )));
    }
    let Some(network) = found else { return Ok(None) };
    if vacate(engine, session, network, cluster).await? {
        return Ok(None);
    }
    let old = network.range().map_or_else(|| "its addresses".to_owned(), |old| old.to_string());
    Ok(Some(format!("the Docker network {name} keeps {old} as long as containers are on it; this node's range is {range}")))
}

async fn make(engine: &Engine, session: &Session, cluster: &str, range: Option<Cidr>) -> Result<Network, RuntimeError> {
    let _lock = alone(engine).await;
    if find(engine, session, cluster).await?.is_none() {
        create(engine, session, cluster, range).await?;
    }
    find(engine, session, cluster).await?.ok_or_else(|| RuntimeError::Failed {
        action: format!("making the network {}", name_of(cluster)),
        message: "it was made, and is not there".to_owned(),
    })
}

/// Removes a network that has the wrong addresses. False if a container is on it.
async fn vacate(engine: &Engine, session: &Session, network: &Network, cluster: &str) -> Result<bool, RuntimeError> {
    if network.containers.as_ref().is_some_and(|containers| !containers.is_empty()) {
        return Ok(false);
    }
    match session.client.remove_network(&network.id).await {
        Ok(()) | Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => Ok(true),
        // One has come in between: "network … has active endpoints".
        Err(BollardError::DockerResponseServerError { status_code: 403 | 409, .. }) => Ok(false),
        Err(error) => Err(engine.failed(&format!("removing the network {}", name_of(cluster)), &error)),
    }
}

/// Removes the network. One that is not there is fine.
pub(super) async fn remove(engine: &Engine, session: &Session, cluster: &str) -> Result<(), RuntimeError> {
    let Some(network) = find(engine, session, cluster).await? else { return Ok(()) };
    check_ours(&network, cluster)?;
    let removed = session.client.remove_network(&network.id).await;
    removed.map_err(|error| engine.failed(&format!("removing the network {}", name_of(cluster)), &error))
}

async fn find(engine: &Engine, session: &Session, cluster: &str) -> Result<Option<Network>, RuntimeError> {
    match session.get(&format!("/networks/{}", encode(&name_of(cluster)))).await {
        Ok(network) => Ok(Some(network)),
        Err(ReadError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
        Err(error) => Err(engine.read_failed(&format!("looking for the network {}", name_of(cluster)), error)),
    }
}

async fn create(engine: &Engine, session: &Session, cluster: &str, range: Option<Cidr>) -> Result<(), RuntimeError> {
    let name = name_of(cluster);
    let addresses = |range: Cidr| models::IpamConfig {
        subnet: Some(range.to_string()),
        gateway: range.nth(1).map(|gateway| gateway.to_string()),
        ..models::IpamConfig::default()
    };
    let request = NetworkCreateRequest {
        name: name.clone(),
        driver: Some("bridge".to_owned()),
        options: Some(std::iter::once((INTERFACE.to_owned(), interface_of(cluster))).collect()),
        ipam: range.map(|range| models::Ipam { config: Some(vec![addresses(range)]), ..models::Ipam::default() }),
        labels: Some(std::iter::once((CLUSTER.to_owned(), cluster.to_owned())).collect()),
        ..NetworkCreateRequest::default()
    };
    match session.client.create_network(request).await {
        Ok(_) => Ok(()),
        // Another agent on this host was faster.
        Err(BollardError::DockerResponseServerError { status_code: 409, .. }) => Ok(()),
        Err(error) => Err(engine.failed(&format!("making the network {name}"), &error)),
    }
}

/// Up to version 28 the Engine lets two agents make two networks of one name at the same moment, and finds that name ambiguous from
/// then on. So one agent of this host makes it at a time: whoever holds the lock on the socket's folder, which needs no file
/// of its own and ends with the process. Whoever cannot have it in time goes on without.
pub(super) async fn alone(engine: &Engine) -> Option<File> {
    let folder = File::open(engine.socket().parent()?).ok()?;
    for _ in 0..LOCK_TRIES {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(TryLockError::Error(_)) => return None,
        }
    }
    None
}

fn check_ours(network: &Network, cluster: &str) -> Result<(), RuntimeError> {
    let label = network.labels.as_ref().and_then(|labels| labels.get(CLUSTER));
    if label.is_some_and(|label| label == cluster) {
        return Ok(());
    }
    let name = name_of(cluster);
    Err(RuntimeError::Refused {
        message: format!(
            "the Docker network {name} exists and is not ours (it lacks the label {CLUSTER}={cluster}); remove it \
             (`docker network rm {name}`), or choose another cluster name"
        ),
    })
}

impl Network {
    fn bridge(&self, trouble: Option<String>) -> Bridge {
        let named = self.options.as_ref().and_then(|options| options.get(INTERFACE)).cloned();
        // As the Engine names one that was given no name.
        let interface = named.unwrap_or_else(|| format!("br-{}", self.id.get(..12).unwrap_or(&self.id)));
        Bridge { interface, gateway: self.gateway(), pods: self.range(), trouble }
    }

    fn addresses(&self) -> impl Iterator<Item = &IpamConfig> {
        self.ipam.config.iter().flatten()
    }

    /// The first IPv4 gateway; some Engines write it with its prefix length.
    fn gateway(&self) -> Option<IpAddr> {
        let gateways = self.addresses().filter_map(|config| config.gateway.as_deref());
        let mut addresses = gateways.filter_map(|text| text.split('/').next()?.parse::<IpAddr>().ok());
        addresses.find(IpAddr::is_ipv4)
    }

    /// The first IPv4 range.
    fn range(&self) -> Option<Cidr> {
        self.addresses().find_map(|config| config.subnet.as_deref()?.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_interface_has_a_name_that_the_kernel_takes() {
        assert_eq!(interface_of("default"), "dl-default");
        assert_eq!(interface_of("a-long-cluster-name").len(), 15);
        assert_ne!(interface_of("a-long-cluster-name"), interface_of("a-long-cluster-nama"));
    }

    #[test]
    fn a_network_says_what_the_host_sees_of_it() {
        let network = |options: serde_json::Value| -> Bridge {
            let ipam =
                json!({ "Config": [{ "Subnet": "fd00::/64" }, { "Subnet": "10.244.3.0/24", "Gateway": "10.244.3.1/24" }] });
            let network = json!({ "Id": "0123456789abcdef", "IPAM": ipam, "Options": options });
            serde_json::from_value::<Network>(network).unwrap().bridge(None)
        };
        let named = network(json!({ INTERFACE: "dl-default" }));
        assert_eq!((named.interface.as_str(), named.gateway), ("dl-default", "10.244.3.1".parse().ok()));
        assert_eq!(named.pods, "10.244.3.0/24".parse().ok());
        assert_eq!(network(json!(null)).interface, "br-0123456789ab", "made by an older version");
    }
}
