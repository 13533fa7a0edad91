//! Answers the calls of a node that cannot dial this one: dials back, and stays within reach from then on, or comes to the relay.

use super::course::HEAL;
use super::dial::dial;
use super::driver::LinkEnd;
use super::secure::Opener;
use super::{CallId, Context};
use crate::clock;
use crate::model::{Moment, NodeName, Peer};
use crate::wire::jitter;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsStream;
use tokio_util::sync::CancellationToken;

/// The pause after the first connection that was lost, or could not be made again.
const PAUSE: Duration = Duration::from_millis(500);

/// Calls that wait. A node calls again if it must.
const CALLS_MAX: usize = 4;

/// Where nothing is due.
const FAR: Duration = Duration::from_secs(3600);

/// The handle: whoever has it passes on the calls of one node.
#[derive(Debug)]
pub(super) struct Back {
    calls: mpsc::Sender<CallId>,
    peer: watch::Sender<Peer>,
}

impl Back {
    /// Answers the calls of `name`, until `cut`. Must be called within tokio.
    pub(super) fn new(name: NodeName, peer: &Peer, context: Arc<Context>, cut: CancellationToken) -> Self {
        let (calls, called) = mpsc::channel(CALLS_MAX);
        let (peer_told, peer) = watch::channel(peer.clone());
        let task = Task { name, context, cut: cut.clone(), peer, failures: 0, next: None };
        tokio::spawn(async move {
            tokio::select! {
                () = task.run(called) => {}
                () = cut.cancelled() => {}
            }
        });
        Self { calls, peer: peer_told }
    }

    /// The node calls.
    pub(super) fn call(&self, id: CallId) {
        if self.calls.try_send(id).is_err() {
            tracing::debug!("a call was not answered: too many wait");
        }
    }

    /// What is known of the node from now on.
    pub(super) fn update(&self, peer: &Peer) {
        self.peer.send_replace(peer.clone());
    }
}

struct Task {
    name: NodeName,
    context: Arc<Context>,
    cut: CancellationToken,
    peer: watch::Receiver<Peer>,
    failures: u32,
    /// When to dial back without being called.
    next: Option<Moment>,
}

impl Task {
    async fn run(mut self, mut called: mpsc::Receiver<CallId>) {
        // What ended: a connection that was dialled back, or a relayed one.
        let (mut reversed, mut relayed) = (JoinSet::new(), JoinSet::new());
        loop {
            let pause = self.next.map_or(FAR, |next| next.since(clock::now()));
            tokio::select! {
                call = called.recv() => {
                    let Some(call) = call else { return };
                    // A node that could not be dialled a moment ago is met at the relay without delay.
                    if (self.failures > 0 && self.is_waiting()) || !self.dial_back(&mut reversed).await {
                        relayed.spawn(meet(self.name.clone(), call, Arc::clone(&self.context), self.cut.clone()));
                    }
                }
                () = sleep(pause) => drop(self.dial_back(&mut reversed).await),
                Some(ended) = reversed.join_next() => match ended {
                    Ok(LinkEnd::Closed) => self.next = None,
                    Ok(LinkEnd::Silent(_) | LinkEnd::Broken(_) | LinkEnd::CutOff) | Err(_) => self.next = Some(clock::now() + jitter(PAUSE)),
                },
                Some(_) = relayed.join_next() => {
                    // Nobody is met at the relay: nobody is to be dialled instead.
                    if relayed.is_empty() && reversed.is_empty() {
                        self.next = None;
                    }
                }
            }
        }
    }

    fn is_waiting(&self) -> bool {
        self.next.is_some_and(|next| next > clock::now())
    }

    /// Whether the node could be dialled; it is served then.
    async fn dial_back(&mut self, reversed: &mut JoinSet<LinkEnd>) -> bool {
        match self.dial().await {
            Ok(stream) => {
                let (doorman, name, cut) = (Arc::clone(&self.context.doorman), self.name.clone(), self.cut.clone());
                reversed.spawn(async move { doorman.serve(stream, &name, &cut).await });
                (self.failures, self.next) = (0, None);
                true
            }
            Err(error) => {
                tracing::debug!(peer = %self.name, "the node cannot be dialled back: {error}");
                let pause = PAUSE.saturating_mul(1 << self.failures.min(10)).min(HEAL);
                self.failures += 1;
                self.next = Some(clock::now() + jitter(pause));
                false
            }
        }
    }

    async fn dial(&self) -> io::Result<TlsStream<TcpStream>> {
        let addresses = self.peer.borrow().addresses.clone();
        let timings = self.context.timings;
        let stream = dial(&addresses, timings.dial).await?;
        let greeted = self.context.security.greet(stream, &self.name, Opener::Dialled);
        timeout(timings.handshake, greeted).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

/// Meets the node at the relay, and serves it.
async fn meet(name: NodeName, call: CallId, context: Arc<Context>, cut: CancellationToken) {
    let timings = context.timings;
    let hear = async {
        let relays = context.relays.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let stream = relays.answer(call).await?;
        context.security.hear(stream).await
    };
    match timeout(timings.call, hear).await {
        Ok(Ok((stream, peer, Opener::Dialling))) if peer == name => {
            let end = Arc::clone(&context.doorman).serve(stream, &name, &cut).await;
            tracing::debug!(peer = %name, "a relayed link is gone: {end}");
        }
        Ok(Ok((_, peer, _))) => tracing::warn!(%peer, "not node {name} came to the relay; it was not served"),
        Ok(Err(error)) => tracing::debug!(peer = %name, "a call could not be answered: {error}"),
        Err(_) => tracing::debug!(peer = %name, "a call could not be answered in time"),
    }
}
