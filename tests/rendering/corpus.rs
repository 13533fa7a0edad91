//! Real kustomizations of public repositories: what we see is what kubectl makes of them, document by document.
//!
//! The corpus lies beside the project and is not part of it; without it this says so and passes.

use crate::workshop::{Workshop, driftless};
use driftless::manifest::{self, DocumentReport};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn corpus() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    root.join("rendered").is_dir().then_some(root)
}

/// The rendered folders of a repository, with what kubectl printed.
fn rendered(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = open.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().with_extension("");
                found.insert(name.to_string_lossy().into_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// What counts of a document.
fn seen(document: &Value) -> Value {
    let mut seen: Value =
        ["index", "apiVersion", "kind", "namespace", "name"].iter().map(|key| (*key, document[*key].clone())).collect();
    // Problems between objects depend on what else is looked at.
    let problems = document["problems"].as_array().unwrap().iter().filter(|problem| problem["scope"] == "document");
    seen["problems"] =
        problems.map(|problem| serde_json::json!([problem["line"], problem["column"], problem["message"]])).collect();
    seen
}

fn expected(folder: &str, text: &[u8]) -> Vec<Value> {
    let report = manifest::validate(&[(folder.to_owned(), text.to_owned())], true);
    let json = |document: &DocumentReport| seen(&serde_json::to_value(document).unwrap());
    report.documents.iter().map(json).collect()
}

#[test]
fn validate_sees_what_kubectl_makes_of_the_corpus() {
    let Some(root) = corpus() else {
        eprintln!("SKIPPED: there is no corpus at ../shared/corpus/rendered");
        return;
    };
    let (mut same, mut refused) = (0, 0);
    for repo in fs::read_dir(root.join("rendered")).unwrap().map(|entry| entry.unwrap().file_name()) {
        let folder = root.join("manifests").join(&repo);
        let output = driftless(&folder, &["validate", "--render", "--each", ".", "--output", "json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        let mut by_file: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for document in report["documents"].as_array().unwrap() {
            by_file.entry(document["file"].as_str().unwrap()).or_default().push(seen(document));
        }
        for (name, text) in rendered(&root.join("rendered").join(&repo)) {
            match by_file.get(name.as_str()) {
                Some(documents) => {
                    assert_eq!(*documents, expected(&name, &text), "{} {name}", repo.display());
                    same += 1;
                }
                // Only YAML is in the corpus: what needs another file cannot be rendered from it, by us or by kubectl.
                None => {
                    let kubectl = Command::new("kubectl").arg("kustomize").arg(folder.join(&name)).output().unwrap();
                    assert!(!kubectl.status.success(), "{} {name}: kubectl renders it, and we do not", repo.display());
                    refused += 1;
                }
            }
        }
    }
    assert!(same >= 250, "only {same} folders are as kubectl renders them; {refused} cannot be rendered");
}

#[test]
fn plan_sees_what_kubectl_makes_of_the_corpus() {
    let Some(root) = corpus() else {
        eprintln!("SKIPPED: there is no corpus at ../shared/corpus/rendered");
        return;
    };
    let repo = "kubernetes-sigs__kustomize";
    let workshop = Workshop::new();
    let copied =
        Command::new("cp").arg("-r").arg(root.join("manifests").join(repo)).arg(workshop.repo().join("all")).status().unwrap();
    assert!(copied.success());
    let empty = workshop.git(&["commit-tree", "4b825dc642cb6eb9a060e54bf8d69288fbee4904", "-m", "nothing"]);
    workshop.commit();
    let mut planned = 0;
    for (name, text) in rendered(&root.join("rendered").join(repo)) {
        let path = format!("all/{name}");
        let output = workshop.driftless(&["plan", "--path", &path, "--from", &empty, "--to", "HEAD", "--output", "json"]);
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{name}: {output:?}"));
        if plan["held"].as_array().is_some_and(|held| !held.is_empty()) {
            continue;
        }
        let mut keys: Vec<String> =
            plan["changes"].as_array().unwrap().iter().map(|change| format!("{}/{}", change["kind"], change["name"])).collect();
        let report = manifest::validate(&[(name.clone(), text)], true);
        let accepted = report.documents.iter().filter(|document| document.status == manifest::Status::Accepted);
        let mut expected: Vec<String> = accepted.map(|document| format!("{:?}/{:?}", document.kind, document.name)).collect();
        keys.sort();
        expected.sort();
        assert_eq!(keys, expected, "{name}");
        planned += 1;
    }
    assert!(planned >= 5, "only {planned} folders could be planned");
}
