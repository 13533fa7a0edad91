//! The agents' links: where to answer a node, and where its logs are.

use crate::model::NodeName;
use crate::status::{LogError, LogQuery, LogSource, LogStream};
use crate::wire::server::{Link, LinkId};
use crate::wire::{self, LogRequest, ToAgent};
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt, ready};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The newest link of each node.
#[derive(Debug, Default)]
pub struct Links {
    by_node: Mutex<BTreeMap<NodeName, Link>>,
}

impl Links {
    /// No links yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on `node` is reached by `link`.
    pub(super) fn open(&self, node: NodeName, link: Link) {
        self.lock().insert(node, link);
    }

    /// Forgets a link; false if a newer one has taken its place.
    pub(super) fn close(&self, node: &NodeName, link: LinkId) -> bool {
        let mut links = self.lock();
        let current = links.get(node).is_some_and(|open| open.id() == link);
        if current {
            links.remove(node);
        }
        current
    }

    /// Whether `link` is the newest of its node.
    pub(super) fn is_current(&self, node: &NodeName, link: LinkId) -> bool {
        self.lock().get(node).is_some_and(|open| open.id() == link)
    }

    /// Sends to a node. One that is away hears the newest of it all after its next hello.
    pub(super) fn send(&self, node: &NodeName, message: ToAgent) {
        if let Some(link) = self.lock().get(node) {
            link.send(message);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeName, Link>> {
        self.by_node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_log(&self, query: LogQuery) -> Result<LogStream, LogError> {
        let link = self.lock().get(&query.node).cloned();
        let link = link.ok_or(LogError::NodeAway(query.node))?;
        let request = LogRequest {
            id: 0,
            pod: query.uid,
            container: query.container,
            tail: query.tail,
            follow: query.follow,
            previous: query.previous,
            since: query.since,
            timestamps: query.timestamps,
        };
        let stream = link.logs(request).map_err(in_words_of_status)?;
        Ok(stream.map(|chunk| chunk.map_err(in_words_of_status)).boxed())
    }
}

impl LogSource for Links {
    fn logs(&self, query: LogQuery) -> BoxFuture<'_, Result<LogStream, LogError>> {
        ready(self.open_log(query)).boxed()
    }
}

fn in_words_of_status(error: wire::LogError) -> LogError {
    match error {
        wire::LogError::Agent(words) => LogError::NotFound(words),
        wire::LogError::TooMany => LogError::Busy(error.to_string()),
        wire::LogError::Lost | wire::LogError::Behind => LogError::BrokeOff(error.to_string()),
    }
}
