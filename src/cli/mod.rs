//! The command line: one file per command, whose doc comment is its help.
//!
//! Data goes to stdout, everything else to stderr. Errors are values that travel to `main`, which prints the chain and the hint
//! once.

mod agent;
mod ca;
mod client;
mod columns;
mod completions;
mod controller;
mod demo;
mod demo_server;
mod doctor;
mod doors;
mod enlist;
mod error;
mod events;
mod get;
mod get_own;
mod guard;
mod halves;
mod history;
mod keeper;
mod kubeconfig;
mod logs;
mod node;
mod options;
mod pause;
mod plan;
mod render_jail;
mod schema;
mod shim;
mod token;
mod top;
pub mod up;
mod validate;

pub use error::{CliError, CliResult};
pub use halves::Running;
pub use options::parse;

use clap::{Parser, Subcommand};
use std::io::Write;
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
#[expect(missing_docs, reason = "the arguments' own docs are the help; a doc here would hide them")]
pub enum Command {
    Up(up::UpArgs),
    Controller(controller::ControllerArgs),
    Agent(agent::AgentArgs),
    Token(token::TokenArgs),
    Ca(ca::CaArgs),
    Plan(plan::PlanArgs),
    Validate(validate::ValidateArgs),
    Doctor(doctor::DoctorArgs),
    Get(get::GetArgs),
    Logs(logs::LogsArgs),
    Top(top::TopArgs),
    Events(events::EventsArgs),
    History(history::HistoryArgs),
    Kubeconfig(kubeconfig::KubeconfigArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
    Demo(demo::DemoArgs),
    #[command(hide = true)]
    DemoServer(demo_server::DemoServerArgs),
    #[command(hide = true)]
    Guard(guard::GuardArgs),
    #[command(hide = true)]
    Keeper(keeper::KeeperArgs),
    #[command(hide = true)]
    Pause(pause::PauseArgs),
    #[command(hide = true)]
    Shim(shim::ShimArgs),
    #[command(hide = true)]
    RenderJail(render_jail::RenderJailArgs),
}

/// Runs a command to its end.
///
/// # Errors
/// What went wrong, with its hint, for `main` to print.
pub fn run(cli: Cli) -> CliResult<ExitCode> {
    match cli.command {
        Command::Up(args) => up::run(&args),
        Command::Controller(args) => controller::run(&args),
        Command::Agent(args) => agent::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Ca(args) => ca::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Get(args) => get::run(&args),
        Command::Logs(args) => logs::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Events(args) => events::run(&args),
        Command::History(args) => history::run(&args),
        Command::Kubeconfig(args) => kubeconfig::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::DemoServer(args) => demo_server::run(args),
        Command::Guard(args) => guard::run(&args),
        Command::Keeper(args) => keeper::run(&args),
        Command::Pause(args) => pause::run(&args),
        Command::Shim(args) => shim::run(&args),
        Command::RenderJail(args) => render_jail::run(&args),
    }
}

/// Prints one line of data on stdout, colours removed where it is not a terminal.
///
/// # Errors
/// If stdout is closed or full.
pub(crate) fn print_line(line: &str) -> CliResult<()> {
    writeln!(anstream::stdout(), "{line}").map_err(|error| CliError::with_source("cannot write to stdout", error))
}
