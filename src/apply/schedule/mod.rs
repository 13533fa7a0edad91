//! Which node takes a pod.
//!
//! Role: [`place`] finds the node for one pod. Filters that can explain themselves come first (is the node ready, does it have the
//! runtime, does it keep the pod away by a cordon or a taint, the labels, the free host ports, the other pods near it, the cpu and
//! memory), then the choice: the node that the pod dislikes least, among those the one with the fewest pods of this workload, among
//! those the least allocated, among those the first by name. [`matches()`] asks the filters of one node, capacity aside. [`preempt`]
//! finds room where lower pods stand in the way.
//!
//! Inputs: a [`Request`], and [`Nodes`], which remembers what is already promised. Outputs: a node's name, or [`Refusals`] that say
//! how many nodes refused for what reason.
//!
//! Rules and words are Kubernetes' own (node affinity, pod affinity and anti-affinity, topology spread, taints). What differs: a
//! preference is a sum of weights over matching pods, and goes before the spread of the workload, where Kubernetes scales each plugin's
//! score to 100 and adds them up; preferences of pods that run already are not weighed; a pod on its way out counts until it is gone.
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
mod groups;
mod nodes;
mod outlook;
mod preempt;
mod refusal;
mod request;
mod streak;

pub use nodes::Nodes;
pub use preempt::{Preemption, Resident, preempt};
pub use refusal::{Refusal, Refusals};
pub use request::{HostPort, Namespaces, Profile, Request, Rules};

use crate::model::NodeName;
use nodes::Candidates;
use outlook::Sight;
use streak::Streak;

/// A set of nodes so small that looking at each is cheaper than walking all nodes by load.
const SMALL_SET: usize = 64;

/// The node that should take one more pod. What is learnt about the request is kept in `nodes` for the next one like it.
///
/// # Errors
/// Why no node can take it: each node counts once, under the first filter that refuses it.
pub fn place(request: &Request, nodes: &mut Nodes) -> Result<NodeName, Refusals> {
    let mut streak = std::mem::take(&mut nodes.streak);
    if !streak.is_for(request) {
        streak = Streak::start(request, nodes);
    }
    streak.settle(nodes);
    let found = match streak.first_choice(nodes) {
        Some(choice) => choice,
        None => search(request, nodes, &mut streak),
    };
    let answer = found.ok_or_else(|| filter::explain(request, nodes, &streak.outlook));
    nodes.streak = streak;
    answer
}

/// Whether a pod of this kind belongs on a node, its capacity, its readiness and other pods aside: `None` if it does.
#[must_use]
pub fn matches(request: &Request, nodes: &Nodes, name: &NodeName) -> Option<Refusal> {
    let Some(offer) = nodes.get(name).and_then(|node| node.offer.as_ref()) else { return Some(Refusal::NotReady) };
    filter::mismatch(request, offer, name)
}

/// Looks at nodes one by one, those with the fewest pods of the workload first. Only for a pod that likes all nodes alike.
fn search(request: &Request, nodes: &Nodes, streak: &mut Streak) -> Option<NodeName> {
    let levels = nodes.levels(&request.workload);
    levels.into_iter().find_map(|level| least_loaded(request, nodes, level, streak))
}

/// The least loaded node that fits, among those with so many pods of the workload.
fn least_loaded(request: &Request, nodes: &Nodes, level: u32, streak: &mut Streak) -> Option<NodeName> {
    let mut fits = |name: &NodeName| {
        streak.look();
        let at_level = nodes.count(&request.workload, name) == level;
        at_level && filter::refuses(request, nodes, &streak.outlook, name, Sight::All).is_none()
    };
    match nodes.candidates(request, level, SMALL_SET) {
        Candidates::Few(names) => {
            names.into_iter().filter(|name| fits(name)).min_by_key(|name| (nodes.load(name), *name)).cloned()
        }
        Candidates::Many => nodes.by_load().find(|name| fits(name)).cloned(),
    }
}

#[cfg(test)]
mod tests;
