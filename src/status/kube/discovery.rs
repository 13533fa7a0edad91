//! What is served, in the words that kubectl asks for it.

use super::resource::{Group, Resource};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// The Kubernetes version whose API shapes are followed.
const FOLLOWS_MINOR: &str = "32";

/// `/api`
pub(super) fn core_versions(address: SocketAddr) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": address.to_string() }],
    })
}

/// `/apis`
pub(super) fn groups() -> Value {
    let groups: Vec<Value> = Group::NAMED.into_iter().map(group_entry).collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `/apis/GROUP`
pub(super) fn group(group: Group) -> Value {
    let mut entry = group_entry(group);
    entry["kind"] = json!("APIGroup");
    entry["apiVersion"] = json!("v1");
    entry
}

fn group_entry(group: Group) -> Value {
    let version = json!({ "groupVersion": group.to_string(), "version": group.version });
    json!({ "name": group.name, "versions": [version], "preferredVersion": version })
}

/// `/api/v1`, `/apis/GROUP/VERSION`
pub(super) fn resources(group: Group) -> Value {
    let served = Resource::ALL.into_iter().filter(|resource| resource.facts().group == group);
    let mut entries: Vec<Value> = served.map(entry).collect();
    if group == Group::CORE {
        entries.push(json!({ "name": "pods/log", "singularName": "", "namespaced": true, "kind": "Pod", "verbs": ["get"] }));
    }
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group.to_string(), "resources": entries })
}

fn entry(resource: Resource) -> Value {
    let facts = resource.facts();
    let mut entry = json!({
        "name": facts.plural,
        "singularName": facts.singular,
        "namespaced": facts.namespaced,
        "kind": facts.kind,
        "verbs": ["get", "list", "watch"],
    });
    if !facts.short.is_empty() {
        entry["shortNames"] = json!(facts.short);
    }
    if facts.in_all {
        entry["categories"] = json!(["all"]);
    }
    entry
}

/// `/version`
pub(in crate::status) fn version() -> Value {
    json!({
        "major": "1",
        "minor": FOLLOWS_MINOR,
        "gitVersion": format!("v1.{FOLLOWS_MINOR}.0+driftless-{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}
