//! Logs that travel over a link: who asked, and what has arrived.

use super::messages::ToAgent;
use super::server::Link;
use bytes::Bytes;
use futures_util::Stream;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// A reader that is further behind than this is cut off: a slow reader must not hold up the link, nor fill the memory.
const BEHIND_BYTES_MAX: usize = 16 * 1024 * 1024;

/// At most so many readers per link.
const READERS_MAX: usize = 64;

/// Why logs end early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The agent's words.
    #[error("{0}")]
    Agent(String),
    /// The link is gone.
    #[error("the connection to the node was lost")]
    Lost,
    /// The reader is too slow.
    #[error("the reader fell too far behind; ask for fewer lines (--tail)")]
    Behind,
    /// Too many readers.
    #[error("{READERS_MAX} readers follow logs of this node already")]
    TooMany,
}

/// The readers of one link.
#[derive(Debug, Default)]
pub(super) struct LogDesk {
    readers: Mutex<Readers>,
}

#[derive(Debug, Default)]
struct Readers {
    last_id: u64,
    open: BTreeMap<u64, Reader>,
    closed: bool,
}

#[derive(Debug)]
struct Reader {
    chunks: mpsc::UnboundedSender<Result<Bytes, LogError>>,
    /// Bytes that arrived and were not read.
    behind: Arc<AtomicUsize>,
}

impl LogDesk {
    /// Adds a reader; its id and its stream.
    pub(super) fn open(&self, link: Link) -> Result<(u64, LogStream), LogError> {
        let mut readers = self.lock();
        if readers.closed {
            return Err(LogError::Lost);
        }
        if readers.open.len() >= READERS_MAX {
            return Err(LogError::TooMany);
        }
        readers.last_id += 1;
        let id = readers.last_id;
        let (sender, chunks) = mpsc::unbounded_channel();
        let behind = Arc::new(AtomicUsize::new(0));
        readers.open.insert(id, Reader { chunks: sender, behind: Arc::clone(&behind) });
        Ok((id, LogStream { id, chunks, behind, link }))
    }

    /// Hands a chunk to its reader. False if there is none (any more), so that the agent can be told to stop.
    pub(super) fn deliver(&self, id: u64, data: Bytes, end: Option<Result<(), String>>) -> bool {
        let mut readers = self.lock();
        let Some(reader) = readers.open.get(&id) else { return end.is_some() };
        let behind = reader.behind.fetch_add(data.len(), Ordering::Relaxed) + data.len();
        let too_slow = behind > BEHIND_BYTES_MAX;
        let last = if too_slow { Some(LogError::Behind) } else { end.clone().and_then(Result::err).map(LogError::Agent) };
        let mut heard = too_slow || data.is_empty() || reader.chunks.send(Ok(data)).is_ok();
        if let Some(error) = last {
            heard &= reader.chunks.send(Err(error)).is_ok();
        }
        let over = end.is_some();
        if over || too_slow || !heard {
            readers.open.remove(&id);
        }
        over || (heard && !too_slow)
    }

    /// Ends every reader: the link is lost.
    pub(super) fn close(&self) {
        let mut readers = self.lock();
        readers.closed = true;
        for (_, reader) in std::mem::take(&mut readers.open) {
            // A reader that has gone away needs no word.
            let _ = reader.chunks.send(Err(LogError::Lost));
        }
    }

    fn remove(&self, id: u64) -> bool {
        self.lock().open.remove(&id).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs as they arrive. Dropping it tells the agent to stop.
#[derive(Debug)]
pub struct LogStream {
    id: u64,
    chunks: mpsc::UnboundedReceiver<Result<Bytes, LogError>>,
    behind: Arc<AtomicUsize>,
    link: Link,
}

impl Stream for LogStream {
    type Item = Result<Bytes, LogError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = self.chunks.poll_recv(cx);
        if let Poll::Ready(Some(Ok(data))) = &item {
            self.behind.fetch_sub(data.len(), Ordering::Relaxed);
        }
        item
    }
}

impl Drop for LogStream {
    fn drop(&mut self) {
        if self.link.log_desk().remove(self.id) {
            self.link.send(ToAgent::CancelLogs(self.id));
        }
    }
}
