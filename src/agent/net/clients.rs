//! Which pod each client of a Service with `sessionAffinity: ClientIP` had.

use crate::model::{Moment, PodUid};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// More clients than this are not remembered beyond the draw that they have anyway. Per port.
const CLIENTS_MAX: usize = 65_536;

/// The pods that clients had, and when.
#[derive(Debug, Default)]
pub(super) struct Clients {
    known: Mutex<BTreeMap<IpAddr, (PodUid, Moment)>>,
}

impl Clients {
    /// The pod that a client had, if it was not away for too long.
    pub(super) fn recall(&self, client: IpAddr, sticky_for: Duration, now: Moment) -> Option<PodUid> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&client).filter(|(_, last)| now.since(*last) < sticky_for).map(|(pod, _)| *pod)
    }

    /// Notes the pod that a client has now. Where the table is full, those who have been away for too long make room.
    pub(super) fn remember(&self, client: IpAddr, pod: PodUid, sticky_for: Duration, now: Moment) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CLIENTS_MAX && !known.contains_key(&client) {
            known.retain(|_, (_, last)| now.since(*last) < sticky_for);
        }
        if known.len() < CLIENTS_MAX || known.contains_key(&client) {
            known.insert(client, (pod, now));
        }
    }
}
