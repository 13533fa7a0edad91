//! Problems between objects that are about where pods run: classes of priority, disruption budgets, pods that others want to be near.

use super::super::draft::{Draft, DraftWorkload, Reference};
use super::{Checker, Found, Place};
use crate::model::{Body, DisruptionBudget, IntOrString, Kind, LabelSelector, ObjectKey, PodAffinityTerm, PriorityClass};

impl<'a> Checker<'a> {
    /// A pod of a class that is not there would silently have no priority.
    pub(super) fn priority_class(&mut self, index: usize, reference: &Reference, name: &str) {
        if PriorityClass::built_in().iter().any(|(known, _)| *known == name) {
            return;
        }
        if let Found::Nothing(key) = self.find(Kind::PriorityClass, "", name) {
            let message = format!("{key} does not exist");
            self.error(Place::of(index, reference), message, "commit it, or correct the name", Some(key));
        }
    }

    /// What a document says of pods that others are.
    pub(super) fn placement(&mut self, index: usize, draft: &'a Draft) {
        if let Some(Body::Budget(budget)) = draft.plain() {
            self.budget(index, draft, budget);
        }
        if let Some(workload) = draft.workload() {
            self.affinity(index, draft, workload);
        }
    }

    fn budget(&mut self, index: usize, draft: &'a Draft, budget: &DisruptionBudget) {
        let namespace = draft.key.namespace.as_str();
        let Some(selector) = &budget.selector else {
            let message = format!("{} selects no pods", draft.key);
            let place = Place { draft: index, at: &draft.at, path: "spec.selector" };
            return self.warning(place, message, "an absent selector takes none, an empty one all");
        };
        let selected: Vec<&DraftWorkload> = self.selected_by(namespace, selector).collect();
        if selected.is_empty() {
            if !self.may_select_excused(namespace) {
                let hint = "no workload of the namespace has these labels on its template";
                let place = Place { draft: index, at: &draft.at, path: "spec.selector" };
                self.warning(place, format!("{} selects no pods", draft.key), hint);
            }
            return;
        }
        let wanted: Option<u32> = selected.iter().map(|workload| workload.replicas).sum();
        if never_allows(budget, wanted.filter(|_| !self.is_scaled(namespace))) {
            let message = format!("{} never allows a disruption", draft.key);
            let hint = "pods that it selects are taken away only where nothing else helps";
            self.warning(Place { draft: index, at: &draft.at, path: "spec" }, message, hint);
        }
    }

    fn selected_by<'s>(
        &'s self,
        namespace: &'s str,
        selector: &'s LabelSelector,
    ) -> impl Iterator<Item = &'a DraftWorkload> + 's {
        let first = ObjectKey::new(Kind::Namespace, namespace, "");
        let here = self.objects.range(first..).take_while(move |(key, _)| key.namespace == namespace);
        let workloads = here.filter_map(|(_, index)| self.drafts[*index].workload());
        workloads.filter(move |workload| selector.matches(&workload.template.metadata.labels))
    }

    fn is_scaled(&self, namespace: &str) -> bool {
        let first = ObjectKey::new(Kind::Namespace, namespace, "");
        let here = self.objects.range(first..).take_while(|(key, _)| key.namespace == namespace);
        here.into_iter().any(|(key, _)| key.kind == Kind::HorizontalPodAutoscaler)
    }

    /// Required affinity to pods that nobody runs: the pod would wait for ever. Other namespaces may be in other repositories.
    fn affinity(&mut self, index: usize, draft: &'a Draft, workload: &'a DraftWorkload) {
        let near = workload.template.spec.affinity.as_ref().and_then(|affinity| affinity.pod_affinity.as_ref());
        let is_own = |term: &&PodAffinityTerm| term.namespaces.is_empty() && term.namespace_selector.is_none();
        for term in near.into_iter().flat_map(|near| &near.required).filter(is_own) {
            let namespace = draft.key.namespace.as_str();
            let found =
                term.label_selector.as_ref().is_some_and(|selector| self.selected_by(namespace, selector).next().is_some());
            if !found && !self.may_select_excused(namespace) {
                let message = format!("{} wants to be near pods that no workload of the namespace runs", draft.key);
                let hint = "its pods wait until there are such pods; correct the labelSelector of its podAffinity";
                let path = "spec.template.spec.affinity.podAffinity";
                self.warning(Place { draft: index, at: &draft.at, path }, message, hint);
            }
        }
    }

    /// Kubernetes takes one default class.
    pub(super) fn default_classes(&mut self) {
        let drafts = self.drafts;
        let mut first: Option<&Draft> = None;
        for index in self.objects.values().copied().collect::<Vec<usize>>() {
            let draft = drafts[index];
            let Some(Body::PriorityClass(class)) = draft.plain() else { continue };
            if !class.global_default {
                continue;
            }
            if let Some(first) = first {
                let message = format!("{} is the default already", first.key);
                let place = Place { draft: index, at: &draft.at, path: "globalDefault" };
                self.error(place, message, "one class can be the default", None);
            } else {
                first = Some(draft);
            }
        }
    }
}

/// True if a budget lets no pod go however many are ready. `wanted` is how many pods its workloads have, if that is known.
fn never_allows(budget: &DisruptionBudget, wanted: Option<u32>) -> bool {
    let is_nothing = |value: &IntOrString| value.part_of(100, true) == 0;
    let is_all = |value: &IntOrString| match value {
        IntOrString::Text(_) => value.part_of(100, true) >= 100,
        IntOrString::Int(count) => wanted.is_some_and(|wanted| *count > 0 && *count >= i64::from(wanted)),
    };
    budget.max_unavailable.as_ref().is_some_and(is_nothing) || budget.min_available.as_ref().is_some_and(is_all)
}
