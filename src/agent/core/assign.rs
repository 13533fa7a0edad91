//! What the controller says.

use super::agent::Agent;
use super::event::NodeTrouble;
use super::pod::{Member, Pod, State};
use super::ports;
use super::services::seed;
use crate::agent::launch;
use crate::agent::runtime::{Role, SANDBOX};
use crate::model::{Assignment, Moment, PodRun, PodSpec, Protocol, RuntimeKind, ServiceProblem, StopOrder};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

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
        self.outbox.node_problems = true;
        self.outbox.volumes = true;
        self.outbox.conditions = true;
        self.outbox.away = self.away_until.is_some();
    }

    pub(super) fn take_service_problems(&mut self, problems: Vec<ServiceProblem>) {
        self.outbox.service_problems |= problems != self.service_problems;
        self.service_problems = problems;
    }

    pub(super) fn take_node_problems(&mut self, reason: NodeTrouble, messages: Vec<String>) {
        let before =
            if messages.is_empty() { self.node_problems.remove(&reason) } else { self.node_problems.insert(reason, messages) };
        self.outbox.node_problems |= before.as_ref() != self.node_problems.get(&reason);
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
        self.lost_secrets.retain(|hash, _| !assignment.templates.contains_key(hash));
        self.templates.extend(assignment.templates.iter().map(|(hash, snapshot)| (hash.clone(), Arc::clone(snapshot))));
        for (uid, pod) in &mut self.pods {
            pod.claimed = assignment.run.contains_key(uid) || assignment.stop.contains_key(uid);
            if pod.claimed {
                self.doubted.remove(uid);
            }
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
        let is_new = !self.pods.contains_key(&uid);
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
        if is_new {
            self.ask_for_lease(uid);
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
        self.lost_secrets.retain(|hash, _| used.contains(hash));
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
