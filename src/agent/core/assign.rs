//! What the controller says.

use super::agent::Agent;
use super::event::Effect;
use super::ledger::ServiceRecord;
use super::pod::{Member, Pod, State};
use super::ports::{self, Ports};
use crate::agent::launch;
use crate::agent::net::ExtraAddress;
use crate::agent::runtime::{Role, SANDBOX};
use crate::model::{
    Assignment, EndpointSet, Moment, NodeNetwork, ObjectKey, PodRun, PodSpec, Protocol, RuntimeKind, ServiceProblem, StopOrder,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How long the end of a pod is remembered at least, so that a listing that was under way cannot bring it back.
const REMEMBER_GONE: Duration = Duration::from_secs(300);

impl Agent {
    pub(super) fn connect(&mut self) {
        self.connected = true;
        self.outbox.acknowledge = true;
        self.outbox.pods.extend(self.pods.keys().copied());
        self.outbox.gone.extend(self.gone.keys().copied());
        self.outbox.endpoints.extend(self.proxied.iter().map(|(service, proxied)| (service.clone(), proxied.in_use())));
        self.outbox.service_problems = true;
        self.outbox.volumes = true;
        self.outbox.conditions = true;
        self.outbox.away = self.away_until.is_some();
    }

    pub(super) fn take_service_problems(&mut self, problems: Vec<ServiceProblem>) {
        self.outbox.service_problems |= problems != self.service_problems;
        self.service_problems = problems;
    }

    /// Puts an assignment in force, unless a newer one is. The same one again is taken again: it may bring missing templates.
    pub(super) fn assign(&mut self, assignment: Assignment, now: Moment) {
        self.outbox.acknowledge = true;
        let number = (assignment.epoch, assignment.generation);
        if number < self.assignment {
            return;
        }
        self.assignment = number;
        self.ledger_dirty = true;
        self.lost_secrets.retain(|hash| !assignment.templates.contains_key(hash));
        self.templates.extend(assignment.templates.iter().map(|(hash, snapshot)| (hash.clone(), Arc::clone(snapshot))));
        for (uid, pod) in &mut self.pods {
            pod.claimed = assignment.run.contains_key(uid) || assignment.stop.contains_key(uid);
            self.dirty.insert(*uid);
        }
        self.gone.retain(|uid, since| {
            let named = assignment.run.contains_key(uid) || assignment.stop.contains_key(uid);
            named || now.since(*since) < REMEMBER_GONE
        });
        self.order_erasures(&assignment.erase);
        for run in assignment.run.into_values() {
            self.hold_claims(&run);
            self.claim(run, now);
        }
        for order in assignment.stop.into_values() {
            self.order_stop(order);
        }
        self.drop_templates(&assignment.templates.into_keys().collect());
    }

    fn claim(&mut self, run: PodRun, now: Moment) {
        if self.gone.contains_key(&run.uid) {
            // The controller has not heard of its end yet.
            self.outbox.gone.insert(run.uid);
            return;
        }
        let uid = run.uid;
        let pod = self.pods.entry(uid).or_insert_with(|| Pod::new(run.clone()));
        pod.run = run;
        pod.claimed = true;
        pod.accepted.get_or_insert(now);
        if let Some(snapshot) = self.templates.get(&pod.run.hash) {
            let spec = &snapshot.template.spec;
            let runtime = if spec.is_process() { RuntimeKind::Process } else { RuntimeKind::Docker };
            let listed = self.hosts.get(&runtime).is_none_or(|host| host.listed);
            pod.runtime = Some(runtime);
            let order = members_of(spec);
            for (name, role) in &order {
                match pod.member_mut(name) {
                    Some(member) => member.role = *role,
                    None => {
                        let state = if listed { State::Waiting } else { State::Unknown };
                        let at = if listed { now } else { Moment(0) };
                        pod.members.push(Member::new(name, *role, state, at));
                    }
                }
            }
            pod.members.sort_by_key(|member| order.iter().position(|(name, _)| *name == member.name));
        }
        self.dirty.insert(uid);
    }

    /// Orders a pod to stop, for good. One that is not here is gone, which is certain only when every runtime was listed.
    fn order_stop(&mut self, order: StopOrder) {
        let uid = order.uid;
        match self.pods.get_mut(&uid) {
            Some(pod) => {
                if pod.stop.is_none() {
                    let text = format!("Stopping pod {}: {:?}", pod.run.name, order.reason);
                    pod.stop = Some(order);
                    self.note(uid, false, "Killing", text);
                }
                self.dirty.insert(uid);
            }
            None if self.hosts.values().all(|host| host.listed) => {
                self.outbox.gone.insert(uid);
            }
            // Once every runtime was listed, it is found or reported as gone.
            None => {
                self.unseen.insert(uid, order);
            }
        }
    }

    /// Orders that came before every runtime was listed.
    pub(super) fn settle_unseen(&mut self) {
        if self.hosts.values().all(|host| host.listed) {
            for order in std::mem::take(&mut self.unseen).into_values() {
                self.order_stop(order);
            }
        }
    }

    fn drop_templates(&mut self, named: &BTreeSet<crate::model::TemplateHash>) {
        let used: BTreeSet<_> = self.pods.values().map(|pod| &pod.run.hash).collect();
        self.templates.retain(|hash, _| named.contains(hash) || used.contains(hash));
        self.lost_secrets.retain(|hash| used.contains(hash));
    }

    /// Takes in where a Service leads; versions only grow.
    pub(super) fn take_endpoints(&mut self, set: Arc<EndpointSet>) {
        let service = set.service.clone();
        match self.services.get_mut(&service) {
            Some(known) if known.set.version > set.version => return,
            Some(known) => known.set = set,
            None => {
                self.services.insert(service.clone(), ServiceRecord { set, gateway_ports: BTreeMap::new() });
            }
        }
        self.ledger_dirty = true;
        self.publish(&service);
    }

    /// Takes in the network; versions only grow. It is acknowledged in any case.
    pub(super) fn take_network(&mut self, network: Arc<NodeNetwork>) {
        self.outbox.acknowledge = true;
        if self.network.as_ref().is_some_and(|known| known.version >= network.version) {
            return;
        }
        self.effects.push(Effect::Network(Arc::clone(&network)));
        self.network = Some(network);
        self.ledger_dirty = true;
    }

    /// Hands a Service to the proxy, with ports at the gateway for containers.
    pub(super) fn publish(&mut self, service: &ObjectKey) {
        let gateway = self.hosts.values().find_map(|host| host.gateway);
        let mut taken = self.taken_ports();
        let Some(record) = self.services.get_mut(service) else { return };
        let mut extra = Vec::new();
        if let (Some(gateway), false) = (gateway, record.set.removed) {
            for port in &record.set.ports {
                let seed = seed(&self.settings.cluster, crate::model::object_uid(service), port.port);
                let known = record.gateway_ports.get(&port.port).copied();
                let Some(at) = known.or_else(|| ports::pick(&self.settings.ports, seed, &taken)) else { continue };
                taken.insert(at);
                self.ledger_dirty |= record.gateway_ports.insert(port.port, at).is_none();
                let address = SocketAddr::new(gateway, at);
                extra.push(ExtraAddress { service_port: port.port, protocol: port.protocol, address });
            }
        }
        let set = Arc::clone(&record.set);
        if set.removed {
            self.services.remove(service);
        }
        self.proxied.entry(service.clone()).or_default().hand(&set);
        self.effects.push(Effect::Endpoints { set, extra });
    }

    pub(super) fn endpoints_in_use(&mut self, service: ObjectKey, version: u64) {
        let proxied = self.proxied.entry(service.clone()).or_default();
        proxied.acknowledge(version);
        self.outbox.endpoints.insert(service, proxied.in_use());
    }

    /// Ports that are given out or known to be another program's.
    pub(super) fn taken_ports(&self) -> Ports {
        let pods = self.pods.values().flat_map(|pod| pod.ports.values());
        let services = self.services.values().flat_map(|record| record.gateway_ports.values());
        pods.chain(services).chain(&self.foreign_ports).copied().collect()
    }

    /// Gives every container port of a process pod a host port. False if none is left.
    pub(super) fn allot_ports(&mut self, pod: &mut Pod, wanted: &BTreeSet<(u16, Protocol)>) -> bool {
        let mut taken = self.taken_ports();
        taken.extend(pod.ports.values());
        for (port, _) in wanted {
            if pod.ports.contains_key(port) {
                continue;
            }
            let seed = seed(&self.settings.cluster, pod.run.uid.0, *port);
            let Some(given) = ports::pick(&self.settings.ports, seed, &taken) else { return false };
            taken.insert(given);
            pod.ports.insert(*port, given);
            self.ledger_dirty = true;
        }
        true
    }
}

/// What a pod is made of, in the order of its starts.
fn members_of(spec: &PodSpec) -> Vec<(&str, Role)> {
    let sandbox = launch::needs_sandbox(spec).then_some((SANDBOX, Role::Sandbox));
    let inits = spec.init_containers.iter().map(|container| {
        let role = if container.is_sidecar() { Role::Sidecar } else { Role::Init };
        (container.name.as_str(), role)
    });
    let mains = spec.containers.iter().map(|container| (container.name.as_str(), Role::Main));
    sandbox.into_iter().chain(inits).chain(mains).collect()
}

/// Where to begin to look for a port: the same for the same pod or Service, and another one in another cluster.
fn seed(cluster: &str, uid: Uuid, port: u16) -> u128 {
    let digest = blake3::hash(format!("{cluster}\n{uid}\n{port}").as_bytes());
    digest.as_bytes().iter().take(8).fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}
