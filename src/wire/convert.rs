//! From the nouns of `model` to the messages of the protocol, and back with every doubt as a typed error.
//!
//! Durations travel as whole milliseconds, so a shorter rest is cut off.

mod assignment;
mod endpoints;
mod ingress;
mod network;
mod observed;

use super::messages::{FromAgent, LogRequest, ToAgent, Version};
use super::proto;
use crate::model::{BootMoment, Epoch, Hello, Kind, LogSince, Moment, NodeName, ObjectKey, PodUid, Renewal, millis};
use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

pub(crate) use assignment::{assignment, assignment_to_proto, template_to_proto};

/// Why a message could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field holds what it must not. The value is not repeated: it may be secret, and is a stranger's.
    #[error("{field} is not {expected}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The pod template is not the JSON of one. Where, but not what: it may hold a secret.
    #[error("the pod template is not valid JSON of a PodTemplateSpec at column {column}")]
    Template {
        /// The column.
        column: usize,
    },
}

pub(crate) fn invalid(field: &'static str, expected: &'static str) -> ConvertError {
    ConvertError::Invalid { field, expected }
}

impl From<Version> for proto::Version {
    fn from(version: Version) -> Self {
        Self { major: version.major, minor: version.minor }
    }
}

impl From<proto::Version> for Version {
    fn from(version: proto::Version) -> Self {
        Self { major: version.major, minor: version.minor }
    }
}

pub(crate) fn uid_to_proto(uid: &PodUid) -> Vec<u8> {
    uid.0.as_bytes().to_vec()
}

pub(crate) fn uid(field: &'static str, bytes: &[u8]) -> Result<PodUid, ConvertError> {
    Uuid::from_slice(bytes).map(PodUid).map_err(|_| invalid(field, "a uid of 16 bytes"))
}

fn uids(field: &'static str, all: &[Vec<u8>]) -> Result<BTreeSet<PodUid>, ConvertError> {
    all.iter().map(|bytes| uid(field, bytes)).collect()
}

pub(crate) fn key_to_proto(key: &ObjectKey) -> proto::ObjectKey {
    proto::ObjectKey { namespace: key.namespace.clone(), kind: key.kind.as_str().to_owned(), name: key.name.clone() }
}

pub(crate) fn key(field: &'static str, key: Option<proto::ObjectKey>) -> Result<ObjectKey, ConvertError> {
    let key = key.ok_or(ConvertError::Missing(field))?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == key.kind).ok_or_else(|| invalid(field, "of a known kind"))?;
    Ok(ObjectKey { namespace: key.namespace, kind, name: key.name })
}

pub(crate) fn port(field: &'static str, port: u32) -> Result<u16, ConvertError> {
    u16::try_from(port).map_err(|_| invalid(field, "a port"))
}

/// Something that is written as text; empty text is nothing.
fn optional<T: FromStr>(field: &'static str, text: &str, expected: &'static str) -> Result<Option<T>, ConvertError> {
    if text.is_empty() { Ok(None) } else { parsed(field, text, expected).map(Some) }
}

/// Something that is written as text.
fn parsed<T: FromStr>(field: &'static str, text: &str, expected: &'static str) -> Result<T, ConvertError> {
    text.parse().map_err(|_| invalid(field, expected))
}

/// A hello as it travels, with the version that the sender speaks.
pub(crate) fn hello_to_proto(hello: &Hello, version: Version) -> proto::Hello {
    proto::Hello { version: Some(version.into()), ..observed::hello_to_proto(hello) }
}

/// Reads a hello; the version is checked by the caller before anything else of it is looked at.
pub(crate) fn hello(hello: proto::Hello) -> Result<Hello, ConvertError> {
    observed::hello(hello)
}

/// What an agent sends after its hello.
pub(crate) fn from_agent_to_proto(message: &FromAgent, version: Version) -> proto::FromAgent {
    use proto::from_agent::Message;
    let message = match message {
        FromAgent::Hello(hello) => Message::Hello(Box::new(hello_to_proto(hello, version))),
        FromAgent::Report(report) => Message::Report(Box::new(observed::report_to_proto(report))),
        FromAgent::Heartbeat { sent } => Message::Heartbeat(proto::Heartbeat { sent_ms: sent.0 }),
        FromAgent::LogChunk { id, data, end } => Message::Log(proto::LogChunk {
            id: *id,
            data: data.clone(),
            end: end.is_some(),
            error: end.as_ref().and_then(|end| end.as_ref().err().cloned()),
        }),
    };
    proto::FromAgent { message: Some(message) }
}

/// Reads what an agent says.
pub(crate) fn from_agent(message: proto::FromAgent) -> Result<FromAgent, ConvertError> {
    use proto::from_agent::Message;
    Ok(match message.message.ok_or(ConvertError::Missing("message"))? {
        Message::Hello(message) => FromAgent::Hello(Box::new(hello(*message)?)),
        Message::Report(report) => FromAgent::Report(Box::new(observed::report(*report)?)),
        Message::Heartbeat(heartbeat) => FromAgent::Heartbeat { sent: BootMoment(heartbeat.sent_ms) },
        Message::Log(chunk) => {
            FromAgent::LogChunk { id: chunk.id, data: chunk.data, end: chunk.end.then(|| chunk.error.map_or(Ok(()), Err)) }
        }
    })
}

/// What the controller sends, but for assignments, whose templates travel on their own.
pub(crate) fn to_agent_to_proto(message: &ToAgent, version: Version) -> proto::ToAgent {
    use proto::to_agent::Message;
    let message = match message {
        ToAgent::Welcome { epoch, heartbeat } => {
            Message::Welcome(proto::Welcome { version: Some(version.into()), epoch: epoch.0, heartbeat_ms: millis(*heartbeat) })
        }
        ToAgent::Assign(assignment) => Message::Assign(assignment_to_proto(assignment)),
        ToAgent::Endpoints(set) => Message::Endpoints(endpoints::to_proto(set)),
        ToAgent::Network(network) => Message::Network(network::to_proto(network)),
        ToAgent::Called { by, call } => Message::Called(proto::Called { by: by.to_string(), call: *call }),
        ToAgent::Ingress(table) => Message::Ingress(ingress::to_proto(table)),
        ToAgent::Renewed(renewal) => Message::Renewal(proto::Renewal {
            sent_ms: renewal.sent.0,
            extended: renewal.extended.iter().map(uid_to_proto).collect(),
            granted: renewal.granted.iter().map(uid_to_proto).collect(),
        }),
        ToAgent::Logs(request) => Message::Logs(proto::LogRequest {
            id: request.id,
            pod: uid_to_proto(&request.pod),
            container: request.container.clone(),
            tail: request.tail.and_then(|lines| u64::try_from(lines).ok()),
            follow: request.follow,
            previous: request.previous,
            since_ago_ms: request.since.and_then(LogSince::ago).map(millis),
            since_ms: request.since.and_then(LogSince::at).map(|at| at.0),
            timestamps: request.timestamps,
        }),
        ToAgent::CancelLogs(id) => Message::CancelLogs(proto::CancelLogs { id: *id }),
    };
    proto::ToAgent { message: Some(message) }
}

/// What the controller says, as one message of the stream; templates are gathered by the client.
pub(crate) enum Told {
    /// A template of the next assignment.
    Template(Box<crate::model::PodSnapshot>),
    /// A whole message.
    Message(ToAgent),
}

/// Reads what the controller says.
pub(crate) fn to_agent(message: proto::ToAgent) -> Result<Told, ConvertError> {
    use proto::to_agent::Message;
    Ok(Told::Message(match message.message.ok_or(ConvertError::Missing("message"))? {
        Message::Template(template) => return Ok(Told::Template(Box::new(assignment::template(template)?))),
        Message::Welcome(welcome) => {
            ToAgent::Welcome { epoch: Epoch(welcome.epoch), heartbeat: Duration::from_millis(welcome.heartbeat_ms) }
        }
        Message::Assign(message) => ToAgent::Assign(Arc::new(assignment(message)?)),
        Message::Endpoints(set) => ToAgent::Endpoints(Arc::new(endpoints::read(set)?)),
        Message::Network(network) => ToAgent::Network(Arc::new(network::read(network)?)),
        Message::Called(called) => ToAgent::Called { by: NodeName::new(called.by), call: called.call },
        Message::Ingress(table) => ToAgent::Ingress(Arc::new(ingress::read(table)?)),
        Message::Renewal(renewal) => ToAgent::Renewed(Renewal {
            sent: BootMoment(renewal.sent_ms),
            extended: uids("renewal.extended", &renewal.extended)?,
            granted: uids("renewal.granted", &renewal.granted)?,
        }),
        Message::Logs(request) => ToAgent::Logs(LogRequest {
            id: request.id,
            pod: uid("logs.pod", &request.pod)?,
            container: request.container,
            tail: request.tail.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
            follow: request.follow,
            previous: request.previous,
            since: request
                .since_ago_ms
                .map(Duration::from_millis)
                .map(LogSince::Ago)
                .or(request.since_ms.map(Moment).map(LogSince::At)),
            timestamps: request.timestamps,
        }),
        Message::CancelLogs(cancel) => ToAgent::CancelLogs(cancel.id),
    }))
}
