//! Ingresses.

use super::Scope;
use super::metadata;
use super::settings::of_kind;
use crate::model::{Kind, Object, View};
use serde_json::{Value, json};
use std::net::IpAddr;

/// The Ingresses, each served by every node that serves any.
pub(super) fn ingresses(view: &View, scope: &Scope) -> Vec<Value> {
    of_kind(view, Kind::Ingress, scope).filter_map(|object| ingress(view, object)).collect()
}

fn ingress(view: &View, object: &Object) -> Option<Value> {
    let spec = object.ingress()?;
    let mut shown = metadata::of_object(view, object);
    let addresses: Vec<Value> = view.ingress_addresses.iter().map(|address| place(address)).collect();
    let status = if addresses.is_empty() { json!({}) } else { json!({ "ingress": addresses }) };
    shown.insert("spec".into(), metadata::to_json(spec));
    shown.insert("status".into(), json!({ "loadBalancer": status }));
    Some(Value::Object(shown))
}

fn place(address: &str) -> Value {
    let field = if address.parse::<IpAddr>().is_ok() { "ip" } else { "hostname" };
    json!({ field: address })
}
