//! `driftless validate` and `driftless schema` as scripts use them: exit codes, one line per problem, the JSON contract.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const GOOD: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n";
const BAD: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndate: {a: b}\n";

fn driftless(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_driftless")).args(args).current_dir(folder).output().expect("driftless starts")
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    folder
}

#[test]
fn a_problem_is_one_line_on_stdout_and_the_exit_code_is_1() {
    let folder = folder(&[("shop/cfg.yaml", BAD)]);
    let output = driftless(folder.path(), &["validate", "."]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "shop/cfg.yaml:4:1: error: date is not a known field (did you mean data?)\n"
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 rejected; 1 error, 0 warnings"));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_good_folder_prints_nothing_on_stdout_and_the_exit_code_is_0() {
    let folder =
        folder(&[("shop/cfg.yaml", GOOD), (".github/ci.yaml", BAD), ("docs/x.yaml", BAD), (".driftlessignore", "docs/\n")]);
    let output = driftless(folder.path(), &["validate"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn json_has_the_shape_that_scripts_rely_on_and_each_takes_folders_apart() {
    let folder = folder(&[("a/cfg.yaml", GOOD), ("b/cfg.yaml", GOOD)]);
    let report = |args: &[&str]| -> Value {
        let output = driftless(folder.path(), args);
        serde_json::from_slice(&output.stdout).expect("JSON on stdout")
    };
    let together = report(&["validate", ".", "--output", "json"]);
    let second = &together["documents"][1];
    let expected = ("b/cfg.yaml", 0, "v1", "ConfigMap", "default", "settings", "accepted");
    let found = ["file", "apiVersion", "kind", "namespace", "name", "status"].map(|key| second[key].as_str().unwrap_or_default());
    assert_eq!(found, [expected.0, expected.2, expected.3, expected.4, expected.5, expected.6]);
    assert_eq!(second["index"], expected.1);
    let problem = &second["problems"][0];
    assert_eq!((problem["severity"].as_str(), problem["scope"].as_str()), (Some("error"), Some("repository")));
    assert_eq!(
        (problem["line"].as_u64(), problem["column"].as_u64(), problem["path"].as_str()),
        (Some(3), Some(18), Some("metadata.name"))
    );
    let apart = report(&["validate", "--each", ".", "--output", "json"]);
    assert_eq!(apart["summary"]["errors"], 0);
}

#[test]
fn a_schema_is_json_and_an_unknown_kind_names_the_known_ones() {
    let folder = folder(&[]);
    let schema: Value = serde_json::from_slice(&driftless(folder.path(), &["schema", "Deployment"]).stdout).expect("JSON");
    assert_eq!(schema["title"], "Deployment");
    let output = driftless(folder.path(), &["schema", "Deploy"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("known are"));
}

#[test]
fn schemas_for_editors_judge_as_validate_does() {
    let folder = folder(&[]);
    let output = driftless(folder.path(), &["schema", "--all", "schemas"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(folder.path().join("schemas").join(name)).expect("a schema")).expect("JSON")
    };
    let schema = read("Deployment.json");
    let mut document = serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]}},
        },
    });
    assert!(jsonschema::is_valid(&schema, &document));
    document["spec"]["template"]["spec"]["containers"][0]["imge"] = "nginx:1.27".into();
    assert!(!jsonschema::is_valid(&schema, &document));
    let policy = read("driftless.yaml.json");
    assert!(jsonschema::is_valid(&policy, &serde_json::json!({"atomic": true, "replaceAfter": "5m"})));
    assert!(!jsonschema::is_valid(&policy, &serde_json::json!({"atomc": true})));
    let kinds = read("manifest.json")["allOf"].as_array().expect("rules").len();
    assert_eq!(kinds, driftless::manifest::supported_kinds().len());
}

#[test]
fn sarif_and_markdown_have_every_problem() {
    let folder = folder(&[("shop/cfg.yaml", BAD)]);
    let output = driftless(folder.path(), &["validate", ".", "--output", "sarif"]);
    assert_eq!(output.status.code(), Some(1));
    let log: Value = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
    assert_eq!(log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "shop/cfg.yaml");
    let output = driftless(folder.path(), &["validate", ".", "--output", "markdown"]);
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(page.contains("| error | `shop/cfg.yaml:4:1` | date is not a known field <br>*did you mean data?* |"), "{page}");
}
