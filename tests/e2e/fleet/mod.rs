//! Driftless on several hosts: real controllers, agents, Engines and links between them, which are cut and mended.

mod app;
mod availability;
mod faults;
mod lab;
mod leases;

use crate::manifests::{served, web_of};
use serde_json::{Value, json};

/// A web with `replicas` pods, as evenly on the hosts as can be, and its Service.
fn web(replicas: u32, release: &str) -> String {
    let mut pod = served(release);
    pod["topologySpreadConstraints"] = json!([{ "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": { "matchLabels": { "app": "web" } } }]);
    web_of(replicas, &pod)
}

/// The node that a pod is on.
fn node_of(pod: &Value) -> String {
    pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()
}
