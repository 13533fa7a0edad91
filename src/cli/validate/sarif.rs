//! Problems as SARIF 2.1.0, which code hosts show beside the lines of a pull request.
//!
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>, as far as
//! <https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning> reads it.

use crate::manifest::{DocumentReport, ProblemReport, ValidationReport};
use crate::model::{Scope, Severity};
use serde_json::{Value, json};

/// GitHub takes no more results of one run.
const RESULTS_MAX: usize = 25_000;

/// The rules, by index: id, and what a breach of them means.
const RULES: [(&str, &str); 2] = [
    ("manifest", "A document must be one that Driftless reads"),
    ("between-objects", "What an object refers to must be there, and no two objects may be in each other's way"),
];

/// The report as a SARIF log.
pub(super) fn log(report: &ValidationReport) -> Value {
    let rules: Vec<Value> = RULES.iter().map(|(id, text)| json!({"id": id, "shortDescription": {"text": text}})).collect();
    let results =
        report.documents.iter().flat_map(|document| document.problems.iter().map(move |problem| result(document, problem)));
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "driftless",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results.take(RESULTS_MAX).collect::<Vec<Value>>(),
        }],
    })
}

fn result(document: &DocumentReport, problem: &ProblemReport) -> Value {
    let rule = match problem.scope {
        Scope::Document => 0,
        Scope::Repository => 1,
    };
    let level = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let hint = problem.hint.as_ref().map(|hint| format!("\n{hint}")).unwrap_or_default();
    let mut region = json!({"startLine": problem.line.max(1)});
    if problem.column > 0 {
        region["startColumn"] = json!(problem.column);
    }
    json!({
        "ruleId": RULES[rule].0,
        "ruleIndex": rule,
        "level": level,
        "message": {"text": format!("{}{hint}", problem.message)},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": uri(&document.file)},
            "region": region,
        }}],
        "partialFingerprints": {"driftless/v1": fingerprint(document, problem)},
    })
}

/// What a problem is recognised by when lines above it change.
fn fingerprint(document: &DocumentReport, problem: &ProblemReport) -> String {
    let parts = [&document.file, &document.kind, &document.namespace, &document.name, &problem.path, &problem.message];
    let text: Vec<&str> = parts.iter().map(|part| part.as_str()).collect();
    blake3::hash(text.join("\n").as_bytes()).to_hex()[..32].to_owned()
}

/// A path as a relative URI reference (RFC 3986); an absolute one as a `file` URI.
fn uri(path: &str) -> String {
    let mut uri = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::validate;

    #[test]
    fn a_log_has_what_the_standard_and_code_hosts_ask_for() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndate: {}\n";
        let files = [
            ("dir with space/é.yaml".to_owned(), text.as_bytes().to_vec()),
            ("twice.yaml".to_owned(), text.replace("date", "data").into_bytes()),
            ("x.yaml".to_owned(), text.replace("date", "data").into_bytes()),
        ];
        let log = log(&validate(&files, false));
        // The essentials of https://json.schemastore.org/sarif-2.1.0.json.
        let schema = json!({
            "type": "object", "required": ["version", "runs"],
            "properties": {"version": {"const": "2.1.0"}, "runs": {"type": "array", "minItems": 1, "items": {
                "type": "object", "required": ["tool", "results"],
                "properties": {
                    "tool": {"required": ["driver"], "properties": {"driver": {"required": ["name"], "properties": {
                        "rules": {"uniqueItems": true, "items": {"required": ["id"], "properties": {"shortDescription": {"required": ["text"]}}}}}}}},
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "results": {"items": {
                        "required": ["message", "ruleId", "level", "locations"],
                        "properties": {
                            "message": {"required": ["text"]},
                            "level": {"enum": ["none", "note", "warning", "error"]},
                            "ruleIndex": {"type": "integer", "minimum": 0},
                            "partialFingerprints": {"additionalProperties": {"type": "string"}},
                            "locations": {"minItems": 1, "items": {"properties": {"physicalLocation": {
                                "required": ["artifactLocation"],
                                "properties": {
                                    "artifactLocation": {"properties": {"uri": {"type": "string", "pattern": "^[-A-Za-z0-9._~/%:]+$"}}},
                                    "region": {"required": ["startLine"], "properties": {
                                        "startLine": {"type": "integer", "minimum": 1}, "startColumn": {"type": "integer", "minimum": 1}}},
                                }}}}},
                        }}},
                }}}},
        });
        let validator = jsonschema::draft202012::new(&schema).expect("a schema");
        let errors: Vec<String> =
            validator.iter_errors(&log).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:?}");
        let results = log["runs"][0]["results"].as_array().expect("results");
        assert_eq!(results.len(), 2, "{results:#?}");
        let place = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "dir%20with%20space/%C3%A9.yaml");
        assert_eq!(place["region"], json!({"startLine": 4, "startColumn": 1}));
        assert_eq!(results[1]["ruleId"], "between-objects");
    }
}
