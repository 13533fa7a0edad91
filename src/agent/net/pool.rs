//! The backends of one Service port, and who is next.

use crate::model::{Backend, Moment};
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How long a backend that could not be connected to is used only if there is no other.
const SHUN: Duration = Duration::from_secs(1);

/// One backend, and what is known about it. It outlives the set that it came from while connections hold it.
#[derive(Debug)]
pub(super) struct Slot {
    backend: Backend,
    /// Connections now.
    active: AtomicUsize,
    /// Until when it is avoided, in milliseconds as [`Moment`].
    shunned_until: AtomicU64,
}

/// The backends of one port. Readers never block, and a replacement is seen by the next reader.
#[derive(Debug, Default)]
pub(super) struct Pool {
    slots: ArcSwap<Vec<Arc<Slot>>>,
    /// Where the search for the least used starts, so that ties go round.
    next: AtomicUsize,
}

impl Pool {
    /// Sends new connections to these backends from now on. Those that stay keep their counts.
    pub(super) fn replace(&self, backends: &[Backend]) {
        let before = self.slots.load_full();
        let known: BTreeMap<&Backend, &Arc<Slot>> = before.iter().map(|slot| (&slot.backend, slot)).collect();
        let slots = backends.iter().map(|backend| known.get(backend).map_or_else(|| Slot::new(backend), |slot| Arc::clone(slot)));
        self.slots.store(Arc::new(slots.collect()));
    }

    /// The backend with the fewest connections among those not tried yet, avoiding those that failed a moment ago. `None`
    /// if there is none left.
    pub(super) fn pick(&self, tried: &[Arc<Slot>], now: Moment) -> Option<Lease> {
        let slots = self.slots.load();
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..slots.len()).filter_map(|step| slots.get(start.wrapping_add(step) % slots.len()));
        in_turn
            .filter(|slot| !tried.iter().any(|other| Arc::ptr_eq(slot, other)))
            .min_by_key(|slot| (slot.is_shunned(now), slot.active.load(Ordering::Relaxed)))
            .map(Lease::new)
    }

    /// Whether the backend is still in the set.
    pub(super) fn holds(&self, lease: &Lease) -> bool {
        self.slots.load().iter().any(|slot| Arc::ptr_eq(slot, &lease.0))
    }
}

impl Slot {
    fn new(backend: &Backend) -> Arc<Self> {
        Arc::new(Self { backend: backend.clone(), active: AtomicUsize::new(0), shunned_until: AtomicU64::new(0) })
    }

    fn is_shunned(&self, now: Moment) -> bool {
        now.0 < self.shunned_until.load(Ordering::Relaxed)
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

    /// Where the backend is reached.
    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.0.backend.address, self.0.backend.port)
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
