//! The stable addresses of Services, each given out once.

use crate::model::{Cidr, ObjectKey};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Who has which address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Addresses {
    range: Cidr,
    of: BTreeMap<ObjectKey, Ipv4Addr>,
    owners: BTreeMap<Ipv4Addr, ObjectKey>,
}

/// Why an address that is written cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the address {address} is not in {range}, where Services of this cluster have theirs (--service-cidr)")]
pub(super) struct OutOfRange {
    address: Ipv4Addr,
    range: Cidr,
}

impl Default for Addresses {
    fn default() -> Self {
        Self::of(None)
    }
}

impl Addresses {
    /// Addresses of a range; without one they never leave the host: 127.64.0.0/10.
    pub(super) fn of(range: Option<Cidr>) -> Self {
        let local = Cidr::new(Ipv4Addr::new(127, 64, 0, 0), 10);
        let range = range.or(local).unwrap_or(Cidr::ALL);
        Self { range, of: BTreeMap::new(), owners: BTreeMap::new() }
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<Ipv4Addr> {
        self.of.get(key).copied()
    }

    /// Takes an address over from the memory. One of another range is given up.
    pub(super) fn restore(&mut self, key: &ObjectKey, address: Ipv4Addr) {
        if self.range.contains(address) && !self.owners.contains_key(&address) {
            self.put(key, address);
        }
    }

    fn put(&mut self, key: &ObjectKey, address: Ipv4Addr) {
        self.free(key);
        self.owners.insert(address, key.clone());
        self.of.insert(key.clone(), address);
    }

    /// Gives a Service its address: by its name and its cluster's, so that it is the same after a lost memory and clusters beside
    /// each other on one host rarely meet, or the next free one.
    pub(super) fn allot(&mut self, cluster: &str, key: &ObjectKey) {
        if self.of.contains_key(key) {
            return;
        }
        let digest = blake3::hash(format!("{cluster}\n{}", key.short()).as_bytes());
        let [a, b, c, d, ..] = *digest.as_bytes();
        let count = u32::try_from(self.range.size()).unwrap_or(u32::MAX);
        let start = u32::from_be_bytes([a, b, c, d]) % count;
        let written = self.written();
        let probes = (start..count).chain(0..start).filter(|index| *index >= written).filter_map(|index| self.range.nth(index));
        let usable = |address: &Ipv4Addr| !matches!(address.octets()[3], 0 | 255) && !self.owners.contains_key(address);
        if let Some(address) = probes.into_iter().find(usable) {
            self.put(key, address);
        }
    }

    /// How many addresses at the beginning of the range are left to those who write one:
    /// <https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/#avoid-ClusterIP-conflict>.
    fn written(&self) -> u32 {
        u32::try_from(self.range.size() / 16).unwrap_or(u32::MAX).clamp(16, 256)
    }

    /// Gives a Service the address that it writes. Returns the one that had it and needs another: what is written counts.
    ///
    /// # Errors
    /// It is of another range; the Service then has none.
    pub(super) fn claim(&mut self, key: &ObjectKey, address: Ipv4Addr) -> Result<Option<ObjectKey>, OutOfRange> {
        if !self.range.contains(address) {
            self.free(key);
            return Err(OutOfRange { address, range: self.range });
        }
        let displaced = self.owners.get(&address).filter(|owner| *owner != key).cloned();
        if let Some(owner) = &displaced {
            self.of.remove(owner);
        }
        self.put(key, address);
        Ok(displaced)
    }

    pub(super) fn free(&mut self, key: &ObjectKey) {
        if let Some(address) = self.of.remove(key) {
            self.owners.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::Service, "shop", name)
    }

    fn addresses() -> Addresses {
        Addresses::of(Some("10.96.0.0/16".parse().expect("a range")))
    }

    #[test]
    fn an_address_is_allotted_beyond_those_that_are_left_to_be_written() {
        let mut addresses = addresses();
        for index in 0..2_000 {
            addresses.allot("test", &key(&index.to_string()));
        }
        let given: Vec<Ipv4Addr> = (0..2_000).filter_map(|index| addresses.get(&key(&index.to_string()))).collect();
        assert_eq!(given.len(), 2_000);
        assert!(given.iter().all(|address| address.octets()[2] > 0 && !matches!(address.octets()[3], 0 | 255)), "{given:?}");
    }

    #[test]
    fn a_written_address_is_taken_from_whoever_was_allotted_it() {
        let mut addresses = addresses();
        addresses.allot("test", &key("a"));
        let contested = addresses.get(&key("a")).expect("an address");
        assert_eq!(addresses.claim(&key("b"), contested), Ok(Some(key("a"))));
        assert_eq!((addresses.get(&key("a")), addresses.get(&key("b"))), (None, Some(contested)));
        addresses.allot("test", &key("a"));
        assert!(addresses.get(&key("a")).is_some_and(|address| address != contested));
        assert_eq!(addresses.claim(&key("b"), contested), Ok(None), "again, it has it");
    }

    #[test]
    fn an_address_of_another_range_is_refused_by_name_of_the_flag() {
        let mut addresses = addresses();
        let error = addresses.claim(&key("a"), Ipv4Addr::new(10, 97, 0, 1)).expect_err("not in the range");
        assert!(error.to_string().contains("10.97.0.1 is not in 10.96.0.0/16") && error.to_string().contains("--service-cidr"));
    }
}
