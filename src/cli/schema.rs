//! `driftless schema`.

use super::{CliError, CliResult, print_line};
use crate::manifest;
use clap::Args;
use std::process::ExitCode;

/// Print the JSON Schema of a kind, for editors; without a kind, list the kinds
///
/// The schema is the one that manifests are held to: what it accepts, Driftless reads.
///
///   driftless schema Deployment > deployment.schema.json
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// The kind, such as Deployment
    kind: Option<String>,

    /// Print what becomes of every field of every kind as a page of markdown
    #[arg(long, conflicts_with = "kind")]
    markdown: bool,
}

pub(super) fn run(args: &SchemaArgs) -> CliResult<ExitCode> {
    if args.markdown {
        print_line(manifest::reference_markdown().trim_end())?;
    } else if let Some(kind) = &args.kind {
        let schema = manifest::json_schema(kind).ok_or_else(|| {
            let known: Vec<&str> = manifest::supported_kinds().into_iter().map(|(kind, _)| kind).collect();
            CliError::new(format!("{kind} is not a supported kind")).hint(format!("known are {}", known.join(", ")))
        })?;
        print_line(&format!("{schema:#}"))?;
    } else {
        for (kind, api_version) in manifest::supported_kinds() {
            print_line(&format!("{kind:<24} {api_version}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
