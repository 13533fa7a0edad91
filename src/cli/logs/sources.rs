//! Which logs: from what a person names to pods and containers.

use super::super::client::{Client, Form, escaped};
use super::super::columns::note;
use super::super::get::{cell, resource};
use super::super::{CliError, CliResult};
use super::LogsArgs;
use crate::status::Resource;
use serde_json::Value;

/// The annotation that names the container which a person means.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// One log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) pod: String,
    pub(super) container: String,
}

/// The logs that are meant, by pod and container.
pub(super) async fn sources(client: &Client, args: &LogsArgs) -> CliResult<Vec<Source>> {
    let pods = match (&args.selector, args.target.as_deref().unwrap_or_default().split_once('/')) {
        (Some(selector), _) => selected(client, args, selector).await?,
        (None, Some((kind, name))) if resource(kind)? != Resource::Pods => {
            of_workload(client, args, resource(kind)?, name).await?
        }
        (None, Some((_, name))) => vec![pod(client, args, name).await?],
        (None, None) => vec![pod(client, args, args.target.as_deref().unwrap_or_default()).await?],
    };
    Ok(pods.iter().flat_map(|pod| of_pod(pod, args)).collect())
}

fn pods_path(args: &LogsArgs) -> String {
    Resource::Pods.path(Some(&escaped(&args.namespace)))
}

async fn pod(client: &Client, args: &LogsArgs, name: &str) -> CliResult<Value> {
    client.get(&format!("{}/{}", pods_path(args), escaped(name)), Form::Json).await
}

async fn selected(client: &Client, args: &LogsArgs, selector: &str) -> CliResult<Vec<Value>> {
    let answer = client.get(&format!("{}?labelSelector={}", pods_path(args), escaped(selector)), Form::Json).await?;
    let pods = items(answer);
    if pods.is_empty() {
        return Err(CliError::new(format!("no pods in namespace {} have the labels {selector}", args.namespace))
            .hint(format!("`driftless get pods -n {} --output json` shows their labels", args.namespace)));
    }
    Ok(pods)
}

/// All pods of a workload if they are asked for, else the first ready one, else its first.
async fn of_workload(client: &Client, args: &LogsArgs, workload: Resource, name: &str) -> CliResult<Vec<Value>> {
    let path = workload.path(Some(&escaped(&args.namespace)));
    client.get(&format!("{path}/{}", escaped(name)), Form::Json).await?;
    let kind = workload.facts().kind;
    let mut pods = items(client.get(&pods_path(args), Form::Json).await?);
    pods.retain(|pod| {
        let owner = &pod["metadata"]["ownerReferences"][0];
        owner["kind"] == kind && owner["name"] == name
    });
    if pods.is_empty() {
        let hint = format!("`driftless get {}/{name} -n {}` says where it stands", workload.facts().singular, args.namespace);
        return Err(CliError::new(format!("{} {name} has no pods", kind.to_lowercase())).hint(hint));
    }
    if args.all_pods {
        return Ok(pods);
    }
    let ready = |pod: &Value| pod["status"]["containerStatuses"][0]["ready"] == true;
    let chosen = pods.swap_remove(pods.iter().position(ready).unwrap_or(0));
    if !pods.is_empty() {
        note(&format!("Found {} pods, using pod/{}", pods.len() + 1, cell(&chosen["metadata"]["name"])));
    }
    Ok(vec![chosen])
}

fn items(mut answer: Value) -> Vec<Value> {
    answer["items"].as_array_mut().map(std::mem::take).unwrap_or_default()
}

/// The containers of a pod that are meant.
fn of_pod(pod: &Value, args: &LogsArgs) -> Vec<Source> {
    let name = cell(&pod["metadata"]["name"]);
    let source = |container: String| Source { pod: name.clone(), container };
    if let Some(container) = &args.container {
        return vec![source(container.clone())];
    }
    let names = |list: &str| -> Vec<String> {
        pod["spec"][list].as_array().into_iter().flatten().map(|container| cell(&container["name"])).collect()
    };
    let containers = names("containers");
    if args.all_containers {
        return names("initContainers").into_iter().chain(containers).map(source).collect();
    }
    let annotated =
        pod["metadata"]["annotations"][DEFAULT_CONTAINER].as_str().filter(|name| containers.iter().any(|of| of == name));
    let chosen = annotated.map(str::to_owned).or_else(|| containers.first().cloned()).unwrap_or_default();
    if annotated.is_none() && containers.len() > 1 {
        note(&format!("Using container {chosen} of pod/{name}, which has {}", containers.join(", ")));
    }
    vec![source(chosen)]
}
