//! The newest view, and a memory of those before it, from which a watch can go on.

use crate::model::View;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// How many views are remembered. A client lists and watches in one breath, so a few are enough; a watch that starts from an older
/// one is told to list again.
const PAST_VIEWS_MAX: usize = 8;

/// Where views come from.
#[derive(Debug)]
pub(super) struct Feed {
    views: watch::Receiver<Arc<View>>,
    past: Mutex<VecDeque<Arc<View>>>,
}

impl Feed {
    /// A feed over the controller's views.
    pub(super) fn new(views: watch::Receiver<Arc<View>>) -> Self {
        Self { views, past: Mutex::default() }
    }

    /// The newest view. It is remembered, so that a watch can start from what a list has shown.
    pub(super) fn current(&self) -> Arc<View> {
        let view = Arc::clone(&self.views.borrow());
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if past.back().is_none_or(|last| !Arc::ptr_eq(last, &view)) {
            past.push_back(Arc::clone(&view));
            if past.len() > PAST_VIEWS_MAX {
                past.pop_front();
            }
        }
        view
    }

    /// The view of a version, if it is remembered.
    pub(super) fn at(&self, version: u64) -> Option<Arc<View>> {
        let current = self.current();
        if current.version == version {
            return Some(current);
        }
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.iter().rev().find(|view| view.version == version).cloned()
    }

    /// A receiver that has seen nothing yet.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<View>> {
        let mut views = self.views.clone();
        views.mark_changed();
        views
    }
}
