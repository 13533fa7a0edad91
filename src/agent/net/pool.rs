//! The backends of one Service port, and who is next.

use super::clients::Clients;
use crate::model::{Backend, Cidr, Moment, NodeName, Traffic};
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How long a backend that could not be connected to is used only if there is no other.
const SHUN: Duration = Duration::from_secs(1);

/// Who asks, and by which door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client {
    /// Where it is.
    pub(super) address: IpAddr,
    /// How it came.
    pub(super) door: Door,
}

/// How a client came to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Door {
    /// By an address of the cluster.
    Inside,
    /// By a port of the node.
    NodePort,
    /// By a port of a load balancer.
    LoadBalancer,
}

/// One backend, and what is known about it. It outlives the set that it came from while connections hold it.
#[derive(Debug)]
pub(super) struct Slot {
    backend: Backend,
    /// Whether it is on this node.
    is_here: bool,
    /// Connections now.
    active: AtomicUsize,
    /// Until when it is avoided, in milliseconds as [`Moment`].
    shunned_until: AtomicU64,
}

/// The backends of one port. Readers never block, and a replacement is seen by the next reader.
#[derive(Debug, Default)]
pub(super) struct Pool {
    state: ArcSwap<State>,
    /// Where the search for the least used starts, so that ties go round.
    next: AtomicUsize,
    /// Where clients went before, for a Service that sends them there again.
    clients: Clients,
}

/// What is replaced as a whole.
#[derive(Debug, Default)]
struct State {
    slots: Vec<Arc<Slot>>,
    traffic: Traffic,
}

impl Pool {
    /// Sends new connections to these backends from now on. Those that stay keep their counts. `here` is this node.
    pub(super) fn replace(&self, backends: &[Backend], traffic: &Traffic, here: &NodeName) {
        let before = self.state.load_full();
        let known: BTreeMap<&Backend, &Arc<Slot>> = before.slots.iter().map(|slot| (&slot.backend, slot)).collect();
        let slot = |backend: &Backend| known.get(backend).map_or_else(|| Slot::new(backend, here), |slot| Arc::clone(slot));
        self.state.store(Arc::new(State { slots: backends.iter().map(slot).collect(), traffic: traffic.clone() }));
    }

    /// Sends nobody anywhere any more.
    pub(super) fn empty(&self) {
        self.state.store(Arc::default());
    }

    /// Whether a client may come by its door at all.
    pub(super) fn admits(&self, client: Client) -> bool {
        let ranges = &self.state.load().traffic.source_ranges;
        let within = |range: &Cidr| matches!(client.address, IpAddr::V4(address) if range.contains(address));
        client.door != Door::LoadBalancer || ranges.is_empty() || ranges.iter().any(within)
    }

    /// Whether somebody who comes by this door may be led anywhere.
    pub(super) fn leads_somewhere(&self, door: Door) -> bool {
        let state = self.state.load();
        state.slots.iter().any(|slot| state.is_open(slot, door))
    }

    /// The next backend for a client among those not tried yet: the one that it had before, where the Service wants that, else the one
    /// with the fewest connections. Those that failed a moment ago are avoided. `None` if there is none left.
    pub(super) fn pick(&self, client: Client, tried: &[Arc<Slot>], now: Moment) -> Option<Lease> {
        let state = self.state.load();
        let is_open = |slot: &&Arc<Slot>| state.is_open(slot, client.door) && !tried.iter().any(|other| Arc::ptr_eq(slot, other));
        let Some(sticky_for) = state.traffic.sticky_for else {
            let start = self.next.fetch_add(1, Ordering::Relaxed);
            let in_turn = (0..state.slots.len()).filter_map(|step| state.slots.get(start.wrapping_add(step) % state.slots.len()));
            let least = in_turn.filter(is_open).min_by_key(|slot| (slot.is_shunned(now), slot.active.load(Ordering::Relaxed)));
            return least.map(Lease::new);
        };
        let known = self.clients.recall(client.address, sticky_for, now);
        let before = state.slots.iter().filter(is_open).find(|slot| Some(slot.backend.pod) == known);
        let by_lot = || state.slots.iter().filter(is_open).min_by_key(|slot| (slot.is_shunned(now), slot.lot(client.address)));
        let slot = before.or_else(by_lot)?;
        self.clients.remember(client.address, slot.backend.pod, sticky_for, now);
        Some(Lease::new(slot))
    }

    /// Whether a backend is in the set, also one that nobody has a hold on.
    pub(super) fn has(&self, backend: &Backend) -> bool {
        self.state.load().slots.iter().any(|slot| slot.backend == *backend)
    }

    /// Whether the backend is still in the set.
    pub(super) fn holds(&self, lease: &Lease) -> bool {
        self.state.load().slots.iter().any(|slot| Arc::ptr_eq(slot, &lease.0))
    }
}

impl State {
    /// Whether the Service lets those who come by this door go to a backend.
    fn is_open(&self, slot: &Slot, door: Door) -> bool {
        let only_here = match door {
            Door::Inside => self.traffic.internal_local,
            Door::NodePort | Door::LoadBalancer => self.traffic.external_local,
        };
        slot.is_here || !only_here
    }
}

impl Slot {
    fn new(backend: &Backend, here: &NodeName) -> Arc<Self> {
        let is_here = backend.node == *here;
        Arc::new(Self { backend: backend.clone(), is_here, active: AtomicUsize::new(0), shunned_until: AtomicU64::new(0) })
    }

    fn is_shunned(&self, now: Moment) -> bool {
        now.0 < self.shunned_until.load(Ordering::Relaxed)
    }

    /// The draw of a client among pods: the same on every node and after every start, and hardly changed by a pod that comes or goes
    /// (rendezvous hashing).
    fn lot(&self, client: IpAddr) -> u64 {
        let digest = blake3::hash(format!("{client}\n{}", self.backend.pod).as_bytes());
        let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

/// A connection's hold on a backend: it counts while it lives.
#[derive(Debug)]
pub(super) struct Lease(Arc<Slot>);

impl Lease {
    fn new(slot: &Arc<Slot>) -> Self {
        slot.active.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(slot))
    }

    /// The backend.
    pub(super) fn backend(&self) -> &Backend {
        &self.0.backend
    }

    /// Whether it is on this node.
    pub(super) fn is_here(&self) -> bool {
        self.0.is_here
    }

    /// The connect failed: avoid it for a moment. Gives the backend, to be told apart from those not tried yet.
    pub(super) fn failed(self, now: Moment) -> Arc<Slot> {
        self.0.shunned_until.store((now + SHUN).0, Ordering::Relaxed);
        Arc::clone(&self.0)
    }

    /// The backend is no longer wanted; it did not fail.
    pub(super) fn outdated(self) -> Arc<Slot> {
        Arc::clone(&self.0)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PodUid;
    use std::net::Ipv4Addr;
    use uuid::Uuid;

    const INSIDE: Client = Client { address: IpAddr::V4(Ipv4Addr::new(10, 244, 0, 7)), door: Door::Inside };

    /// `a1 b1 c2`: pods a and b on node 1, c on node 2.
    fn pool(pods: &str, traffic: &Traffic) -> Pool {
        let pool = Pool::default();
        put(&pool, pods, traffic);
        pool
    }

    fn put(pool: &Pool, pods: &str, traffic: &Traffic) {
        let backend = |word: &str| Backend {
            pod: PodUid(Uuid::from_u128(u128::from(word.as_bytes()[0]))),
            node: NodeName::new(&word[1..]),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 80,
        };
        pool.replace(&pods.split_whitespace().map(backend).collect::<Vec<_>>(), traffic, &NodeName::new("1"));
    }

    fn name(lease: &Lease) -> char {
        u8::try_from(lease.backend().pod.0.as_u128()).map_or('?', char::from)
    }

    /// Who gets so many connections that all stay open, by name.
    fn picks(pool: &Pool, client: Client, count: usize) -> String {
        let leases: Vec<Lease> = (0..count).filter_map(|_| pool.pick(client, &[], Moment(0))).collect();
        let mut names: Vec<char> = leases.iter().map(name).collect();
        names.sort_unstable();
        names.into_iter().collect()
    }

    #[test]
    fn a_local_policy_leads_to_pods_of_this_node_only_and_each_door_has_its_own() {
        let outside = |door| Client { door, ..INSIDE };
        let internal = pool("a1 b2", &Traffic { internal_local: true, ..Traffic::default() });
        assert_eq!(picks(&internal, INSIDE, 4), "aaaa");
        assert_eq!(picks(&internal, outside(Door::NodePort), 4), "aabb");
        let external = pool("a1 b2", &Traffic { external_local: true, ..Traffic::default() });
        assert_eq!(picks(&external, INSIDE, 4), "aabb");
        assert_eq!(picks(&external, outside(Door::NodePort), 4), "aaaa");
        assert_eq!(picks(&external, outside(Door::LoadBalancer), 4), "aaaa");
        put(&external, "b2", &Traffic { external_local: true, ..Traffic::default() });
        assert_eq!(picks(&external, outside(Door::NodePort), 4), "");
        assert!(external.leads_somewhere(Door::Inside) && !external.leads_somewhere(Door::NodePort));
    }

    #[test]
    fn a_sticky_client_stays_with_its_pod_until_the_pod_leaves_or_the_time_is_over() {
        let traffic = Traffic { sticky_for: Some(Duration::from_secs(10)), ..Traffic::default() };
        let pool = pool("a1 b1 c1", &traffic);
        let pick = |seconds: u64| pool.pick(INSIDE, &[], Moment(seconds * 1_000)).map(|lease| name(&lease));
        let first = pick(0);
        assert!((0..30).all(|_| pick(1) == first));
        let others: String =
            ["a1", "b1", "c1"].into_iter().filter(|word| first != word.chars().next()).collect::<Vec<_>>().join(" ");
        put(&pool, &others, &traffic);
        let second = pick(2);
        assert!(second.is_some() && second != first);
        put(&pool, "a1 b1 c1", &traffic);
        assert_eq!(pick(11), second, "it was there 9 s ago");
        assert_eq!(pick(21), first, "its lot, once the time is over");
    }

    #[test]
    fn sticky_clients_are_spread_and_every_node_draws_alike() {
        let traffic = Traffic { sticky_for: Some(Duration::from_secs(10)), ..Traffic::default() };
        let (here, there) = (pool("a1 b1", &traffic), pool("b1 a1", &traffic));
        let drawn = |pool: &Pool| -> String {
            let clients = (0..64).map(|last| Client { address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), ..INSIDE });
            clients.filter_map(|client| pool.pick(client, &[], Moment(0)).map(|lease| name(&lease))).collect()
        };
        assert_eq!(drawn(&here), drawn(&there));
        assert!(drawn(&here).matches('a').count() > 10 && drawn(&here).matches('b').count() > 10);
    }

    #[test]
    fn source_ranges_are_for_those_who_come_by_the_load_balancer() {
        let range = Cidr::new(Ipv4Addr::new(10, 244, 0, 0), 24).expect("a range");
        let pool = pool("a1", &Traffic { source_ranges: vec![range], ..Traffic::default() });
        let from = |last: [u8; 4], door| pool.admits(Client { address: IpAddr::from(last), door });
        assert!(from([10, 244, 0, 9], Door::LoadBalancer));
        assert!(!from([10, 245, 0, 9], Door::LoadBalancer));
        assert!(from([10, 245, 0, 9], Door::NodePort));
        assert!(from([10, 245, 0, 9], Door::Inside));
    }
}
