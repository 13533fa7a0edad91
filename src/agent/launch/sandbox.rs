//! The sandbox of a pod: the container that holds what the others share, and outlives their restarts.
//!
//! A pod that is one container needs none: it is that container, and costs what that costs. Host processes share the host's network.

use super::{ClusterNames, LaunchError, labels, launch_port, network, security};
use crate::agent::runtime::{ContainerLaunch, Role, SANDBOX};
use crate::model::{ContainerPort, NodeName, PodRun, PodSnapshot, PodSpec, RuntimeKind};

/// Whether a pod has things that its containers share, or that must be known before the first of them starts.
#[must_use]
pub fn needs_sandbox(spec: &PodSpec) -> bool {
    let several = spec.containers.len() > 1 || !spec.init_containers.is_empty();
    !spec.is_process() && (several || spec.share_process_namespace || wants_address(spec))
}

/// Whether a container is told the pod's address, which only a sandbox has before it.
fn wants_address(spec: &PodSpec) -> bool {
    let variables = spec.all_containers().flat_map(|container| &container.env);
    let mut fields = variables.filter_map(|variable| variable.value_from.as_ref()?.field_ref.as_ref());
    fields.any(|field| matches!(field.field_path.as_str(), "status.podIP" | "status.podIPs"))
}

/// All that a sandbox is made of.
#[derive(Debug, Clone, Copy)]
pub struct SandboxInput<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// This node.
    pub node: &'a NodeName,
    /// The pod.
    pub run: &'a PodRun,
    /// Its template.
    pub snapshot: &'a PodSnapshot,
    /// Which start.
    pub attempt: u32,
    /// The names of the cluster.
    pub names: ClusterNames<'a>,
}

/// The launch of a sandbox. It has the pod's names, ports and kernel parameters; which image it is, and what runs in it, is the runtime's
/// business.
///
/// # Errors
/// Why there cannot be one; it stays until the template changes.
pub fn sandbox(input: &SandboxInput<'_>) -> Result<ContainerLaunch, LaunchError> {
    let spec = &input.snapshot.template.spec;
    let ports = spec.lasting_containers().flat_map(|container| &container.ports);
    let published = |port: &ContainerPort| port.host_port.filter(|_| !spec.host_network);
    let labels = labels(input.cluster, input.node, input.run, (SANDBOX, Role::Sandbox), input.attempt);
    Ok(ContainerLaunch {
        ports: ports.map(|port| launch_port(port, published(port))).collect(),
        security: security::of_pod(spec),
        network: network::resolve(spec, input.run, input.names)?,
        ..ContainerLaunch::bare(RuntimeKind::Docker, labels)
    })
}

#[cfg(test)]
mod tests {
    use super::needs_sandbox;
    use crate::model::PodSpec;
    use serde_json::json;

    fn check(spec: serde_json::Value, expected: bool) {
        let read: PodSpec = serde_json::from_value(spec.clone()).expect("a spec");
        assert_eq!(needs_sandbox(&read), expected, "{spec}");
    }

    #[test]
    fn only_a_pod_with_something_to_share_pays_for_a_sandbox() {
        let web = json!({ "name": "web", "image": "web:1" });
        check(json!({ "containers": [web] }), false);
        check(json!({ "containers": [web, { "name": "log", "image": "log:1" }] }), true);
        check(json!({ "containers": [web], "initContainers": [{ "name": "init", "image": "web:1" }] }), true);
        check(json!({ "containers": [web], "shareProcessNamespace": true }), true);
        let field = |path: &str| json!([{ "name": "A", "valueFrom": { "fieldRef": { "fieldPath": path } } }]);
        check(json!({ "containers": [{ "name": "web", "image": "web:1", "env": field("status.podIP") }] }), true);
        check(json!({ "containers": [{ "name": "web", "image": "web:1", "env": field("status.hostIP") }] }), false);
        check(json!({ "runtimeClassName": "process", "containers": [{ "name": "a" }, { "name": "b" }] }), false);
    }
}
