//! The agent: runs the pods that its node is assigned, and nothing decides for it but the assignment.
//!
//! Role: one agent per node. `core` is pure and decides; `shell` (tokio) performs the effects on the runtimes, the prober, the
//! Service proxy, the ledger's file and the wire. Inputs: assignments and endpoints from the controller, what the runtimes say.
//! Outputs: reports. Invariants: an older epoch or generation is refused; a pod stops only by an explicit, reasoned order; a pod
//! in no list keeps running and is reported; containers found by their labels are adopted, never restarted for it; a failure of
//! anything here changes nothing that runs. Deliberately absent: scheduling, rollouts, and any wish of its own to stop a pod.

pub mod core;
pub mod launch;
pub mod net;
pub mod runtime;
pub mod shell;
