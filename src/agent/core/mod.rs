//! The agent's decisions, pure: `handle(event, now) -> effects`.
//!
//! Role: converge this node to its assignment. Inputs: [`Event`]s. Outputs: [`Effect`]s, in order. Invariants: an older epoch or
//! generation is refused; nothing stops without an order, but to restart a container whose liveness probe failed; one container of
//! a pod has at most one copy, whatever is late, lost or doubled; what a listing cannot know yet it does not judge. Deliberately
//! absent: I/O, clocks, randomness, and any knowledge of how a runtime does what it is asked.

mod event;
mod ledger;

pub use event::{ContainerKey, Effect, Event, ProbeAction, ProbeKind, ProbeOutcome, ProbeRequest};
pub use ledger::{ContainerRecord, Ledger, PodRecord};
