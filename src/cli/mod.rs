//! The command line: one file per command, whose doc comment is its help.
//!
//! Data goes to stdout, everything else to stderr. Errors are values that travel to `main`, which prints the chain and the hint
//! once.

mod error;

pub use error::{CliError, CliResult};

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Push Kubernetes manifests to git, and Driftless runs them on plain Docker hosts.
#[derive(Debug, Parser)]
#[command(name = "driftless", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {}

/// Runs a command to its end.
///
/// # Errors
/// What went wrong, with its hint, for `main` to print.
pub fn run(cli: Cli) -> CliResult<ExitCode> {
    match cli.command {}
}
