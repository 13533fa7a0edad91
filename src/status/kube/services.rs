//! Services, and the Endpoints behind them.

use super::super::pods::{self, ShownPod};
use super::Scope;
use super::metadata;
use super::settings::of_kind;
use crate::model::{IntOrString, Kind, Object, ServicePort, ServiceSpec, View, object_uid};
use serde_json::{Value, json};

/// The Services.
pub(super) fn services(view: &View, scope: &Scope) -> Vec<Value> {
    of_kind(view, Kind::Service, scope).filter_map(|object| service(view, object)).collect()
}

fn service(view: &View, object: &Object) -> Option<Value> {
    let spec = object.service()?;
    let address = match view.services.get(&object.key).and_then(|service| service.address) {
        Some(address) => address.to_string(),
        None if spec.is_headless() => "None".into(),
        None => String::new(),
    };
    let mut shown = metadata::of_object(view, object);
    let ports: Vec<Value> = spec.ports.iter().map(port).collect();
    let mut body = json!({
        "type": "ClusterIP",
        "clusterIP": address,
        "selector": spec.selector,
        "ports": ports,
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
    });
    if !address.is_empty() {
        body["clusterIPs"] = json!([address]);
    }
    shown.insert("spec".into(), body);
    shown.insert("status".into(), json!({ "loadBalancer": {} }));
    Some(Value::Object(shown))
}

fn port(port: &ServicePort) -> Value {
    let mut port = port.clone();
    port.target_port.get_or_insert(IntOrString::Int(i64::from(port.port)));
    metadata::to_json(&port)
}

/// One Endpoints per Service. Each pod is a subset of its own, because a host process listens at a port of its own.
pub(super) fn endpoints(view: &View, scope: &Scope) -> Vec<Value> {
    let pods = pods::all(view);
    of_kind(view, Kind::Service, scope).filter_map(|object| endpoints_of(view, object, &pods)).collect()
}

fn endpoints_of(view: &View, object: &Object, pods: &[ShownPod<'_>]) -> Option<Value> {
    let spec = object.service()?;
    let behind = pods.iter().filter(|pod| pod.namespace() == object.key.namespace && is_selected(spec, pod));
    let subsets: Vec<Value> = behind.filter_map(|pod| subset(spec, pod)).collect();
    let mut metadata = json!({
        "name": object.key.name,
        "namespace": object.key.namespace,
        "uid": metadata::derived_uid("Endpoints", &object_uid(&object.key).to_string()).to_string(),
    });
    metadata::put_labels(&mut metadata, &object.meta.labels);
    metadata::put_created(&mut metadata, view.created.get(&object.key).copied());
    let mut shown = metadata::with_type("v1", "Endpoints", metadata);
    shown.insert("subsets".into(), Value::Array(subsets));
    Some(Value::Object(shown))
}

/// A Service without a selector has no pods. What a blue/green switch narrows further is not in the view.
fn is_selected(spec: &ServiceSpec, pod: &ShownPod<'_>) -> bool {
    let labels = pod.labels();
    !spec.selector.is_empty() && spec.selector.iter().all(|(key, value)| labels.get(key) == Some(value)) && !pod.is_stopping()
}

fn subset(spec: &ServiceSpec, pod: &ShownPod<'_>) -> Option<Value> {
    let address = pod.report()?.address?;
    let place = json!([{
        "ip": address,
        "nodeName": pod.node,
        "targetRef": { "kind": "Pod", "namespace": pod.namespace(), "name": pod.name, "uid": pod.uid.to_string() },
    }]);
    let ports: Vec<Value> = spec.ports.iter().filter_map(|port| endpoint_port(port, pod)).collect();
    let key = if pod.is_ready() { "addresses" } else { "notReadyAddresses" };
    Some(json!({ key: place, "ports": ports }))
}

fn endpoint_port(port: &ServicePort, pod: &ShownPod<'_>) -> Option<Value> {
    let wanted = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok()?,
        Some(IntOrString::Text(name)) => {
            let containers = &pod.snapshot?.template.spec.containers;
            containers.iter().flat_map(|container| &container.ports).find(|port| port.name == *name)?.container_port
        }
    };
    let reached = pod.report()?.ports.get(&wanted).copied().unwrap_or(wanted);
    let mut shown = json!({ "port": reached, "protocol": port.protocol });
    if !port.name.is_empty() {
        shown["name"] = json!(port.name);
    }
    Some(shown)
}
