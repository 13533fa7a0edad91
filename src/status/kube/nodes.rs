//! Nodes.

use super::Scope;
use super::metadata;
use crate::model::{Amounts, NodeName, NodeView, View};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Why a node is not ready that announced its absence.
pub(super) const AWAY: &str = "AgentAway";

/// The condition of a node that a commit drains.
pub(super) const DRAINED: &str = "Drained";

/// The nodes.
pub(super) fn nodes(view: &View, scope: &Scope) -> Vec<Value> {
    let taken = view.nodes.iter().filter(|(name, _)| scope.takes("", name.as_str()));
    taken.map(|(name, node)| shown(name, node)).collect()
}

fn shown(name: &NodeName, node: &NodeView) -> Value {
    let mut metadata = json!({ "name": name, "uid": metadata::derived_uid("Node", name.as_str()).to_string() });
    metadata::put_created(&mut metadata, node.created);
    if let Some(facts) = &node.facts {
        metadata::put_labels(&mut metadata, &facts.labels);
    }
    let mut object = metadata::with_type("v1", "Node", metadata);
    object.insert("spec".into(), metadata::to_json(&node.marks));
    object.insert("status".into(), status(name, node));
    Value::Object(object)
}

fn status(name: &NodeName, node: &NodeView) -> Value {
    let conditions: Vec<Value> = [Some(ready(node)), Some(disk_pressure(node)), drained(node)].into_iter().flatten().collect();
    let mut status = json!({ "conditions": conditions, "addresses": [{ "type": "Hostname", "address": name }] });
    let Some(facts) = &node.facts else { return status };
    if let Some(addresses) = status["addresses"].as_array_mut() {
        addresses.insert(0, json!({ "type": "InternalIP", "address": facts.found_at() }));
    }
    let runtimes: Vec<&str> = facts.runtimes.iter().map(|runtime| runtime.as_str()).collect();
    status["capacity"] = amounts(facts.capacity);
    status["allocatable"] = amounts(facts.allocatable);
    status["nodeInfo"] = json!({
        "architecture": facts.arch,
        "bootID": "",
        "containerRuntimeVersion": facts.engine.clone().unwrap_or_else(|| runtimes.join(",")),
        "kernelVersion": facts.kernel,
        "kubeProxyVersion": "",
        "kubeletVersion": format!("driftless-{}", facts.agent_version),
        "machineID": "",
        "operatingSystem": facts.os,
        "osImage": facts.os,
        "systemUUID": "",
    });
    status
}

fn amounts(amounts: Amounts) -> Value {
    let cpu = amounts.cpu_milli;
    let cpu = if cpu.is_multiple_of(1000) { (cpu / 1000).to_string() } else { format!("{cpu}m") };
    json!({ "cpu": cpu, "memory": format!("{}Ki", amounts.memory_bytes / 1024) })
}

fn disk_pressure(node: &NodeView) -> Value {
    let (status, reason, message) = match &node.conditions.disk_pressure {
        _ if !node.ready => ("Unknown", "AgentNotHeard", "the agent is not heard"),
        Some(why) => ("True", "AgentHasDiskPressure", why.as_str()),
        None => ("False", "AgentHasNoDiskPressure", "there is enough room on its disks"),
    };
    json!({ "type": "DiskPressure", "status": status, "reason": reason, "message": message })
}

/// How far a drain is, if there is one; Kubernetes has no such condition.
fn drained(node: &NodeView) -> Option<Value> {
    let drain = node.drain.as_ref()?;
    let obstacles: BTreeSet<String> =
        drain.left.iter().filter(|(_, why)| why.is_obstacle()).map(|(_, why)| why.to_string()).collect();
    let left = match drain.left.len() {
        0 => {
            return Some(
                json!({ "type": DRAINED, "status": "True", "reason": "Drained", "message": "no pod is left but those of DaemonSets" }),
            );
        }
        1 => "1 pod is left".to_owned(),
        count => format!("{count} pods are left"),
    };
    let message = obstacles.into_iter().fold(left, |text, why| format!("{text}; {why}"));
    Some(json!({ "type": DRAINED, "status": "False", "reason": "Draining", "message": message }))
}

/// The heartbeat time is left out: it would make every look at a node a change of it.
fn ready(node: &NodeView) -> Value {
    if let (false, Some(until)) = (node.ready, node.away_until) {
        let message = format!("the host announced its absence and is waited for until {}", until.rfc3339());
        return json!({ "type": "Ready", "status": "Unknown", "reason": AWAY, "message": message });
    }
    let (status, reason, message) = match (node.ready, node.heard) {
        (true, _) => ("True", "AgentReady", "the agent is heard"),
        (false, Some(_)) => {
            ("Unknown", "AgentNotHeard", "the agent has not been heard for a while; what runs there keeps running")
        }
        (false, None) => ("Unknown", "AgentNeverHeard", "the node is remembered, and its agent has not said hello yet"),
    };
    json!({ "type": "Ready", "status": status, "reason": reason, "message": message })
}
