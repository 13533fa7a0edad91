//! A network of nodes that know each other, as a controller tells it.

use driftless::model::{Cidr, KeyFingerprint, NodeName, NodeNetwork, Peer};
use std::net::SocketAddr;

/// What a node is told whose peers have these names, addresses to dial and keys.
pub(crate) fn network(peers: impl IntoIterator<Item = (NodeName, SocketAddr, KeyFingerprint)>) -> NodeNetwork {
    let cidr = |text: &str| text.parse::<Cidr>().expect("a range");
    let peer = |(name, address, key)| (name, Peer { addresses: vec![address], pods: None, key: Some(key) });
    NodeNetwork {
        version: 1,
        pods: cidr("10.244.0.0/24"),
        cluster_pods: cidr("10.244.0.0/16"),
        services: cidr("10.96.0.0/16"),
        domain: "cluster.local".to_owned(),
        peers: peers.into_iter().map(peer).collect(),
    }
}
