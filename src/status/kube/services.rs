//! Services.

use super::Scope;
use super::metadata;
use super::settings::of_kind;
use crate::model::{IntOrString, Kind, Object, ServicePort, View};
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
