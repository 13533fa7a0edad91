//! What `driftless validate` says: every document of some files, judged as it is written.

use super::cross;
use super::document::{Document, ParsedFile};
use super::draft::Draft;
use super::load::under_policy;
use super::parallel::{self, StoredFile};
use super::policy::read_policy;
use super::units::POLICY_FILE;
use super::verdict::Verdict;
use crate::model::{Kind, ObjectKey, Policy, Problem, Scope, Severity};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The report; its JSON is a contract.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ValidationReport {
    /// Every document, by file and place.
    pub documents: Vec<DocumentReport>,
    /// The numbers.
    pub summary: Summary,
}

/// One document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentReport {
    /// The file.
    pub file: String,
    /// Its number in the file, from 0; the items of a `List` share it.
    pub index: usize,
    /// `apiVersion`, empty if absent.
    pub api_version: String,
    /// `kind`, empty if absent.
    pub kind: String,
    /// The namespace (`default` if absent), empty for what lives in none.
    pub namespace: String,
    /// `metadata.name`, empty if absent.
    pub name: String,
    /// What becomes of the document, judged alone.
    pub status: Status,
    /// Its problems, from top to bottom.
    pub problems: Vec<ProblemReport>,
}

/// What becomes of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is applied.
    Accepted,
    /// It is passed over, harmlessly.
    Ignored,
    /// It has errors.
    Rejected,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ProblemReport {
    /// Line, from 1; 0 if the whole file is meant.
    pub line: u32,
    /// Column, from 1; 0 if the whole line is meant.
    pub column: u32,
    /// Error or warning.
    pub severity: Severity,
    /// Of the document alone, or between objects.
    pub scope: Scope,
    /// The field, empty for the whole document.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The numbers of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// Files that were read.
    pub files: usize,
    /// Documents in them.
    pub documents: usize,
    /// Of those, accepted.
    pub accepted: usize,
    /// Of those, ignored.
    pub ignored: usize,
    /// Of those, rejected.
    pub rejected: usize,
    /// Errors, those between objects included.
    pub errors: usize,
    /// Warnings.
    pub warnings: usize,
}

/// What a folder rendered to, or what kept it from that.
#[derive(Debug, Clone)]
pub struct RenderedFolder {
    /// The folder, as the report is to name it.
    pub folder: String,
    /// The documents; `None` if there are none.
    pub documents: Option<ParsedFile>,
    /// What is wrong; an error, if there are no documents.
    pub problems: Vec<Problem>,
}

/// Checks files as one repository, or with `each` every folder as a repository of its own. A `driftless.yaml` (the one nearest to the
/// root) says which kinds are passed over.
#[must_use]
pub fn validate(files: &[(String, Vec<u8>)], each: bool) -> ValidationReport {
    validate_rendered(files, &[], each)
}

/// The same for files and what folders rendered to. With `each`, a rendered folder is a repository of its own.
#[must_use]
pub fn validate_rendered(files: &[(String, Vec<u8>)], rendered: &[RenderedFolder], each: bool) -> ValidationReport {
    let mut repositories: BTreeMap<&str, Repository<'_>> = BTreeMap::new();
    for (path, bytes) in files {
        let folder = if each { path.rsplit_once('/').map_or("", |(folder, _)| folder) } else { "" };
        let repository = repositories.entry(folder).or_default();
        let file = StoredFile { path, blob: "", bytes };
        if path.rsplit('/').next() == Some(POLICY_FILE) {
            repository.policies.push(file);
        } else {
            repository.files.push(file);
        }
    }
    repositories.values_mut().for_each(Repository::choose_policy);
    let all: Vec<StoredFile<'_>> = repositories.values().flat_map(|repository| repository.files.iter().copied()).collect();
    let mut parsed = parallel::parse_all(&all).into_iter();
    let mut report = ValidationReport::default();
    for folder in rendered {
        let name = if each { folder.folder.as_str() } else { "" };
        repositories.entry(name).or_default().rendered.extend(&folder.documents);
        report.documents.extend(folder.problems.iter().map(|problem| unnamed(&problem.at.file, std::slice::from_ref(problem))));
    }
    for repository in repositories.values() {
        let mut parsed: Vec<ParsedFile> = parsed.by_ref().take(repository.files.len()).collect();
        parsed.extend(repository.rendered.iter().map(|file| (*file).clone()));
        report.documents.extend(reports_of(repository.policies.first(), &parsed));
    }
    report.documents.sort_by(|a, b| (&a.file, a.index).cmp(&(&b.file, b.index)));
    report.summary = summarise(files.len(), &report.documents);
    report
}

/// What is judged as one repository.
#[derive(Default)]
struct Repository<'a> {
    policies: Vec<StoredFile<'a>>,
    files: Vec<StoredFile<'a>>,
    rendered: Vec<&'a ParsedFile>,
}

impl Repository<'_> {
    /// The `driftless.yaml` nearest to the root is the policy; another one is a file like any.
    fn choose_policy(&mut self) {
        self.policies.sort_by_key(|file| file.path.matches('/').count());
        let others = self.policies.split_off(self.policies.len().min(1));
        self.files.extend(others);
    }
}

fn reports_of(policy: Option<&StoredFile<'_>>, parsed: &[ParsedFile]) -> Vec<DocumentReport> {
    let (policy, mut reports) = match policy {
        Some(file) => policy_report(file.path, file.bytes),
        None => (Policy::default(), Vec::new()),
    };
    let documents: Vec<(&ParsedFile, &Document)> =
        parsed.iter().flat_map(|file| file.documents().iter().map(move |document| (file, document))).collect();
    let mut crossed = cross_problems(&documents);
    for (index, (file, document)) in documents.iter().enumerate() {
        let extra = crossed.remove(&index).unwrap_or_default();
        reports.push(document_report(file, document, &policy, extra));
    }
    reports.extend(parsed.iter().filter(|file| !file.problems().is_empty()).map(file_report));
    reports
}

/// Problems between objects, by the index of the document.
fn cross_problems(documents: &[(&ParsedFile, &Document)]) -> BTreeMap<usize, Vec<Problem>> {
    let (mut drafts, mut origins): (Vec<&Arc<Draft>>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut excused = BTreeSet::new();
    for (index, (_, document)) in documents.iter().enumerate() {
        if let Verdict::Accepted(draft) = &document.verdict {
            drafts.push(draft);
            origins.push(index);
        } else if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == document.kind) {
            let namespace = match (kind.is_namespaced(), document.namespace.as_str()) {
                (true, "") => "default",
                (true, namespace) => namespace,
                (false, _) => "",
            };
            excused.insert(ObjectKey::new(kind, namespace, document.name.clone()));
        }
    }
    let mut problems: BTreeMap<usize, Vec<Problem>> = BTreeMap::new();
    for finding in cross::check(&drafts, &excused) {
        problems.entry(origins[finding.draft]).or_default().push(finding.problem);
    }
    problems
}

fn document_report(file: &ParsedFile, document: &Document, policy: &Policy, extra: Vec<Problem>) -> DocumentReport {
    let (is_passed_over, mut problems) = under_policy(document, policy);
    problems.extend(extra);
    problems.sort();
    let status = match &document.verdict {
        Verdict::Accepted(_) => Status::Accepted,
        Verdict::Ignored => Status::Ignored,
        Verdict::Foreign(_) if is_passed_over => Status::Ignored,
        Verdict::Foreign(_) | Verdict::Rejected => Status::Rejected,
    };
    DocumentReport {
        file: file.file().to_owned(),
        index: document.index,
        api_version: document.api_version.clone(),
        kind: document.kind.clone(),
        namespace: document.namespace.clone(),
        name: document.name.clone(),
        status,
        problems: problems.into_iter().map(problem_report).collect(),
    }
}

/// A file that could not be read stands as one rejected document.
fn file_report(file: &ParsedFile) -> DocumentReport {
    unnamed(file.file(), file.problems())
}

fn policy_report(path: &str, bytes: &[u8]) -> (Policy, Vec<DocumentReport>) {
    let (policy, problems) = read_policy(path, bytes);
    let reports = if problems.is_empty() { Vec::new() } else { vec![unnamed(path, &problems)] };
    (policy, reports)
}

fn unnamed(file: &str, problems: &[Problem]) -> DocumentReport {
    let is_error = problems.iter().any(Problem::is_error);
    DocumentReport {
        file: file.to_owned(),
        index: 0,
        api_version: String::new(),
        kind: String::new(),
        namespace: String::new(),
        name: String::new(),
        status: if is_error { Status::Rejected } else { Status::Ignored },
        problems: problems.iter().cloned().map(problem_report).collect(),
    }
}

fn problem_report(problem: Problem) -> ProblemReport {
    ProblemReport {
        line: problem.at.line,
        column: problem.at.column,
        severity: problem.severity,
        scope: problem.scope,
        path: problem.path,
        message: problem.message,
        hint: problem.hint,
    }
}

fn summarise(files: usize, documents: &[DocumentReport]) -> Summary {
    let with = |status| documents.iter().filter(|document| document.status == status).count();
    let problems = |severity| {
        documents.iter().flat_map(|document| &document.problems).filter(|problem| problem.severity == severity).count()
    };
    Summary {
        files,
        documents: documents.len(),
        accepted: with(Status::Accepted),
        ignored: with(Status::Ignored),
        rejected: with(Status::Rejected),
        errors: problems(Severity::Error),
        warnings: problems(Severity::Warning),
    }
}
