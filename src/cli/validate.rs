//! `driftless validate`.

mod render;

use super::options::RenderArgs;
use super::{CliError, CliResult, print_line};
use crate::manifest::{self, IgnoreSet};
use crate::model::Policy;
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod markdown;
mod sarif;
mod text;

/// Check manifests without a cluster: every problem at once, with file, line and column
///
/// Folders are read as one repository (or, with --each, every folder as one of its own), so that problems between objects are
/// found too: a missing ConfigMap, a name that is taken. `driftless.yaml` and `.driftlessignore` at the root of a folder count.
/// Exits with 1 if there is any error. On a terminal the line is shown with the problem, elsewhere there is one line per problem;
/// sarif is for code review annotations (GitHub code scanning), markdown for a comment on a pull request.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  driftless validate                            this folder
  driftless validate --render overlays/prod     what kustomize makes of it
  driftless validate --each clusters            every folder in it on its own
  driftless validate --output sarif > driftless.sarif")]
pub struct ValidateArgs {
    /// Files or folders
    #[arg(default_value = ".")]
    paths: Vec<PathBuf>,

    /// Take every folder as a repository of its own
    #[arg(long)]
    each: bool,

    /// Check what kustomize and helm make of the folders, instead of what is written for them
    #[arg(long)]
    render: bool,

    /// How to print
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,

    #[command(flatten)]
    how: RenderArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
    Sarif,
    Markdown,
}

pub(super) fn run(args: &ValidateArgs) -> CliResult<ExitCode> {
    let mut files = read_all(&args.paths)?;
    let rendered = if args.render { render::all(args, &mut files)? } else { Vec::new() };
    let files: Files = files.into_iter().collect();
    let report = manifest::validate_rendered(&files, &rendered, args.each);
    match args.output {
        Output::Json => print_line(&json_text(&report)?)?,
        Output::Sarif => print_line(&json_text(&sarif::log(&report))?)?,
        Output::Markdown => print_line(markdown::comment(&report).trim_end())?,
        Output::Text => {
            for line in text::problems(&report, &files, std::io::stdout().is_terminal()) {
                print_line(&line)?;
            }
            // Nobody reads a closed stderr.
            let _ = writeln!(anstream::stderr(), "{}", text::summary(&report.summary));
        }
    }
    Ok(if report.summary.errors > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn json_text(value: &impl serde::Serialize) -> CliResult<String> {
    serde_json::to_string_pretty(value).map_err(|error| CliError::with_source("cannot print JSON", error))
}

type Files = Vec<(String, Vec<u8>)>;

fn read_all(paths: &[PathBuf]) -> CliResult<BTreeMap<String, Vec<u8>>> {
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
    Ok(files)
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
    let policy = policy_of(root)?;
    let lines = String::from_utf8_lossy(&optional(&root.join(".driftlessignore"))?).into_owned();
    Ok(IgnoreSet::new(policy.ignore.iter().map(String::as_str).chain(lines.lines())))
}

/// `driftless.yaml` at the root of a folder. Mistakes in it are reported with the other problems.
fn policy_of(root: &Path) -> CliResult<Policy> {
    Ok(manifest::read_policy(manifest::POLICY_FILE, &optional(&root.join(manifest::POLICY_FILE))?).0)
}

fn optional(path: &Path) -> CliResult<Vec<u8>> {
    if path.is_file() { read(path) } else { Ok(Vec::new()) }
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
