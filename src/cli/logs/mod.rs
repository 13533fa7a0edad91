//! `driftless logs`: what pods print.

mod copy;
mod sources;

use super::client::{Client, ServerArgs, block_on};
use super::columns::note;
use super::options::Period;
use super::{CliError, CliResult};
use clap::Args;
use copy::{Copied, Copy};
use futures_util::future::try_join_all;
use sources::Source;
use std::process::ExitCode;

/// Lines of each log where pods are chosen by their labels: as many as kubectl prints.
const TAIL_OF_SELECTED: usize = 10;

/// Print the logs of pods, on whichever host they are
///
/// Of a workload's pods it is a ready one, if there is any; --all-pods prints those of all. Following ends when the container ends:
/// one that is restarted has a log of its own, and the one before is had with --previous.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  driftless logs -n shop web-7d4b9c-x2k9f
  driftless logs -n shop deploy/web -f --tail 20
  driftless logs -n shop deploy/web --all-pods --prefix --since 10m
  driftless logs -n shop -l app=web --all-containers -f
  driftless logs -n shop rollout/api --previous
  driftless logs -n shop job/migrate --timestamps")]
pub struct LogsArgs {
    /// POD, pod/POD, or a workload: deploy/NAME, sts/NAME, ds/NAME, rollout/NAME, job/NAME
    #[arg(value_name = "POD", required_unless_present = "selector")]
    target: Option<String>,
    /// The namespace
    #[arg(short = 'n', long, default_value = "default")]
    namespace: String,
    /// The pods with these labels: app=web, tier in (front,back), !canary
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "target")]
    selector: Option<String>,
    /// All pods of the workload
    #[arg(long, conflicts_with = "selector")]
    all_pods: bool,
    /// The container [default: the first]
    #[arg(short = 'c', long)]
    container: Option<String>,
    /// All containers of a pod, init containers too
    #[arg(long, conflicts_with = "container")]
    all_containers: bool,
    /// Begin each line with its pod and container
    #[arg(long)]
    prefix: bool,
    /// Stay, and print what is written from now on
    #[arg(short = 'f', long)]
    follow: bool,
    /// The log of the run before the last restart
    #[arg(short = 'p', long)]
    previous: bool,
    /// Only what was written in the last so long: 30s, 10m, 2h
    #[arg(long, value_name = "DURATION", conflicts_with = "since_time")]
    since: Option<Period>,
    /// Only what was written at this time or later: 2026-01-31T09:30:00Z
    #[arg(long, value_name = "TIME")]
    since_time: Option<jiff::Timestamp>,
    /// Begin each line with the time when it was written
    #[arg(long)]
    timestamps: bool,
    /// Only so many lines from the end of each log [default: all; 10 with --selector]
    #[arg(long, value_name = "LINES")]
    tail: Option<usize>,
    /// Only so many bytes of each log
    #[arg(long, value_name = "BYTES")]
    limit_bytes: Option<u64>,
    /// How many logs may be followed at once
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    max_log_requests: usize,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs `driftless logs`.
///
/// # Errors
/// When there is no such pod, a log cannot be read to its end, or nobody answers.
pub(super) fn run(args: &LogsArgs) -> CliResult<ExitCode> {
    block_on(logs(args))
}

async fn logs(args: &LogsArgs) -> CliResult<ExitCode> {
    let client = Client::new(&args.server);
    let sources = sources::sources(&client, args).await?;
    if args.follow && sources.len() > args.max_log_requests {
        let message =
            format!("{} logs would be followed, and --max-log-requests allows {}", sources.len(), args.max_log_requests);
        return Err(CliError::new(message).hint("choose fewer pods or containers, or allow more"));
    }
    let copy = Copy { client: &client, args, several: sources.len() > 1 };
    let ended = if args.follow { together(&copy, &sources).await? } else { in_turn(&copy, &sources).await? };
    verdict(ended)
}

async fn together(copy: &Copy<'_>, sources: &[Source]) -> CliResult<Vec<Copied>> {
    match try_join_all(sources.iter().map(|source| copy.one(source))).await {
        Ok(ended) => Ok(ended),
        Err(stopped) => stopped.outcome(),
    }
}

async fn in_turn(copy: &Copy<'_>, sources: &[Source]) -> CliResult<Vec<Copied>> {
    let mut ended = Vec::new();
    for source in sources {
        match copy.one(source).await {
            Ok(copied) => ended.push(copied),
            Err(stopped) => return stopped.outcome(),
        }
    }
    Ok(ended)
}

/// A log that could not be read is an error; where there are several, the others were printed all the same.
fn verdict(ended: Vec<Copied>) -> CliResult<ExitCode> {
    let several = ended.len();
    let mut failed: Vec<CliError> = ended.into_iter().filter_map(Result::err).collect();
    match failed.len() {
        0 => Ok(ExitCode::SUCCESS),
        1 if several == 1 => Err(failed.remove(0)),
        count => {
            failed.iter().for_each(|error| note(&error.render()));
            Err(CliError::new(format!("{count} of {several} logs could not be read to their end")))
        }
    }
}
