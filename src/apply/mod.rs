//! Decides how a plan is carried out.
//!
//! Role: [`budget`] says how many pods a disruption budget lets go, [`prune`] which deletions may go out, [`schedule`] which node takes a
//! pod, [`scale`] how many pods an autoscaled workload wants. `rollout` takes the next step from the old pods to the new ones, [`cron`]
//! says when a Job is due, [`drain`] which pod leaves a node next.
//!
//! Inputs: desired objects, what was told to the agents and not yet reported (*assigned*), what they reported (*observed*), and the
//! time. Outputs: decisions as values.
//!
//! Invariants:
//! - Everything here is a pure function of its arguments, so a replay of the same history decides the same.
//! - Every "no" is a typed reason that reads as a sentence.
//! - Nothing here deletes because of an absence: a deletion is an explicit decision with a commit behind it.
//!
//! Deliberately absent: I/O, and the choice of *when* to look; the controller's core calls these functions when a workload is dirty.

pub mod budget;
pub mod cron;
pub mod drain;
pub mod prune;
pub mod rollout;
pub mod scale;
pub mod schedule;
