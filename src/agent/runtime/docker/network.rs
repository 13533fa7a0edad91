//! Our own bridge network: `driftless-<cluster>`, made when the Engine is first used.

use super::engine::{Engine, Session};
use super::labels::CLUSTER;
use super::wire::{ReadError, encode};
use crate::agent::runtime::RuntimeError;
use bollard::models::NetworkCreateRequest;
use hyper::StatusCode;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::net::IpAddr;
use std::time::Duration;

/// How long another agent that makes the network is waited for: 5 s.
const LOCK_TRIES: u32 = 250;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// `GET /networks/NAME`, as far as we read it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    id: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(rename = "IPAM", default)]
    ipam: Ipam,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Ipam {
    config: Option<Vec<IpamConfig>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct IpamConfig {
    gateway: Option<String>,
}

/// The name of a cluster's network.
pub(super) fn name_of(cluster: &str) -> String {
    format!("driftless-{cluster}")
}

/// Sees to it that the network is there. Returns the host's address on it.
pub(super) async fn ensure(engine: &Engine, session: &Session, cluster: &str) -> Result<Option<IpAddr>, RuntimeError> {
    let network = match find(engine, session, cluster).await? {
        Some(network) => network,
        None => {
            let _lock = alone(engine).await;
            if find(engine, session, cluster).await?.is_none() {
                create(engine, session, cluster).await?;
            }
            find(engine, session, cluster).await?.ok_or_else(|| RuntimeError::Failed {
                action: format!("making the network {}", name_of(cluster)),
                message: "it was made, and is not there".to_owned(),
            })?
        }
    };
    check_ours(&network, cluster)?;
    Ok(gateway(&network))
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

async fn create(engine: &Engine, session: &Session, cluster: &str) -> Result<(), RuntimeError> {
    let name = name_of(cluster);
    let request = NetworkCreateRequest {
        name: name.clone(),
        driver: Some("bridge".to_owned()),
        labels: Some(std::iter::once((CLUSTER.to_owned(), cluster.to_owned())).collect()),
        ..NetworkCreateRequest::default()
    };
    match session.client.create_network(request).await {
        Ok(_) => Ok(()),
        // Another agent on this host was faster.
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 409, .. }) => Ok(()),
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

/// The first IPv4 gateway; some Engines write it with its prefix length.
fn gateway(network: &Network) -> Option<IpAddr> {
    let gateways = network.ipam.config.iter().flatten().filter_map(|config| config.gateway.as_deref());
    let mut addresses = gateways.filter_map(|text| text.split('/').next()?.parse::<IpAddr>().ok());
    addresses.find(IpAddr::is_ipv4)
}
