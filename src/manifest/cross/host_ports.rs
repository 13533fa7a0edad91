//! Host ports that two pods of one node want.

use super::{Checker, Place};
use crate::manifest::draft::Draft;
use crate::model::{PodSpec, Protocol};
use std::collections::BTreeMap;

/// The label that names a node.
const HOSTNAME: &str = "kubernetes.io/hostname";

impl Checker<'_> {
    /// Of two workloads that are bound to one node and want one of its ports, the second's pods would wait for ever.
    pub(super) fn host_ports(&mut self) {
        let drafts = self.drafts;
        let mut taken: BTreeMap<(&str, u16, Protocol), &Draft> = BTreeMap::new();
        for index in self.in_force() {
            let draft = drafts[index];
            let Some(spec) = draft.workload().map(|workload| &workload.template.spec) else { continue };
            let Some(node) = node_of(spec) else { continue };
            for port in spec.lasting_containers().flat_map(|container| &container.ports) {
                let Some(number) = port.host_port else { continue };
                let first = taken.entry((node, number, port.protocol)).or_insert(draft);
                if first.key != draft.key {
                    let place = Place { draft: index, at: &draft.at, path: "spec" };
                    let message = format!("{} wants the host port {number} of node {node}, which {} has", draft.key, first.key);
                    self.error(place, message, "take another hostPort, or another node", None);
                }
            }
        }
    }
}

/// The one node that a pod can run on, if its spec names one.
fn node_of(spec: &PodSpec) -> Option<&str> {
    spec.node_name.as_deref().or_else(|| spec.node_selector.get(HOSTNAME).map(String::as_str))
}
