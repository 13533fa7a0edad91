//! PriorityClasses and PodDisruptionBudgets.

use super::Scope;
use super::metadata;
use super::settings::of_kind;
use crate::model::{BudgetView, Kind, Object, PriorityClass, View};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The classes of the revision, and those that every cluster has.
pub(super) fn priority_classes(view: &View, scope: &Scope) -> Vec<Value> {
    let mut shown: BTreeMap<String, Value> = BTreeMap::new();
    for (name, class) in PriorityClass::built_in().into_iter().filter(|(name, _)| scope.takes("", name)) {
        let metadata = json!({ "name": name, "uid": metadata::derived_uid("PriorityClass", name).to_string() });
        shown.insert(name.to_owned(), class_json(metadata::with_type("scheduling.k8s.io/v1", "PriorityClass", metadata), &class));
    }
    for object in of_kind(view, Kind::PriorityClass, scope) {
        if let Some(class) = object.priority_class() {
            shown.insert(object.key.name.clone(), class_json(metadata::of_object(view, object), class));
        }
    }
    shown.into_values().collect()
}

fn class_json(mut object: Map<String, Value>, class: &PriorityClass) -> Value {
    object.insert("value".into(), json!(class.value));
    object.insert("preemptionPolicy".into(), json!(class.preemption_policy));
    if class.global_default {
        object.insert("globalDefault".into(), json!(true));
    }
    if !class.description.is_empty() {
        object.insert("description".into(), json!(class.description));
    }
    Value::Object(object)
}

/// The disruption budgets, with what they allow now.
pub(super) fn budgets(view: &View, scope: &Scope) -> Vec<Value> {
    of_kind(view, Kind::PodDisruptionBudget, scope).filter_map(|object| budget(view, object)).collect()
}

fn budget(view: &View, object: &Object) -> Option<Value> {
    let mut shown = metadata::of_object(view, object);
    shown.insert("spec".into(), metadata::to_json(object.budget()?));
    shown.insert("status".into(), status(view.budgets.get(&object.key).copied().unwrap_or_default()));
    Some(Value::Object(shown))
}

fn status(budget: BudgetView) -> Value {
    let (status, reason) = if budget.allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    json!({
        "conditions": [{ "type": "DisruptionAllowed", "status": status, "reason": reason, "message": "", "observedGeneration": 1 }],
        "currentHealthy": budget.healthy,
        "desiredHealthy": budget.desired,
        "disruptionsAllowed": budget.allowed,
        "expectedPods": budget.expected,
        "observedGeneration": 1,
    })
}
