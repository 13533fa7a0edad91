//! The Service proxy: what makes a Service's stable address lead to its ready pods on this node.
//!
//! Role: for every Service that the controller sends (an [`EndpointSet`]), listen on its local address (127.64.0.0/10) and
//! ports, and carry each connection to one of its ready backends. Inputs: endpoint sets, and the extra addresses on which
//! containers reach a Service (the gateway of our bridge network, at ports from the ledger). Outputs: the version in use,
//! for the acknowledgement, and the listeners that could not be opened, as typed [`ListenProblem`]s by Service.
//!
//! Invariants:
//! - **The acknowledgement is true.** When [`Proxy::apply`] has returned, no new connection goes to a backend that is not in the
//!   set, not even one whose connect was under way: it is looked up again after the connect. That is what lets an old pod stop.
//! - Connections that are established stay with their backend until either side ends them: draining.
//! - A backend that cannot be connected to costs a retry, not a failed request: nothing has been sent yet, so another
//!   backend is tried, and the first is avoided for a second.
//! - A listener that cannot be opened is tried again until it can; it never holds back an acknowledgement, since nobody is
//!   sent anywhere by a closed port.
//! - Balancing is by least connections, ties in turn; no randomness.
//!
//! A Service without backends accepts and resets at once (`SO_LINGER` 0), which clients see as a refused service; closing
//! the listener instead would let another program take the port in between.
//!
//! Deliberately absent: DNS, other nodes (they come with the tunnel), HTTP (this is layer 4), and the sender's address: a backend
//! sees the proxy as its peer. Headless Services have no listener.

mod listen;
mod pool;
mod problem;
mod proxy;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

pub use problem::{ListenProblem, Listener, Problems};
pub use proxy::{ExtraAddress, Limits, Proxy};

#[cfg(doc)]
use crate::model::EndpointSet;
