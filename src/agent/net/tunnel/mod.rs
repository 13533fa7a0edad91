//! The tunnel between the nodes of a cluster: what brings the proxy's connections to pods on other nodes.
//!
//! Role: every byte from a pod on one node to a pod on another goes over a connection between the two agents, under TLS 1.3 with the
//! certificates of both nodes. Inputs: the network ([`NodeNetwork`](crate::model::NodeNetwork): who the other nodes are, and where
//! they can be dialled), the endpoints of Services, calls that the controller passes on. Outputs: streams ([`Reach`](super::reach::Reach)) and
//! what is known of each node ([`PeerStatus`]).
//!
//! A *link* is a connection over which one node opens streams to the other. It is HTTP/2, whose streams are opened by one side only;
//! so two nodes that both need something of each other have two links, and there is no question whose dial wins. Which side *dialled* is another
//! matter (see [`Path`]): a node behind NAT is reached over a connection that it dialled itself, and where neither side can dial the other, both
//! meet at the controller, which passes on what it cannot read: TLS goes from agent to agent there too.
//!
//! HTTP/2 was chosen for what it brings: flow control for each stream, half-close, resets, pings, and an implementation that is in
//! the tree and in wide use. Yamux opens streams from both sides, but its implementation for Rust reads a reset as the regular end.
//!
//! Invariants:
//! - **Only endpoints are dialled.** A stream is taken if a Service of the cluster leads to that port of that pod on this node
//!   (`admission`), and it leads to the pod's own address.
//! - **Who is removed is cut off.** When [`Tunnel::apply_network`] has returned, no stream of a node that is not in the network, or has
//!   another key, goes on, in either direction.
//! - Nothing of a stream that is refused has reached a pod, so that the proxy may try another one.
//! - The end of one direction, and a reset, reach the other side as what they are.
//! - A slow reader holds up nobody else, and what nobody reads is bounded for each link (`window`).
//! - A link that is silent for 10 s is gone; one that nobody needs is closed.
//!
//! Deliberately absent: which pod gets a connection (the proxy's), and what happens between two pods of one node.

mod admission;
mod back;
mod count;
mod course;
mod deliver;
mod dial;
mod doorman;
mod driver;
mod handle;
mod heard;
mod inbox;
mod link;
mod refusal;
mod request;
mod secure;
mod settings;
mod stream;
#[cfg(test)]
mod tests;
mod way;
mod window;

pub use course::Path;
pub use driver::LinkEnd;
pub use handle::Tunnel;
pub use refusal::Refusal;
pub use settings::{CallId, Limits, LinkStatus, PeerStatus, Relays, Timings};

use handle::Context;
