//! `driftless validate`.

use super::{CliError, CliResult, print_line};
use crate::manifest::{self, DocumentReport, IgnoreSet, ProblemReport, ValidationReport};
use crate::model::Severity;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Check manifests without a cluster: every problem at once, with file, line and column
///
/// Folders are read as one repository (or, with --each, every folder as one of its own), so that problems between objects are
/// found too: a missing ConfigMap, a name that is taken. `driftless.yaml` and `.driftlessignore` at the root of a folder count.
/// Exits with 1 if there is any error.
///
///   driftless validate .
///   kubectl kustomize overlays/prod > out.yaml && driftless validate out.yaml
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Files or folders
    #[arg(default_value = ".")]
    paths: Vec<PathBuf>,

    /// Take every folder as a repository of its own
    #[arg(long)]
    each: bool,

    /// Check what kustomize or helm make of the folders (not there yet)
    #[arg(long)]
    render: bool,

    /// How to print
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

pub(super) fn run(args: &ValidateArgs) -> CliResult<ExitCode> {
    if args.render {
        let hint = "render first, and validate the result: kubectl kustomize DIR > out.yaml";
        return Err(CliError::new("--render is not there yet").hint(hint));
    }
    let files = read_all(&args.paths)?;
    let report = manifest::validate(&files, args.each);
    match args.output {
        Output::Json => {
            let json =
                serde_json::to_string_pretty(&report).map_err(|error| CliError::with_source("cannot print JSON", error))?;
            print_line(&json)?;
        }
        Output::Text => print_text(&report, &files)?,
    }
    Ok(if report.summary.errors > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

type Files = Vec<(String, Vec<u8>)>;

fn read_all(paths: &[PathBuf]) -> CliResult<Files> {
    let mut files = BTreeMap::new();
    for path in paths {
        let meta = fs::metadata(path).map_err(|error| unreadable(path, error))?;
        if meta.is_dir() {
            let ignored = ignored_in(path)?;
            walk(path, path, &ignored, &mut files)?;
        } else {
            files.insert(shown(path), read(path)?);
        }
    }
    Ok(files.into_iter().collect())
}

fn unreadable(path: &Path, error: std::io::Error) -> CliError {
    CliError::with_source(format!("cannot read {}", path.display()), error)
}

/// As the user wrote it, without a leading `./`.
fn shown(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).to_string_lossy().into_owned()
}

/// What `driftless.yaml` and `.driftlessignore` at the root of a folder leave out.
fn ignored_in(root: &Path) -> CliResult<IgnoreSet> {
    let optional = |name: &str| {
        let path = root.join(name);
        if path.is_file() { read(&path) } else { Ok(Vec::new()) }
    };
    // Mistakes in the policy are reported with the other problems.
    let (policy, _) = manifest::read_policy(manifest::POLICY_FILE, &optional(manifest::POLICY_FILE)?);
    let lines = String::from_utf8_lossy(&optional(".driftlessignore")?).into_owned();
    Ok(IgnoreSet::new(policy.ignore.iter().map(String::as_str).chain(lines.lines())))
}

/// Symbolic links to folders are not followed: in a git tree they are no folders.
fn walk(root: &Path, folder: &Path, ignored: &IgnoreSet, files: &mut BTreeMap<String, Vec<u8>>) -> CliResult<()> {
    let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, error))?;
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, error))?.path();
        let inside = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let is_folder = path.is_dir();
        if is_folder && !path.is_symlink() && !inside.split('/').any(|part| part.starts_with('.')) {
            walk(root, &path, ignored, files)?;
        } else if !is_folder
            && (manifest::is_candidate(&inside) || inside == manifest::POLICY_FILE)
            && !ignored.is_ignored(&inside)
        {
            files.insert(shown(&path), read(&path)?);
        }
    }
    Ok(())
}

/// A file, or as much of it as shows that it is too large.
fn read(path: &Path) -> CliResult<Vec<u8>> {
    let limit = u64::try_from(manifest::FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| unreadable(path, error))?;
    file.take(limit).read_to_end(&mut bytes).map_err(|error| unreadable(path, error))?;
    Ok(bytes)
}

/// Snippets on a terminal, one line per problem elsewhere; the summary on stderr.
fn print_text(report: &ValidationReport, files: &Files) -> CliResult<()> {
    let is_terminal = std::io::stdout().is_terminal();
    let sources: BTreeMap<&str, &[u8]> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    for document in &report.documents {
        let source = if is_terminal { quotable(document, &sources) } else { None };
        for problem in &document.problems {
            let snippet = source.and_then(|source| snippet(&document.file, source, problem));
            print_line(&snippet.unwrap_or_else(|| line(&document.file, problem)))?;
        }
    }
    let sum = &report.summary;
    let summary = format!(
        "{} files, {} documents: {} accepted, {} ignored, {} rejected; {} errors, {} warnings",
        sum.files, sum.documents, sum.accepted, sum.ignored, sum.rejected, sum.errors, sum.warnings
    );
    // Nobody reads a closed stderr.
    let _ = writeln!(anstream::stderr(), "{summary}");
    Ok(())
}

/// The text of a document's file, unless it may hold a Secret: those are never quoted.
fn quotable<'a>(document: &DocumentReport, sources: &BTreeMap<&str, &'a [u8]>) -> Option<&'a str> {
    let text = std::str::from_utf8(sources.get(document.file.as_str())?).ok()?;
    (!text.contains("Secret")).then_some(text)
}

fn word(problem: &ProblemReport) -> &'static str {
    match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// `file:line:column: error: message (hint)`
fn line(file: &str, problem: &ProblemReport) -> String {
    let place = match (problem.line, problem.column) {
        (0, _) => file.to_owned(),
        (line, 0) => format!("{file}:{line}"),
        (line, column) => format!("{file}:{line}:{column}"),
    };
    let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{place}: {}: {}{hint}", word(problem), problem.message)
}

/// The problem with the line that it is on.
fn snippet(file: &str, source: &str, problem: &ProblemReport) -> Option<String> {
    let number = usize::try_from(problem.line).ok()?;
    let text = source.lines().nth(number.checked_sub(1)?)?;
    let column = usize::try_from(problem.column).ok()?.saturating_sub(1);
    let start = text.char_indices().nth(column).map_or(text.len(), |(offset, _)| offset);
    let end = text[start..].find(" #").map_or(text.trim_end().len(), |offset| start + offset).max(start);
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let annotation = AnnotationKind::Primary.span(start..end);
    let mut group: Group<'_> = level
        .primary_title(problem.message.as_str())
        .element(Snippet::source(text).line_start(number).path(file).annotation(annotation));
    if let Some(hint) = &problem.hint {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    Some(Renderer::styled().render(&[group]))
}
