//! Keeps the kernel's rules as the proxy wants them.

use super::host::{self, HostError};
use super::problem::{ListenProblem, Listener, Problems};
use super::rules::Rules;
use crate::model::{Cidr, ObjectKey, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// The rules are made again after so long, in case that somebody has flushed them: restarting a host's firewall often does.
const REPEAT: Duration = Duration::from_secs(30);

/// Pause before rules that could not be made are tried again.
const RETRY: Duration = Duration::from_secs(5);

/// What the kernel should do, and for which Services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) rules: Rules,
    /// Whose addresses these are: who is told where rules cannot be made.
    pub(super) services: BTreeMap<Ipv4Addr, ObjectKey>,
    /// How many bits are fixed in the part of the pods' range that a node has.
    pub(super) node_prefix: u8,
}

/// A task that makes the rules; it ends with its owner, and the rules stay.
#[derive(Debug)]
pub(super) struct Steering {
    wanted: watch::Sender<Option<Wanted>>,
}

impl Steering {
    /// Must be called within tokio.
    pub(super) fn start(problems: watch::Sender<Problems>) -> Self {
        let (wanted, told) = watch::channel(None);
        tokio::spawn(follow(told, problems));
        Self { wanted }
    }

    /// Brings the kernel's rules to this, soon. Nothing happens if it is as before.
    pub(super) fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|last| {
            let is_news = last.as_ref() != Some(&wanted);
            *last = Some(wanted);
            is_news
        });
    }
}

async fn follow(mut told: watch::Receiver<Option<Wanted>>, problems: watch::Sender<Problems>) {
    let mut pause = REPEAT;
    // A pause that is over is as good as news; a sender that is gone ends it.
    while !matches!(timeout(pause, told.changed()).await, Ok(Err(_))) {
        let Some(wanted) = told.borrow_and_update().clone() else { continue };
        let (rules, services) = (wanted.rules, wanted.services);
        let made = tokio::task::spawn_blocking(move || make(&rules, wanted.node_prefix)).await;
        let outcome = made.unwrap_or_else(|error| Err(HostError::Refused { program: "nft", message: error.to_string() }));
        pause = if outcome.is_ok() { REPEAT } else { RETRY };
        problems.send_if_modified(|problems| note(problems, &services, outcome.as_ref().err()));
    }
}

fn make(rules: &Rules, node_prefix: u8) -> Result<(), HostError> {
    // Once there is a table, the ranges are ours.
    if !host::has_table(&rules.table) {
        let obstacle = host::obstacle(rules.services, rules.pods, node_prefix)?;
        // Another agent of this host leads them here just as well.
        obstacle.filter(|overlap| !overlap.route.is_ours).map_or(Ok(()), |overlap| Err(HostError::Taken(overlap)))?;
    }
    let ranges: BTreeSet<Cidr> = [rules.services, rules.pods].into_iter().collect();
    for range in ranges {
        host::lead_here(range)?;
    }
    host::apply_rules(&rules.script())
}

/// Without rules no Service is reached at its address. Returns whether that is news.
fn note(problems: &mut Problems, services: &BTreeMap<Ipv4Addr, ObjectKey>, error: Option<&HostError>) -> bool {
    let before = problems.clone();
    problems.retain(|_, problem| !matches!(problem, ListenProblem::NoRules { .. }));
    for (address, service) in services.iter().filter(|_| error.is_some()) {
        let listener = Listener { service: service.clone(), address: SocketAddr::from((*address, 0)), protocol: Protocol::Tcp };
        let reason = error.map(ToString::to_string).unwrap_or_default();
        problems.insert(listener, ListenProblem::NoRules { address: *address, reason });
    }
    let is_news = *problems != before;
    if let (true, Some(error)) = (is_news, error) {
        tracing::warn!("Services are not reached at their addresses: {error}");
    }
    is_news
}
