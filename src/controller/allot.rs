//! What a Service is given: its address and its ports of every node. What is written in git counts; the rest is allotted once and kept in
//! the memory.

use super::core::Controller;
use super::happenings::Happening;
use crate::model::{LOAD_BALANCER_LABEL, NodeFacts, NodeName, ObjectKey, ServiceKind, ServiceSpec};
use std::collections::BTreeSet;

impl Controller {
    /// Gives a Service what it wants, and others anew what they had to cede to it.
    pub(super) fn provide(&mut self, key: &ObjectKey, spec: &ServiceSpec) {
        let mut displaced = self.inputs.node_ports.give(&self.settings.cluster, key, spec);
        displaced.extend(self.give_address(key, spec));
        if spec.kind == ServiceKind::LoadBalancer {
            self.inputs.balanced.insert(key.clone());
        } else {
            self.inputs.balanced.remove(key);
        }
        self.dirty.services.insert(key.clone());
        for other in displaced {
            self.records.touch(&other);
            if let Some(object) = self.inputs.object(&other).cloned() {
                object.service().into_iter().for_each(|spec| self.provide(&other, spec));
            }
        }
    }

    /// Its address; returns the Service that had it.
    fn give_address(&mut self, key: &ObjectKey, spec: &ServiceSpec) -> Option<ObjectKey> {
        if !spec.has_address() {
            self.inputs.addresses.free(key);
            return None;
        }
        let Some(written) = spec.written_address() else {
            self.inputs.addresses.allot(&self.settings.cluster, key);
            return None;
        };
        match self.inputs.addresses.claim(key, written) {
            Ok(displaced) => displaced,
            Err(error) => {
                let message = error.to_string();
                let happening = Happening { about: key, pod: None, warning: true, reason: "ClusterIPOutOfRange", message };
                self.happenings.note(happening, self.now);
                None
            }
        }
    }

    /// Takes back what a Service had.
    pub(super) fn take_back_provisions(&mut self, key: &ObjectKey) {
        self.inputs.addresses.free(key);
        self.inputs.node_ports.free(key);
        self.inputs.balanced.remove(key);
    }

    /// The nodes whose own addresses have the ports of Services of `type: LoadBalancer`.
    pub(super) fn load_balancers(&self) -> BTreeSet<NodeName> {
        let balances = |name: &&NodeName| self.facts(name).is_some_and(|facts| is_load_balancer(&facts));
        self.nodes.by_name.keys().filter(balances).cloned().collect()
    }
}

fn is_load_balancer(facts: &NodeFacts) -> bool {
    facts.labels.get(LOAD_BALANCER_LABEL).is_some_and(|value| value == "true")
}
