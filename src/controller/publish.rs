//! Who is behind a Service, and telling the nodes.
//!
//! Every node that is connected gets every Service: a Service's address works on each host, for its pods and for the host's own
//! programs. [`Controller::users`] is the one place that says so.

use super::core::Controller;
use super::event::Effect;
use super::nodes::RESEND_AFTER;
use super::placements::Placement;
use super::timers::Timer;
use crate::model::{
    Backend, EndpointPort, EndpointSet, IntOrString, Kind, Member, NodeName, Object, ObjectKey, PodTemplate, ServiceKind,
    ServicePort, ServiceSpec, Traffic, TrafficPolicy,
};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Controller {
    /// Makes the set of a Service anew, and tells it if it changed.
    pub(super) fn publish(&mut self, key: &ObjectKey) {
        let wanted = self.contents(key);
        if let Some(set) = self.services.update(wanted, self.epoch) {
            for name in self.users() {
                self.lead(&name, &set);
            }
        }
        self.recheck(key);
    }

    /// What a Service should lead to, without a version; removed if there is no such Service.
    pub(super) fn contents(&self, key: &ObjectKey) -> EndpointSet {
        let nothing = EndpointSet::empty(key.clone(), 0);
        let Some(spec) = self.inputs.object(key).and_then(|object| object.service()) else {
            return EndpointSet { removed: true, ..nothing };
        };
        let members = self.members(key, spec);
        let node_ports = self.inputs.node_ports.get(key);
        let ports = spec.ports.iter().map(|port| EndpointPort {
            name: port.name.clone(),
            port: port.port,
            protocol: port.protocol,
            node_port: node_ports.get(&(port.port, port.protocol)).copied(),
            backends: members.iter().filter_map(|placement| self.backend(placement, port)).collect(),
        });
        EndpointSet {
            address: self.inputs.addresses.get(key),
            ports: ports.collect(),
            traffic: self.traffic(spec),
            external_name: spec.external_name.clone().filter(|_| spec.kind == ServiceKind::ExternalName),
            members: members.iter().filter(|_| spec.is_headless()).filter_map(|placement| self.member(placement, key)).collect(),
            ..nothing
        }
    }

    /// Who gets which connection.
    fn traffic(&self, spec: &ServiceSpec) -> Traffic {
        let is_balanced = spec.kind == ServiceKind::LoadBalancer;
        Traffic {
            sticky_for: spec.sticky_for(),
            internal_local: spec.internal_traffic_policy == TrafficPolicy::Local,
            external_local: spec.external_traffic_policy == TrafficPolicy::Local,
            load_balancers: if is_balanced { self.load_balancers() } else { BTreeSet::new() },
            source_ranges: spec.source_ranges(),
        }
    }

    /// A pod of a headless Service, once it has an address. It has a name of its own if its template says that it belongs to the
    /// Service: <https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#pod-hostname-and-subdomain-field>.
    fn member(&self, placement: &Placement, service: &ObjectKey) -> Option<Member> {
        let spec = self.template_of(placement).map(|template| &template.spec);
        let spec = spec.filter(|spec| spec.subdomain.as_ref() == Some(&service.name));
        let numbered = || (placement.run.workload.kind == Kind::StatefulSet).then(|| placement.run.name.clone());
        Some(Member {
            pod: placement.run.uid,
            node: placement.node.clone(),
            address: placement.report.as_ref()?.address?,
            hostname: spec.and_then(|spec| spec.hostname.clone().or_else(numbered)),
        })
    }

    /// The pods behind a Service, in uid order.
    fn members(&self, key: &ObjectKey, spec: &ServiceSpec) -> Vec<&Placement> {
        let workloads = self.services.workloads_of.get(key).into_iter().flatten();
        let pods = workloads.flat_map(|workload| self.placements.of_workload(workload));
        let mut members: Vec<&Placement> = pods.filter(|placement| self.is_member(placement, key, spec)).collect();
        members.sort_by_key(|placement| placement.run.uid);
        members
    }

    fn is_member(&self, placement: &Placement, key: &ObjectKey, spec: &ServiceSpec) -> bool {
        let serves = if spec.publish_not_ready_addresses { placement.is_running() } else { placement.is_serving() };
        if spec.selector.is_empty() || !serves || !self.is_reachable(&placement.node) {
            return false;
        }
        let labels = self.template_of(placement).map(|template| &template.metadata.labels);
        let selected = labels.is_some_and(|labels| spec.selector.iter().all(|(name, value)| labels.get(name) == Some(value)));
        selected && self.is_in_colour(placement, key)
    }

    /// Pods of silent nodes are passed over, unless so many are silent that it is probably us who are cut off.
    fn is_reachable(&self, node: &NodeName) -> bool {
        self.nodes.is_braked() || self.nodes.get(node).is_some_and(|node| node.ready)
    }

    /// The template that a pod was made of; that of its workload if its own is not known any more.
    pub(super) fn template_of(&self, placement: &Placement) -> Option<&PodTemplate> {
        let own = self.inputs.snapshots.get(&placement.run.hash);
        let wanted = || self.inputs.object(&placement.run.workload).and_then(|object| object.snapshot());
        own.or_else(wanted).map(|snapshot| &snapshot.template)
    }

    /// Blue/green: the active Service leads to the promoted template alone, the preview Service to the newest.
    fn is_in_colour(&self, placement: &Placement, key: &ObjectKey) -> bool {
        let workload = &placement.run.workload;
        let Some(spec) = self.inputs.object(workload).and_then(|object| object.workload()) else { return true };
        let Some(blue_green) = spec.strategy.blue_green() else { return true };
        if blue_green.active_service == key.name {
            let promoted = self.works.get(workload).and_then(|work| work.memory.promoted.as_ref());
            return promoted.is_none_or(|promoted| *promoted == placement.run.hash);
        }
        let is_preview = blue_green.preview_service.as_ref() == Some(&key.name);
        !is_preview || placement.run.hash == spec.snapshot.hash
    }

    /// Where a pod is reached for a port of a Service; `None` if its template has no port of that name.
    fn backend(&self, placement: &Placement, port: &ServicePort) -> Option<Backend> {
        let report = placement.report.as_ref()?;
        let target = target_port(port, self.template_of(placement))?;
        let at = report.ports.get(&target).copied().unwrap_or(target);
        Some(Backend { pod: placement.run.uid, node: placement.node.clone(), address: report.address?, port: at })
    }

    /// The nodes that use Services.
    pub(super) fn users(&self) -> Vec<NodeName> {
        self.nodes.by_name.iter().filter(|(_, node)| node.connected).map(|(name, _)| name.clone()).collect()
    }

    fn lead(&mut self, name: &NodeName, set: &Arc<EndpointSet>) {
        if self.nodes.get(name).is_some_and(|node| node.connected) {
            self.out.push(Effect::Endpoints { node: name.clone(), set: Arc::clone(set) });
            self.timers.set_if_none(Timer::Resend(name.clone()), self.now + RESEND_AFTER);
        }
    }

    /// Tells a node every set that it has not acknowledged. Returns whether there was one.
    pub(super) fn tell_missing(&mut self, name: &NodeName) -> bool {
        let sets = self.services.behind(name);
        for set in &sets {
            self.lead(name, set);
        }
        !sets.is_empty()
    }

    /// Looks again at who has acknowledged a Service; pods that became clear may be released.
    pub(super) fn recheck(&mut self, key: &ObjectKey) {
        let heard: Vec<&NodeName> = self.nodes.ready().map(|(name, _)| name).collect();
        let cleared = self.services.recheck(key, &heard, self.now);
        self.dirty.retired.extend(cleared);
    }

    /// Makes the index from workloads to Services anew for one namespace.
    pub(super) fn reindex(&mut self, namespace: &str) {
        self.services.of_workload.retain(|key, _| key.namespace != namespace);
        let objects: Vec<Arc<Object>> = self.inputs.in_namespace(namespace).cloned().collect();
        for service in &objects {
            let Some(spec) = service.service() else { continue };
            let workloads: BTreeSet<ObjectKey> =
                objects.iter().filter(|object| self.may_select(spec, object)).map(|object| object.key.clone()).collect();
            for workload in &workloads {
                self.services.of_workload.entry(workload.clone()).or_default().insert(service.key.clone());
            }
            self.services.workloads_of.insert(service.key.clone(), workloads);
            self.dirty.services.insert(service.key.clone());
        }
        self.reindex_autoscalers(namespace, &objects);
    }

    fn reindex_autoscalers(&mut self, namespace: &str, objects: &[Arc<Object>]) {
        self.inputs.autoscalers.retain(|key, _| key.namespace != namespace);
        for object in objects {
            let Some(autoscaler) = object.autoscaler() else { continue };
            let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == autoscaler.target_kind);
            if let Some(kind) = kind {
                let target = ObjectKey::new(kind, namespace, autoscaler.target_name.clone());
                self.inputs.autoscalers.insert(target, object.key.clone());
            }
        }
        for object in objects.iter().filter(|object| object.workload().is_some()) {
            let before = self.works.get(&object.key).and_then(|work| work.autoscaled);
            self.set_autoscaler(&object.key);
            if self.works.get(&object.key).and_then(|work| work.autoscaled) != before {
                self.dirty.workloads.insert(object.key.clone());
            }
        }
    }

    /// True if a Service selects the wanted template of a workload, or one that still has pods.
    fn may_select(&self, spec: &ServiceSpec, object: &Object) -> bool {
        let Some(wanted) = object.snapshot() else { return false };
        let targets = self.works.get(&object.key).map(|work| &work.memory.targets);
        let old = targets.into_iter().flatten().filter_map(|(hash, _)| self.inputs.snapshots.get(hash));
        let selects =
            |template: &PodTemplate| spec.selector.iter().all(|(name, value)| template.metadata.labels.get(name) == Some(value));
        !spec.selector.is_empty() && std::iter::once(wanted).chain(old).any(|snapshot| selects(&snapshot.template))
    }
}

/// The container port behind a Service port.
fn target_port(port: &ServicePort, template: Option<&PodTemplate>) -> Option<u16> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
        Some(IntOrString::Text(name)) => {
            let mut ports = template?.spec.lasting_containers().flat_map(|container| &container.ports);
            ports.find(|candidate| candidate.name == *name).map(|found| found.container_port)
        }
    }
}
