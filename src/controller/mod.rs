//! The controller: one reign over one cluster.
//!
//! Role: from the revision, the memory and the agents' reports to assignments, endpoints and audit records. Inputs:
//! [`Event`]s. Outputs: [`Effect`]s. The core is pure; the shell around it does the I/O.

mod core;
mod event;

pub use self::core::Controller;
pub use event::{Commit, Effect, Event, LoadedRevision, Restored, Settings};
