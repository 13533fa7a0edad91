//! What every listener of the proxy needs to know.

use super::keeper::Keeper;
use super::pool::{Door, Pool};
use super::proxy::Limits;
use super::reach::Reach;
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// Where the addresses of the cluster lead: of Services, and of pods on other nodes.
pub(super) type Destinations = BTreeMap<(Ipv4Addr, u16), Arc<Pool>>;

/// What the listeners of one proxy share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) reach: Arc<dyn Reach>,
    /// Holds sockets for the next agent.
    pub(super) keeper: OnceLock<Keeper>,
    /// TCP to the addresses of the cluster that was caught.
    pub(super) destinations: Arc<ArcSwap<Destinations>>,
    connections: watch::Sender<usize>,
}

impl Shared {
    pub(super) fn new(limits: Limits, reach: Arc<dyn Reach>) -> Self {
        Self { limits, reach, keeper: OnceLock::new(), destinations: Arc::default(), connections: watch::Sender::new(0) }
    }

    /// How many connections a listener takes at once.
    pub(super) fn connections_max(&self, entrance: &Entrance) -> usize {
        match entrance {
            Entrance::Port { .. } => self.limits.connections_max,
            Entrance::Caught(_) => self.limits.caught_max,
        }
    }

    /// Counts a connection while the result lives.
    pub(super) fn open(&self) -> Open {
        self.connections.send_modify(|count| *count += 1);
        Open(self.connections.clone())
    }

    /// Waits until no connection is open.
    pub(super) async fn idle(&self) {
        // The sender lives as long as `self`, so that this ends only by the condition.
        let _ = self.connections.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// A connection that is open.
#[derive(Debug)]
pub(super) struct Open(watch::Sender<usize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Where those lead who come in by a listener.
#[derive(Debug, Clone)]
pub(super) enum Entrance {
    /// To one port of a Service.
    Port {
        /// Who is behind it.
        pool: Arc<Pool>,
        /// What kind of listener this is.
        door: Door,
    },
    /// To where they wanted before the kernel turned them here.
    Caught(Arc<ArcSwap<Destinations>>),
}

impl Entrance {
    /// Who is behind it; `wanted` finds out where the client wanted to.
    pub(super) fn pool(&self, wanted: impl FnOnce() -> Option<SocketAddrV4>) -> Option<Arc<Pool>> {
        match self {
            Entrance::Port { pool, .. } => Some(Arc::clone(pool)),
            Entrance::Caught(destinations) => {
                let wanted = wanted()?;
                destinations.load().get(&(*wanted.ip(), wanted.port())).cloned()
            }
        }
    }

    /// How they come.
    pub(super) fn door(&self) -> Door {
        match self {
            Entrance::Port { door, .. } => *door,
            Entrance::Caught(_) => Door::Inside,
        }
    }
}
