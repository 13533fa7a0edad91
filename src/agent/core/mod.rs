//! The agent's decisions, pure: `handle(event, now) -> effects`.
//!
//! Role: converge this node to its assignment. Inputs: [`Event`]s. Outputs: [`Effect`]s, in order. Invariants: an older epoch or
//! generation is refused; nothing stops without an order, but to restart a container whose probe or hook failed or whose sandbox is
//! gone, and what is left of a pod that has come to its end; one container of a pod has at most one copy, whatever is late, lost
//! or doubled; what a listing cannot know yet it does not judge. Deliberately absent: I/O, clocks, randomness, and any knowledge of
//! how a runtime does what it is asked.
//!
//! `agent` is the state and its one door; `assign`, `found` and `outcome` take events in; `step` decides for one pod at a time, with
//! `start`, `stop` and `ask` (probes and hooks) to do it; `services` says where Services are listened for; `lease` says which pods may run
//! without the controller, and for how long; `refresh` does for changed configuration, `report` says what became of it; `pressure` knows the
//! state of the host; `flush` ends every call.

mod agent;
mod ask;
mod assign;
mod backoff;
mod event;
mod flush;
mod found;
mod lease;
mod ledger;
mod outcome;
mod pod;
mod ports;
mod pressure;
mod probe;
mod proxied;
mod refresh;
mod report;
mod services;
mod start;
mod step;
mod stop;
#[cfg(test)]
mod tests;
mod volumes;

pub use agent::{Agent, Settings};
pub use event::{
    ContainerKey, Disk, Effect, Event, HookAction, HookKind, HookRequest, HttpTarget, NodeTrouble, ProbeAction, ProbeKind,
    ProbeOutcome, ProbeRequest,
};
pub use ledger::{ContainerRecord, Failure, Ledger, PodRecord, SecretLoss, ServiceRecord, WithoutSecrets};
