//! `driftless events`: what happened.

use super::CliResult;
use super::client::{Client, Form, ServerArgs, block_on};
use super::columns::{Columns, note, write_stdout};
use super::get::{Output, ScopeArgs, cell, print_value};
use crate::status::{Resource, age_of};
use clap::{Args, ValueEnum};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

/// Show what happened: starts, failed probes, scaling, restarts
///
/// What happens again is counted. Events are kept for an hour, at most 1,000 of them, and while the controller runs; what must be
/// remembered is on the audit branch (`driftless history`).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  driftless events -n shop
  driftless events -n shop --for deploy/web
  driftless events -A --types Warning -w")]
pub struct EventsArgs {
    #[command(flatten)]
    wanted: ScopeArgs,
    /// Only what is about this: KIND/NAME
    #[arg(long = "for", value_name = "KIND/NAME", value_parser = about)]
    about: Option<About>,
    /// Only these types: Normal, Warning, or both with a comma
    #[arg(long, value_name = "TYPES", value_delimiter = ',', ignore_case = true)]
    types: Vec<Type>,
    /// Stay, and print what happens from now on
    #[arg(short = 'w', long, visible_short_alias = 'f', visible_alias = "follow")]
    watch: bool,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text, conflicts_with = "watch")]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

/// `Normal` or `Warning`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Type {
    /// As it should be
    #[value(name = "Normal")]
    Normal,
    /// Something to look at
    #[value(name = "Warning")]
    Warning,
}

/// What events are about.
#[derive(Debug, Clone, PartialEq, Eq)]
struct About {
    kind: &'static str,
    name: String,
}

fn about(text: &str) -> Result<About, String> {
    let Some((kind, name)) = text.split_once('/') else { return Err("write KIND/NAME, as deploy/web".to_owned()) };
    let resource = Resource::named(kind).ok_or_else(|| format!("there is no kind {kind:?}"))?;
    Ok(About { kind: resource.facts().kind, name: name.to_owned() })
}

/// Whether an event is one of those that are asked for.
fn wanted(args: &EventsArgs, event: &Value) -> bool {
    let of_type = |wanted: &Type| event["type"] == if *wanted == Type::Warning { "Warning" } else { "Normal" };
    let involved = &event["involvedObject"];
    let is_about = |about: &About| involved["kind"] == about.kind && involved["name"] == about.name.as_str();
    (args.types.is_empty() || args.types.iter().any(of_type)) && args.about.as_ref().is_none_or(is_about)
}

/// How long a lost controller is waited for before it is asked again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Runs `driftless events`.
///
/// # Errors
/// When nobody answers.
pub(super) fn run(args: &EventsArgs) -> CliResult<ExitCode> {
    block_on(events(args))
}

async fn events(args: &EventsArgs) -> CliResult<ExitCode> {
    let client = Client::new(&args.server);
    let path = Resource::Events.path(args.wanted.namespace().as_deref());
    let mut answer = client.get(&path, Form::Json).await?;
    let mut items = answer["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
    items.retain(|event| wanted(args, event));
    items.sort_by(|a, b| a["lastTimestamp"].as_str().cmp(&b["lastTimestamp"].as_str()));
    if matches!(args.output, Output::Json | Output::Yaml) {
        let list = json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "" }, "items": items });
        print_value(&list, args.output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = empty(args);
    items.iter().for_each(|event| table.push(row(args, event)));
    if table.is_empty() && !args.watch {
        note("No such events within the last hour; -A looks in all namespaces");
        return Ok(ExitCode::SUCCESS);
    }
    write_stdout(&table.render())?;
    if args.watch {
        let seen = items.iter().map(|event| (cell(&event["metadata"]["name"]), event["count"].as_u64())).collect();
        follow(args, &client, &path, &table, seen).await?;
    }
    Ok(ExitCode::SUCCESS)
}

type Seen = BTreeMap<String, Option<u64>>;

/// Prints what is new until it is interrupted. A controller that restarts is waited for.
async fn follow(args: &EventsArgs, client: &Client, path: &str, table: &Columns, mut seen: Seen) -> CliResult<()> {
    loop {
        match client.open(&format!("{path}?watch=true"), Form::Json).await {
            Ok(response) => print_stream(args, response.into_body(), table, &mut seen).await?,
            Err(error) => note(&format!("{error}; asking again")),
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn print_stream(args: &EventsArgs, mut body: Incoming, table: &Columns, seen: &mut Seen) -> CliResult<()> {
    let mut pending = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        pending.extend_from_slice(&data);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let change: Value = serde_json::from_slice(&line).unwrap_or_default();
            print_new(args, &change, table, seen)?;
        }
    }
    Ok(())
}

fn print_new(args: &EventsArgs, change: &Value, table: &Columns, seen: &mut Seen) -> CliResult<()> {
    let event = &change["object"];
    let (name, count) = (cell(&event["metadata"]["name"]), event["count"].as_u64());
    if change["type"] == "DELETED" || !wanted(args, event) || seen.insert(name, count) == Some(count) {
        return Ok(());
    }
    let mut rows = empty(args);
    rows.push(row(args, event));
    write_stdout(&rows.render_rows(table))
}

fn empty(args: &EventsArgs) -> Columns {
    let namespace = args.wanted.all_namespaces.then_some("Namespace");
    Columns::new(namespace.into_iter().chain(["Last seen", "Type", "Reason", "Object", "Message"]))
}

fn row(args: &EventsArgs, event: &Value) -> Vec<String> {
    let age = age_of(event["lastTimestamp"].as_str().unwrap_or(""), crate::clock::now()).unwrap_or_default();
    let count = event["count"].as_u64().unwrap_or(1);
    let about = &event["involvedObject"];
    let namespace = args.wanted.all_namespaces.then(|| cell(&event["metadata"]["namespace"]));
    let cells = [
        if count > 1 { format!("{age} (x{count})") } else { age },
        cell(&event["type"]),
        cell(&event["reason"]),
        format!("{}/{}", cell(&about["kind"]).to_lowercase(), cell(&about["name"])),
        cell(&event["message"]),
    ];
    namespace.into_iter().chain(cells).collect()
}
