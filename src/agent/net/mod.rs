//! The Service proxy: what makes a Service's stable address lead to its ready pods on this node.
//!
//! Role: for every Service that the controller sends (an [`EndpointSet`]), take in what goes to its address and ports, and carry each
//! connection to one of its ready backends. Inputs: endpoint sets, the extra addresses on which a Service is reached (at ports from
//! the ledger), and the ranges of the cluster's network. Outputs: the version in use, for the acknowledgement; the kernel's rules;
//! and what could not be opened or made, as typed [`ListenProblem`]s by Service.
//!
//! A Service's address is of one of two kinds. One of the loopback range (127.64.0.0/10) is listened on. Any other is virtual: no
//! interface has it, and the kernel turns what goes there to one port of ours (`rules`, `steer`), where the listener asks each
//! connection where it wanted to. Node ports and ports of load balancers are listened on in either case: they are the host's own.
//! `keeper` holds all of these sockets while the agent restarts; `reach` is the way to pods of other nodes, which the tunnel goes.
//!
//! Invariants:
//! - **The acknowledgement is true.** When [`Proxy::apply`] has returned, no new connection goes to a backend that is not in the
//!   set, not even one whose connect was under way: it is looked up again after the connect. That is what lets an old pod stop.
//! - Connections that are established stay with their backend until either side ends them: draining.
//! - A backend that cannot be connected to costs a retry, not a failed request: nothing has been sent yet, so another
//!   backend is tried, and the first is avoided for a second.
//! - A listener that cannot be opened is tried again until it can; it never holds back an acknowledgement, since nobody is
//!   sent anywhere by a closed port.
//! - Balancing is by least connections, ties in turn; no randomness. With `sessionAffinity` a client's first pod is drawn by its
//!   address, alike on all nodes.
//!
//! A Service without backends refuses: at a virtual address the kernel does, elsewhere we accept and reset at once (`SO_LINGER` 0);
//! closing the listener instead would let another program take the port in between.
//!
//! Deliberately absent: HTTP (this is layer 4), and the sender's address: a backend sees the proxy as its peer. Headless Services
//! have no listener.

mod clients;
pub mod dns;
pub mod host;
pub mod ingress;
pub mod keeper;
mod listen;
mod pool;
mod problem;
mod proxy;
mod reach;
mod rules;
mod shared;
mod steer;
mod tcp;
#[cfg(test)]
mod tests;
pub mod tunnel;
mod udp;

pub use problem::{ListenProblem, Listener, Problems};
pub use proxy::{ExtraAddress, Interception, Keep, Limits, Proxy, Setup};
pub use reach::{Alone, Reach, Stream, Target, receive_datagram, send_datagram};
pub use rules::Table;

#[cfg(doc)]
use crate::model::EndpointSet;
