//! The table of YAML values that the library is held to, asked of the kubectl that is installed.

use serde_json::Value;
use std::process::Command;

const TABLE: &str = include_str!("../../src/manifest/yaml/kubectl.tsv");

/// kubectl keeps whole numbers only as far as a float has them.
fn is_alike(ours: &Value, theirs: &Value) -> bool {
    ours == theirs || (ours.is_number() && ours.as_f64() == theirs.as_f64())
}

#[test]
fn kubectl_reads_values_as_the_table_has_it() {
    let rows = TABLE.lines().filter(|row| !row.starts_with("# ")).filter_map(|row| {
        let mut columns = row.split('\t');
        let (text, expected) = (columns.next()?, columns.next()?);
        Some((text, serde_json::from_str::<Value>(expected).ok()?))
    });
    let rows: Vec<(&str, Value)> = rows.collect();
    assert!(rows.len() > 80, "only {} rows", rows.len());
    let document = |(index, (text, _)): (usize, &(&str, Value))| {
        format!("---\napiVersion: example.com/v1\nkind: Sample\nmetadata: {{name: x{index}}}\nspec:\n  k: {text}\n")
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("samples.yaml");
    std::fs::write(&file, rows.iter().enumerate().map(document).collect::<String>()).expect("a file");
    let mut command = Command::new("kubectl");
    command.args(["label", "--local", "--output=json", "seen=yes", "--filename"]).arg(&file).env("HOME", folder.path());
    let output = command.output().expect("kubectl must be installed (Debian: apt-get install kubernetes-client)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    let answers: Vec<Value> = answers.map(|answer| answer.expect("JSON")).collect();
    assert_eq!(answers.len(), rows.len());
    for ((text, expected), answer) in rows.iter().zip(&answers) {
        let found = answer.pointer("/spec/k").unwrap_or(&Value::Null);
        assert!(is_alike(expected, found), "{text}: the table says {expected}, kubectl says {found}");
    }
}
