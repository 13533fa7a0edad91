//! Which templates an agent is known to hold.

use crate::model::{Assignment, PodSnapshot, TemplateHash};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the agent at one link holds. It keeps the templates of its last assignment; older ones it may have dropped, so they
/// travel again (a release that is undone brings an old template back).
#[derive(Debug, Default)]
pub(crate) struct Held(BTreeSet<TemplateHash>);

impl Held {
    /// What a hello lists.
    pub(crate) fn from_hello(templates: &BTreeSet<TemplateHash>) -> Self {
        Self(templates.clone())
    }

    /// The templates that must travel before `assignment`; from then on the agent holds those of `assignment`.
    pub(crate) fn lacking(&mut self, assignment: &Assignment) -> Vec<Arc<PodSnapshot>> {
        let needed: BTreeSet<&TemplateHash> = assignment.run.values().map(|pod| &pod.hash).collect();
        let lacking = needed.iter().filter(|hash| !self.0.contains(**hash));
        let lacking: Vec<_> = lacking.filter_map(|hash| assignment.templates.get(*hash)).cloned().collect();
        let kept = needed.iter().filter(|hash| self.0.contains(**hash) || assignment.templates.contains_key(**hash));
        self.0 = kept.map(|hash| (*hash).clone()).collect();
        lacking
    }
}
