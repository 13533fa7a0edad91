//! Plans between small worlds.

use super::*;
use crate::model::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

mod effects;
mod estimates;
mod intent;
mod rendering;

/// A world that objects are added to.
#[derive(Default, Clone)]
struct World(Desired);

impl World {
    fn at(revision: &str) -> Self {
        Self(Desired { revision: Some(Revision::new(revision.repeat(40))), ..Desired::default() })
    }

    fn with(mut self, kind: Kind, name: &str, written: Value, body: Body) -> Self {
        let key = ObjectKey::new(kind, "shop", name);
        let file = format!("shop/{name}.yaml");
        let blob = blake3::hash(format!("{written}{}", secrets(&body)).as_bytes()).to_hex().to_string();
        let source = Source { unit: UnitName::new("shop"), revision: Revision::new("r"), file, line: 1, blob };
        let meta = Meta::default();
        let object = Object { key: key.clone(), meta, source, written: Arc::new(written), fingerprint: [0; 32], body };
        self.0.objects.insert(key, Arc::new(object));
        self
    }

    fn config(self, name: &str, data: &[(&str, &str)]) -> Self {
        let written = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": object_of(data)});
        let bytes = data.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect();
        self.with(Kind::ConfigMap, name, written, Body::ConfigMap(bytes))
    }

    fn secret(self, name: &str, field: &str, data: &[(&str, &str)]) -> Self {
        let hidden: Vec<(&str, &str)> = data.iter().map(|(key, _)| (*key, REDACTED)).collect();
        let written = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, field: object_of(&hidden)});
        let bytes = data.iter().map(|(key, value)| ((*key).to_owned(), SecretBytes::new(value.as_bytes().to_vec()))).collect();
        self.with(Kind::Secret, name, written, Body::Secret(bytes))
    }

    /// A workload that takes its environment from every ConfigMap and Secret that the world has.
    fn runs(self, kind: Kind, name: &str, image: &str, replicas: u32, strategy: Strategy) -> Self {
        let template = json!({"spec": {"containers": [{"name": "main", "image": image}]}});
        let written = json!({"kind": kind, "metadata": {"name": name}, "spec": {"replicas": replicas, "template": template}});
        let mut config = ConfigSnapshot::default();
        for object in self.0.objects.values() {
            if let Body::ConfigMap(data) = &object.body {
                config.config_maps.insert(object.key.name.clone(), data.clone());
            } else if let Body::Secret(data) = &object.body {
                config.secrets.insert(object.key.name.clone(), data.clone());
            }
        }
        let seen = format!(
            "{template}{:?}{}",
            config.config_maps,
            secrets(&Body::Secret(config.secrets.values().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()))
        );
        let hash = TemplateHash::new(&blake3::hash(seen.as_bytes()).to_hex().as_str()[..40]);
        let snapshot =
            PodSnapshot { hash, template: serde_json::from_value(template).expect("a template"), config: Arc::new(config) };
        let workload = Workload {
            replicas: Some(replicas),
            selector: LabelSelector::default(),
            snapshot: Arc::new(snapshot),
            strategy,
            min_ready_seconds: 0,
            progress_deadline_seconds: 600,
            paused: false,
        };
        self.with(kind, name, written, Body::Workload(workload))
    }

    fn web(self, image: &str, replicas: u32) -> Self {
        self.runs(Kind::Deployment, "web", image, replicas, rolling("25%", "25%"))
    }

    fn scaled(self, name: &str, min: u32, max: u32) -> Self {
        let autoscaler = Autoscaler {
            target_kind: "Deployment".into(),
            target_name: name.into(),
            min_replicas: min,
            max_replicas: max,
            metrics: vec![ScaleMetric::cpu(70)],
            scale_up: ScaleRules::up(),
            scale_down: ScaleRules::down(),
        };
        let written = json!({"spec": {"minReplicas": min, "maxReplicas": max}});
        self.with(Kind::HorizontalPodAutoscaler, name, written, Body::Autoscaler(autoscaler))
    }
}

fn secrets(body: &Body) -> String {
    let Body::Secret(data) = body else { return String::new() };
    data.values().map(|value| String::from_utf8_lossy(value.expose()).into_owned()).collect()
}

fn object_of(data: &[(&str, &str)]) -> Value {
    data.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect::<serde_json::Map<_, _>>().into()
}

fn rolling(surge: &str, unavailable: &str) -> Strategy {
    let read = |text: &str| text.parse().map_or_else(|_| IntOrString::Text(text.to_owned()), IntOrString::Int);
    Strategy::Rolling { max_surge: read(surge), max_unavailable: read(unavailable) }
}

fn blue_green(auto_promotion: bool) -> Strategy {
    Strategy::BlueGreen(BlueGreen {
        active_service: "api".into(),
        preview_service: None,
        auto_promotion,
        auto_promotion_seconds: 0,
        scale_down_delay_seconds: 30,
        promote: None,
    })
}

fn plan(old: &World, new: &World) -> Plan {
    intent(&old.0, &new.0)
}

/// `action key` of every change.
fn actions(plan: &Plan) -> Vec<String> {
    plan.changes.iter().map(|change| format!("{} {}", digest::action_name(change.action), change.key)).collect()
}

fn order(plan: &Plan, name: &str) -> String {
    plan.changes.iter().find(|change| change.key.name == name).map(|change| change.effect.order.clone()).expect("a change")
}
