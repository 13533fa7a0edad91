//! `driftless schema`.

use super::{CliError, CliResult, print_line};
use crate::manifest;
use clap::Args;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The schema for documents of any kind.
const ALL_FILE: &str = "manifest.json";

/// Print the JSON Schema of a kind, for editors; without a kind, list the kinds
///
/// The schema is the one that manifests are held to: what it accepts, Driftless reads. `driftless.yaml` has one, too. With --all
/// there is a file per kind, and manifest.json for documents of every kind. The YAML language server takes one by a first line such as
/// "# yaml-language-server: $schema=../schemas/Deployment.json".
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  driftless schema Deployment > Deployment.json
  driftless schema --all schemas/")]
pub struct SchemaArgs {
    /// The kind, such as Deployment, or driftless.yaml
    kind: Option<String>,

    /// Write the schema of every kind into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "kind")]
    all: Option<PathBuf>,

    /// Print what becomes of every field of every kind as a page of markdown
    #[arg(long, conflicts_with_all = ["kind", "all"])]
    markdown: bool,
}

pub(super) fn run(args: &SchemaArgs) -> CliResult<ExitCode> {
    if args.markdown {
        print_line(manifest::reference_markdown().trim_end())?;
    } else if let Some(folder) = &args.all {
        write_all(folder)?;
    } else if let Some(kind) = &args.kind {
        let schema = manifest::json_schema(kind).ok_or_else(|| {
            CliError::new(format!("{kind} is not a supported kind")).hint(format!("known are {}", names().join(", ")))
        })?;
        print_line(&format!("{schema:#}"))?;
    } else {
        for (kind, api_version) in manifest::supported_kinds() {
            print_line(&format!("{kind:<24} {api_version}"))?;
        }
        print_line(manifest::POLICY_FILE)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The kinds, each once, and `driftless.yaml`.
fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> =
        manifest::supported_kinds().into_iter().map(|(kind, _)| kind).chain([manifest::POLICY_FILE]).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// One file per kind, and one for all of them that refers to the others.
fn write_all(folder: &Path) -> CliResult<()> {
    fs::create_dir_all(folder).map_err(|error| unwritable(folder, error))?;
    for name in names() {
        if let Some(schema) = manifest::json_schema(name) {
            write(&folder.join(file_of(name)), &schema)?;
        }
    }
    write(&folder.join(ALL_FILE), &manifest::json_schema_of_all(file_of))
}

fn file_of(name: &str) -> String {
    format!("{name}.json")
}

fn write(path: &Path, schema: &Value) -> CliResult<()> {
    fs::write(path, format!("{schema:#}\n")).map_err(|error| unwritable(path, error))?;
    print_line(&path.to_string_lossy())
}

fn unwritable(path: &Path, error: std::io::Error) -> CliError {
    CliError::with_source(format!("cannot write {}", path.display()), error)
}
