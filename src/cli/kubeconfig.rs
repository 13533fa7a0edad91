//! `driftless kubeconfig`: for kubectl and its relatives.

use super::CliResult;
use super::client::ServerArgs;
use super::columns::write_stdout;
use clap::Args;
use std::process::ExitCode;

/// Print a kubeconfig for the read-only API
///
/// Every kubectl command that only looks works: get, describe, logs, events, rollout status. The API is on loopback and has no
/// credentials, so the file holds none.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftless kubeconfig > kubeconfig && kubectl --kubeconfig kubeconfig get pods -A")]
pub struct KubeconfigArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs `driftless kubeconfig`.
///
/// # Errors
/// If stdout is closed.
pub(super) fn run(args: &KubeconfigArgs) -> CliResult<ExitCode> {
    write_stdout(&kubeconfig(&args.server.url()))?;
    Ok(ExitCode::SUCCESS)
}

fn kubeconfig(url: &str) -> String {
    format!(
        "\
apiVersion: v1
kind: Config
clusters:
- name: driftless
  cluster:
    server: {url}
contexts:
- name: driftless
  context:
    cluster: driftless
    user: driftless
current-context: driftless
users:
- name: driftless
  user: {{}}
"
    )
}
