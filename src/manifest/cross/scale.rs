//! Autoscalers and what they scale.

use super::{Checker, Found, Place};
use crate::manifest::draft::{Draft, Reference};
use crate::model::Kind;
use std::collections::BTreeMap;

impl<'a> Checker<'a> {
    /// The target must be there; that it also sets `replicas` is a warning, as the autoscaler wins.
    pub(super) fn scale_target(&mut self, index: usize, draft: &'a Draft, reference: &Reference, kind: &str, name: &str) {
        let kind = Kind::named(kind).unwrap_or(Kind::Deployment);
        let place = Place::of(index, reference);
        let target = match self.find(kind, &draft.key.namespace, name) {
            Found::Nothing(key) => return self.missing(place, key),
            Found::Excused => return,
            Found::Draft(target) => target,
        };
        let Some(workload) = target.workload() else { return };
        if workload.replicas.is_some() {
            let message = format!("{} also sets replicas; the autoscaler decides", target.key);
            self.warning(place, message, "leave spec.replicas out of the workload");
        }
        let Some(autoscaler) = draft.autoscaler() else { return };
        if autoscaler.cpu_percent.is_some() && workload.template.spec.requests().cpu_milli == 0 {
            let message = format!("{} requests no cpu, so a percentage of it says nothing", target.key);
            self.warning(place, message, "write resources.requests.cpu, or use averageValue");
        }
    }

    /// Two autoscalers of one workload would pull it to and fro.
    pub(super) fn scaled_twice(&mut self) {
        let drafts = self.drafts;
        let mut scaled: BTreeMap<(&str, &str, &str), &Draft> = BTreeMap::new();
        for index in self.in_force() {
            let draft = drafts[index];
            let Some(autoscaler) = draft.autoscaler() else { continue };
            let target = (draft.key.namespace.as_str(), autoscaler.target_kind.as_str(), autoscaler.target_name.as_str());
            if let Some(first) = scaled.insert(target, draft) {
                let message = format!("{} and {} scale the same workload", first.key, draft.key);
                let place = Place { draft: index, at: &draft.at, path: "spec.scaleTargetRef" };
                self.error(place, message, "keep one of them", None);
            }
        }
    }
}
