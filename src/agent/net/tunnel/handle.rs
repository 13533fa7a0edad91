//! The tunnel of one node: all its ways, and the door.

use super::back::Back;
use super::count::Count;
use super::doorman::Doorman;
use super::link::{Link, NotOpened};
use super::secure::{Opener, Security};
use super::way::Way;
use super::{CallId, Limits, LinkStatus, Path, PeerStatus, Relays, Timings};
use crate::agent::net::reach::{Reach, Stream, Target};
use crate::model::{EndpointSet, NodeName, NodeNetwork, Peer};
use crate::trust::{KnownKeys, NodeIdentity, TrustError};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsStream;
use tokio_util::sync::CancellationToken;

/// Those who come in and have not said who they are.
const STRANGERS_MAX: usize = 64;

/// Connections over which one node may open streams to this one. One is in use; others end with their last streams.
const SERVED_MAX: usize = 16;

/// Pause when the process is out of file descriptors.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// What the parts of a tunnel share.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) security: Security,
    keys: KnownKeys,
    pub(super) relays: Option<Arc<dyn Relays>>,
    pub(super) doorman: Arc<Doorman>,
    pub(super) limits: Limits,
    pub(super) timings: Timings,
    /// Counts the changes of what [`Tunnel::peers`] says.
    pub(super) changes: watch::Sender<u64>,
}

/// The tunnel between this node and the others. Clones are handles of the same.
#[derive(Debug, Clone)]
pub struct Tunnel {
    context: Arc<Context>,
    peers: Arc<Mutex<BTreeMap<NodeName, Standing>>>,
}

/// A node of the cluster, and what there is between it and this one.
#[derive(Debug)]
struct Standing {
    peer: Peer,
    way: Option<Way>,
    back: Option<Back>,
    served: Count,
    cut: CancellationToken,
    /// Somebody wanted to reach it, and it has no certificate.
    is_missed: bool,
}

/// What to do about a node that has no certificate.
const NO_CERTIFICATE: &str =
    "its agent has no certificate: it must join with a token (--controller HOST:7781), as on any other host";

impl Drop for Standing {
    fn drop(&mut self) {
        self.cut.cancel();
    }
}

impl Standing {
    fn new(peer: &Peer) -> Self {
        Self {
            peer: peer.clone(),
            way: None,
            back: None,
            served: Count::default(),
            cut: CancellationToken::new(),
            is_missed: false,
        }
    }

    fn way(&mut self, name: &NodeName, context: &Arc<Context>) -> &Way {
        self.way.get_or_insert_with(|| Way::new(name.clone(), &self.peer, Arc::clone(context), self.cut.clone()))
    }

    fn back(&mut self, name: &NodeName, context: &Arc<Context>) -> &Back {
        self.back.get_or_insert_with(|| Back::new(name.clone(), &self.peer, Arc::clone(context), self.cut.clone()))
    }

    fn update(&mut self, peer: &Peer) {
        self.peer = peer.clone();
        if let Some(way) = &self.way {
            way.update(peer);
        }
        if let Some(back) = &self.back {
            back.update(peer);
        }
    }
}

impl Tunnel {
    /// The tunnel of `node`, which no other node is in yet. `relays` is how the controller is asked to call a node that cannot be dialled.
    ///
    /// # Errors
    /// The identity is unusable.
    pub fn new(
        node: NodeName,
        identity: &NodeIdentity,
        relays: Option<Arc<dyn Relays>>,
        limits: Limits,
        timings: Timings,
    ) -> Result<Self, TrustError> {
        let doorman = Arc::new(Doorman::new(node, limits, timings));
        let keys = KnownKeys::default();
        let security = Security::new(identity.client_config(keys.clone())?, identity.server_config(keys.clone())?);
        let context = Context { security, keys, relays, doorman, limits, timings, changes: watch::Sender::default() };
        Ok(Self { context: Arc::new(context), peers: Arc::default() })
    }

    /// Brings the network into force. On return, a node that is not in it, or has another key than before, is cut off: its connections
    /// are on their way down, and none comes up. Must be called within tokio.
    pub fn apply_network(&self, network: &NodeNetwork) {
        let keys = network.peers.iter().filter_map(|(name, peer)| Some((name.clone(), peer.key.clone()?)));
        // First nobody else comes in, then those who are in go.
        self.context.keys.set(keys.collect());
        let mut peers = self.lock();
        peers.retain(|name, standing| network.peers.get(name).is_some_and(|peer| peer.key == standing.peer.key));
        for (name, peer) in &network.peers {
            peers.entry(name.clone()).or_insert_with(|| Standing::new(peer)).update(peer);
        }
        drop(peers);
        self.context.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Brings a set of endpoints into force: what may be dialled from other nodes.
    pub fn apply_endpoints(&self, set: &EndpointSet) {
        self.context.doorman.apply(set);
    }

    /// Takes connections of other nodes until the future is dropped.
    pub async fn listen(&self, listener: TcpListener) {
        let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&strangers).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let tunnel = self.clone();
                    tokio::spawn(async move { tunnel.hear(stream, permit).await });
                }
                Err(error) => {
                    tracing::debug!("a connection of a node could not be accepted: {error}");
                    sleep(EXHAUSTED).await;
                }
            }
        }
    }

    /// Takes no more streams of other nodes, and waits until those that are open have ended, for so long.
    pub async fn leave(&self, within: Duration) {
        if timeout(within, self.context.doorman.leave()).await.is_err() {
            tracing::debug!("streams of other nodes were open at the end");
        }
    }

    /// A node that cannot dial this one has the controller call it.
    pub fn called(&self, by: &NodeName, call: CallId) {
        match self.lock().get_mut(by) {
            Some(standing) => standing.back(by, &self.context).call(call),
            None => tracing::debug!(peer = %by, "a call of a node that is not in the network was not answered"),
        }
    }

    /// How it stands with every node that there was something with.
    #[must_use]
    pub fn peers(&self) -> BTreeMap<NodeName, PeerStatus> {
        let peers = self.lock();
        let status = |standing: &Standing| PeerStatus {
            link: match &standing.way {
                Some(way) => way.status(),
                None => LinkStatus { error: standing.is_missed.then(|| NO_CERTIFICATE.to_owned()), ..LinkStatus::default() },
            },
            served: standing.served.now(),
        };
        peers.iter().map(|(name, standing)| (name.clone(), status(standing))).collect()
    }

    /// Hears when [`Self::peers`] says something else.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.context.changes.subscribe()
    }

    async fn hear(&self, stream: TcpStream, stranger: OwnedSemaphorePermit) {
        let from = stream.peer_addr();
        // Where this fails the connection is gone already.
        let _ = stream.set_nodelay(true);
        let heard = match timeout(self.context.timings.handshake, self.context.security.hear(stream)).await {
            Ok(Ok(heard)) => heard,
            Ok(Err(error)) => {
                tracing::debug!(?from, "a connection was refused: {error}");
                return;
            }
            Err(_) => return,
        };
        drop(stranger);
        let (stream, peer, opener) = heard;
        match opener {
            Opener::Dialling => self.serve(stream, &peer).await,
            Opener::Dialled => self.take_reversed(stream, &peer).await,
        }
    }

    /// Takes the streams of a node that dialled.
    async fn serve(&self, stream: TlsStream<TcpStream>, peer: &NodeName) {
        let (permit, cut) = {
            let peers = self.lock();
            let Some(standing) = peers.get(peer) else { return };
            (standing.served.add(SERVED_MAX), standing.cut.clone())
        };
        let Some(_permit) = permit else {
            tracing::warn!(%peer, "a connection was refused: the node has {SERVED_MAX} already");
            return;
        };
        let end = Arc::clone(&self.context.doorman).serve(stream, peer, &cut).await;
        tracing::debug!(%peer, "a connection is over: {end}");
    }

    /// Takes a connection over which this node may open streams.
    async fn take_reversed(&self, stream: TlsStream<TcpStream>, peer: &NodeName) {
        let Some(cut) = self.lock().get(peer).map(|standing| standing.cut.clone()) else { return };
        match Link::new(stream, Path::Reversed, self.context.limits, self.context.timings, cut).await {
            Ok(link) => {
                if let Some(standing) = self.lock().get_mut(peer) {
                    standing.way(peer, &self.context).offer(link);
                }
            }
            Err(error) => tracing::debug!(%peer, "a connection could not be used: {error}"),
        }
    }

    /// A link to a node: the one in use, or a new one.
    async fn link(&self, peer: &NodeName) -> io::Result<Arc<Link>> {
        let answer = {
            let mut peers = self.lock();
            let unknown =
                || io::Error::new(io::ErrorKind::HostUnreachable, format!("node {peer} is not in the network of this one"));
            let standing = peers.get_mut(peer).ok_or_else(unknown)?;
            if standing.peer.key.is_none() {
                standing.is_missed = true;
                drop(peers);
                self.context.changes.send_modify(|count| *count = count.wrapping_add(1));
                return Err(io::Error::new(
                    io::ErrorKind::HostUnreachable,
                    format!("node {peer} cannot be reached: {NO_CERTIFICATE}"),
                ));
            }
            let way = standing.way(peer, &self.context);
            if let Some(link) = way.present() {
                return Ok(link);
            }
            way.ask().ok_or(io::ErrorKind::QuotaExceeded)?
        };
        // No answer comes where the node is cut off.
        answer.await.map_err(|_| io::Error::from(io::ErrorKind::HostUnreachable))?
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeName, Standing>> {
        // Every state in between is whole enough to go on from.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reach for Tunnel {
    fn dial<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            // A link may end between being looked at and being used: once more, on a new one.
            let mut once_more = true;
            loop {
                let link = self.link(&target.node).await?;
                match link.open(target).await {
                    Ok(stream) => return Ok(Box::new(stream) as Box<dyn Stream>),
                    Err(NotOpened::Lost(_)) if once_more => once_more = false,
                    Err(NotOpened::Lost(kind)) => return Err(kind.into()),
                    Err(NotOpened::Refused(refusal)) => {
                        let message = format!("node {} refused {target}: {refusal}", target.node);
                        return Err(io::Error::new(refusal.kind(), message));
                    }
                }
            }
        })
    }
}
