//! Autoscalers and what they scale.

use super::{Checker, Found, Place};
use crate::manifest::draft::{Draft, Reference};
use crate::model::{Container, Kind, MetricTarget};
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
    }

    /// A metric of a container that is not there, or in percent of a request that nobody makes, never says anything.
    pub(super) fn measured(&mut self, index: usize, draft: &'a Draft, reference: &Reference, metric: usize) {
        let Some(autoscaler) = draft.autoscaler() else { return };
        let Some(metric) = autoscaler.metrics.get(metric) else { return };
        let kind = Kind::named(&autoscaler.target_kind).unwrap_or(Kind::Deployment);
        let Found::Draft(target) = self.find(kind, &draft.key.namespace, &autoscaler.target_name) else { return };
        let Some(workload) = target.workload() else { return };
        let place = Place::of(index, reference);
        let spec = &workload.template.spec;
        let is_looked_at = |container: &&Container| metric.container.as_ref().is_none_or(|name| *name == container.name);
        if let Some(name) = metric.container.as_ref().filter(|_| !spec.lasting_containers().any(|one| is_looked_at(&one))) {
            let names: Vec<&str> = spec.lasting_containers().map(|container| container.name.as_str()).collect();
            let message = format!("{} has no container {name}, so there is nothing to measure", target.key);
            return self.warning(place, message, &format!("its containers are {}", names.join(", ")));
        }
        let resource = metric.resource;
        let is_percentage = matches!(metric.target, MetricTarget::Utilization(_));
        let mut bare = spec.lasting_containers().filter(|container| resource.of(container.requests()) == 0);
        if let Some(bare) = bare.find(is_looked_at).filter(|_| is_percentage) {
            let resource = resource.as_str();
            let message =
                format!("container {} of {} requests no {resource}, so a percentage of it says nothing", bare.name, target.key);
            self.warning(place, message, &format!("write resources.requests.{resource}, or use averageValue"));
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
