//! Holds the namespaces of a pod (run by the agent in a container, never by hand)

use super::{CliError, CliResult};
use clap::Args;
use rustix::process::{WaitOptions, wait};
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Does nothing until it is told to end. It is the first process of a pod's sandbox, and so the parent of every orphan in it.
#[derive(Debug, Args)]
pub struct PauseArgs {}

/// Waits for SIGTERM or SIGINT, and reaps what is left to it.
pub(super) fn run(_args: &PauseArgs) -> CliResult<ExitCode> {
    let failed = |error| CliError::with_source("cannot wait for signals", error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    runtime.block_on(async {
        let (term, int) = (signal(SignalKind::terminate()).map_err(failed)?, signal(SignalKind::interrupt()).map_err(failed)?);
        let children = signal(SignalKind::child()).map_err(failed)?;
        pause(term, int, children).await;
        Ok(ExitCode::SUCCESS)
    })
}

async fn pause(mut term: Signal, mut int: Signal, mut children: Signal) {
    loop {
        tokio::select! {
            _ = term.recv() => return,
            _ = int.recv() => return,
            _ = children.recv() => reap(),
        }
    }
}

/// One signal may stand for several children.
fn reap() {
    while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
}
