//! What a tunnel is told at its start, and what it says of itself.

use super::course::Path;
use crate::agent::net::reach::Stream;
use crate::model::{Moment, NodeName};
use crate::wire::RelayClient;
use futures_util::future::BoxFuture;
use std::fmt;
use std::io;
use std::time::Duration;

/// What a tunnel holds back with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Streams of one link.
    pub link_streams_max: usize,
    /// Streams to one pod, of all other nodes together.
    pub pod_streams_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { link_streams_max: 4096, pod_streams_max: 2048 }
    }
}

/// How patient a tunnel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// How often a node is asked whether it is there.
    pub ping: Duration,
    /// A link that was silent for so long is gone.
    pub silence: Duration,
    /// How long a node may take to answer a dial.
    pub dial: Duration,
    /// How long it may take to say who it is.
    pub handshake: Duration,
    /// How long a called node may take to come.
    pub call: Duration,
    /// How long a pod may take to accept a connection. It is on the same node, where that takes microseconds.
    pub connect: Duration,
    /// A node that was lost so short a time ago is waited for: its agent may be starting anew.
    pub patience: Duration,
    /// A node that left in order is waited for as long: its agent first lets the streams that are open end, and then starts anew. After 10 s
    /// the controller leads nobody there any more.
    pub leave: Duration,
    /// A link without streams for so long is closed.
    pub idle: Duration,
    /// After so long without a datagram either way, a UDP sender is forgotten.
    pub udp_idle: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            ping: seconds(3),
            silence: seconds(9),
            dial: seconds(2),
            handshake: seconds(5),
            call: seconds(10),
            connect: seconds(1),
            patience: seconds(3),
            leave: seconds(10),
            idle: seconds(300),
            udp_idle: seconds(60),
        }
    }
}

/// A call: what pairs the two nodes that meet at the relay. The controller chooses it, and only the called node learns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// The controller, where two nodes can meet.
pub trait Relays: Send + Sync + fmt::Debug {
    /// Has a node called, and waits until it comes. Dropping the future hangs up.
    ///
    /// # Errors
    /// It cannot be called, or does not come.
    fn call<'a>(&'a self, peer: &'a NodeName) -> BoxFuture<'a, io::Result<Box<dyn Stream>>>;

    /// Comes to the relay because of a call.
    ///
    /// # Errors
    /// The caller has hung up.
    fn answer(&self, call: CallId) -> BoxFuture<'_, io::Result<Box<dyn Stream>>>;
}

/// The link to a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkStatus {
    /// How the node is reached; `None` if there is no link, which is no fault where nobody needs one.
    pub path: Option<Path>,
    /// Since when.
    pub since: Option<Moment>,
    /// Open streams.
    pub streams: usize,
    /// Bytes that came over the link.
    pub bytes_received: u64,
    /// Bytes that went over it.
    pub bytes_sent: u64,
    /// Why there is none although one is needed.
    pub error: Option<String>,
}

/// What there is between this node and another one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerStatus {
    /// Over which this node opens streams.
    pub link: LinkStatus,
    /// Connections that the other node dialled to open streams.
    pub served: usize,
}

impl Relays for RelayClient {
    fn call<'a>(&'a self, peer: &'a NodeName) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move { Ok(Box::new(RelayClient::call(self, peer).await?) as Box<dyn Stream>) })
    }

    fn answer(&self, call: CallId) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move { Ok(Box::new(RelayClient::answer(self, call.0).await?) as Box<dyn Stream>) })
    }
}
