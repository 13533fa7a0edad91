//! The controller: one reign over one cluster.
//!
//! Role: from the revision, the memory and the agents' reports to assignments, endpoints and audit records. Inputs:
//! [`Event`]s. Outputs: [`Effect`]s. The core is pure; the shell around it does the I/O.
//!
//! The rooms of the core: `inputs` (what is wanted), `nodes` (who is heard), `placements` (what was told, and what is
//! reported), `places` (which node a pod is for), `claims` (which node has the data of a volume claim), `endpoints` (where Services lead,
//! and who knows), `work` (what each workload carries from pass to pass), `timers`, `priority` (who is placed first, and makes room for
//! whom), `marks` (what git says of hosts), `drains` (who leaves a node that is to be empty), `membership` (whose key speaks for which node), `records` (what the audit branch is told). What happens in them: `restore` and `revise` take
//! the memory and a
//! revision over, `agents` hears, `pass` takes rollout steps for what is dirty, `retire`, `publish`, `ingress` (with `routes`) and `dispatch` tell,
//! `scale` asks the autoscaler, `jobs` minds that nothing runs twice, `crons` makes Jobs by the clock, `tree` and `words` write, `view` shows, `check` recomputes everything.
//!
//! Invariants:
//! - An event wakes and does not instruct: a pass decides from everything that is known. It looks at what is dirty only, and
//!   [`Controller::check`] says whether that was enough.
//! - Nothing is told before the memory, a revision, and the nodes that the memory names were heard (or waited for).
//! - A pod is stopped by an explicit order with a reason, after its Services have stopped leading to it. What is absent, or
//!   belongs to nobody known, keeps running.
//! - A pass over an unchanged world has no effects.
//!
//! Deliberately absent: I/O, the clock, random numbers, and every decision that `apply` makes.

mod addresses;
mod agents;
mod allot;
mod check;
mod claims;
mod core;
mod crons;
mod dispatch;
mod drains;
mod endpoints;
mod event;
mod happenings;
mod ingress;
mod inputs;
mod jobs;
mod leases;
mod marks;
mod membership;
mod network;
mod node_ports;
mod nodes;
mod pass;
mod placements;
mod places;
mod priority;
mod publish;
mod records;
mod restore;
mod retire;
mod revise;
mod routes;
mod scale;
pub mod shell;
#[cfg(test)]
mod tests;
mod timers;
mod tree;
mod view;
mod words;
mod work;

pub use self::core::Controller;
pub use event::{Commit, Effect, Event, LoadedRevision, Restored, Settings};
