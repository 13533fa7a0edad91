//! One step of one pod: from what is known of it to the effects that bring it closer to what is wanted.

use super::agent::Agent;
use super::event::{Effect, ProbeAction, ProbeKind, ProbeRequest};
use super::pod::{Member, Pod, State, StopCause};
use crate::agent::launch::{self, LaunchInput, ServiceAddress};
use crate::agent::runtime::ContainerLaunch;
use crate::model::{
    Container, Exit, IntOrString, Moment, PodPhase, PodSnapshot, PodUid, Probe, Protocol, RestartPolicy, RuntimeKind,
};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The grace of a pod whose template is not known: Kubernetes' default.
const GRACE: Duration = Duration::from_secs(30);

impl Agent {
    /// Looks at one pod, and says when to look again.
    pub(super) fn step(&mut self, uid: PodUid, now: Moment) {
        let Some(mut pod) = self.pods.remove(&uid) else {
            self.timers.remove(&uid);
            return;
        };
        let snapshot = self.templates.get(&pod.run.hash).cloned();
        if pod.stop.is_some() {
            self.step_stop(&mut pod);
        } else {
            self.step_run(&mut pod, snapshot.as_ref(), now);
        }
        let grace = snapshot
            .as_ref()
            .map_or(GRACE, |snapshot| Duration::from_secs(snapshot.template.spec.termination_grace_period_seconds));
        self.send_stops(&mut pod, grace, now);
        self.send_removes(&mut pod, now);
        let certain = !pod.members.is_empty() || self.hosts.values().all(|host| host.listed);
        let ended = pod.members.iter().all(|member| member.state == State::Ended);
        if pod.stop.is_some() && certain && ended && pod.removing.is_empty() {
            self.forget(uid, now);
            return;
        }
        pod.ready_since = if pod.is_ready() { pod.ready_since.or(Some(now)) } else { None };
        let state = pod.report_without_durations();
        if pod.reported.as_ref() != Some(&state) {
            pod.reported = Some(state);
            self.outbox.pods.insert(uid);
        }
        // What is due and was not done waits for an event.
        match pod.wake().filter(|at| *at > now) {
            Some(at) => self.timers.insert(uid, at),
            None => self.timers.remove(&uid),
        };
        self.pods.insert(uid, pod);
    }

    /// Everything of the pod has been removed.
    fn forget(&mut self, uid: PodUid, now: Moment) {
        self.timers.remove(&uid);
        self.outbox.pods.remove(&uid);
        self.outbox.gone.insert(uid);
        self.gone.insert(uid, now);
        self.ledger_dirty = true;
        self.samples.retain(|key, _| key.pod != uid);
        self.effects.push(Effect::Forget(uid));
    }

    fn step_stop(&mut self, pod: &mut Pod) {
        pod.waiting.clear();
        let listed = pod.runtime.is_none_or(|kind| self.hosts.get(&kind).is_none_or(|host| host.listed));
        let mut buried = Vec::new();
        for member in &mut pod.members {
            match member.state {
                State::Running { since } => {
                    member.state = State::Stopping { why: StopCause::Ordered, since, retry: Some(Moment(0)) };
                }
                State::Waiting | State::BackOff { .. } => member.state = State::Ended,
                State::Unknown if !member.ran && listed => member.state = State::Ended,
                State::Unknown if !listed => pod.waiting = "its runtime has not answered yet".to_owned(),
                // A start is waited for; what it started is then stopped.
                State::Unknown | State::Starting | State::Stopping { .. } | State::Ended => {}
            }
            if member.state == State::Ended {
                buried.extend(member.id.take().map(|id| (member.name.clone(), member.attempt, id)));
                buried.extend(member.previous.take().map(|(attempt, id)| (member.name.clone(), attempt, id)));
            }
        }
        for (name, attempt, id) in buried {
            pod.bury(&name, attempt, id, Moment(0));
        }
    }

    fn step_run(&mut self, pod: &mut Pod, snapshot: Option<&Arc<PodSnapshot>>, now: Moment) {
        pod.waiting.clear();
        let Some(snapshot) = snapshot else {
            pod.waiting = if self.lost_secrets.contains(&pod.run.hash) {
                "its secrets were kept in memory only and went with a reboot: waiting for the controller to send them again"
                    .to_owned()
            } else {
                "waiting for its template from the controller".to_owned()
            };
            return;
        };
        let spec = &snapshot.template.spec;
        let kind = if spec.is_process() { RuntimeKind::Process } else { RuntimeKind::Docker };
        if let Some(reason) = self.unreachable(kind) {
            pod.waiting = reason;
        }
        for (index, template) in spec.containers.iter().enumerate() {
            self.step_member(pod, snapshot, (index, template), now);
        }
    }

    /// Why nothing can be started on a runtime.
    fn unreachable(&self, kind: RuntimeKind) -> Option<String> {
        let name = kind.as_str();
        match self.hosts.get(&kind) {
            None => Some(format!("this node has no {name} runtime")),
            Some(host) => host.lost.as_ref().map(|message| format!("the {name} runtime is out of reach: {message}")),
        }
    }

    fn step_member(&mut self, pod: &mut Pod, snapshot: &Arc<PodSnapshot>, at: (usize, &Container), now: Moment) {
        let (index, template) = at;
        let policy = snapshot.template.spec.restart_policy;
        let shares_network = index > 0 && pod.runtime == Some(RuntimeKind::Docker);
        let first_runs = pod.members.first().is_some_and(Member::is_running);
        let reachable = pod.waiting.is_empty();
        let Some(member) = pod.member_mut(&template.name) else { return };
        match member.state {
            State::BackOff { .. } if member.ran && !restarts(policy, member.last_exit.as_ref()) => {
                member.state = State::Ended;
                self.ledger_dirty = true;
            }
            State::BackOff { until } if now < until => {
                if member.waiting.is_empty() {
                    let wait = until.since(now).as_secs();
                    member.waiting = format!("back-off {wait}s restarting failed container {}", member.name);
                }
            }
            State::Waiting | State::BackOff { .. } if reachable && (!shares_network || first_runs) => {
                self.start(pod, snapshot, template, index, now);
            }
            State::Running { .. } => {
                member.arm(template);
                self.probe(pod, template, now);
            }
            State::Unknown | State::Waiting | State::Starting | State::Stopping { .. } | State::BackOff { .. } | State::Ended => {
            }
        }
    }

    fn start(&mut self, pod: &mut Pod, snapshot: &Arc<PodSnapshot>, template: &Container, index: usize, now: Moment) {
        if snapshot.template.spec.is_process() {
            let ports = snapshot.template.spec.containers.iter().flat_map(|container| &container.ports);
            let wanted: BTreeSet<(u16, Protocol)> = ports.map(|port| (port.container_port, port.protocol)).collect();
            if !self.allot_ports(pod, &wanted) {
                pod.waiting = "no free port is left to give out on this node".to_owned();
                return;
            }
        }
        if let Some(member) = pod.member_mut(&template.name)
            && member.ran
        {
            let older = member.previous.take();
            member.previous = member.id.take().map(|id| (member.attempt, id));
            member.attempt += 1;
            member.ran = false;
            if let Some((attempt, id)) = older {
                pod.bury(&template.name, attempt, id, now);
            }
        }
        let outcome = self.resolve(pod, snapshot, template, index);
        let Some(member) = pod.member_mut(&template.name) else { return };
        member.changed = now;
        match outcome {
            Ok(launch) => {
                member.state = State::Starting;
                member.waiting.clear();
                pod.reached = launch_ports(pod, snapshot);
                self.effects.push(Effect::Start(Box::new(launch)));
            }
            Err(error) => {
                member.state = State::Waiting;
                member.waiting = format!("CreateContainerConfigError: {error}");
            }
        }
    }

    fn resolve(
        &self,
        pod: &Pod,
        snapshot: &PodSnapshot,
        template: &Container,
        index: usize,
    ) -> Result<ContainerLaunch, launch::LaunchError> {
        let process = snapshot.template.spec.is_process();
        let first = pod.members.first().and_then(|member| member.id.as_ref());
        let services = self.service_addresses(&pod.run.workload.namespace, process);
        let attempt = pod.members.iter().find(|member| member.name == template.name).map_or(0, |member| member.attempt);
        launch::resolve(&LaunchInput {
            cluster: &self.settings.cluster,
            facts: &self.settings.facts,
            folders: &self.settings.folders,
            run: &pod.run,
            snapshot,
            container: template,
            attempt,
            ports: &pod.ports,
            services: &services,
            host_address: self.settings.host_address,
            pod_address: if process { Some(self.settings.host_address) } else { pod.address.filter(|_| index > 0) },
            network_of: first.filter(|_| !process && index > 0),
        })
    }

    /// The Services of a namespace as its pods reach them: host processes at the Service's own address, containers at the gateway.
    fn service_addresses(&self, namespace: &str, process: bool) -> Vec<ServiceAddress> {
        let gateway = self.hosts.get(&RuntimeKind::Docker).and_then(|host| host.gateway);
        let of_namespace = self.services.iter().filter(|(key, _)| key.namespace == namespace);
        let address = |(key, record): (&crate::model::ObjectKey, &super::ServiceRecord)| {
            let own = record.set.address?;
            let (host, ports) = match gateway.filter(|_| !process) {
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

    fn probe(&mut self, pod: &mut Pod, template: &Container, now: Moment) {
        let (reached, address, runtime, uid) = (pod.reached.clone(), pod.address, pod.runtime, pod.run.uid);
        let Some(member) = pod.member_mut(&template.name) else { return };
        let (Some(id), Some(runtime)) = (member.id.clone(), runtime) else { return };
        let started_up = member.passed(ProbeKind::Startup);
        let attempt = member.attempt;
        for prober in &mut member.probes {
            let (probe, wanted) = match prober.kind {
                ProbeKind::Startup => (&template.startup_probe, !started_up),
                ProbeKind::Liveness => (&template.liveness_probe, started_up),
                ProbeKind::Readiness => (&template.readiness_probe, started_up),
            };
            let Some(probe) = probe.as_ref().filter(|_| wanted) else { continue };
            if prober.begin(now) {
                let action = action_of(probe, template, address, &reached);
                let key = super::ContainerKey { pod: uid, container: template.name.clone(), attempt };
                let (kind, timeout) = (prober.kind, prober.timeout());
                self.effects.push(Effect::Probe(Box::new(ProbeRequest { key, runtime, id: id.clone(), kind, action, timeout })));
            }
        }
    }

    fn send_stops(&mut self, pod: &mut Pod, grace: Duration, now: Moment) {
        let (uid, runtime) = (pod.run.uid, pod.runtime);
        for member in &mut pod.members {
            let State::Stopping { retry, .. } = &mut member.state else { continue };
            let (Some(id), Some(runtime)) = (member.id.clone(), runtime) else { continue };
            if retry.is_some_and(|at| at <= now) {
                *retry = None;
                let key = super::ContainerKey { pod: uid, container: member.name.clone(), attempt: member.attempt };
                self.effects.push(Effect::Stop { runtime, key, id, grace });
            }
        }
    }

    fn send_removes(&mut self, pod: &mut Pod, now: Moment) {
        let Some(runtime) = pod.runtime else { return };
        for (key, (id, retry)) in &mut pod.removing {
            if retry.is_some_and(|at| at <= now) {
                *retry = None;
                self.effects.push(Effect::Remove { runtime, key: key.clone(), id: id.clone() });
            }
        }
    }
}

impl Pod {
    /// When to look at it again, if nothing happens.
    fn wake(&self) -> Option<Moment> {
        let members = self.members.iter().filter_map(|member| match &member.state {
            State::BackOff { until } => Some(*until),
            State::Stopping { retry, .. } => *retry,
            State::Running { .. } if self.phase() != PodPhase::Stopping => member.next_probe(),
            State::Unknown | State::Waiting | State::Starting | State::Running { .. } | State::Ended => None,
        });
        members.chain(self.removing.values().filter_map(|(_, retry)| *retry)).min()
    }
}

impl Member {
    fn next_probe(&self) -> Option<Moment> {
        let started_up = self.passed(ProbeKind::Startup);
        self.probes.iter().filter(|prober| (prober.kind == ProbeKind::Startup) != started_up).map(|prober| prober.wake()).min()
    }
}

/// `restartPolicy`: <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy>.
pub(super) fn restarts(policy: RestartPolicy, exit: Option<&Exit>) -> bool {
    match policy {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => exit.is_none_or(|exit| exit.code != 0),
        RestartPolicy::Never => false,
    }
}

/// Where each declared container port is reached at the pod's address.
fn launch_ports(pod: &Pod, snapshot: &PodSnapshot) -> std::collections::BTreeMap<u16, u16> {
    let declared = snapshot.template.spec.containers.iter().flat_map(|container| &container.ports);
    declared
        .map(|port| (port.container_port, pod.ports.get(&port.container_port).copied().unwrap_or(port.container_port)))
        .collect()
}

fn action_of(
    probe: &Probe,
    template: &Container,
    address: Option<IpAddr>,
    reached: &std::collections::BTreeMap<u16, u16>,
) -> ProbeAction {
    let port_of = |port: &IntOrString| {
        let number = match port {
            IntOrString::Int(number) => u16::try_from(*number).ok(),
            IntOrString::Text(name) => {
                let named = template.ports.iter().find(|port| port.name == *name).map(|port| port.container_port);
                named.or_else(|| name.parse().ok())
            }
        };
        number.map(|number| reached.get(&number).copied().unwrap_or(number))
    };
    let own = address.map(|address| address.to_string());
    if let Some(http) = &probe.http_get {
        let Some(port) = port_of(&http.port) else {
            return ProbeAction::Impossible(format!("the container has no port {:?}", http.port));
        };
        let Some(host) = http.host.clone().or(own) else {
            return ProbeAction::Impossible("the pod has no address yet".to_owned());
        };
        let path = if http.path.is_empty() { "/".to_owned() } else { http.path.clone() };
        let headers = http.http_headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect();
        return ProbeAction::Http { host, port, path, headers, https: http.scheme == "HTTPS" };
    }
    if let Some(tcp) = &probe.tcp_socket {
        return match (port_of(&tcp.port), own) {
            (Some(port), Some(host)) => ProbeAction::Tcp { host, port },
            (None, _) => ProbeAction::Impossible(format!("the container has no port {:?}", tcp.port)),
            (_, None) => ProbeAction::Impossible("the pod has no address yet".to_owned()),
        };
    }
    match &probe.exec {
        Some(exec) => ProbeAction::Exec(exec.command.clone()),
        None => ProbeAction::Impossible("the probe has no action".to_owned()),
    }
}
