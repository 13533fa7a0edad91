//! `driftless get`: what runs, as tables or as Kubernetes-shaped objects.

use super::client::{Client, Form, ServerArgs, block_on, escaped};
use super::columns::{Columns, note, write_stdout};
use super::{CliError, CliResult, get_own};
use crate::status::Resource;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Show what a running Driftless knows: pods, workloads, services, nodes, reconciles, problems
///
/// Kinds are those of Kubernetes, by any of their names (pods, pod, po, deploy, sts, ds, jobs, cj, svc, cm, pvc, hpa, pdb, ns, no,
/// ev …), several with commas, or `all`. Three are our own: reconciles (what was carried out), units (folders of the repository, and
/// the commit that each is at) and problems (what wants a person's attention). Nothing is changed: changes go through git.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  driftless get pods -A
  driftless get deploy/web -n shop -o yaml
  driftless get all -n shop -l app=web
  driftless get problems")]
pub struct GetArgs {
    /// KIND, KIND/NAME, several kinds with commas, or `all`
    #[arg(value_name = "KIND")]
    kind: String,
    /// Names; all, if none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    wanted: ScopeArgs,
    /// Only objects with these labels: app=web, tier in (front,back), !canary
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

/// Which namespace.
#[derive(Debug, Clone, Args)]
pub(super) struct ScopeArgs {
    /// The namespace
    #[arg(short = 'n', long, default_value = "default")]
    pub(super) namespace: String,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(super) all_namespaces: bool,
}

impl ScopeArgs {
    /// The namespace, escaped for a path; `None` for all.
    pub(super) fn namespace(&self) -> Option<String> {
        (!self.all_namespaces).then(|| escaped(&self.namespace))
    }
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// A table
    Text,
    /// A table with more columns
    Wide,
    /// Kubernetes-shaped JSON
    Json,
    /// The same as YAML
    Yaml,
}

/// Runs `driftless get`.
///
/// # Errors
/// When the kind is unknown, nothing has the name, or nobody answers.
pub(super) fn run(args: &GetArgs) -> CliResult<ExitCode> {
    block_on(get(args))
}

async fn get(args: &GetArgs) -> CliResult<ExitCode> {
    let client = Client::new(&args.server);
    if let Some(own) = get_own::Own::named(&args.kind) {
        return get_own::print(&client, own, args.output).await;
    }
    let wanted = wanted(&args.kind, &args.names)?;
    match args.output {
        Output::Json | Output::Yaml => print_objects(&client, args, &wanted).await,
        Output::Text | Output::Wide => print_tables(&client, args, &wanted).await,
    }
}

/// One thing to ask for.
struct Ask {
    resource: Resource,
    name: Option<String>,
}

fn wanted(kind: &str, names: &[String]) -> CliResult<Vec<Ask>> {
    if let Some((kind, name)) = kind.split_once('/') {
        let first = (kind, name.to_owned());
        let more = names.iter().map(|pair| match pair.split_once('/') {
            Some((kind, name)) => Ok((kind, name.to_owned())),
            None => Err(CliError::new(format!("{pair:?} has no kind")).hint("write KIND/NAME for each, or KIND NAME NAME")),
        });
        let pairs = std::iter::once(Ok(first)).chain(more);
        return pairs.map(|pair| pair.and_then(|(kind, name)| Ok(Ask { resource: resource(kind)?, name: Some(name) }))).collect();
    }
    let resources: Vec<Resource> = match kind {
        "all" => Resource::ALL.into_iter().filter(|resource| resource.facts().in_all).collect(),
        kinds => kinds.split(',').map(resource).collect::<CliResult<_>>()?,
    };
    let each = |resource| match names {
        [] => vec![Ask { resource, name: None }],
        names => names.iter().map(|name| Ask { resource, name: Some(name.clone()) }).collect(),
    };
    Ok(resources.into_iter().flat_map(each).collect())
}

/// The resource that a user means.
pub(super) fn resource(name: &str) -> CliResult<Resource> {
    Resource::named(name).ok_or_else(|| {
        let own = |resource: &Resource| Resource::named(resource.facts().plural) == Some(*resource);
        let known: Vec<&str> = Resource::ALL.into_iter().filter(own).map(|resource| resource.facts().plural).collect();
        CliError::new(format!("there is no kind {name:?}"))
            .hint(format!("kinds are {}, all, reconciles, units and problems", known.join(", ")))
    })
}

fn path(args: &GetArgs, ask: &Ask) -> CliResult<String> {
    let collection = ask.resource.path(args.wanted.namespace().as_deref());
    match (&ask.name, args.wanted.all_namespaces && ask.resource.facts().namespaced) {
        (Some(_), true) => Err(CliError::new("a name is looked for in one namespace").hint("write -n NAMESPACE instead of -A")),
        (Some(name), false) => Ok(format!("{collection}/{}", escaped(name))),
        (None, _) => Ok(match &args.selector {
            Some(selector) => format!("{collection}?labelSelector={}", escaped(selector)),
            None => collection,
        }),
    }
}

async fn print_objects(client: &Client, args: &GetArgs, wanted: &[Ask]) -> CliResult<ExitCode> {
    let mut items = Vec::new();
    let single = matches!(wanted, [ask] if ask.name.is_some());
    for ask in wanted {
        let mut answer = client.get(&path(args, ask)?, Form::Json).await?;
        match answer.get_mut("items").and_then(Value::as_array_mut) {
            Some(found) => items.append(found),
            None => items.push(answer),
        }
    }
    let shown = match items.pop() {
        Some(only) if single => only,
        last => {
            items.extend(last);
            json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "" }, "items": items })
        }
    };
    print_value(&shown, args.output)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a document as JSON or YAML.
pub(super) fn print_value(value: &Value, output: Output) -> CliResult<()> {
    let text = match output {
        Output::Yaml => serde_saphyr::to_string(value).map_err(|error| CliError::with_source("cannot write YAML", error))?,
        Output::Json | Output::Text | Output::Wide => format!("{value:#}\n"),
    };
    write_stdout(&text)
}

async fn print_tables(client: &Client, args: &GetArgs, wanted: &[Ask]) -> CliResult<ExitCode> {
    let mut tables: Vec<(Resource, Vec<Value>)> = Vec::new();
    for ask in wanted {
        let table = client.get(&path(args, ask)?, Form::Table).await?;
        match tables.last_mut() {
            Some((resource, same)) if *resource == ask.resource => same.push(table),
            _ => tables.push((ask.resource, vec![table])),
        }
    }
    let several = tables.len() > 1;
    let rendered: Vec<String> =
        tables.iter().filter_map(|(resource, tables)| rendered(*resource, tables, args, several)).collect();
    if rendered.is_empty() {
        note(&nothing_found(args, tables.iter().any(|(resource, _)| resource.facts().namespaced)));
    }
    write_stdout(&rendered.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn nothing_found(args: &GetArgs, namespaced: bool) -> String {
    if args.wanted.all_namespaces || !namespaced {
        return "No resources found".into();
    }
    format!(
        "No resources found in namespace {}\nhint: -A looks in all namespaces, -n NAMESPACE in another one",
        args.wanted.namespace
    )
}

/// The tables of one resource as one; `None` if there are no rows.
fn rendered(resource: Resource, tables: &[Value], args: &GetArgs, several: bool) -> Option<String> {
    let definitions = tables.first()?["columnDefinitions"].as_array()?;
    let shown: Vec<usize> =
        (0..definitions.len()).filter(|at| args.output == Output::Wide || definitions[*at]["priority"] == 0).collect();
    let with_namespace = args.wanted.all_namespaces && resource.facts().namespaced;
    let headings = shown.iter().map(|at| definitions[*at]["name"].as_str().unwrap_or("").to_owned());
    let mut columns = Columns::new(with_namespace.then(|| "Namespace".to_owned()).into_iter().chain(headings));
    for row in tables.iter().flat_map(|table| table["rows"].as_array().into_iter().flatten()) {
        let cells = shown.iter().map(|at| {
            let text = cell(&row["cells"][*at]);
            if several && definitions[*at]["name"] == "Name" { format!("{}/{text}", resource.facts().singular) } else { text }
        });
        let namespace = with_namespace.then(|| cell(&row["object"]["metadata"]["namespace"]));
        columns.push(namespace.into_iter().chain(cells).collect());
    }
    (!columns.is_empty()).then(|| columns.render())
}

/// A cell as text.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
