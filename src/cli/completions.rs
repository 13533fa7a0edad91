//! `driftless completions`: for shells.

use super::columns::write_stdout;
use super::{Cli, CliError, CliResult};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::process::ExitCode;

/// Print the completions of a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  driftless completions bash > /etc/bash_completion.d/driftless
  driftless completions zsh > ~/.zfunc/_driftless")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs `driftless completions`.
///
/// # Errors
/// If stdout is closed.
pub(super) fn run(args: &CompletionsArgs) -> CliResult<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "driftless", &mut script);
    let script = String::from_utf8(script).map_err(|error| CliError::with_source("the completions are no text", error))?;
    write_stdout(&script)?;
    Ok(ExitCode::SUCCESS)
}
