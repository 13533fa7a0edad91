//! Nodes.

use super::Scope;
use super::metadata;
use crate::model::{Amounts, Moment, NodeName, NodeView, View};
use serde_json::{Value, json};

/// The nodes.
pub(super) fn nodes(view: &View, scope: &Scope) -> Vec<Value> {
    let taken = view.nodes.iter().filter(|(name, _)| scope.takes("", name.as_str()));
    taken.map(|(name, node)| shown(name, node)).collect()
}

fn shown(name: &NodeName, node: &NodeView) -> Value {
    let mut metadata = json!({ "name": name, "uid": metadata::derived_uid("Node", name.as_str()).to_string() });
    metadata::put_created(&mut metadata, (node.since > Moment(0)).then_some(node.since));
    if let Some(facts) = &node.facts {
        metadata::put_labels(&mut metadata, &facts.labels);
    }
    let mut object = metadata::with_type("v1", "Node", metadata);
    object.insert("spec".into(), metadata::to_json(&node.marks));
    object.insert("status".into(), status(name, node));
    Value::Object(object)
}

fn status(name: &NodeName, node: &NodeView) -> Value {
    let mut status = json!({ "conditions": [ready(node)], "addresses": [{ "type": "Hostname", "address": name }] });
    let Some(facts) = &node.facts else { return status };
    if let Some(addresses) = status["addresses"].as_array_mut() {
        addresses.insert(0, json!({ "type": "InternalIP", "address": facts.address }));
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

/// The heartbeat time is left out: it would make every look at a node a change of it.
fn ready(node: &NodeView) -> Value {
    let (status, reason, message) = match (node.ready, node.heard) {
        (true, _) => ("True", "AgentReady", "the agent is heard"),
        (false, Some(_)) => {
            ("Unknown", "AgentNotHeard", "the agent has not been heard for a while; what runs there keeps running")
        }
        (false, None) => ("Unknown", "AgentNeverHeard", "the node is remembered, and its agent has not said hello yet"),
    };
    json!({ "type": "Ready", "status": status, "reason": reason, "message": message })
}
