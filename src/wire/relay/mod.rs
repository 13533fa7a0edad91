//! The relay: where two nodes meet of which neither can dial the other.
//!
//! A node *calls* another one, and the controller tells that one over its stream. It *answers* with the number of the call, and from then
//! on the controller hands to each what the other says. What they say is their own TLS: the controller carries what it cannot read, and
//! each of them verifies the other.
//!
//! Invariants: both are nodes that the roll lets in, and are cut off when it no longer does; only the node that was called can answer;
//! pairs are bounded in number ([`PAIRS_MAX`], [`NODE_PAIRS_MAX`]) and in speed ([`BYTES_PER_SECOND`]), so that a relay that is
//! used never starves what the controller is there for. Deliberately absent: any look at what is carried.

mod bucket;
mod desk;
mod leg;

pub(super) use desk::RelayDesk;
pub use leg::RelayClient;

use std::time::Duration;

/// Pairs of nodes at a time.
const PAIRS_MAX: usize = 256;

/// Of which one node is in.
const NODE_PAIRS_MAX: usize = 32;

/// Bytes in a second that are carried for one pair, both directions together.
const BYTES_PER_SECOND: u32 = 8 * 1024 * 1024;

/// Bytes that are carried at a time.
const PIECE: usize = 32 * 1024;

/// How long a node may take to answer a call.
const ANSWER: Duration = Duration::from_secs(15);

/// How long a connection may take to say what it wants.
const FIRST_WORD: Duration = Duration::from_secs(5);
