//! Where pod logs come from: a trait, because only the controller's shell knows how to ask an agent.

use crate::model::{LogSince, NodeName, PodUid};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

/// The trailer that says why a log broke off, for clients that take trailers.
pub const LOG_ERROR: &str = "driftless-log-error";

/// Which log is wanted. The pod has been looked up: it is in the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// The pod.
    pub uid: PodUid,
    /// Its name.
    pub pod: String,
    /// Its namespace.
    pub namespace: String,
    /// The node whose agent has the log.
    pub node: NodeName,
    /// The container; `None` for the pod's only (or first) one.
    pub container: Option<String>,
    /// So many lines from the end; `None` for all that is kept.
    pub tail: Option<usize>,
    /// Stay and send what is written from now on.
    pub follow: bool,
    /// The log of the run before the last restart.
    pub previous: bool,
    /// Only lines that were written later.
    pub since: Option<LogSince>,
    /// Whether each line begins with the time when it was written.
    pub timestamps: bool,
}

/// The chunks of a log. An error ends it.
pub type LogStream = BoxStream<'static, Result<Bytes, LogError>>;

/// Gives out logs.
pub trait LogSource: Send + Sync + 'static {
    /// Opens a log. Dropping the stream ends it.
    ///
    /// # Errors
    /// Why there is none, found before the first byte.
    fn logs(&self, query: LogQuery) -> BoxFuture<'_, Result<LogStream, LogError>>;
}

/// Why a log cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The agent is not connected.
    #[error("node {0} is not connected, and the log is on its disk: try again when its agent is back")]
    NodeAway(NodeName),
    /// There is no such container or no such run.
    #[error("{0}")]
    NotFound(String),
    /// Too many read already.
    #[error("{0}")]
    Busy(String),
    /// It was cut off, with the reason.
    #[error("the log breaks off: {0}")]
    BrokeOff(String),
}
