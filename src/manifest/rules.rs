//! Rules of one document that a schema cannot say: names that must be unique, names that must be known, fields that go together.

use super::draft::{DraftBody, DraftWorkload};
use super::findings::Findings;
use super::names::{is_label_key, nearest};
use super::table::{AnnotationForm, Guard, Table, row_for};
use super::yaml::escape;
use crate::model::{Body, Kind, LabelExpression, LabelSelector, Lease, Meta, RestartPolicy, Strategy};
use serde_json::Value;
use std::collections::BTreeMap;

mod image;
mod ingress;
mod job;
mod placement;
mod pod;
mod service;
mod sets;
mod settings;

/// What a ConfigMap or Secret may hold, as in Kubernetes.
const CONFIG_BYTES_MAX: usize = 1 << 20;

/// Checks an accepted document.
pub(crate) fn check(kind: Kind, meta: &Meta, value: &Value, body: &DraftBody, findings: &mut Findings<'_>) {
    check_name(kind, value, findings);
    check_keys(&meta.labels, "/metadata/labels", findings);
    check_keys(&meta.annotations, "/metadata/annotations", findings);
    check_annotations(kind, meta, findings);
    refuse_guarded(&Table::get().kinds.guarded_labels, &meta.labels, "/metadata/labels", findings);
    match body {
        DraftBody::Plain(Body::ConfigMap(data)) => {
            check_config(data.iter().map(|(key, bytes)| (key.as_str(), bytes.len())), findings);
        }
        DraftBody::Plain(Body::Secret(data)) => {
            check_config(data.iter().map(|(key, bytes)| (key.as_str(), bytes.expose().len())), findings);
        }
        DraftBody::Plain(Body::Service(spec)) => service::check(spec, findings),
        DraftBody::Plain(Body::Claim(spec)) => sets::check_claim(spec, "/spec", findings),
        DraftBody::Plain(Body::Ingress(spec)) => ingress::check(spec, findings),
        DraftBody::Plain(Body::Node(spec)) => placement::check_node(spec, findings),
        DraftBody::Plain(Body::PriorityClass(_)) => placement::check_class(value, findings),
        DraftBody::Plain(Body::Budget(budget)) => placement::check_budget(budget, findings),
        DraftBody::Plain(_) => {}
        DraftBody::Workload(workload) => check_workload(kind, workload, findings),
        DraftBody::CronJob(cron) => job::check_cron(cron, value, findings),
    }
}

/// Services, Namespaces and StatefulSets have narrower names than other objects.
fn check_name(kind: Kind, value: &Value, findings: &mut Findings<'_>) {
    let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if kind == Kind::Job {
        return job::check_name(name, findings);
    }
    let is_label = !name.contains('.') && name.len() <= 63;
    let begins_with_letter = name.starts_with(|c: char| c.is_ascii_lowercase());
    let wanted = if kind == Kind::Service && !(is_label && begins_with_letter) {
        "a DNS label that begins with a letter"
    } else if kind == Kind::StatefulSet && (name.contains('.') || name.len() > sets::STATEFUL_NAME_MAX) {
        "a DNS label of at most 52 characters: the names of its pods are host names"
    } else if kind == Kind::Namespace && !is_label {
        "a DNS label: no dots, at most 63 characters"
    } else {
        return;
    };
    findings.error("/metadata/name", &format!("must be {wanted}"), None);
}

fn check_keys(map: &BTreeMap<String, String>, pointer: &str, findings: &mut Findings<'_>) {
    for key in map.keys().filter(|key| !is_label_key(key)) {
        let message = "is not a valid key: up to 63 letters, digits, '-', '_' and '.', after an optional DNS name and a '/'";
        findings.error_at_key(pointer, key, message, None);
    }
}

fn check_annotations(kind: Kind, meta: &Meta, findings: &mut Findings<'_>) {
    let pointer = "/metadata/annotations";
    for (key, text) in meta.annotations.iter().filter(|(key, _)| key.starts_with("driftless.dev/")) {
        check_own_annotation(kind, key, text, findings);
    }
    check_others(&meta.annotations, pointer, findings);
}

fn check_own_annotation(kind: Kind, key: &str, text: &str, findings: &mut Findings<'_>) {
    let parent = "/metadata/annotations";
    let pointer = format!("{parent}/{}", escape(key));
    let annotations = &Table::get().kinds.annotations;
    let Some(row) = annotations.get(key) else {
        let hint = nearest(key, annotations.keys().map(String::as_str)).map(|meant| format!("did you mean {meant}?"));
        findings.error_at_key(parent, key, "is not an annotation of Driftless", hint);
        return;
    };
    if let Some(why) = &row.unsupported {
        findings.error_at_key(parent, key, &format!("is not supported yet: {why}"), Some("leave it out".to_owned()));
    } else if !row.kinds.iter().any(|name| name == kind.as_str()) {
        findings.error_at_key(
            parent,
            key,
            &format!("has no effect on a {kind}"),
            Some(format!("it belongs on {}", row.kinds.join(", "))),
        );
    } else if let Some(why) = row.refused.get(text) {
        findings.error(&pointer, &format!("{text} is not supported yet: {why}"), None);
    } else if !row.values.is_empty() && !row.values.iter().any(|value| value == text) {
        findings.error(&pointer, &format!("must be {}", row.values.join(" or ")), None);
    } else if row.form == Some(AnnotationForm::Term)
        && let Err(why) = Lease::parse_term(text)
    {
        findings.error(&pointer, why, None);
    }
}

/// Annotations that other controllers honour.
fn check_others(annotations: &BTreeMap<String, String>, pointer: &str, findings: &mut Findings<'_>) {
    let kinds = &Table::get().kinds;
    refuse_guarded(&kinds.guarded_annotations, annotations, pointer, findings);
    for (key, text) in annotations {
        let at = format!("{pointer}/{}", escape(key));
        if let Some(row) = kinds.honoured_annotations.get(key) {
            if !row.values.contains(text) {
                findings.error(&at, &format!("must be {}", row.values.join(" or ")), None);
            }
            continue;
        }
        if row_for(&kinds.guarded_annotations, key).is_some() {
            continue;
        }
        if let Some(why) = row_for(&kinds.inert_annotations, key) {
            findings.warning(&at, format!("{key} is without effect here: {why}"), None);
        }
    }
}

/// What promises protection is honoured or refused, never passed over.
fn refuse_guarded(guards: &BTreeMap<String, Guard>, map: &BTreeMap<String, String>, pointer: &str, findings: &mut Findings<'_>) {
    for (key, text) in map {
        if let Some(guard) = row_for(guards, key).filter(|guard| !guard.unless.contains(text)) {
            let hint = Some("leave it out, if that is what you want".to_owned());
            findings.error_at_key(pointer, key, &format!("is not supported: {}", guard.why), hint);
        }
    }
}

fn check_config<'a>(data: impl Iterator<Item = (&'a str, usize)>, findings: &mut Findings<'_>) {
    let mut total = 0;
    for (key, size) in data {
        total += size;
        let is_key = !key.is_empty() && key.len() <= 253 && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !is_key || key == "." || key == ".." {
            findings.error_at_key("/data", key, "is not a valid key: letters, digits, '-', '_' and '.', at most 253", None);
        }
    }
    if total > CONFIG_BYTES_MAX {
        findings.error("/data", &format!("holds {total} bytes; at most {CONFIG_BYTES_MAX} are allowed"), None);
    }
}

fn check_workload(kind: Kind, workload: &DraftWorkload, findings: &mut Findings<'_>) {
    if kind == Kind::Pod {
        refuse_engine_profiles(workload, "/metadata/annotations", findings);
        pod::check(&workload.template.spec, "/spec", findings);
        return;
    }
    if let Strategy::Job(spec) = &workload.strategy {
        return job::check(workload, spec, "/spec", findings);
    }
    let labels = &workload.template.metadata.labels;
    check_keys(labels, "/spec/template/metadata/labels", findings);
    check_template_annotations(workload, "/spec/template", findings);
    check_selector(&workload.selector, findings);
    if !findings.has_error_below("/spec/selector") && !workload.selector.matches(labels) {
        let hint = "every label of the selector must be among spec.template.metadata.labels".to_owned();
        findings.error("/spec/selector", "does not match the labels of its own template", Some(hint));
    }
    if workload.template.spec.restart_policy != RestartPolicy::Always {
        let hint = "pods that end are for a Job".to_owned();
        findings.error("/spec/template/spec/restartPolicy", &format!("must be Always in a {kind}"), Some(hint));
    }
    check_deadline(kind, workload, findings);
    check_strategy(&workload.strategy, findings);
    pod::check(&workload.template.spec, "/spec/template/spec", findings);
}

/// A workload whose pods are to run for ever has no deadline for them, as in Kubernetes.
fn check_deadline(kind: Kind, workload: &DraftWorkload, findings: &mut Findings<'_>) {
    if workload.template.spec.active_deadline_seconds.is_some() {
        let pointer = "/spec/template/spec/activeDeadlineSeconds";
        let hint = "pods that end are for a Job".to_owned();
        findings.error(pointer, &format!("must not be set in a {kind}, whose pods run for ever"), Some(hint));
    }
}

/// Our annotations speak of the object; on its template they would silently do nothing. `root` leads to the template.
fn check_template_annotations(workload: &DraftWorkload, root: &str, findings: &mut Findings<'_>) {
    let parent = &format!("{root}/metadata/annotations");
    check_keys(&workload.template.metadata.annotations, parent, findings);
    check_others(&workload.template.metadata.annotations, parent, findings);
    refuse_engine_profiles(workload, parent, findings);
    for key in workload.template.metadata.annotations.keys().filter(|key| key.starts_with("driftless.dev/")) {
        let hint = "write it into metadata.annotations of the object itself".to_owned();
        findings.error_at_key(parent, key, "has no effect on a template", Some(hint));
    }
}

/// The engine's own seccomp profile is what containers have anyway; nobody gives it to host processes. `pointer` leads to the annotations.
fn refuse_engine_profiles(workload: &DraftWorkload, pointer: &str, findings: &mut Findings<'_>) {
    let asks = |(key, text): &(&String, &String)| key.contains("seccomp.security.alpha.kubernetes.io/") && *text != "unconfined";
    let annotations = &workload.template.metadata.annotations;
    for (key, _) in annotations.iter().filter(|annotation| workload.template.spec.is_process() && asks(annotation)) {
        let hint = "leave it out, or run an image".to_owned();
        findings.error_at_key(pointer, key, "is for containers and not kept for host processes", Some(hint));
    }
}

fn check_selector(selector: &LabelSelector, findings: &mut Findings<'_>) {
    if selector.match_labels.is_empty() && selector.match_expressions.is_empty() {
        findings.error("/spec/selector", "must name at least one label", None);
    }
    check_keys(&selector.match_labels, "/spec/selector/matchLabels", findings);
    check_expressions(&selector.match_expressions, "/spec/selector", findings);
}

/// The expressions of the selector at `at`.
fn check_expressions(expressions: &[LabelExpression], at: &str, findings: &mut Findings<'_>) {
    for (index, expression) in expressions.iter().enumerate() {
        let pointer = format!("{at}/matchExpressions/{index}");
        let wants_values = matches!(expression.operator.as_str(), "In" | "NotIn");
        if wants_values == expression.values.is_empty() {
            let word = if wants_values { "must have" } else { "must not have" };
            findings.error(&pointer, &format!("{word} values with the operator {}", expression.operator), None);
        }
        if !is_label_key(&expression.key) {
            findings.error(&format!("{pointer}/key"), "is not a valid label key", None);
        }
    }
}

fn check_strategy(strategy: &Strategy, findings: &mut Findings<'_>) {
    match strategy {
        Strategy::Rolling { max_surge, max_unavailable } if max_surge.is_zero() && max_unavailable.is_zero() => {
            findings.error("/spec/strategy/rollingUpdate", "must let maxSurge or maxUnavailable be above 0", None);
        }
        Strategy::Daemon(update) => sets::check_daemon(update, findings),
        Strategy::Stateful(spec) => sets::check_stateful(spec, findings),
        Strategy::Rolling { .. } | Strategy::Recreate | Strategy::BlueGreen(_) | Strategy::OnDelete | Strategy::Job(_) => {}
    }
}
