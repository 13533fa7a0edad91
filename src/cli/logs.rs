//! `driftless logs`: what a pod prints.

use super::client::{Client, Form, ServerArgs, block_on, escaped};
use super::columns::note;
use super::get::{cell, resource};
use super::{CliError, CliResult};
use crate::status::Resource;
use clap::Args;
use http_body_util::BodyExt;
use serde_json::Value;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// Print the log of a pod, or of a pod of a workload
///
/// Of a workload's pods it is a ready one, if there is any.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  driftless logs -n shop web-7d4b9c-x2k9f
  driftless logs -n shop deploy/web -f --tail 20
  driftless logs -n shop rollout/api --previous
  driftless logs -n shop job/migrate")]
pub struct LogsArgs {
    /// POD, pod/POD, or a workload: deploy/NAME, sts/NAME, ds/NAME, rollout/NAME, job/NAME
    #[arg(value_name = "POD")]
    target: String,
    /// The namespace
    #[arg(short = 'n', long, default_value = "default")]
    namespace: String,
    /// The container; needed where a pod has several
    #[arg(short = 'c', long)]
    container: Option<String>,
    /// Stay, and print what is written from now on
    #[arg(short = 'f', long)]
    follow: bool,
    /// The log of the run before the last restart
    #[arg(short = 'p', long)]
    previous: bool,
    /// Only so many lines from the end
    #[arg(long, value_name = "LINES")]
    tail: Option<usize>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs `driftless logs`.
///
/// # Errors
/// When there is no such pod, its log cannot be read, or nobody answers.
pub(super) fn run(args: &LogsArgs) -> CliResult<ExitCode> {
    block_on(logs(args))
}

async fn logs(args: &LogsArgs) -> CliResult<ExitCode> {
    let client = Client::new(&args.server);
    let pod = pod(&client, args).await?;
    let mut response = client.open(&path(args, &pod), Form::Json).await?.into_body();
    while let Some(frame) = response.frame().await {
        let frame = frame.map_err(|error| CliError::with_source(format!("the log of {pod} broke off"), error))?;
        if let Ok(data) = frame.into_data()
            && !wrote(&data)?
        {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The pod that the target means.
async fn pod(client: &Client, args: &LogsArgs) -> CliResult<String> {
    let Some((kind, name)) = args.target.split_once('/') else { return Ok(args.target.clone()) };
    let resource = resource(kind)?;
    if resource == Resource::Pods { Ok(name.to_owned()) } else { pod_of(client, args, resource, name).await }
}

fn path(args: &LogsArgs, pod: &str) -> String {
    let mut path = format!("{}/{}/log?", Resource::Pods.path(Some(&escaped(&args.namespace))), escaped(pod));
    if let Some(container) = &args.container {
        path.push_str(&format!("container={}&", escaped(container)));
    }
    if let Some(tail) = args.tail {
        path.push_str(&format!("tailLines={tail}&"));
    }
    path.push_str(&format!("follow={}&previous={}", args.follow, args.previous));
    path
}

/// False when the reader has gone.
fn wrote(data: &[u8]) -> CliResult<bool> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(data).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::with_source("cannot write to stdout", error)),
    }
}

/// The first ready pod of a workload, else its first.
async fn pod_of(client: &Client, args: &LogsArgs, workload: Resource, name: &str) -> CliResult<String> {
    let namespace = escaped(&args.namespace);
    client.get(&format!("{}/{}", workload.path(Some(&namespace)), escaped(name)), Form::Json).await?;
    let answer = client.get(&Resource::Pods.path(Some(&namespace)), Form::Json).await?;
    let kind = workload.facts().kind;
    let owned = |pod: &&Value| {
        let owner = &pod["metadata"]["ownerReferences"][0];
        owner["kind"] == kind && owner["name"] == name
    };
    let pods: Vec<&Value> = answer["items"].as_array().into_iter().flatten().filter(owned).collect();
    let ready = |pod: &&&Value| pod["status"]["containerStatuses"][0]["ready"] == true;
    let chosen = pods.iter().find(ready).or(pods.first()).ok_or_else(|| {
        CliError::new(format!("{} {name} has no pods", kind.to_lowercase())).hint(format!(
            "`driftless get {}/{name} -n {}` says where it stands",
            workload.facts().singular,
            args.namespace
        ))
    })?;
    let chosen = cell(&chosen["metadata"]["name"]);
    if pods.len() > 1 {
        note(&format!("Found {} pods, using pod/{chosen}", pods.len()));
    }
    Ok(chosen)
}
