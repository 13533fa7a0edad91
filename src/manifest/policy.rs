//! `driftless.yaml`: what shapes desired, read alike by `validate`, `plan` and the controller. Its fields are those of the type `Policy`
//! of the table.

use super::check;
use super::document::text_of;
use super::findings::Findings;
use super::yaml::{self, Composed, Data, Mark};
use crate::model::{HelmRelease, Location, Policy, Problem, PrunePolicy, RenderPolicy, Scope, Severity};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The type of the table.
pub(crate) const POLICY_TYPE: &str = "Policy";

/// How long a lost node may be waited for.
const REPLACE_AFTER_SECONDS: RangeInclusive<u64> = 10..=7 * 86_400;

/// The policy as it is written.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WrittenPolicy {
    atomic: bool,
    ignore: Vec<String>,
    ignore_kinds: Vec<String>,
    prune: WrittenPrune,
    render: WrittenRender,
    replace_after: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WrittenPrune {
    max_workload_percent: Option<u32>,
    min_workloads: Option<u32>,
    max_objects: Option<u32>,
    approve: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WrittenRender {
    entries: Vec<String>,
    helm: BTreeMap<String, WrittenRelease>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WrittenRelease {
    release: Option<String>,
    namespace: Option<String>,
    values: Vec<String>,
    set: BTreeMap<String, Value>,
}

/// Reads the policy. With an error the defaults are returned for what could not be read, and `load` holds every unit.
#[must_use]
pub fn read_policy(file: &str, bytes: &[u8]) -> (Policy, Vec<Problem>) {
    let problem = |at: Mark, message: String, hint: Option<String>| Problem {
        at: Location { file: file.to_owned(), line: at.line, column: at.column },
        path: String::new(),
        severity: Severity::Error,
        scope: Scope::Document,
        message,
        hint,
    };
    let text = match text_of(bytes) {
        Ok(text) => text,
        Err((message, hint)) => return (Policy::default(), vec![problem(Mark::default(), message, Some(hint))]),
    };
    let (documents, error) = yaml::read(text, 1);
    let mut problems: Vec<Problem> =
        error.map(|error| problem(error.at, format!("not valid YAML: {}", error.message), None)).into_iter().collect();
    if let Some(second) = documents.get(1) {
        problems.push(problem(second.root.at, "driftless.yaml is one document".to_owned(), Some("put both into one".to_owned())));
    }
    let Some(document) = documents.first() else { return (Policy::default(), problems) };
    for duplicate in &document.duplicates {
        let message = format!("the key {:?} is there twice, first on line {}", duplicate.key, duplicate.first.line);
        problems.push(problem(duplicate.at, message, Some("keep one of them".to_owned())));
    }
    let (policy, found) = policy_of(file, document);
    problems.extend(found);
    problems.sort();
    (policy, problems)
}

fn policy_of(file: &str, document: &Composed) -> (Policy, Vec<Problem>) {
    if document.root.data == Data::Null {
        return (Policy::default(), Vec::new());
    }
    let mut findings = Findings::new(file, &document.root, String::new(), false);
    let mut value = document.root.to_value();
    check::check(POLICY_TYPE, &mut value, &mut findings);
    if let Value::Object(fields) = &mut value {
        fields.retain(|key, _| !findings.has_error_below(&format!("/{}", yaml::escape(key))));
    }
    let written: WrittenPolicy = serde_json::from_value(value).unwrap_or_default();
    let default = Policy::default();
    let replace_after = match written.replace_after.as_ref().map(seconds_in) {
        None => default.replace_after,
        Some(Some(seconds)) => Duration::from_secs(seconds),
        Some(None) => {
            findings.error("/replaceAfter", "must be a time from 10s to 168h, such as 90s or 5m", None);
            default.replace_after
        }
    };
    let prune = PrunePolicy {
        max_workload_percent: written.prune.max_workload_percent.unwrap_or(default.prune.max_workload_percent),
        min_workloads: written.prune.min_workloads.unwrap_or(default.prune.min_workloads),
        max_objects: written.prune.max_objects.unwrap_or(default.prune.max_objects),
        approve: written.prune.approve,
    };
    let policy = Policy {
        atomic: written.atomic,
        ignore: written.ignore,
        ignore_kinds: written.ignore_kinds,
        prune,
        render: render_policy(written.render),
        replace_after,
    };
    (policy, findings.into_problems())
}

fn render_policy(written: WrittenRender) -> RenderPolicy {
    let releases = written.helm.into_iter().map(|(folder, release)| {
        let folder = folder.trim_start_matches("./").trim_end_matches('/');
        (if folder.is_empty() { ".".to_owned() } else { folder.to_owned() }, helm_release(release))
    });
    RenderPolicy { entries: written.entries, helm: releases.collect() }
}

/// Numbers and booleans as helm reads them from `--set`.
fn helm_release(written: WrittenRelease) -> HelmRelease {
    let text = |value: Value| if let Value::String(text) = value { text } else { value.to_string() };
    HelmRelease {
        release: written.release,
        namespace: written.namespace,
        values: written.values,
        set: written.set.into_iter().map(|(key, value)| (key, text(value))).collect(),
    }
}

/// The seconds that a number or a text says, if they are within bounds.
fn seconds_in(value: &Value) -> Option<u64> {
    let seconds = value.as_u64().or_else(|| value.as_str().and_then(seconds_of));
    seconds.filter(|seconds| REPLACE_AFTER_SECONDS.contains(seconds))
}

/// `90s`, `5m`, `2h`, `1h30m`.
fn seconds_of(text: &str) -> Option<u64> {
    let (mut total, mut rest) = (0_u64, text.trim());
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let factor = match tail.chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = &tail[1..];
    }
    (total > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{POLICY_FILE, json_schema};

    #[test]
    fn a_policy_is_read_and_every_mistake_in_it_is_named() {
        let text = "atomic: true\nignore: [docs/]\nignoreKinds:\n- Certificate.cert-manager.io\nreplaceAfter: 1m30s\n\
                    prune: {maxObjects: 3, approve: [Deployment/shop/web]}\n";
        let (policy, problems) = read_policy("driftless.yaml", text.as_bytes());
        assert_eq!(problems, []);
        assert!(policy.atomic);
        assert_eq!(policy.ignore, ["docs/"]);
        assert_eq!(policy.ignore_kinds, ["Certificate.cert-manager.io"]);
        assert_eq!(policy.replace_after, Duration::from_secs(90));
        assert_eq!((policy.prune.max_objects, policy.prune.min_workloads), (3, 5));
        assert_eq!(policy.prune.approve, ["Deployment/shop/web"]);

        let text = "atomc: yes\nprune:\n  maxObjects: many\n  approve: [web]\nreplaceAfter: soon\nignore: x\n";
        let (_, problems) = read_policy("driftless.yaml", text.as_bytes());
        let lines: Vec<String> = problems.iter().map(|p| format!("{}:{} {}", p.at.line, p.at.column, p.message)).collect();
        assert_eq!(
            lines,
            [
                "1:1 atomc is not a known field",
                "3:15 prune.maxObjects must be a whole number from 0, not a text",
                "4:13 prune.approve[0] must be an object as Kind/namespace/name, or Kind/name for one that is in no namespace, not \"web\"",
                "5:15 replaceAfter must be a time from 10s to 168h, such as 90s or 5m, not \"soon\"",
                "6:9 ignore must be a list, not a text",
            ]
        );
        assert_eq!(problems[0].hint.as_deref(), Some("did you mean atomic?"));
    }

    #[test]
    fn what_can_be_read_beside_a_mistake_is_read() {
        let (policy, problems) =
            read_policy("driftless.yaml", b"atomic: true\nignore: [docs/]\nprune: {maxObjects: x}\nreplaceAfter: 5s\n");
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(policy.atomic);
        assert_eq!(policy, Policy { atomic: true, ignore: vec!["docs/".to_owned()], ..Policy::default() });
        let (_, problems) = read_policy("driftless.yaml", b"replaceAfter: 200h\n---\natomic: true\n");
        let lines: Vec<String> = problems.iter().map(|p| format!("{}:{} {}", p.at.line, p.at.column, p.message)).collect();
        assert_eq!(
            lines,
            ["1:15 replaceAfter must be a time from 10s to 168h, such as 90s or 5m", "3:1 driftless.yaml is one document"]
        );
    }

    #[test]
    fn the_table_has_the_defaults_of_the_policy() {
        let (schema, default) = (json_schema(POLICY_FILE).expect("a schema"), Policy::default());
        let at = |pointer: &str| schema.pointer(&format!("/$defs/{pointer}/default")).cloned().expect("a default");
        assert_eq!(at("Policy/properties/atomic"), default.atomic);
        assert_eq!(at("Policy/properties/replaceAfter"), format!("{}s", default.replace_after.as_secs()));
        assert_eq!(at("PrunePolicy/properties/maxWorkloadPercent"), default.prune.max_workload_percent);
        assert_eq!(at("PrunePolicy/properties/minWorkloads"), default.prune.min_workloads);
        assert_eq!(at("PrunePolicy/properties/maxObjects"), default.prune.max_objects);
    }

    #[test]
    fn how_charts_are_rendered_is_read_and_mistakes_are_named() {
        let text = "render:\n  entries: [overlays/prod]\n  helm:\n    ./charts/web/:\n      release: shop\n      namespace: prod\n      \
                    values: [values/prod.yaml]\n      set: {image.tag: '1.2', replicas: 3}\n";
        let (policy, problems) = read_policy("driftless.yaml", text.as_bytes());
        assert_eq!(problems, []);
        assert_eq!(policy.render.entries, ["overlays/prod"]);
        let web = &policy.render.helm["charts/web"];
        assert_eq!((web.release.as_deref(), web.namespace.as_deref()), (Some("shop"), Some("prod")));
        assert_eq!(web.values, ["values/prod.yaml"]);
        assert_eq!((web.set["image.tag"].as_str(), web.set["replicas"].as_str()), ("1.2", "3"));
        let text = "render:\n  entrys: []\n  helm:\n    web: {release: --post-renderer=x, set: {a: [1]}}\n";
        let (_, problems) = read_policy("driftless.yaml", text.as_bytes());
        let paths: Vec<(&str, u32)> = problems.iter().map(|problem| (problem.path.as_str(), problem.at.line)).collect();
        assert_eq!(paths, [("render.entrys", 2), ("render.helm.web.release", 4), ("render.helm.web.set.a", 4)]);
    }

    #[test]
    fn an_empty_policy_is_the_default_one() {
        for text in ["", "# nothing\n", "---\n"] {
            assert_eq!(read_policy("driftless.yaml", text.as_bytes()), (Policy::default(), Vec::new()), "{text:?}");
        }
    }
}
