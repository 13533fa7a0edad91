//! The network that the nodes of a cluster make together.

use super::NodeName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// The bits of an IPv4 address.
const BITS: u8 = 32;

/// A range of IPv4 addresses, as `10.244.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    first: Ipv4Addr,
    prefix: u8,
}

/// A text that is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no range of IPv4 addresses; write its first address and its length, as 10.244.0.0/16")]
pub struct NoCidr(String);

impl Cidr {
    /// Every address.
    pub const ALL: Cidr = Cidr { first: Ipv4Addr::UNSPECIFIED, prefix: 0 };

    /// The range of `prefix` fixed bits that begins at `first`; `None` if `first` has other bits set, or `prefix` is above 32.
    #[must_use]
    pub fn new(first: Ipv4Addr, prefix: u8) -> Option<Self> {
        (prefix <= BITS && u32::from(first) & !mask(prefix) == 0).then_some(Self { first, prefix })
    }

    /// Its first address.
    #[must_use]
    pub fn first(&self) -> Ipv4Addr {
        self.first
    }

    /// How many bits are fixed.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// How many addresses it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        1 << (BITS - self.prefix)
    }

    /// Its address number `index`, counted from its first.
    #[must_use]
    pub fn nth(&self, index: u32) -> Option<Ipv4Addr> {
        (u64::from(index) < self.size()).then(|| Ipv4Addr::from(u32::from(self.first) + index))
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == u32::from(self.first)
    }

    /// Whether some address is in both.
    #[must_use]
    pub fn overlaps(&self, other: &Cidr) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }

    /// How many ranges of `prefix` fixed bits are in it.
    #[must_use]
    pub fn parts(&self, prefix: u8) -> u32 {
        match prefix.checked_sub(self.prefix) {
            Some(bits) if prefix <= BITS => 1_u32.checked_shl(bits.into()).unwrap_or(u32::MAX),
            Some(_) | None => 0,
        }
    }

    /// The range number `index` of those with `prefix` fixed bits.
    #[must_use]
    pub fn part(&self, prefix: u8, index: u32) -> Option<Cidr> {
        if index >= self.parts(prefix) {
            return None;
        }
        let step = u32::try_from(1_u64 << (BITS - prefix)).unwrap_or(0);
        Cidr::new(Ipv4Addr::from(u32::from(self.first) + index * step), prefix)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl((BITS - prefix).into()).unwrap_or(0)
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = NoCidr;

    fn from_str(text: &str) -> Result<Self, NoCidr> {
        let read = || {
            let (first, prefix) = text.split_once('/')?;
            Cidr::new(first.parse().ok()?, prefix.parse().ok()?)
        };
        read().ok_or_else(|| NoCidr(text.to_owned()))
    }
}

impl TryFrom<String> for Cidr {
    type Error = NoCidr;

    fn try_from(text: String) -> Result<Self, NoCidr> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(range: Cidr) -> Self {
        range.to_string()
    }
}

/// The SHA-256 of a public key (its SubjectPublicKeyInfo, RFC 5280 section 4.1.2.7) as hexadecimal digits: what a node's name is
/// bound to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyFingerprint(pub String);

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is laid down for the network of a cluster at the start of its controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Where pods get their addresses from.
    pub pods: Cidr,
    /// How many bits are fixed in the range of one node.
    pub node_prefix: u8,
    /// Where Services get their addresses from.
    pub services: Cidr,
    /// What names end with: `cluster.local`.
    pub domain: String,
}

impl NetworkSettings {
    /// What names of a cluster end with, unless set otherwise.
    pub const DOMAIN: &'static str = "cluster.local";

    /// How many bits are fixed in the range of a node: 256 addresses.
    pub const NODE_PREFIX: u8 = 24;
}

/// The network as one node is told it: always the whole, and the newest counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeNetwork {
    /// Grows with every change, within and across epochs; the same for all nodes.
    pub version: u64,
    /// Where this node's pods get their addresses from.
    pub pods: Cidr,
    /// The ranges of all nodes lie in it.
    pub cluster_pods: Cidr,
    /// The virtual addresses of Services.
    pub services: Cidr,
    /// What names end with.
    pub domain: String,
    /// The other nodes. One that is not here (any more) is no node of the cluster.
    pub peers: BTreeMap<NodeName, Peer>,
}

/// Another node, as its peers see it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Peer {
    /// Where it can be dialled; empty if it cannot, or has not said.
    pub addresses: Vec<SocketAddr>,
    /// Where its pods have their addresses.
    pub pods: Option<Cidr>,
    /// The key that its certificate must be for; `None` where links need no certificates.
    pub key: Option<KeyFingerprint>,
}

/// The network as an agent has it: the echo of what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkEcho {
    /// The version in force; 0 if it was told none.
    pub version: u64,
    /// Where its pods have their addresses from.
    pub pods: Option<Cidr>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().expect("a range")
    }

    #[test]
    fn a_range_is_read_as_it_is_written_and_nothing_else_is() {
        for text in ["10.244.0.0/16", "0.0.0.0/0", "10.96.0.1/32"] {
            assert_eq!(cidr(text).to_string(), text);
        }
        for text in ["", "10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "10.0.0/8", "::/0", "10.0.0.0/-1"] {
            assert_eq!(text.parse::<Cidr>(), Err(NoCidr(text.to_owned())));
        }
    }

    #[test]
    fn a_range_is_cut_into_parts_that_lie_in_it_one_after_the_other() {
        let whole = cidr("10.244.0.0/16");
        assert_eq!(whole.parts(24), 256);
        assert_eq!(whole.part(24, 0), Some(cidr("10.244.0.0/24")));
        assert_eq!(whole.part(24, 255), Some(cidr("10.244.255.0/24")));
        assert_eq!(whole.part(24, 256), None);
        assert_eq!((whole.parts(15), whole.parts(33), whole.parts(16)), (0, 0, 1));
        assert_eq!(cidr("0.0.0.0/0").part(1, 1), Some(cidr("128.0.0.0/1")));
    }

    proptest! {
        #[test]
        fn an_address_is_in_exactly_one_part(address in any::<u32>(), prefix in 0_u8..=24, further in 0_u8..=8) {
            let address = Ipv4Addr::from(address);
            let whole = Cidr::new(Ipv4Addr::from(u32::from(address) & mask(prefix)), prefix).expect("a range");
            prop_assert!(whole.contains(address));
            let parts = (0..whole.parts(prefix + further)).filter_map(|index| whole.part(prefix + further, index));
            prop_assert_eq!(parts.filter(|part| part.contains(address) && part.overlaps(&whole)).count(), 1);
        }
    }
}
