//! Which head counts: the rule against a branch that jumps.
//!
//! A head that does not descend from the last one that counted is a force-push, a restored backup or a mirror that lags. It counts
//! only when it is seen twice in a row, so that a passing glitch of the git host never rolls the cluster back.

use crate::model::Revision;

/// The heads seen so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeadWatch {
    counted: Option<Revision>,
    suspect: Option<Revision>,
}

/// What to make of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// It is the one that counts already.
    Unchanged,
    /// From now on it counts.
    Counts,
    /// It does not descend from the one that counts; it will count if the next look sees it again.
    Suspect,
}

impl HeadWatch {
    /// A watch that goes on from `last`, the head that counted before a restart.
    #[must_use]
    pub fn resume(last: Option<Revision>) -> Self {
        Self { counted: last, suspect: None }
    }

    /// The head that counts.
    #[must_use]
    pub fn counted(&self) -> Option<&Revision> {
        self.counted.as_ref()
    }

    /// Takes in a head. `descends(old, new)` says whether `new` has `old` among its ancestors.
    pub fn see(&mut self, head: &Revision, descends: impl FnOnce(&Revision, &Revision) -> bool) -> Sighting {
        let previous_suspect = self.suspect.take();
        match &self.counted {
            Some(counted) if counted == head => return Sighting::Unchanged,
            Some(counted) if previous_suspect.as_ref() != Some(head) && !descends(counted, head) => {
                self.suspect = Some(head.clone());
                return Sighting::Suspect;
            }
            Some(_) | None => {}
        }
        self.counted = Some(head.clone());
        Sighting::Counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Revisions are letters; `descends` is alphabetical order in lower case, and an upper-case one descends from nothing.
    fn see(watch: &mut HeadWatch, head: &str) -> Sighting {
        watch.see(&Revision::new(head), |old, new| {
            let lower = |text: &Revision| text.as_str().chars().all(char::is_lowercase);
            lower(old) && lower(new) && old < new
        })
    }

    #[test]
    fn the_first_head_and_its_descendants_count_at_once() {
        let mut watch = HeadWatch::default();
        assert_eq!(see(&mut watch, "a"), Sighting::Counts);
        assert_eq!(see(&mut watch, "a"), Sighting::Unchanged);
        assert_eq!(see(&mut watch, "b"), Sighting::Counts);
    }

    #[test]
    fn a_head_from_elsewhere_counts_when_seen_twice_in_a_row() {
        let mut watch = HeadWatch::resume(Some(Revision::new("b")));
        assert_eq!(see(&mut watch, "X"), Sighting::Suspect);
        assert_eq!(watch.counted(), Some(&Revision::new("b")));
        assert_eq!(see(&mut watch, "X"), Sighting::Counts);
        assert_eq!(watch.counted(), Some(&Revision::new("X")));
    }

    #[test]
    fn a_glitch_that_passes_is_forgotten() {
        let mut watch = HeadWatch::resume(Some(Revision::new("b")));
        assert_eq!(see(&mut watch, "X"), Sighting::Suspect);
        assert_eq!(see(&mut watch, "b"), Sighting::Unchanged);
        assert_eq!(see(&mut watch, "X"), Sighting::Suspect);
        assert_eq!(see(&mut watch, "Y"), Sighting::Suspect);
        assert_eq!(see(&mut watch, "c"), Sighting::Counts);
    }
}
