//! `/api/v1/namespaces/NAMESPACE/pods/POD/log`.

use super::super::logs::{LogError, LogQuery};
use super::super::pods::{self, ShownPod};
use super::super::refusal::Refusal;
use super::super::server::Server;
use super::answer::{Parameters, flag};
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::StreamExt;

/// Streams a pod's log as text.
pub(super) async fn log(server: &Server, namespace: &str, name: &str, parameters: &Parameters) -> Result<Response, Refusal> {
    let query = query(server, namespace, name, parameters)?;
    let stream = server.logs.logs(query).await.map_err(|error| match &error {
        LogError::NodeAway(_) => Refusal::unavailable(error.to_string()),
        LogError::NotFound(_) => Refusal::bad_request(error.to_string()),
        LogError::Failed(_) => Refusal::internal(error.to_string()),
    })?;
    let body = Body::from_stream(stream.take_until(server.shutdown.clone().cancelled_owned()));
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn query(server: &Server, namespace: &str, name: &str, parameters: &Parameters) -> Result<LogQuery, Refusal> {
    let view = server.feed.current();
    let pods = pods::all(&view);
    let mut found = pods.iter().filter(|pod| pod.namespace() == namespace && pod.name == name);
    let pod = found.next().ok_or_else(|| Refusal::not_found("pods", name))?;
    let tail = match parameters.get("tailLines").filter(|text| *text != "-1") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| Refusal::bad_request(format!("tailLines {text:?} is no number")))?),
    };
    Ok(LogQuery {
        uid: pod.uid,
        pod: pod.name.to_owned(),
        namespace: namespace.to_owned(),
        node: pod.node.clone(),
        container: container(pod, parameters)?,
        tail,
        follow: flag(parameters, "follow"),
        previous: flag(parameters, "previous"),
    })
}

/// The container that is asked for. A pod with several has no obvious one, as in Kubernetes.
fn container(pod: &ShownPod<'_>, parameters: &Parameters) -> Result<Option<String>, Refusal> {
    let names = pod.container_names();
    match parameters.get("container").filter(|name| !name.is_empty()) {
        Some(name) if names.is_empty() || names.contains(&name.as_str()) => Ok(Some(name.clone())),
        Some(name) => {
            Err(Refusal::bad_request(format!("container {name} is not in pod {}: it has {}", pod.name, names.join(", "))))
        }
        None if names.len() > 1 => Err(Refusal::bad_request(format!(
            "a container name must be given for pod {}, choose one of: {}",
            pod.name,
            names.join(", ")
        ))),
        None => Ok(names.first().map(|name| (*name).to_owned())),
    }
}
