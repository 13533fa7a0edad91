//! The network that the nodes make together.

use super::{ConvertError, optional, parsed};
use crate::model::{KeyFingerprint, NodeName, NodeNetwork, Peer};
use crate::wire::proto;

const RANGE: &str = "a range of addresses";

/// The network as one node is told it.
pub(super) fn to_proto(network: &NodeNetwork) -> proto::NodeNetwork {
    let peer = |(name, peer): (&NodeName, &Peer)| proto::Peer {
        name: name.as_str().to_owned(),
        addresses: peer.addresses.iter().map(ToString::to_string).collect(),
        pods: peer.pods.map(|range| range.to_string()).unwrap_or_default(),
        key: peer.key.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    proto::NodeNetwork {
        version: network.version,
        pods: network.pods.to_string(),
        cluster_pods: network.cluster_pods.to_string(),
        services: network.services.to_string(),
        domain: network.domain.clone(),
        peers: network.peers.iter().map(peer).collect(),
    }
}

/// Reads it.
pub(super) fn read(message: proto::NodeNetwork) -> Result<NodeNetwork, ConvertError> {
    Ok(NodeNetwork {
        version: message.version,
        pods: parsed("network.pods", &message.pods, RANGE)?,
        cluster_pods: parsed("network.cluster_pods", &message.cluster_pods, RANGE)?,
        services: parsed("network.services", &message.services, RANGE)?,
        domain: message.domain,
        peers: message.peers.into_iter().map(peer).collect::<Result<_, _>>()?,
    })
}

fn peer(message: proto::Peer) -> Result<(NodeName, Peer), ConvertError> {
    if message.name.is_empty() {
        return Err(ConvertError::Missing("peer.name"));
    }
    let address = |text: &String| parsed("peer.addresses", text, "an address and a port");
    let peer = Peer {
        addresses: message.addresses.iter().map(address).collect::<Result<_, _>>()?,
        pods: optional("peer.pods", &message.pods, RANGE)?,
        key: (!message.key.is_empty()).then_some(KeyFingerprint(message.key)),
    };
    Ok((NodeName::new(message.name), peer))
}
