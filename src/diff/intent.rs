//! The intent: what a new tree changes relative to an old one, from git alone.

use super::effect::{Counts, Scene};
use super::{REDACTED, digest, effect, fields};
use crate::model::{Action, Body, Change, Desired, Effect, FieldChange, Kind, Object, ObjectKey, Plan, SecretBytes};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What `new` changes relative to `old`: one change per object that differs, in key order, with the fields and what carrying it out
/// does to pods when as many run as are wanted. The digest covers actions, keys and fields only.
#[must_use]
pub fn intent(old: &Desired, new: &Desired) -> Plan {
    let mut plan = Plan { from: old.revision.clone(), to: new.revision.clone(), ..Plan::default() };
    let keys: BTreeSet<&ObjectKey> = old.objects.keys().chain(new.objects.keys()).collect();
    for key in keys {
        match compare(old.objects.get(key).map(AsRef::as_ref), new.objects.get(key).map(AsRef::as_ref)) {
            Some(change) => plan.changes.push(change),
            None => plan.unchanged += 1,
        }
    }
    find_renames(&mut plan, old, new);
    let scene = Scene::new(old, new, &plan);
    let effects: Vec<Effect> = plan.changes.iter().map(|change| effect::of(change, &scene, &Counts::Wanted)).collect();
    for (change, effect) in plan.changes.iter_mut().zip(effects) {
        change.effect = effect;
    }
    plan.digest = digest::of(&plan.changes, new);
    plan
}

/// One object's change; `None` if there is none.
fn compare(old: Option<&Object>, new: Option<&Object>) -> Option<Change> {
    let (action, fields, object) = match (old, new) {
        (None, Some(new)) => (Action::Create, created(new), new),
        (Some(old), None) => (Action::Delete, Vec::new(), old),
        (Some(old), Some(new)) => {
            let fields = changed(old, new);
            (classify(old, new, &fields)?, fields, new)
        }
        (None, None) => return None,
    };
    let (key, source) = (object.key.clone(), object.source.clone());
    Some(Change { key, action, fields, source, effect: Effect::default(), renamed_from: None })
}

fn classify(old: &Object, new: &Object, fields: &[FieldChange]) -> Option<Action> {
    if let (Some(before), Some(after)) = (old.snapshot(), new.snapshot())
        && before.hash != after.hash
    {
        return Some(Action::Replace);
    }
    let scaled = new.workload().is_some() && fields.iter().all(|field| field.path == "spec.replicas");
    match fields {
        [] => None,
        _ if scaled => Some(Action::Scale),
        _ => Some(Action::Update),
    }
}

fn created(new: &Object) -> Vec<FieldChange> {
    let Body::Secret(data) = &new.body else { return fields::all(&new.written) };
    let mut found = fields::all(&without_data(&new.written));
    found.extend(data.keys().map(|key| secret_field(key, false, true)));
    found
}

fn changed(old: &Object, new: &Object) -> Vec<FieldChange> {
    match (&old.body, &new.body) {
        (Body::Secret(before), Body::Secret(after)) => {
            let mut found = fields::compare(&without_data(&old.written), &without_data(&new.written));
            found.extend(changed_keys(before, after));
            found
        }
        _ => fields::compare(&old.written, &new.written),
    }
}

/// A Secret without its contents. `data` and `stringData` are two ways to write one thing, so they are compared as decoded.
fn without_data(written: &Value) -> Value {
    let mut bare = written.clone();
    if let Some(map) = bare.as_object_mut() {
        map.remove("data");
        map.remove("stringData");
    }
    bare
}

fn changed_keys(old: &BTreeMap<String, SecretBytes>, new: &BTreeMap<String, SecretBytes>) -> Vec<FieldChange> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| secret_field(key, old.contains_key(key), new.contains_key(key)))
        .collect()
}

fn secret_field(key: &str, before: bool, after: bool) -> FieldChange {
    let shown = |there: bool| there.then(|| Value::from(REDACTED));
    FieldChange { path: fields::join("data", key), old: shown(before), new: shown(after) }
}

/// Marks a creation that equals a deletion but for name and namespace. Each deletion explains one creation at most.
fn find_renames(plan: &mut Plan, old: &Desired, new: &Desired) {
    let mut gone: Vec<ObjectKey> =
        plan.changes.iter().filter(|change| change.action == Action::Delete).map(|change| change.key.clone()).collect();
    for change in plan.changes.iter_mut().filter(|change| change.action == Action::Create) {
        let Some(created) = new.objects.get(&change.key) else { continue };
        let found = gone.iter().position(|key| old.objects.get(key).is_some_and(|deleted| is_same_thing(deleted, created)));
        change.renamed_from = found.map(|index| gone.remove(index));
    }
}

fn is_same_thing(old: &Object, new: &Object) -> bool {
    if old.key.kind != new.key.kind || old.key.kind == Kind::Namespace {
        return false;
    }
    match (old.snapshot(), new.snapshot()) {
        (Some(before), Some(after)) => before.hash == after.hash,
        _ => old.body == new.body,
    }
}
