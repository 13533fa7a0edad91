//! What `workloads.tsv` says of the real manifests: which should run, and which have a mistake or a volume of the past.

use super::heard::{Written, written};
use super::{Corpus, errors};
use driftless::manifest::{DocumentReport, Status};
use std::fs;
use std::path::Path;

/// Fields that are listed and are no mistake: what is in them is supported.
const NO_MISTAKE: [&str; 2] = ["pod.dnsConfig", "DaemonSet.spec.updateStrategy"];

/// So many of the workloads that should run must be accepted.
const ACCEPTED_PERCENT_MIN: usize = 99;

/// A row of `workloads.tsv`.
struct Workload {
    file: String,
    document: usize,
    kind: String,
    name: String,
    tier: String,
    fields: Vec<String>,
}

/// The real manifests and the rows whose files are among them; the corpus leaves some out.
fn with_workloads() -> Option<(Corpus, Vec<Workload>)> {
    let corpus = Corpus::shared()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/workloads.tsv");
    let text = fs::read_to_string(path).expect("workloads.tsv lies beside the manifests");
    let mut workloads: Vec<Workload> = text.lines().skip(1).map(workload).collect();
    workloads.retain(|workload| corpus.files.iter().any(|(file, _)| *file == workload.file));
    Some((corpus, workloads))
}

fn workload(line: &str) -> Workload {
    let columns: Vec<&str> = line.split('\t').collect();
    Workload {
        file: format!("{}/{}", columns[0], columns[1]),
        document: columns[2].parse().expect("a number"),
        kind: columns[3].to_owned(),
        name: columns[4].to_owned(),
        tier: columns[5].to_owned(),
        fields: columns.get(6).unwrap_or(&"").split(',').filter(|field| !field.is_empty()).map(str::to_owned).collect(),
    }
}

/// What we say of a workload; the items of a List share their number.
fn report_of<'a>(corpus: &'a Corpus, workload: &Workload) -> &'a DocumentReport {
    let documents = &corpus.report.documents;
    let documents = || documents.iter().filter(|document| document.file == workload.file && document.index == workload.document);
    let is_it = |document: &&DocumentReport| document.kind == workload.kind && document.name == workload.name;
    documents()
        .find(is_it)
        .or_else(|| documents().next())
        .unwrap_or_else(|| panic!("{} {} is not there", workload.file, workload.document))
}

#[test]
fn what_should_run_is_accepted() {
    let Some((corpus, workloads)) = with_workloads() else { return };
    let supported: Vec<&Workload> = workloads.iter().filter(|workload| workload.tier == "supported").collect();
    let mut refused = Vec::new();
    for workload in &supported {
        let document = report_of(&corpus, workload);
        if document.status != Status::Accepted {
            let why: Vec<String> = errors(document).into_iter().map(|(line, words)| format!("line {line}: {words}")).collect();
            refused.push(format!("{} {} {}: {}", workload.file, workload.kind, workload.name, why.join("; ")));
        }
    }
    let accepted = supported.len() - refused.len();
    println!("{accepted} of {} workloads that should run are accepted; refused:\n{}", supported.len(), refused.join("\n"));
    assert!(supported.len() > 300, "only {} workloads", supported.len());
    assert!(accepted * 100 >= supported.len() * ACCEPTED_PERCENT_MIN, "{accepted} of {}: {refused:#?}", supported.len());
}

#[test]
fn mistakes_and_volumes_of_the_past_are_refused_at_their_line() {
    let Some((corpus, workloads)) = with_workloads() else { return };
    let has_mistake = |workload: &&Workload| workload.fields.iter().any(|field| !NO_MISTAKE.contains(&field.as_str()));
    for workload in workloads.iter().filter(|workload| workload.tier == "unlisted").filter(has_mistake) {
        let document = report_of(&corpus, workload);
        let lines = corpus.lines(&workload.file);
        let names = || workload.fields.iter().flat_map(|field| field.split('.')).map(|part| part.trim_end_matches("[]"));
        let is_at_its_line = errors(document).iter().any(|(line, words)| {
            let line = line.checked_sub(1).and_then(|index| lines.get(index));
            // Of a version that is gone the fields are not looked at.
            let is_gone = || words.contains("was removed from Kubernetes");
            line.is_some_and(|line| names().any(|name| line.contains(name)) || is_gone() && line.starts_with("apiVersion:"))
        });
        assert!(is_at_its_line, "{} {:?}: {:?}", workload.file, workload.fields, document.problems);
    }
}

/// `spec.backend` went with `networking.k8s.io/v1beta1`; Kubernetes refuses it in v1.
#[test]
fn the_backend_of_an_old_ingress_is_refused_at_its_line() {
    let Some(corpus) = Corpus::shared() else { return };
    let mut seen = 0;
    for (file, bytes) in &corpus.files {
        let is_old = |written: &Written| written.word("/apiVersion") == "networking.k8s.io/v1" && written.has("/spec/backend");
        for written in written(bytes).iter().filter(|written| written.word("/kind") == "Ingress" && is_old(written)) {
            let is_it = |document: &&DocumentReport| document.file == *file && document.name == written.word("/metadata/name");
            let document = corpus.report.documents.iter().find(is_it).expect("a verdict");
            let (line, _) = errors(document)
                .into_iter()
                .find(|(_, words)| words.starts_with("spec.backend is not supported"))
                .expect("an error");
            assert!(corpus.lines(file)[line - 1].trim_start().starts_with("backend:"), "{file}:{line}");
            seen += 1;
        }
    }
    assert!(seen > 0, "the corpus has such an Ingress");
}
