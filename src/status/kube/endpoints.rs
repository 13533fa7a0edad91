//! What is behind Services, as Endpoints and as EndpointSlices.
//!
//! Each pod is a subset, and a slice, of its own: a host process listens at a port of its own, and both kinds say ports once for
//! all of their addresses.

use super::super::pods::{self, ShownPod};
use super::Scope;
use super::metadata;
use super::settings::of_kind;
use crate::model::{IntOrString, Kind, Object, ObjectKey, ServicePort, ServiceSpec, TemplateHash, View, object_uid};
use serde_json::{Value, json};
use std::net::IpAddr;

/// One pod behind a Service.
struct Endpoint<'a> {
    pod: &'a ShownPod<'a>,
    address: IpAddr,
    ports: Vec<Value>,
}

/// One Endpoints per Service.
pub(super) fn endpoints(view: &View, scope: &Scope) -> Vec<Value> {
    let pods = pods::all(view);
    of_kind(view, Kind::Service, scope).filter_map(|object| endpoints_of(view, object, &pods)).collect()
}

fn endpoints_of(view: &View, object: &Object, pods: &[ShownPod<'_>]) -> Option<Value> {
    let behind = behind(view, object, pods)?;
    let subsets: Vec<Value> = behind.iter().map(subset).collect();
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

fn subset(endpoint: &Endpoint<'_>) -> Value {
    let pod = endpoint.pod;
    let place = json!([{ "ip": endpoint.address, "nodeName": pod.node, "targetRef": target(pod) }]);
    let key = if pod.is_ready() { "addresses" } else { "notReadyAddresses" };
    json!({ key: place, "ports": endpoint.ports })
}

/// The slices of every Service, one per pod.
pub(super) fn endpoint_slices(view: &View, scope: &Scope) -> Vec<Value> {
    let pods = pods::all(view);
    let of_namespace = Scope { namespace: scope.namespace.clone(), name: None };
    let services = of_kind(view, Kind::Service, &of_namespace);
    let slices = services.flat_map(|object| {
        let behind = behind(view, object, &pods).unwrap_or_default();
        behind.iter().map(|endpoint| slice(&object.key, endpoint)).collect::<Vec<_>>()
    });
    slices.filter(|slice| scope.name.as_deref().is_none_or(|name| slice["metadata"]["name"] == name)).collect()
}

fn slice(service: &ObjectKey, endpoint: &Endpoint<'_>) -> Value {
    let pod = endpoint.pod;
    let name = format!("{}-{}", service.name, pod.uid.tail());
    let metadata = json!({
        "name": name,
        "namespace": service.namespace,
        "uid": metadata::derived_uid("EndpointSlice", &format!("{service}/{}", pod.uid)).to_string(),
        "labels": { "kubernetes.io/service-name": service.name, "endpointslice.kubernetes.io/managed-by": "driftless" },
        "creationTimestamp": pod.view.since.rfc3339(),
    });
    let mut shown = metadata::with_type("discovery.k8s.io/v1", "EndpointSlice", metadata);
    shown.insert("addressType".into(), json!(if endpoint.address.is_ipv4() { "IPv4" } else { "IPv6" }));
    shown.insert("ports".into(), json!(endpoint.ports));
    shown.insert(
        "endpoints".into(),
        json!([{
            "addresses": [endpoint.address],
            "conditions": { "ready": pod.is_ready(), "serving": pod.is_ready(), "terminating": pod.is_stopping() },
            "nodeName": pod.node,
            "targetRef": target(pod),
        }]),
    );
    Value::Object(shown)
}

fn target(pod: &ShownPod<'_>) -> Value {
    json!({ "kind": "Pod", "namespace": pod.namespace(), "name": pod.name, "uid": pod.uid.to_string() })
}

/// The pods that a Service selects and that have an address; `None` if it is no Service.
fn behind<'a>(view: &View, object: &Object, pods: &'a [ShownPod<'a>]) -> Option<Vec<Endpoint<'a>>> {
    let spec = object.service()?;
    let only = only_template(view, &object.key);
    let selected = pods.iter().filter(|pod| pod.namespace() == object.key.namespace && is_selected(spec, pod));
    let selected = selected.filter(|pod| only.is_none_or(|hash| pod.hash == hash));
    Some(selected.filter_map(|pod| endpoint(spec, pod)).collect())
}

/// The template that a blue/green Rollout narrows a Service to: the promoted one, or the newest for its preview.
fn only_template<'a>(view: &'a View, service: &ObjectKey) -> Option<&'a TemplateHash> {
    let of_namespace = view.workloads.iter().filter(|(key, _)| key.namespace == service.namespace && key.kind == Kind::Rollout);
    of_namespace.into_iter().find_map(|(key, state)| {
        let blue_green = view.objects.get(key)?.workload()?.strategy.blue_green()?;
        if blue_green.active_service == service.name {
            return state.promoted.as_ref();
        }
        (blue_green.preview_service.as_ref() == Some(&service.name)).then_some(&state.hash)
    })
}

/// A Service without a selector has no pods.
fn is_selected(spec: &ServiceSpec, pod: &ShownPod<'_>) -> bool {
    let labels = pod.labels();
    !spec.selector.is_empty() && spec.selector.iter().all(|(key, value)| labels.get(key) == Some(value)) && !pod.is_stopping()
}

fn endpoint<'a>(spec: &ServiceSpec, pod: &'a ShownPod<'a>) -> Option<Endpoint<'a>> {
    let address = pod.report()?.address?;
    Some(Endpoint { pod, address, ports: spec.ports.iter().filter_map(|port| reached_at(port, pod)).collect() })
}

/// A Service's port as this pod is reached for it.
fn reached_at(port: &ServicePort, pod: &ShownPod<'_>) -> Option<Value> {
    let wanted = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok()?,
        Some(IntOrString::Text(name)) => {
            let containers = pod.snapshot?.template.spec.lasting_containers();
            containers.flat_map(|container| &container.ports).find(|port| port.name == *name)?.container_port
        }
    };
    let reached = pod.report()?.ports.get(&wanted).copied().unwrap_or(wanted);
    Some(json!({ "name": port.name, "port": reached, "protocol": port.protocol }))
}
