//! `driftless top`: what pods and nodes use.

use super::client::{Client, Form, ServerArgs, block_on, escaped};
use super::columns::{Columns, note, write_stdout};
use super::get::{Output, ScopeArgs, cell, print_value};
use super::{CliError, CliResult};
use crate::model::Quantity;
use crate::status::Resource;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Show the cpu and memory that pods or nodes use
///
/// Agents measure every ten seconds, and cpu is known from the second time on. Memory is what is held: caches that the kernel can
/// drop at once do not count. `kubectl top` shows the same.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  driftless top nodes
  driftless top pods -A --sort-by memory
  driftless top pods -n shop --containers -l app=web")]
pub struct TopArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    #[command(visible_aliases = ["pod", "po"])]
    Pods(PodsArgs),
    #[command(visible_aliases = ["node", "no"])]
    Nodes(NodesArgs),
}

/// What pods use
#[derive(Debug, Args)]
struct PodsArgs {
    /// Only this pod
    #[arg(value_name = "POD", conflicts_with = "all_namespaces")]
    name: Option<String>,
    #[command(flatten)]
    wanted: ScopeArgs,
    /// Only pods with these labels: app=web, tier in (front,back), !canary
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "name")]
    selector: Option<String>,
    /// Each container on a line of its own
    #[arg(long)]
    containers: bool,
    #[command(flatten)]
    shown: ShownArgs,
}

/// What nodes use, pods and everything else on them, and how much that is of what they have for pods
#[derive(Debug, Args)]
struct NodesArgs {
    /// Only this node
    #[arg(value_name = "NODE")]
    name: Option<String>,
    #[command(flatten)]
    shown: ShownArgs,
}

#[derive(Debug, Args)]
struct ShownArgs {
    /// The largest first [default: by name]
    #[arg(long, value_enum, value_name = "RESOURCE")]
    sort_by: Option<SortBy>,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SortBy {
    Cpu,
    Memory,
}

/// Runs `driftless top`.
///
/// # Errors
/// When nothing of the name was measured, or nobody answers.
pub(super) fn run(args: &TopArgs) -> CliResult<ExitCode> {
    block_on(async {
        match &args.what {
            What::Pods(args) => pods(args).await,
            What::Nodes(args) => nodes(args).await,
        }
    })
}

/// What something uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Use {
    cpu_milli: u64,
    memory_bytes: u64,
}

impl Use {
    fn read(amounts: &Value) -> Self {
        let quantity = |name: &str| amounts[name].as_str().and_then(Quantity::parse);
        Self {
            cpu_milli: quantity("cpu").map_or(0, Quantity::milli),
            memory_bytes: quantity("memory").map_or(0, Quantity::value),
        }
    }

    fn plus(self, other: Use) -> Self {
        Self { cpu_milli: self.cpu_milli + other.cpu_milli, memory_bytes: self.memory_bytes + other.memory_bytes }
    }

    fn of(self, by: SortBy) -> u64 {
        match by {
            SortBy::Cpu => self.cpu_milli,
            SortBy::Memory => self.memory_bytes,
        }
    }

    fn cpu(self) -> String {
        format!("{}m", self.cpu_milli)
    }

    fn memory(self) -> String {
        format!("{}Mi", self.memory_bytes >> 20)
    }
}

/// What a pod's containers use together, or what a node uses.
fn total(item: &Value) -> Use {
    match item["containers"].as_array() {
        Some(containers) => containers.iter().fold(Use::default(), |sum, container| sum.plus(Use::read(&container["usage"]))),
        None => Use::read(&item["usage"]),
    }
}

/// The measured things of a resource, in the order that was asked for.
async fn measured(client: &Client, path: &str, name: Option<&String>, shown: &ShownArgs) -> CliResult<Vec<Value>> {
    let mut items = match name {
        Some(name) => vec![client.get(&format!("{path}/{}", escaped(name)), Form::Json).await.map_err(not_measured)?],
        None => {
            let mut answer = client.get(path, Form::Json).await?;
            answer["items"].as_array_mut().map(std::mem::take).unwrap_or_default()
        }
    };
    if let Some(by) = shown.sort_by {
        items.sort_by_key(|item| Reverse(total(item).of(by)));
    }
    Ok(items)
}

fn not_measured(error: CliError) -> CliError {
    error.hint("what was started less than 20 s ago, does not run, or is on a node that is not heard, is not measured")
}

/// Prints the objects themselves, if that is asked for.
fn print_objects(items: &[Value], output: Output) -> CliResult<bool> {
    let whole = matches!(output, Output::Json | Output::Yaml);
    if whole {
        print_value(
            &json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "" }, "items": items }),
            output,
        )?;
    }
    Ok(whole)
}

fn print_table(table: &Columns, nothing: &str) -> CliResult<ExitCode> {
    if table.is_empty() {
        note(nothing);
    } else {
        write_stdout(&table.render())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn pods(args: &PodsArgs) -> CliResult<ExitCode> {
    let client = Client::new(&args.shown.server);
    let mut path = Resource::PodMetrics.path(args.wanted.namespace().as_deref());
    if let Some(selector) = &args.selector {
        path.push_str(&format!("?labelSelector={}", escaped(selector)));
    }
    let items = measured(&client, &path, args.name.as_ref(), &args.shown).await?;
    if print_objects(&items, args.shown.output)? {
        return Ok(ExitCode::SUCCESS);
    }
    let namespace = args.wanted.all_namespaces.then_some("Namespace");
    let name: &[&str] = if args.containers { &["Pod", "Name"] } else { &["Name"] };
    let headings = namespace.into_iter().chain(name.iter().copied()).chain(["CPU(cores)", "Memory(bytes)"]);
    let mut table = Columns::new(headings);
    for row in items.iter().flat_map(|item| pod_rows(item, args)) {
        table.push(row);
    }
    print_table(&table, "No pods are measured there; -A looks in all namespaces, and a pod is measured after 20 s")
}

fn pod_rows(item: &Value, args: &PodsArgs) -> Vec<Vec<String>> {
    let namespace = args.wanted.all_namespaces.then(|| cell(&item["metadata"]["namespace"]));
    let pod = cell(&item["metadata"]["name"]);
    let row = |names: Vec<String>, used: Use| namespace.iter().cloned().chain(names).chain([used.cpu(), used.memory()]).collect();
    if !args.containers {
        return vec![row(vec![pod], total(item))];
    }
    let mut containers: Vec<(String, Use)> = item["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|container| (cell(&container["name"]), Use::read(&container["usage"])))
        .collect();
    if let Some(by) = args.shown.sort_by {
        containers.sort_by_key(|(_, used)| Reverse(used.of(by)));
    }
    containers.into_iter().map(|(name, used)| row(vec![pod.clone(), name], used)).collect()
}

async fn nodes(args: &NodesArgs) -> CliResult<ExitCode> {
    let client = Client::new(&args.shown.server);
    let items = measured(&client, &Resource::NodeMetrics.path(None), args.name.as_ref(), &args.shown).await?;
    if print_objects(&items, args.shown.output)? {
        return Ok(ExitCode::SUCCESS);
    }
    let nodes = client.get(&Resource::Nodes.path(None), Form::Json).await?;
    let known = nodes["items"].as_array().into_iter().flatten();
    let allocatable: BTreeMap<String, Use> =
        known.map(|node| (cell(&node["metadata"]["name"]), Use::read(&node["status"]["allocatable"]))).collect();
    let mut table = Columns::new(["Name", "CPU(cores)", "CPU(%)", "Memory(bytes)", "Memory(%)"]);
    for item in &items {
        let (name, used) = (cell(&item["metadata"]["name"]), total(item));
        let has = allocatable.get(&name).copied().unwrap_or_default();
        let cpu = percent(used.cpu_milli, has.cpu_milli);
        table.push(vec![name, used.cpu(), cpu, used.memory(), percent(used.memory_bytes, has.memory_bytes)]);
    }
    for name in
        allocatable.keys().filter(|name| args.name.is_none() && !items.iter().any(|item| item["metadata"]["name"] == **name))
    {
        table.push([name.as_str(), "<unknown>", "<unknown>", "<unknown>", "<unknown>"].map(str::to_owned).to_vec());
    }
    print_table(&table, "No nodes are known yet")
}

fn percent(used: u64, has: u64) -> String {
    match (u128::from(used) * 100).checked_div(u128::from(has)) {
        Some(percent) => format!("{percent}%"),
        None => "<unknown>".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_containers_use_is_added_up_whatever_the_unit() {
        let pod = json!({ "containers": [
            { "usage": { "cpu": "250m", "memory": "1024Ki" } },
            { "usage": { "cpu": "1", "memory": "1Mi" } },
        ] });
        assert_eq!(total(&pod), Use { cpu_milli: 1250, memory_bytes: 2 << 20 });
        let node = json!({ "usage": { "cpu": "1500000000n", "memory": "3Gi" } });
        assert_eq!(total(&node), Use { cpu_milli: 1500, memory_bytes: 3 << 30 });
    }

    #[test]
    fn a_share_of_nothing_is_unknown() {
        assert_eq!((percent(950, 3800), percent(1, 0)), ("25%".to_owned(), "<unknown>".to_owned()));
    }
}
