//! Which templates an agent is known to hold.

use crate::model::{Assignment, PodSnapshot, TemplateHash};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the agent at one link holds, with the version of the configuration. It keeps the templates of its last assignment; older ones
/// it may have dropped, so they travel again (a release that is undone brings an old template back).
#[derive(Debug, Default)]
pub(crate) struct Held(BTreeMap<TemplateHash, String>);

impl Held {
    /// What a hello lists.
    pub(crate) fn from_hello(templates: &BTreeMap<TemplateHash, String>) -> Self {
        Self(templates.clone())
    }

    /// The templates that must travel before `assignment`; from then on the agent holds those of `assignment`.
    pub(crate) fn lacking(&mut self, assignment: &Assignment) -> Vec<Arc<PodSnapshot>> {
        let needed: BTreeSet<&TemplateHash> = assignment.run.values().map(|pod| &pod.hash).collect();
        let (mut lacking, mut kept) = (Vec::new(), BTreeMap::new());
        for hash in needed {
            let held = self.0.remove(hash);
            match assignment.templates.get(hash) {
                Some(snapshot) => {
                    kept.insert(hash.clone(), snapshot.config.version.clone());
                    lacking.extend(Some(snapshot).filter(|snapshot| held.as_ref() != Some(&snapshot.config.version)).cloned());
                }
                None => kept.extend(held.map(|version| (hash.clone(), version))),
            }
        }
        self.0 = kept;
        lacking
    }
}
