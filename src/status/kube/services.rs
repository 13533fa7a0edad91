//! Services.

use super::Scope;
use super::metadata;
use super::settings::of_kind;
use crate::model::{IntOrString, Kind, Object, ServicePort, ServiceView, View};
use serde_json::{Value, json};

/// The Services.
pub(super) fn services(view: &View, scope: &Scope) -> Vec<Value> {
    of_kind(view, Kind::Service, scope).filter_map(|object| service(view, object)).collect()
}

fn service(view: &View, object: &Object) -> Option<Value> {
    let spec = object.service()?;
    let known = view.services.get(&object.key).cloned().unwrap_or_default();
    let address = known.address.map(|address| address.to_string()).or_else(|| spec.is_headless().then(|| "None".to_owned()));
    let mut shown = metadata::of_object(view, object);
    let mut body = metadata::to_json(spec);
    body["type"] = json!(spec.kind.as_str());
    body["selector"] = json!(spec.selector);
    body["ports"] = spec.ports.iter().map(|port| shown_port(port, &known)).collect();
    body["sessionAffinity"] = json!(spec.session_affinity);
    if let (Some(timeout), Some(body)) = (spec.sticky_for(), body.as_object_mut()) {
        body.insert("sessionAffinityConfig".into(), json!({ "clientIP": { "timeoutSeconds": timeout.as_secs() } }));
    }
    if spec.has_address() || spec.is_headless() {
        body["internalTrafficPolicy"] = json!(spec.internal_traffic_policy);
        body["ipFamilies"] = json!(["IPv4"]);
        body["ipFamilyPolicy"] = json!("SingleStack");
        // One that has no address yet says so by an empty one.
        body["clusterIP"] = json!(address.clone().unwrap_or_default());
    }
    if let Some(address) = address {
        body["clusterIPs"] = json!([address]);
    }
    if spec.kind.is_external() {
        body["externalTrafficPolicy"] = json!(spec.external_traffic_policy);
    }
    shown.insert("spec".into(), body);
    let ingress: Vec<Value> = known.load_balancers.iter().map(|address| json!({ "ip": address })).collect();
    let balancer = if ingress.is_empty() { json!({}) } else { json!({ "ingress": ingress }) };
    shown.insert("status".into(), json!({ "loadBalancer": balancer }));
    Some(Value::Object(shown))
}

fn shown_port(port: &ServicePort, known: &ServiceView) -> Value {
    let mut port = port.clone();
    port.node_port = known.node_ports.get(&(port.port, port.protocol)).copied();
    port.target_port.get_or_insert(IntOrString::Int(i64::from(port.port)));
    metadata::to_json(&port)
}
