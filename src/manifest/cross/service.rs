//! Services and the pods behind them.

use super::{Checker, Found, Place};
use crate::manifest::draft::{Draft, DraftWorkload, Reference};
use crate::model::{Kind, Protocol, ServiceSpec};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

impl<'a> Checker<'a> {
    /// A Service without pods is no error: they may come with the next commit.
    pub(super) fn backends(&mut self, index: usize, draft: &Draft, spec: &ServiceSpec) {
        let namespace = draft.key.namespace.as_str();
        if spec.selector.is_empty() || !self.selected(namespace, spec).is_empty() || self.may_select_excused(namespace) {
            return;
        }
        let place = Place { draft: index, at: &draft.at, path: "spec.selector" };
        let message = format!("{} selects no pods", draft.key);
        self.warning(place, message, "no workload of the namespace has these labels on its template");
    }

    /// An address or a port of every node is one Service's.
    pub(super) fn same_addresses(&mut self) {
        let drafts = self.drafts;
        let mut addresses: BTreeMap<Ipv4Addr, &Draft> = BTreeMap::new();
        let mut node_ports: BTreeMap<(u16, Protocol), &Draft> = BTreeMap::new();
        for index in self.in_force() {
            let draft = drafts[index];
            let Some(spec) = draft.service() else { continue };
            let first = spec.written_address().map(|address| (address, *addresses.entry(address).or_insert(draft)));
            if let Some((address, first)) = first.filter(|(_, first)| first.key != draft.key) {
                let place = Place { draft: index, at: &draft.at, path: "spec.clusterIP" };
                let message = format!("{} wants the address {address}, which {} has", draft.key, first.key);
                self.error(place, message, "write another, or none", None);
            }
            for port in &spec.ports {
                let Some(number) = port.node_port else { continue };
                let first = *node_ports.entry((number, port.protocol)).or_insert(draft);
                if first.key != draft.key {
                    let place = Place { draft: index, at: &draft.at, path: "spec.ports" };
                    let message = format!("{} wants the node port {number}, which {} has", draft.key, first.key);
                    self.error(place, message, "write another nodePort, or none", None);
                }
            }
        }
    }

    pub(super) fn may_select_excused(&self, namespace: &str) -> bool {
        self.excused.iter().any(|key| key.kind.is_workload() && key.namespace == namespace)
    }

    /// The workloads whose pods a Service selects.
    pub(super) fn selected(&self, namespace: &str, spec: &ServiceSpec) -> Vec<&'a DraftWorkload> {
        let Some((label, value)) = spec.selector.iter().next() else { return Vec::new() };
        let candidates = self.by_label.get(&(namespace, label.as_str(), value.as_str())).into_iter().flatten();
        candidates.filter_map(|index| self.drafts[*index].workload()).filter(|workload| selects(spec, workload)).collect()
    }

    /// The Service of a blue/green strategy must select the pods of its Rollout.
    pub(super) fn service(&mut self, index: usize, draft: &'a Draft, reference: &Reference, name: &str) {
        let place = Place::of(index, reference);
        let service = match self.find(Kind::Service, &draft.key.namespace, name) {
            Found::Nothing(key) => return self.missing(place, key),
            Found::Excused => return,
            Found::Draft(service) => service,
        };
        let Some(spec) = service.service() else { return };
        if draft.workload().is_some_and(|workload| !selects(spec, workload)) {
            let message = format!("{} does not select the pods of {}", service.key, draft.key);
            self.warning(place, message, "its selector must match the labels of the template");
        }
    }

    /// A port that a Service names must be named by a container behind it.
    pub(super) fn pod_port(&mut self, index: usize, draft: &'a Draft, reference: &Reference, name: &str) {
        let Some(spec) = draft.service() else { return };
        let selected = self.selected(&draft.key.namespace, spec);
        let has_port = |workload: &&DraftWorkload| {
            let spec = &workload.template.spec;
            let mut ports = spec.lasting_containers().flat_map(|container| &container.ports);
            ports.any(|port| port.name == name)
        };
        if !selected.is_empty() && !selected.iter().any(has_port) {
            let message = format!("no container behind {} has a port named {name}", draft.key);
            self.error(Place::of(index, reference), message, "name the port in the container, or write its number", None);
        }
    }
}

fn selects(spec: &ServiceSpec, workload: &DraftWorkload) -> bool {
    let labels = &workload.template.metadata.labels;
    !spec.selector.is_empty() && spec.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}
