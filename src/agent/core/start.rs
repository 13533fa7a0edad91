//! Starting a container: its ports, its number, and everything else that it is told.

use super::agent::Agent;
use super::event::Effect;
use super::pod::{Pod, PostStart, State};
use super::services::is_virtual;
use crate::agent::launch::{self, ClusterNames, LaunchError, LaunchInput, SandboxInput, ServiceAddress};
use crate::agent::net::dns::NamesSettings;
use crate::agent::runtime::{ContainerLaunch, NameServer, Role, SANDBOX};
use crate::model::{Container, ContainerPort, Moment, NetworkSettings, ObjectKey, PodSnapshot, Protocol, RuntimeKind};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

impl Agent {
    /// Starts a container, or without a template the sandbox.
    pub(super) fn start(&mut self, pod: &mut Pod, snapshot: &PodSnapshot, template: Option<&Container>, now: Moment) {
        if snapshot.template.spec.is_process() {
            let wanted: BTreeSet<(u16, Protocol)> = ports_of(snapshot).map(|port| (port.container_port, port.protocol)).collect();
            if !self.allot_ports(pod, &wanted) {
                pod.waiting = "no free port is left to give out on this node".to_owned();
                return;
            }
        }
        let uid = pod.run.uid;
        let name = template.map_or(SANDBOX, |template| &template.name);
        pod.count_start(name, now);
        let outcome = match template {
            Some(template) => self.launched(pod, snapshot, template, launch::resolve),
            None => self.resolve_sandbox(pod, snapshot),
        };
        let lease = Self::launch_lease(pod, snapshot);
        let Some(member) = pod.member_mut(name) else { return };
        member.changed = now;
        match outcome {
            Ok(mut launch) => {
                launch.lease = lease.filter(|_| member.role != Role::Sandbox);
                member.state = State::Starting;
                member.post_start = PostStart::Due;
                member.waiting.clear();
                member.config = Some(snapshot.config.version.clone());
                pod.reached = reached_ports(pod, snapshot);
                for (reason, message) in &launch.notes {
                    self.note(uid, true, reason, format!("Container {name}: {message}"));
                }
                self.effects.push(Effect::Start(Box::new(launch)));
            }
            Err(error) => {
                member.state = State::Waiting;
                member.waiting = format!("CreateContainerConfigError: {error}");
            }
        }
    }

    fn resolve_sandbox(&self, pod: &Pod, snapshot: &PodSnapshot) -> Result<ContainerLaunch, LaunchError> {
        launch::sandbox(&SandboxInput {
            cluster: &self.settings.cluster,
            node: &self.settings.facts.name,
            run: &pod.run,
            snapshot,
            attempt: pod.member(SANDBOX).map_or(0, |member| member.attempt),
            names: self.cluster_names(false),
        })
    }

    /// What `make` makes of a container of the pod and all that is known of both.
    pub(super) fn launched<T>(
        &self,
        pod: &Pod,
        snapshot: &PodSnapshot,
        template: &Container,
        make: impl FnOnce(&LaunchInput<'_>) -> Result<T, LaunchError>,
    ) -> Result<T, LaunchError> {
        let process = snapshot.template.spec.is_process();
        let services = self.service_addresses(&pod.run.workload.namespace, process);
        let member = pod.member(&template.name);
        let sandbox = pod.sandbox();
        // Resolved once: by the first pod of the template, else by the first start in this one.
        let told = template.image.as_ref().and_then(|image| pod.run.images.get(image));
        let image_digest = told.or(member.and_then(|member| member.image_digest.as_ref())).map(String::as_str);
        make(&LaunchInput {
            cluster: &self.settings.cluster,
            facts: &self.settings.facts,
            folders: &self.settings.folders,
            run: &pod.run,
            snapshot,
            container: template,
            role: member.map_or(Role::Main, |member| member.role),
            attempt: member.map_or(0, |member| member.attempt),
            image_digest,
            ports: &pod.ports,
            services: &services,
            host_address: self.settings.host_address,
            pod_address: if process { Some(self.settings.host_address) } else { pod.address.filter(|_| sandbox.is_some()) },
            sandbox,
            names: self.cluster_names(process),
        })
    }

    /// The names of the cluster, as host processes or containers find them: containers ask the host's address on their network, whatever
    /// that is when they start.
    fn cluster_names(&self, process: bool) -> ClusterNames<'_> {
        let domain = self.network.as_ref().map_or(NetworkSettings::DOMAIN, |network| &network.domain);
        let at = |names: &NamesSettings| if process { NameServer::At(names.host.ip()) } else { NameServer::Gateway };
        ClusterNames { domain, server: self.settings.names.as_ref().map(at) }
    }

    /// The Services of a namespace as its pods reach them: at the Service's own address, or, where that never leaves the host,
    /// containers at the gateway.
    fn service_addresses(&self, namespace: &str, process: bool) -> Vec<ServiceAddress> {
        let gateway = self.hosts.get(&RuntimeKind::Docker).and_then(|host| host.gateway);
        let of_namespace = self.services.iter().filter(|(key, _)| key.namespace == namespace);
        let address = |(key, record): (&ObjectKey, &super::ServiceRecord)| {
            let own = record.set.address?;
            let (host, ports) = match gateway.filter(|_| !process && !is_virtual(&record.set)) {
                None => (IpAddr::V4(own), record.set.ports.iter().map(|p| (p.name.clone(), p.port)).collect()),
                Some(gateway) => {
                    let at = |port: &u16| record.gateway_ports.get(port).copied();
                    (gateway, record.set.ports.iter().filter_map(|p| Some((p.name.clone(), at(&p.port)?))).collect())
                }
            };
            Some(ServiceAddress { name: key.name.clone(), host, ports })
        };
        of_namespace.filter_map(address).collect()
    }
}

impl Pod {
    /// The next start is another attempt, if this one has run. The one before is kept for its log; a sandbox has none to keep.
    fn count_start(&mut self, name: &str, now: Moment) {
        let Some(member) = self.member_mut(name).filter(|member| member.ran) else { return };
        let ended = member.id.take().map(|id| (member.attempt, id));
        let unneeded = if member.role == Role::Sandbox { ended } else { std::mem::replace(&mut member.previous, ended) };
        member.attempt += 1;
        member.ran = false;
        if let Some((attempt, id)) = unneeded {
            self.bury(name, attempt, id, now);
        }
    }
}

/// The ports that a pod declares: of its containers and of its sidecars.
fn ports_of(snapshot: &PodSnapshot) -> impl Iterator<Item = &ContainerPort> {
    snapshot.template.spec.lasting_containers().flat_map(|container| &container.ports)
}

/// Where each declared container port is reached at the pod's address.
fn reached_ports(pod: &Pod, snapshot: &PodSnapshot) -> BTreeMap<u16, u16> {
    ports_of(snapshot)
        .map(|port| (port.container_port, pod.ports.get(&port.container_port).copied().unwrap_or(port.container_port)))
        .collect()
}
