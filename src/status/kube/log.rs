//! `/api/v1/namespaces/NAMESPACE/pods/POD/log`.

use super::super::logs::{LOG_ERROR, LogError, LogQuery, LogStream};
use super::super::pods::{self, ShownPod};
use super::super::refusal::Refusal;
use super::super::server::Server;
use super::answer::{Parameters, flag};
use crate::model::{LogSince, Moment};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use std::str::FromStr;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const WHY: HeaderName = HeaderName::from_static(LOG_ERROR);

/// Streams a pod's log as text.
///
/// A log that breaks off says why: in a trailer to those who take them (`TE: trailers`), and else as its last line, before the
/// connection breaks, so that nobody takes it for whole.
pub(super) async fn log(
    server: &Server,
    namespace: &str,
    name: &str,
    parameters: &Parameters,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let query = query(server, namespace, name, parameters)?;
    let limit = number(parameters, "limitBytes")?;
    let stream = server.logs.logs(query).await.map_err(|error| match &error {
        LogError::NodeAway(_) | LogError::BrokeOff(_) => Refusal::unavailable(error.to_string()),
        LogError::NotFound(_) => Refusal::bad_request(error.to_string()),
        LogError::Busy(_) => Refusal::too_many(error.to_string()),
    })?;
    let chunks = limited(stream, limit, server.shutdown.clone());
    let takes_trailers = headers.get_all(header::TE).iter().any(|te| te.to_str().is_ok_and(|te| te.contains("trailers")));
    let body =
        if takes_trailers { Body::new(StreamBody::new(with_trailer(chunks))) } else { Body::from_stream(with_last_line(chunks)) };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if takes_trailers {
        headers.insert(header::TRAILER, HeaderValue::from_name(WHY));
    }
    Ok(response)
}

/// The log up to so many bytes, or until the server ends.
fn limited(
    log: LogStream,
    limit: Option<u64>,
    shutdown: CancellationToken,
) -> impl Stream<Item = Result<Bytes, LogError>> + Send {
    let left = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    stream::unfold(Some((log, left)), move |state| {
        let shutdown = shutdown.clone();
        async move {
            let (mut log, left) = state.filter(|(_, left)| *left > 0)?;
            let chunk = tokio::select! {
                chunk = log.next() => chunk?,
                () = shutdown.cancelled() => Err(LogError::BrokeOff("the controller is being stopped".to_owned())),
            };
            Some(match chunk {
                Ok(mut data) => {
                    data.truncate(left);
                    let rest = left - data.len();
                    (Ok(data), Some((log, rest)))
                }
                Err(error) => (Err(error), None),
            })
        }
    })
}

fn with_trailer(chunks: impl Stream<Item = Result<Bytes, LogError>>) -> impl Stream<Item = Result<Frame<Bytes>, LogError>> {
    chunks.map(|chunk| match chunk {
        Ok(data) => Ok(Frame::data(data)),
        Err(error) => {
            // What an agent says may hold what no header may.
            let words: String =
                error.to_string().chars().map(|c| if c.is_ascii() && !c.is_control() { c } else { ' ' }).collect();
            let value = HeaderValue::from_str(&words).map_err(|_| error)?;
            Ok(Frame::trailers(HeaderMap::from_iter([(WHY, value)])))
        }
    })
}

fn with_last_line(chunks: impl Stream<Item = Result<Bytes, LogError>>) -> impl Stream<Item = Result<Bytes, LogError>> {
    chunks.flat_map(|chunk| match chunk {
        Ok(data) => stream::iter([Ok(data)]).left_stream(),
        Err(error) => {
            let words = Bytes::from(format!("driftless: {error}\n"));
            // The pause lets the server send what it has: an error takes with it what was not sent.
            let end = async move {
                tokio::task::yield_now().await;
                Err(error)
            };
            stream::iter([Ok(words)]).chain(stream::once(end)).right_stream()
        }
    })
}

fn query(server: &Server, namespace: &str, name: &str, parameters: &Parameters) -> Result<LogQuery, Refusal> {
    let view = server.feed.current();
    let pods = pods::all(&view);
    let mut found = pods.iter().filter(|pod| pod.namespace() == namespace && pod.name == name);
    let pod = found.next().ok_or_else(|| Refusal::not_found("pods", name))?;
    Ok(LogQuery {
        uid: pod.uid,
        pod: pod.name.to_owned(),
        namespace: namespace.to_owned(),
        node: pod.node.clone(),
        container: container(pod, parameters)?,
        tail: if parameters.get("tailLines").is_some_and(|text| text == "-1") { None } else { number(parameters, "tailLines")? },
        follow: flag(parameters, "follow"),
        previous: flag(parameters, "previous"),
        since: since(parameters)?,
        timestamps: flag(parameters, "timestamps"),
    })
}

fn number<T: FromStr>(parameters: &Parameters, name: &str) -> Result<Option<T>, Refusal> {
    let refused = |text| Refusal::bad_request(format!("{name} {text:?} is no number above zero"));
    parameters.get(name).map(|text| text.parse().map_err(|_| refused(text))).transpose()
}

/// `sinceSeconds` or `sinceTime`; not both, as in Kubernetes.
fn since(parameters: &Parameters) -> Result<Option<LogSince>, Refusal> {
    let ago = number(parameters, "sinceSeconds")?.map(|seconds| LogSince::Ago(Duration::from_secs(seconds)));
    let Some(text) = parameters.get("sinceTime") else { return Ok(ago) };
    if ago.is_some() {
        return Err(Refusal::bad_request("at most one of sinceTime and sinceSeconds may be given"));
    }
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| Refusal::bad_request(format!("sinceTime {text:?} is no time as 2026-01-31T09:30:00Z (RFC 3339)")))?;
    Ok(Some(LogSince::At(Moment(u64::try_from(time.as_millisecond()).unwrap_or(0)))))
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
