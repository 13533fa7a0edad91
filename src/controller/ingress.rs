//! Telling the nodes that serve Ingress what to serve.
//!
//! The table has the keys of certificates in it, so that no other node is told.

use super::core::Controller;
use super::event::Effect;
use super::happenings::Happening;
use super::nodes::{Node, RESEND_AFTER};
use super::routes::{Conflict, routes};
use super::timers::Timer;
use super::view::problem;
use crate::model::{INGRESS_LABEL, IngressTable, Kind, NodeName, ObjectKey, ProblemView};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the Ingresses in force come to.
#[derive(Debug, Default)]
pub(super) struct Ingresses {
    /// As it was last told; nothing was if its version is 0.
    table: Arc<IngressTable>,
    conflicts: BTreeSet<Conflict>,
    /// The nodes that serve and may.
    servers: BTreeSet<NodeName>,
    /// Counts versions within the reign.
    counter: u64,
}

impl Ingresses {
    /// A node is no more.
    pub(super) fn forget(&mut self, name: &NodeName) {
        self.servers.remove(name);
    }
}

impl Controller {
    /// Whether the table depends on one of these objects.
    pub(super) fn concerns_ingress(changed: &BTreeSet<ObjectKey>) -> bool {
        changed.iter().any(|key| matches!(key.kind, Kind::Ingress | Kind::Service | Kind::Secret))
    }

    /// Makes the table anew, and tells it if it says something else than the last.
    pub(super) fn route(&mut self) {
        let routes = routes(&self.inputs.effective.objects);
        for conflict in routes.conflicts.difference(&self.ingresses.conflicts) {
            let Conflict { ingress: about, message } = conflict.clone();
            let happening = Happening { about: &about, pod: None, warning: true, reason: "Conflict", message };
            self.happenings.note(happening, self.now);
        }
        self.ingresses.conflicts = routes.conflicts;
        let last = &self.ingresses.table;
        if last.version > 0 && last.routes == routes.routes && last.certificates == routes.certificates {
            return;
        }
        self.tell_servers(IngressTable { version: 0, routes: routes.routes, certificates: routes.certificates });
    }

    /// Who serves, or may, is perhaps another than before. That makes a new version of the same, so that a node which may no more is told
    /// to give it up, and one which may again is told anew.
    pub(super) fn reconsider_server(&mut self, name: &NodeName) {
        let serves = self.serves_ingress(name);
        let changed = if serves { self.ingresses.servers.insert(name.clone()) } else { self.ingresses.servers.remove(name) };
        if changed && self.ingresses.table.version > 0 {
            self.tell_servers(IngressTable::clone(&self.ingresses.table));
        }
    }

    /// Tells a table under a new version.
    fn tell_servers(&mut self, table: IngressTable) {
        self.ingresses.counter += 1;
        let version = (self.epoch.0 << 32) + self.ingresses.counter;
        self.ingresses.table = Arc::new(IngressTable { version, ..table });
        for name in self.nodes.by_name.keys().cloned().collect::<Vec<_>>() {
            self.tell_ingress(&name);
        }
    }

    /// Whether a node serves Ingress and may: that it serves is its agent's word, that it may is not. A host that joined needs the label,
    /// which its token or git gives it; otherwise, whoever has taken over any node could ask for the keys of all certificates. An agent that came
    /// in without a certificate of its own runs on the controller's machine, and under its user.
    fn serves_ingress(&self, name: &NodeName) -> bool {
        let Some(facts) = self.facts(name).filter(|facts| facts.ingress) else { return false };
        match facts.labels.get(INGRESS_LABEL) {
            Some(value) => value == "true",
            None => self.members.key(name).is_none() && !self.is_removed(name),
        }
    }

    /// Tells a node the table, if it has not said that it knows: with all that is in it if it serves Ingress and may, and with nothing if it
    /// might have another. Returns whether it was told.
    pub(super) fn tell_ingress(&mut self, name: &NodeName) -> bool {
        let table = &self.ingresses.table;
        let is_behind = |node: &&Node| node.connected && node.ingress < table.version;
        let Some(node) = self.nodes.get(name).filter(is_behind) else { return false };
        let table = if self.ingresses.servers.contains(name) {
            Arc::clone(table)
        } else if node.ingress > 0 {
            Arc::new(IngressTable { version: table.version, ..IngressTable::default() })
        } else {
            return false;
        };
        self.out.push(Effect::Ingress { node: name.clone(), table });
        self.timers.set_if_none(Timer::Resend(name.clone()), self.now + RESEND_AFTER);
        true
    }

    /// Compares the table, and who is told it, with what is made from scratch.
    pub(super) fn check_ingress(&self) -> Result<(), String> {
        let (told, wanted) = (&self.ingresses.table, routes(&self.inputs.effective.objects));
        if told.routes != wanted.routes || told.certificates != wanted.certificates {
            return Err("the table of Ingress differs from the Ingresses in force".to_owned());
        }
        let servers: BTreeSet<NodeName> = self.nodes.by_name.keys().filter(|name| self.serves_ingress(name)).cloned().collect();
        if servers != self.ingresses.servers {
            return Err(format!("Ingress is served by {:?} and should be by {servers:?}", self.ingresses.servers));
        }
        Ok(())
    }

    /// Where Ingress is served: the addresses of the nodes that are heard.
    pub(super) fn ingress_addresses(&self) -> Vec<String> {
        let servers = self.nodes.ready().filter(|(name, _)| self.ingresses.servers.contains(name));
        let addresses: BTreeSet<String> = servers.filter_map(|(_, node)| Some(node.facts.as_ref()?.found_at())).collect();
        addresses.into_iter().collect()
    }

    /// Nodes that serve and may not, and Ingresses that nobody serves.
    pub(super) fn ingress_problems(&self) -> Vec<ProblemView> {
        let offers = self.nodes.ready().filter(|(_, node)| node.facts.as_ref().is_some_and(|facts| facts.ingress));
        let denied = offers.map(|(name, _)| name).filter(|name| !self.ingresses.servers.contains(name));
        let mut found: Vec<ProblemView> = denied
            .map(|name| {
                let message =
                    format!("its agent runs with --ingress, but without the label {INGRESS_LABEL}: \"true\" it serves none");
                let hint =
                    "Give the label in the Node manifest or the token; it hands the keys of all certificates to this host.";
                problem(&format!("node {name}"), message, Some(hint))
            })
            .collect();
        let ingress = self.inputs.effective.objects.keys().find(|key| key.kind == Kind::Ingress);
        if let (Some(key), true) = (ingress, self.ingresses.servers.is_empty()) {
            let hint = "Start an agent (or `up`) with --ingress.";
            found.push(problem(&key.to_string(), "no node serves Ingress".to_owned(), Some(hint)));
        }
        found
    }
}
