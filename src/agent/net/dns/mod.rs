//! DNS: the names of the cluster for the pods of this node and for the host, and everything else from the host's own resolvers.
//!
//! Role: answer on the gateway of the bridge that pods are on, and on a loopback address for host processes. Inputs: the network
//! that the nodes make together, and endpoint sets, as the proxy has them (so names are answered from the ledger while
//! the controller is away); the host's resolvers. Outputs: answers, and the addresses that could not be opened, as typed
//! [`ListenProblem`]s. `zone` and `message` are pure: from sets to records, and from the bytes of a question to those of its answer.
//!
//! Invariants:
//! - **Never a public resolver.** Only the host itself and the pods of this node are answered, whatever arrives at the socket.
//! - An answer by UDP has at most 1232 bytes (512 without EDNS); the rest is for TCP. `ANY` and transfers are refused.
//! - What waits for others is bounded for each client and in all, and so are connections; beyond that the answer is `SERVFAIL` at once.
//! - A name of the cluster is never asked of others, nor is the reverse name of one of its addresses.
//! - When [`Names::take_set`] has returned, nobody is told of a pod that the set has not, but from memory (`zone`'s 5 s).
//!
//! Deliberately absent: hickory-server. Its sockets spawn a task for every datagram and take in any number of connections, so
//! that one pod could use up the agent's memory and file descriptors; hickory's messages and its resolver are used as they are. DNSSEC,
//! transfers, dynamic updates, and pod names of other clusters are absent too.

mod limits;
mod link;
mod listen;
mod message;
mod names;
mod resolvers;
#[cfg(test)]
mod samples;
mod server;
#[cfg(test)]
mod tests;
mod upstream;
mod zone;

pub use listen::NameProblems;
pub use names::{NameLimits, Names, NamesSettings};
pub use upstream::Resolvers;

#[cfg(doc)]
use super::ListenProblem;
