//! What becomes of one object: what the table says of its kind, then its fields, its types and its rules.

use super::document::Header;
use super::draft::{Draft, DraftBody};
use super::findings::Findings;
use super::names::nearest;
use super::table::Table;
use super::yaml::{Data, Node};
use super::{check, hash, references, rules, typed};
use crate::model::{Body, Kind, Meta, ObjectKey};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// What becomes of a document.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is one of ours, and good.
    Accepted(Arc<Draft>),
    /// Harmless without Kubernetes, or none of ours; a warning says so.
    Ignored,
    /// Of a kind that we do not know, as `Kind.group`; an error, unless `ignoreKinds` names it.
    Foreign(String),
    /// It has errors.
    Rejected,
}

/// Judges an object by what the table says of its kind. `namespace` is that of objects that name none.
pub(super) fn judge(node: &Node, header: &mut Header, namespace: &str, findings: &mut Findings<'_>) -> Verdict {
    let kinds = &Table::get().kinds;
    let (api_version, kind) = (header.api_version.as_str(), header.kind.as_str());
    if let Some(empty) = [("apiVersion", api_version), ("kind", kind)].iter().find(|(_, text)| text.is_empty()) {
        findings.error(&format!("/{}", empty.0), "is required", None);
        return Verdict::Rejected;
    }
    let word = format!("{api_version} {kind}");
    if let Some((root, newer)) = kinds.root(api_version, kind) {
        if let Some(newer) = newer {
            let message = format!("{api_version} was removed from Kubernetes for {kind}, and is read as {newer}");
            findings.warning("/apiVersion", message, Some(format!("write {newer}")));
        }
        let node = newer.map_or(Cow::Borrowed(node), |newer| Cow::Owned(with_version(node, newer)));
        return ours(root, &node, header, namespace, findings);
    }
    if let Some(why) = kinds.ignored.get(&word) {
        findings.warning("/kind", format!("{kind} is without effect here: {why}"), None);
        if kind == "ServiceAccount" && matches!(node.get("imagePullSecrets").map(|node| &node.data), Some(Data::List(_))) {
            let message = "imagePullSecrets of a ServiceAccount are given to no pod".to_owned();
            findings.warning("/imagePullSecrets", message, Some("write them into the spec of the pods".to_owned()));
        }
        return Verdict::Ignored;
    }
    if let Some(instead) = kinds.unsupported.get(&word) {
        findings.error("/kind", &format!("{kind} is not supported yet"), Some(instead.clone()));
    } else if let Some(newer) = kinds.removed.get(&word) {
        let message = format!("{api_version} was removed from Kubernetes for {kind}");
        findings.error("/apiVersion", &message, Some(format!("write {newer}")));
    } else {
        return unknown_kind(api_version, kind, findings);
    }
    Verdict::Rejected
}

/// The object as one of a newer version that has the same fields.
fn with_version(node: &Node, newer: &str) -> Node {
    let mut node = node.clone();
    if let Data::Map(entries) = &mut node.data {
        for entry in entries.iter_mut().filter(|entry| entry.key == "apiVersion") {
            entry.value.data = Data::Text(newer.to_owned());
        }
    }
    node
}

/// An object of a kind that is supported.
fn ours(root: &str, node: &Node, header: &mut Header, namespace: &str, findings: &mut Findings<'_>) -> Verdict {
    let Some(kind) = Kind::named(&header.kind) else {
        findings.error("/kind", "is in the table, but not in this build", None);
        return Verdict::Rejected;
    };
    let mut value = node.to_value();
    check::check(root, &mut value, findings);
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    header.namespace = match (kind.is_namespaced(), text("/metadata/namespace")) {
        (false, _) => String::new(),
        (true, written) if written.is_empty() => namespace.to_owned(),
        (true, written) => written,
    };
    if findings.has_errors() {
        return Verdict::Rejected;
    }
    let meta = typed::meta(&value);
    let Some(body) = typed::body(kind, &value, &meta, findings) else { return Verdict::Rejected };
    rules::check(kind, &meta, &value, &body, findings);
    if findings.has_errors() {
        return Verdict::Rejected;
    }
    let key = ObjectKey::new(kind, header.namespace.clone(), header.name.clone());
    Verdict::Accepted(Arc::new(draft(key, meta, &value, body, node, findings)))
}

fn draft(key: ObjectKey, meta: Meta, value: &Value, body: DraftBody, node: &Node, findings: &Findings<'_>) -> Draft {
    let references = match &body {
        DraftBody::Workload(workload) => {
            let root = if key.kind == Kind::Pod { "/spec" } else { "/spec/template/spec" };
            let mut references = references::of_template(&workload.template, root, findings);
            references.extend(references::of_strategy(&workload.strategy, findings));
            references
        }
        DraftBody::CronJob(cron) => references::of_template(&cron.job.template, "/spec/jobTemplate/spec/template/spec", findings),
        DraftBody::Plain(body) => references::of_plain(body, findings),
    };
    let fingerprint = if let DraftBody::Plain(Body::Secret(data)) = &body { hash::fingerprint(data) } else { [0; 32] };
    let written = Arc::new(typed::shown(value, key.kind));
    Draft { key, meta, written, fingerprint, at: findings.place("/metadata/name").0, line: node.at.line, body, references }
}

/// A kind that the table does not have with this apiVersion: misspelt, of another version, or of another project.
fn unknown_kind(api_version: &str, kind: &str, findings: &mut Findings<'_>) -> Verdict {
    let kinds = &Table::get().kinds;
    // Of several versions the newest is the one to write.
    let words = || kinds.supported.keys().rev().chain(kinds.unsupported.keys()).chain(kinds.ignored.keys());
    if let Some(known) = words().find_map(|word| word.strip_suffix(kind)?.strip_suffix(' ')) {
        // Groups of others have a dot; without one, a group of Kubernetes was meant.
        let is_own_group = group_of(known) == group_of(api_version) || !group_of(api_version).contains('.');
        if is_own_group || nearest(api_version, [known]).is_some() {
            findings.error("/apiVersion", &format!("{api_version} is not known for {kind}"), Some(format!("write {known}")));
            return Verdict::Rejected;
        }
    }
    let siblings = words().filter_map(|word| word.strip_prefix(api_version)?.strip_prefix(' '));
    if let Some(meant) = nearest(kind, siblings) {
        findings.error("/kind", &format!("{kind} is not a kind of {api_version}"), Some(format!("did you mean {meant}?")));
        return Verdict::Rejected;
    }
    let group = group_of(api_version);
    let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
    let hint = format!("to pass it over, list {qualified} in ignoreKinds in driftless.yaml");
    findings.error("/kind", &format!("{qualified} is not a kind that Driftless knows"), Some(hint));
    Verdict::Foreign(qualified)
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}
