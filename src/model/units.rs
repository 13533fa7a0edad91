//! Units: the parts of a repo that are loaded or held as one.

use super::{Problem, Revision};
use serde::{Deserialize, Serialize};

/// What became of a unit at the revision being reconciled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnitState {
    /// Read without errors at this revision; warnings may remain.
    Loaded {
        /// The revision.
        at: Revision,
        /// Warnings only.
        problems: Vec<Problem>,
    },
    /// It has errors: its objects are those of the last good revision (none if there never was one) and nothing of it is pruned.
    Held {
        /// The last good revision.
        at: Option<Revision>,
        /// The revision that could not be read.
        failed: Revision,
        /// At least one error.
        problems: Vec<Problem>,
    },
}

impl UnitState {
    /// The problems of the newest attempt.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            UnitState::Loaded { problems, .. } | UnitState::Held { problems, .. } => problems,
        }
    }

    /// True if the unit is held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self, UnitState::Held { .. })
    }
}
