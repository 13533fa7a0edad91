//! `driftless doctor`: what a host and a repository lack.
//!
//! `collect` asks the host and the repository and gives [`facts::Facts`]; [`check::Check::judge`] says what they mean, and is pure.

mod check;
mod collect;
mod facts;
mod host;
mod reach;
mod repository;
#[cfg(test)]
mod tests;

use super::columns::{note, write_stdout};
use super::options::{RenderArgs, SecretsArgs, StateArgs};
use super::{CliError, CliResult};
use anstyle::{AnsiColor, Style};
use check::{Check, Level, Verdict, counted};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::process::ExitCode;

/// Check what this host and a repository have of what Driftless needs
///
/// Says for each thing whether it is well, what was seen, and what to do. Nothing is changed, and nothing is pushed: whether the audit
/// branch may be pushed is tried with `git push --dry-run`. Ends with 1 if there is an error.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  driftless doctor                                        this host, for controller and agent
  driftless doctor --role agent --controller ops:7781     before a node joins
  driftless doctor --role controller --repo git@forge.example:team/shop.git --path prod
  driftless doctor --check secrets --secrets-at-rest sealed --secrets-key-file /media/key/driftless
  driftless doctor --check docker,clock --output json")]
pub struct DoctorArgs {
    /// What is to run here
    #[arg(long, value_enum, default_value_t = Role::Both)]
    role: Role,
    /// The repository to look at: a URL, an scp-like address, or a path
    #[arg(long, env = "DRIFTLESS_REPO", value_name = "URL_OR_PATH", hide_env_values = true)]
    repo: Option<String>,
    /// Its branch [default: the one of its HEAD]
    #[arg(long, env = "DRIFTLESS_BRANCH", value_name = "NAME")]
    branch: Option<String>,
    /// The folder in it that holds the manifests [default: its root]
    #[arg(long, env = "DRIFTLESS_PATH", value_name = "DIR")]
    path: Option<String>,
    /// The controller that agents here are to reach
    #[arg(long, value_name = "HOST:PORT")]
    controller: Option<String>,
    /// A controller's read-only API, to compare clocks with
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// Only these checks, with commas
    #[arg(long, value_enum, value_name = "CHECKS", value_delimiter = ',')]
    check: Vec<Check>,
    #[command(flatten)]
    state: StateArgs,
    #[command(flatten)]
    render: RenderArgs,
    #[command(flatten)]
    secrets: SecretsArgs,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// What runs on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// `driftless controller`
    Controller,
    /// `driftless agent`
    Agent,
    /// Both, as `driftless up`
    Both,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line for each check, and one below it for what to do
    Text,
    /// The same as JSON
    Json,
}

/// Runs `driftless doctor`.
///
/// # Errors
/// When stdout is closed; what is wrong with the host is no error of the command, but its exit code.
pub(super) fn run(args: &DoctorArgs) -> CliResult<ExitCode> {
    let chosen = chosen(args)?;
    let facts = super::client::block_on(collect::facts(args, &chosen))?;
    let verdicts: Vec<(Check, Verdict)> = chosen.iter().filter_map(|check| Some((*check, check.judge(&facts)?))).collect();
    match args.output {
        Output::Text => print_text(&verdicts)?,
        Output::Json => print_json(&verdicts)?,
    }
    let failed = verdicts.iter().any(|(_, verdict)| verdict.level == Level::Error);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The checks that are asked for, or those of the role.
fn chosen(args: &DoctorArgs) -> CliResult<Vec<Check>> {
    if let Some(check) = args.check.iter().find(|check| check.needs_repo() && args.repo.is_none()) {
        return Err(CliError::new(format!("the check {} needs a repository", check.name())).hint("name it with --repo"));
    }
    let asked = |check: &Check| if args.check.is_empty() { check.concerns(args.role) } else { args.check.contains(check) };
    Ok(Check::value_variants().iter().copied().filter(asked).collect())
}

fn print_text(verdicts: &[(Check, Verdict)]) -> CliResult<()> {
    let width = verdicts.iter().map(|(check, _)| check.name().len()).max().unwrap_or(0);
    let mut text = String::new();
    for (check, verdict) in verdicts {
        let (word, style) = (verdict.level.word(), style(verdict.level));
        text.push_str(&format!("{style}{word:<7}{style:#}  {:<width$}  {}\n", check.name(), verdict.seen));
        if let Some(hint) = &verdict.hint {
            text.push_str(&format!("{:<7}  {:<width$}  → {hint}\n", "", ""));
        }
    }
    write_stdout(&text)?;
    let [ok, warnings, errors] = counts(verdicts);
    note(&format!("{ok} ok, {}, {}", counted(warnings, "warning"), counted(errors, "error")));
    Ok(())
}

fn style(level: Level) -> Style {
    let colour = match level {
        Level::Ok => AnsiColor::Green,
        Level::Warning => AnsiColor::Yellow,
        Level::Error => AnsiColor::Red,
    };
    colour.on_default()
}

fn counts(verdicts: &[(Check, Verdict)]) -> [usize; 3] {
    [Level::Ok, Level::Warning, Level::Error].map(|level| verdicts.iter().filter(|(_, verdict)| verdict.level == level).count())
}

fn print_json(verdicts: &[(Check, Verdict)]) -> CliResult<()> {
    let check = |(check, verdict): &(Check, Verdict)| json!({ "check": check.name(), "status": verdict.level.word(), "seen": verdict.seen, "hint": verdict.hint });
    let [ok, warnings, errors] = counts(verdicts);
    let report = json!({
        "checks": verdicts.iter().map(check).collect::<Vec<_>>(),
        "summary": { "ok": ok, "warnings": warnings, "errors": errors },
    });
    write_stdout(&format!("{report:#}\n"))
}
