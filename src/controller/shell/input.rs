//! What reaches the reign.

use crate::controller::{Event, Restored, Settings};
use crate::model::Epoch;
use crate::sync::AuditLog;
use crate::wire::server::LinkEvent;
use std::thread;
use tokio::sync::mpsc;

/// One of these at a time is handled.
pub(super) enum Input {
    /// A reign begins.
    Begun(Box<Begun>),
    /// Something for the core, as it is.
    Core(Box<Event>),
    /// Something on an agent's link.
    Link(LinkEvent),
    /// An actor ended without being asked.
    Ended(&'static str),
}

/// Tells the reign if the thread that holds it panics: a controller that is silently deaf or mute would be worse than one that ends.
pub(super) struct Alarm {
    pub(super) actor: &'static str,
    pub(super) inputs: mpsc::Sender<Input>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            // Without a receiver the controller has ended.
            let _ = self.inputs.blocking_send(Input::Ended(self.actor));
        }
    }
}

/// All that a reign begins with.
pub(super) struct Begun {
    /// The claimed epoch.
    pub(super) epoch: Epoch,
    /// Who we are.
    pub(super) settings: Settings,
    /// What the audit branch remembers.
    pub(super) restored: Restored,
    /// The audit branch, in our hands.
    pub(super) audit: AuditLog,
}
