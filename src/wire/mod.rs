//! The protocol between a controller and its agents.
//!
//! Role: one gRPC stream per agent, dialled by the agent, over any stream of bytes: memory ([`local`]) for `up`, a unix socket
//! ([`unix`]) for two processes, TLS between hosts ([`Gate`], [`Dialer`]). In: [`ToAgent`] from the controller, [`FromAgent`] from agents. Out:
//! the same at the other end.
//!
//! Invariants:
//! - The first words are hello (who, and the echo of the ledger) and welcome (epoch, how often to be heard). Peers one minor
//!   version apart understand each other; others are told so and refused.
//! - Queues are bounded by the size of the state, not by time: an assignment (network, renewal) takes the place of an unsent older one, endpoints
//!   that of the same Service, reports are merged. So a slow peer costs freshness, never memory or another peer.
//! - A template travels only if the agent is not known to hold it: from its hello, or from the last assignment sent.
//! - A silent link is lost after [`SILENCE`]; HTTP/2 pings find a dead peer in the same time. The newest connection of a node
//!   wins over an older one.
//! - After a reconnect the hello holds the whole state, so nothing but events and ends of pods is sent again.
//!
//! - Over TLS the peer is known before anything that it says is read: an agent speaks for the node of its certificate only, and whoever
//!   has none may ask to join and nothing else. A node that is struck off the roll is cut off at once.
//! - Two nodes of which neither can dial the other meet at the relay (`relay`), where the controller carries what it cannot read.
//! - A certificate is renewed over a connection of its own; the stream stays.
//!
//! Deliberately absent: decisions (who may join, too), keys and certificates themselves (`trust` has them), and any call from the
//! controller to an agent.

pub mod client;
mod convert;
mod enrolment;
mod held;
mod io;
mod logs;
mod messages;
mod outbox;
mod proto;
mod relay;
mod renewal;
pub mod server;
#[cfg(test)]
mod tests;
mod tls;

pub(crate) use client::jitter;
pub use convert::ConvertError;
pub use enrolment::{Applicant, JoinAnswer, JoinAsk, JoinError};
pub use io::{Caller, Connector, Incoming, Io, SocketGuard, WireAddress, local, unix};
pub use logs::{LogError, LogStream};
pub use messages::{FromAgent, LogRequest, ToAgent, Version};
pub use relay::RelayClient;
pub use renewal::keep_fresh;
pub use tls::{Dialer, Gate, GateSettings, bind};

use std::time::Duration;

/// The version of the protocol that this build speaks.
pub const PROTOCOL: Version = Version { major: 1, minor: 1 };

/// How often a controller wants to hear from an agent, unless set otherwise.
pub const HEARTBEAT: Duration = Duration::from_secs(3);

/// After so long without a word a link is lost.
pub const SILENCE: Duration = Duration::from_secs(10);

/// No message is larger. A ConfigMap has at most 1 MiB (a limit of Kubernetes), and templates travel one by one.
pub(crate) const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What can go wrong with a link.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The socket cannot be made or reached.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// Another process listens there.
    #[error("another controller listens on {0}")]
    InUse(String),
    /// The address is none that this version can dial.
    #[error("{0}")]
    Address(String),
    /// The connection failed.
    #[error("the connection failed")]
    Transport(#[from] tonic::transport::Error),
    /// The peer refused or ended the stream: its words.
    #[error("{0}")]
    Refused(String),
    /// The peer said something that we do not understand.
    #[error("a message could not be read")]
    Convert(#[from] ConvertError),
    /// The peer ended the stream.
    #[error("the controller closed the connection")]
    Closed,
}
