//! Probes and hooks: when one is due, and what exactly it does.

use super::ContainerKey;
use super::agent::Agent;
use super::event::{Effect, HookAction, HookKind, HookRequest, HttpTarget, ProbeAction, ProbeKind, ProbeRequest};
use super::pod::{Member, Pod, PostStart};
use crate::model::{Container, Hook, HttpGet, IntOrString, Moment, PodUid, Probe};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// A hook after the start is given up after this. The kubelet waits for ever, and so does its user.
const POST_START_MAX: Duration = Duration::from_secs(3600);

/// An answer that is this late is not waited for any longer.
const LATE: Duration = Duration::from_secs(10);

impl Agent {
    /// Runs the hook after the start of a container, then makes the probes that are due.
    pub(super) fn ask(&mut self, pod: &mut Pod, template: &Container, now: Moment) {
        let (target, runtime) = (Target::of(pod), pod.runtime);
        let Some(member) = pod.member_mut(&template.name) else { return };
        let (Some(id), Some(runtime)) = (member.id.clone(), runtime) else { return };
        let key = ContainerKey { pod: target.pod, container: template.name.clone(), attempt: member.attempt };
        let hook = template.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        match (member.post_start, hook) {
            (PostStart::Due, None) => member.post_start = PostStart::Done,
            (PostStart::Due, Some(hook)) => {
                member.post_start = PostStart::Running(now + POST_START_MAX + LATE);
                let (kind, action) = (HookKind::PostStart, target.hook(hook, template));
                let request = HookRequest { key, runtime, id, kind, action, timeout: POST_START_MAX };
                self.effects.push(Effect::Hook(Box::new(request)));
                return;
            }
            (PostStart::Running(until), _) if now < until => return,
            (PostStart::Running(_) | PostStart::Done, _) => member.post_start = PostStart::Done,
        }
        member.arm(template);
        let started_up = member.passed(ProbeKind::Startup);
        for prober in &mut member.probes {
            let wanted = (prober.kind == ProbeKind::Startup) != started_up;
            let Some(probe) = probe_of(template, prober.kind).filter(|_| wanted) else { continue };
            if prober.begin(now) {
                let (kind, timeout, action) = (prober.kind, prober.timeout(), target.probe(probe, template));
                let request = ProbeRequest { key: key.clone(), runtime, id: id.clone(), kind, action, timeout };
                self.effects.push(Effect::Probe(Box::new(request)));
            }
        }
    }
}

/// A container's probe of a kind.
pub(super) fn probe_of(template: &Container, kind: ProbeKind) -> Option<&Probe> {
    match kind {
        ProbeKind::Startup => template.startup_probe.as_ref(),
        ProbeKind::Liveness => template.liveness_probe.as_ref(),
        ProbeKind::Readiness => template.readiness_probe.as_ref(),
    }
}

impl Member {
    /// When to ask it something again.
    pub(super) fn next_question(&self) -> Option<Moment> {
        if let PostStart::Running(until) = self.post_start {
            return Some(until);
        }
        let started_up = self.passed(ProbeKind::Startup);
        self.probes.iter().filter(|prober| (prober.kind == ProbeKind::Startup) != started_up).map(|prober| prober.wake()).min()
    }
}

/// Where the containers of a pod are asked.
pub(super) struct Target {
    pub(super) pod: PodUid,
    address: Option<IpAddr>,
    reached: BTreeMap<u16, u16>,
}

impl Target {
    pub(super) fn of(pod: &Pod) -> Self {
        Self { pod: pod.run.uid, address: pod.address, reached: pod.reached.clone() }
    }

    fn probe(&self, probe: &Probe, template: &Container) -> ProbeAction {
        let asked = if let Some(http) = &probe.http_get {
            self.http(http, template).map(ProbeAction::Http)
        } else if let Some(tcp) = &probe.tcp_socket {
            self.place(tcp.host.as_deref(), &tcp.port, template).map(|(host, port)| ProbeAction::Tcp { host, port })
        } else if let Some(grpc) = &probe.grpc {
            let place = self.place(None, &IntOrString::Int(i64::from(grpc.port)), template);
            place.map(|(host, port)| ProbeAction::Grpc { host, port, service: grpc.service.clone() })
        } else if let Some(exec) = &probe.exec {
            Ok(ProbeAction::Exec(exec.command.clone()))
        } else {
            Err("the probe has no action".to_owned())
        };
        asked.unwrap_or_else(ProbeAction::Impossible)
    }

    pub(super) fn hook(&self, hook: &Hook, template: &Container) -> HookAction {
        let asked = if let Some(exec) = &hook.exec {
            Ok(HookAction::Exec(exec.command.clone()))
        } else if let Some(http) = &hook.http_get {
            self.http(http, template).map(HookAction::Http)
        } else if let Some(sleep) = &hook.sleep {
            Ok(HookAction::Sleep(Duration::from_secs(sleep.seconds)))
        } else {
            Err("the hook has no action".to_owned())
        };
        asked.unwrap_or_else(HookAction::Impossible)
    }

    fn http(&self, http: &HttpGet, template: &Container) -> Result<HttpTarget, String> {
        let (host, port) = self.place(http.host.as_deref(), &http.port, template)?;
        let path = if http.path.is_empty() { "/".to_owned() } else { http.path.clone() };
        let headers = http.http_headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect();
        Ok(HttpTarget { host, port, path, headers, https: http.scheme == "HTTPS" })
    }

    /// The given host or the pod itself, at a port of the container by number or name.
    fn place(&self, host: Option<&str>, port: &IntOrString, template: &Container) -> Result<(String, u16), String> {
        let number = match port {
            IntOrString::Int(number) => u16::try_from(*number).ok(),
            IntOrString::Text(name) => {
                let named = template.ports.iter().find(|port| port.name == *name).map(|port| port.container_port);
                named.or_else(|| name.parse().ok())
            }
        };
        let number = number.ok_or_else(|| format!("the container has no port {port:?}"))?;
        let own = || self.address.map(|address| address.to_string());
        let at = host.map(str::to_owned).or_else(own).ok_or("the pod has no address yet")?;
        Ok((at, self.reached.get(&number).copied().unwrap_or(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::Target;
    use crate::agent::core::{HttpTarget, ProbeAction};
    use crate::model::{Container, PodUid, Probe};
    use serde_json::{Value, json};
    use uuid::Uuid;

    /// What a probe does in a pod whose container port 8080 is reached at port 21000.
    fn action(probe: Value) -> ProbeAction {
        let container = json!({ "name": "web", "ports": [{ "name": "http", "containerPort": 8080 }] });
        let container: Container = serde_json::from_value(container).expect("a container");
        let probe: Probe = serde_json::from_value(probe).expect("a probe");
        let address = "10.0.0.7".parse().ok();
        Target { pod: PodUid(Uuid::from_u128(7)), address, reached: [(8080, 21000)].into() }.probe(&probe, &container)
    }

    fn http(host: &str, port: u16, https: bool) -> ProbeAction {
        let headers = vec![("X-Key".to_owned(), "1".to_owned())];
        ProbeAction::Http(HttpTarget { host: host.to_owned(), port, path: "/ok".to_owned(), headers, https })
    }

    #[test]
    fn a_get_goes_to_the_pod_or_to_the_host_that_is_named_over_the_scheme_that_is_written() {
        let get = |port: Value, more: Value| {
            let mut get = json!({ "path": "/ok", "port": port, "httpHeaders": [{ "name": "X-Key", "value": "1" }] });
            get.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            action(json!({ "httpGet": get }))
        };
        assert_eq!(get(json!("http"), json!({})), http("10.0.0.7", 21000, false));
        assert_eq!(get(json!(8080), json!({ "scheme": "HTTPS" })), http("10.0.0.7", 21000, true));
        assert_eq!(get(json!(9090), json!({ "host": "10.1.1.1" })), http("10.1.1.1", 9090, false));
        assert!(matches!(get(json!("other"), json!({})), ProbeAction::Impossible(_)));
    }

    #[test]
    fn a_connection_and_a_health_check_go_to_the_port_that_was_given_out() {
        let host = || "10.0.0.7".to_owned();
        assert_eq!(action(json!({ "tcpSocket": { "port": "http" } })), ProbeAction::Tcp { host: host(), port: 21000 });
        let grpc = action(json!({ "grpc": { "port": 8080, "service": "shop" } }));
        assert_eq!(grpc, ProbeAction::Grpc { host: host(), port: 21000, service: "shop".to_owned() });
    }
}
