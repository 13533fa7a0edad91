//! Ingress: HTTP and HTTPS from outside to Services, on nodes that are started with `--ingress`.
//!
//! Role: of each request find the rule (`router`), then a ready pod of its Service, and carry request and answer between them
//! (`forward`). Inputs: the table that the controller makes of all Ingresses ([`IngressTable`]), the pods that the Service proxy
//! follows ([`super::Proxy`]), requests of anybody. Outputs: requests to pods, answers to clients. It does
//! not listen before it has a table, so that a restart of the agent costs no request an answer of nothing.
//!
//! Invariants:
//! - **The acknowledgement is true.** Backends are those of the Service proxy, looked at again after the connection is there: once it
//!   has taken a set over, no request begins at a pod outside of it, not even on a connection that was kept.
//! - **Nothing is done twice.** A request goes to a second backend only if no byte of it was sent, or as the RFCs allow (see `forward`).
//! - **Bodies stream.** A slow receiver slows the sender down; nothing is held as a whole. An answer that breaks off in the middle breaks
//!   off for the client too.
//! - What a client says about where it comes from is not believed, unless it is a trusted proxy (`headers`).
//! - No path leads out of a prefix rule, and no message has two readings: framing is hyper's, which refuses what is doubtful.
//! - A new table, with new certificates or rules, is in force for the next request (or handshake); none is cut off by it.
//! - A client learns nothing of what is behind us from an answer of ours.
//!
//! Deliberately absent: TLS to backends, HTTP/3, WebSocket over HTTP/2, caching, compression, sticky sessions, access logs, and the
//! annotations of other controllers, but for those in docs/ingress.md.

mod answer;
mod body;
mod certificates;
mod connections;
mod forward;
mod headers;
mod listen;
mod router;
mod server;
#[cfg(test)]
mod tests;

pub use server::{Ingress, IngressLimits, IngressSettings};

#[cfg(doc)]
use crate::model::IngressTable;
