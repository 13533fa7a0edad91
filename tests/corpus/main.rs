//! Manifests as people have them: every document gets a verdict, what should run is accepted, what is wrong is refused at its line, and no
//! field is lost on the way.
//!
//! Each test looks at two corpora. Our own, in `manifests/`, says every supported field and a mistake of every sort, and is the same
//! everywhere. The real one, 2,300 files of public repositories, lies beside the project and is not part of it; where it is missing
//! a test says so and has looked at our own.

#![expect(clippy::print_stdout, reason = "a test says what it has counted, and what it could not look at")]

mod heard;
mod printed;
mod shared;

use driftless::manifest::{self, DocumentReport, Status, ValidationReport};
use driftless::model::{Scope, Severity};
use std::fs;
use std::path::{Path, PathBuf};

/// What comes before the words of the error that a line of our own corpus must get.
const MARK: &str = "# error: ";

/// Files, and what is said of them, every folder being a repository of its own.
struct Corpus {
    files: Vec<(String, Vec<u8>)>,
    report: ValidationReport,
}

impl Corpus {
    /// Our own.
    fn own() -> Self {
        Self::read(Path::new("tests/corpus/manifests")).expect("our own corpus")
    }

    /// The real one, if it is there.
    fn shared() -> Option<Self> {
        let corpus = Self::read(Path::new("../shared/corpus/manifests"));
        if corpus.is_none() {
            println!("NOT LOOKED AT: there are no real manifests at ../shared/corpus; our own were");
        }
        corpus
    }

    /// Those that are there.
    fn all() -> Vec<Self> {
        [Some(Self::own()), Self::shared()].into_iter().flatten().collect()
    }

    fn read(folder: &Path) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
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
        let files: Vec<(String, Vec<u8>)> = paths.into_iter().map(read).collect();
        let report = manifest::validate(&files, true);
        Some(Self { files, report })
    }

    /// The lines of a file.
    fn lines(&self, file: &str) -> Vec<String> {
        let bytes = self.files.iter().find(|(name, _)| name == file).map(|(_, bytes)| bytes.as_slice());
        String::from_utf8_lossy(bytes.unwrap_or_default()).lines().map(str::to_owned).collect()
    }
}

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

/// The line, from 1, and the words of every error that a document has by itself.
fn errors(document: &DocumentReport) -> Vec<(usize, String)> {
    let of_document =
        document.problems.iter().filter(|problem| problem.severity == Severity::Error && problem.scope == Scope::Document);
    let line = |line: u32| usize::try_from(line).unwrap_or(0);
    of_document.map(|problem| (line(problem.line), problem.message.clone())).collect()
}

#[test]
fn every_document_gets_a_verdict() {
    for corpus in Corpus::all() {
        for each in [true, false] {
            let report = manifest::validate(&corpus.files, each);
            assert!(report.summary.documents >= corpus.files.len(), "only {} documents", report.summary.documents);
            for document in &report.documents {
                let has_error = !errors(document).is_empty();
                assert_eq!(
                    has_error,
                    document.status == Status::Rejected,
                    "{} {}: a document is rejected for its own errors: {:?}",
                    document.file,
                    document.index,
                    document.problems
                );
                let is_rendered = document.kind == "Kustomization" || document.kind == "Chart";
                let is_placed = is_rendered || document.problems.iter().all(|problem| problem.line > 0);
                assert!(is_placed, "{} {}: a problem without a line: {:?}", document.file, document.index, document.problems);
            }
        }
    }
}

/// A line of our own corpus that is marked gets an error with the words of its mark, and no other line gets any.
#[test]
fn of_our_own_documents_the_mistakes_are_refused_at_their_line_and_nothing_else() {
    let own = Corpus::own();
    let (mut found, mut marked) = (Vec::new(), Vec::new());
    for document in &own.report.documents {
        found.extend(errors(document).into_iter().map(|(line, words)| (document.file.clone(), line, words)));
    }
    for (file, _) in &own.files {
        for (index, line) in own.lines(file).iter().enumerate() {
            let marks = line.split(MARK).skip(1);
            marked.extend(marks.map(|words| (file.clone(), index + 1, words.trim().to_owned())));
        }
    }
    found.sort();
    marked.sort();
    let is_met = |(found, marked): (&(String, usize, String), &(String, usize, String))| {
        (&found.0, found.1) == (&marked.0, marked.1) && found.2.contains(&marked.2)
    };
    assert!(found.len() == marked.len() && found.iter().zip(&marked).all(is_met), "found {found:#?}\nmarked {marked:#?}");
    assert!(marked.len() > 20, "only {} mistakes", marked.len());
}
