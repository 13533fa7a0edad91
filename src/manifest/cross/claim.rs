//! Volume claims that pods mount: written in the repo, or made by a StatefulSet.

use super::super::draft::{Draft, Reference};
use super::{Checker, Found, Place};
use crate::model::{Kind, Strategy};
use std::sync::Arc;

impl Checker<'_> {
    /// A claim is written, or made by a StatefulSet: then it is called `<claim>-<set>-<number>`.
    pub(super) fn volume_claim(&mut self, index: usize, reference: &Reference, namespace: &str, name: &str) {
        let Found::Nothing(key) = self.find(Kind::PersistentVolumeClaim, namespace, name) else { return };
        let sets = self.drafts.iter().filter(|draft| draft.key.kind == Kind::StatefulSet && draft.key.namespace == namespace);
        let makes = |draft: &&&Arc<Draft>| {
            let Some(Strategy::Stateful(spec)) = draft.workload().map(|workload| &workload.strategy) else { return false };
            spec.claims.iter().any(|claim| {
                let number = name.strip_prefix(&format!("{}-{}-", claim.name, draft.key.name));
                number.is_some_and(|number| number.parse::<u32>().is_ok())
            })
        };
        if sets.filter(makes).count() == 0 && !self.may_select_excused(namespace) {
            self.missing(Place::of(index, reference), key);
        }
    }
}
