//! Real manifests of public repositories: nothing panics, everything gets a verdict, in bounded time.
//!
//! The corpus lies beside the project and is not part of it; without it this says so and passes.

use driftless::manifest::{self, Status};
use std::fs;
use std::path::{Path, PathBuf};

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

fn corpus() -> Option<Vec<(String, Vec<u8>)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/manifests");
    if !root.is_dir() {
        return None;
    }
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
        (name, fs::read(&path).expect("a readable file"))
    };
    Some(paths.into_iter().map(read).collect())
}

#[test]
fn every_document_of_the_corpus_gets_a_verdict() {
    let Some(files) = corpus() else {
        eprintln!("SKIPPED: there is no corpus at ../shared/corpus/manifests");
        return;
    };
    for each in [true, false] {
        let report = manifest::validate(&files, each);
        assert!(report.summary.documents >= 2_000, "only {} documents", report.summary.documents);
        for document in &report.documents {
            let has_error = document.problems.iter().any(|problem| {
                problem.severity == driftless::model::Severity::Error && problem.scope == driftless::model::Scope::Document
            });
            assert_eq!(
                has_error,
                document.status == Status::Rejected,
                "{} {}: a document is rejected for its own errors: {:?}",
                document.file,
                document.index,
                document.problems
            );
            let is_placed = document
                .problems
                .iter()
                .all(|problem| problem.line > 0 || document.kind == "Kustomization" || document.kind == "Chart");
            assert!(is_placed, "{} {}: a problem without a line: {:?}", document.file, document.index, document.problems);
        }
    }
}
