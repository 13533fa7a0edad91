//! Counting what is open, with a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many of something there are. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Count(Arc<AtomicUsize>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Counted(Arc<AtomicUsize>);

impl Count {
    /// How many there are now.
    pub(super) fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// One more; `None` if there are `max` already.
    pub(super) fn add(&self, max: usize) -> Option<Counted> {
        let more = |now: usize| (now < max).then_some(now + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Counted(Arc::clone(&self.0)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_again_when_one_is_dropped() {
        let count = Count::default();
        let first = count.add(2);
        let second = count.add(2);
        assert!(first.is_some() && second.is_some() && count.add(2).is_none());
        drop(first);
        assert!(count.add(2).is_some());
        assert_eq!(count.now(), 1);
    }
}
