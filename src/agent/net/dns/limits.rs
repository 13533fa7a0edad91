//! How much one client, and all together, may have under way at once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts what is under way, by client. Clones count together.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    client_max: usize,
    all_max: usize,
    under_way: Arc<Mutex<UnderWay>>,
}

#[derive(Debug, Default)]
struct UnderWay {
    all: usize,
    by_client: BTreeMap<IpAddr, usize>,
}

impl Limits {
    /// At most `client_max` for one client and `all_max` for all.
    pub(super) fn new(client_max: usize, all_max: usize) -> Self {
        Self { client_max, all_max, under_way: Arc::default() }
    }

    /// Room for one more of this client until the permit is dropped; `None` if there is none.
    pub(super) fn admit(&self, client: IpAddr) -> Option<Permit> {
        let mut under_way = self.lock();
        let own = under_way.by_client.get(&client).copied().unwrap_or(0);
        if under_way.all >= self.all_max || own >= self.client_max {
            return None;
        }
        under_way.all += 1;
        under_way.by_client.insert(client, own + 1);
        Some(Permit { limits: self.clone(), client })
    }

    /// How much is under way.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        // Every state in between is whole.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for one. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    limits: Limits,
    client: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut under_way = self.limits.lock();
        under_way.all -= 1;
        match under_way.by_client.get_mut(&self.client) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(under_way.by_client.remove(&self.client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn client(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    #[test]
    fn a_client_takes_no_room_from_others_beyond_its_own_and_leaves_nothing_behind() {
        let limits = Limits::new(2, 3);
        let mut held: Vec<Permit> = (0..2).filter_map(|_| limits.admit(client(1))).collect();
        assert_eq!(held.len(), 2);
        assert!(limits.admit(client(1)).is_none(), "beyond its own share");
        held.extend(limits.admit(client(2)));
        assert_eq!(held.len(), 3);
        assert!(limits.admit(client(3)).is_none(), "beyond the share of all");
        held.remove(0);
        held.extend(limits.admit(client(1)));
        assert_eq!(held.len(), 3);
        held.clear();
        assert!(limits.lock().by_client.is_empty());
        assert_eq!(limits.lock().all, 0);
    }
}
