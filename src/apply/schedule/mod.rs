//! Which node takes a pod.
//!
//! Role: [`place`] finds the node for one pod. Filters that can explain themselves come first (is the node ready, does it have the
//! runtime, the labels, the cpu and memory, the free host ports), then the choice: the node with the fewest pods of this workload,
//! among those the least allocated, among those the first by name.
//!
//! Inputs: a [`Request`], and [`Nodes`], which remembers what is already promised. Outputs: a node's name, or [`Refusals`] that say
//! how many nodes refused for what reason.
//!
//! Invariants:
//! - The answer is a function of what is reserved, not of the order in which it was: an incremental state and one that is built anew
//!   give the same answer.
//! - A reservation is never refused: pods that already run are counted even where a node has shrunk below them.
//!
//! Indexes are kept up to date with every reservation (nodes by load, nodes by label, a workload's nodes by how many of its pods they
//! have, and while one request is placed again and again, all nodes in the order of choice), so that placing costs about the logarithm
//! of the number of nodes and not its product with the number of pods: a million pods on 5,000 nodes take seconds.
//!
//! Deliberately absent: reserving. The caller records what was decided with [`Nodes::reserve`] before it places the next pod.

mod filter;
mod nodes;

pub use filter::{Refusal, Refusals};
pub use nodes::{Nodes, Request};

use crate::model::NodeName;
use nodes::Candidates;

/// A set of nodes so small that looking at each is cheaper than walking all nodes by load.
const SMALL_SET: usize = 64;

/// The node that should take one more pod.
///
/// # Errors
/// Why no node can take it: each node counts once, under the first filter that refuses it.
pub fn place(request: &Request, nodes: &Nodes) -> Result<NodeName, Refusals> {
    if let Some(Some(found)) = nodes.first_choice(request) {
        return Ok(found.clone());
    }
    for level in nodes.levels(&request.workload) {
        if let Some(found) = least_loaded(request, nodes, level) {
            return Ok(found.clone());
        }
    }
    Err(filter::explain(request, nodes))
}

/// The least loaded node that fits, among those with so many pods of the workload.
fn least_loaded<'a>(request: &Request, nodes: &'a Nodes, level: u32) -> Option<&'a NodeName> {
    let fits = |name: &NodeName| nodes.count(&request.workload, name) == level && filter::refuses(request, nodes, name).is_none();
    match nodes.candidates(request, level, SMALL_SET) {
        Candidates::Few(names) => names.into_iter().filter(|name| fits(name)).min_by_key(|name| nodes.rank(name)),
        Candidates::Many => nodes.by_load().find(|name| fits(name)),
    }
}

#[cfg(test)]
mod tests;
