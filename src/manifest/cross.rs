//! Problems between objects: what is missing, what is there twice, what leads nowhere.
//!
//! A check that sees one object against the others is a function of its own room, called from [`Checker::draft`] for the object that is at
//! fault; one that sees many at once is called from [`check`]. An error is what would leave a pod waiting or a request unanswered for
//! certain; what only may be a mistake is a warning.

use super::draft::{Draft, Reference, Target};
use super::templates;
use crate::model::{Kind, Location, ObjectKey, Problem, Scope, Severity};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

mod claim;
mod config;
mod host_ports;
mod ingress;
mod placement;
mod scale;
mod service;

/// A problem of one of the drafts.
pub(crate) struct Finding {
    /// Its index among the drafts.
    pub(crate) draft: usize,
    /// The object that the draft needs and does not find, if that is the problem.
    pub(crate) missing: Option<ObjectKey>,
    pub(crate) problem: Problem,
}

/// Checks drafts against each other. Of two with one key the second has the problem. Keys in `excused` count as there: documents
/// that have problems of their own need no second one.
pub(crate) fn check(drafts: &[&Arc<Draft>], excused: &BTreeSet<ObjectKey>) -> Vec<Finding> {
    let mut checker = Checker { drafts, excused, objects: BTreeMap::new(), by_label: BTreeMap::new(), findings: Vec::new() };
    checker.index();
    for (index, draft) in drafts.iter().enumerate() {
        if checker.objects.get(&draft.key) == Some(&index) {
            checker.draft(index, draft);
        }
    }
    checker.scaled_twice();
    checker.host_ports();
    checker.same_addresses();
    checker.same_paths();
    checker.default_classes();
    checker.findings
}

struct Checker<'a> {
    drafts: &'a [&'a Arc<Draft>],
    excused: &'a BTreeSet<ObjectKey>,
    objects: BTreeMap<ObjectKey, usize>,
    /// Workloads by namespace, label and value of their template, so that a Service is compared with few of them.
    by_label: BTreeMap<(&'a str, &'a str, &'a str), Vec<usize>>,
    findings: Vec<Finding>,
}

/// Where a problem is: the draft's index, and the place and the path within its document.
#[derive(Clone, Copy)]
struct Place<'b> {
    draft: usize,
    at: &'b Location,
    path: &'b str,
}

impl<'b> Place<'b> {
    fn of(draft: usize, reference: &'b Reference) -> Self {
        Self { draft, at: &reference.at, path: &reference.path }
    }
}

impl<'a> Checker<'a> {
    fn index(&mut self) {
        for (index, draft) in self.drafts.iter().enumerate() {
            if let Some(first) = self.objects.get(&draft.key) {
                let first = &self.drafts[*first].at;
                let message = format!("{} is there already: {}:{}", draft.key, first.file, first.line);
                let place = Place { draft: index, at: &draft.at, path: "metadata.name" };
                self.error(place, message, "remove or rename one of them", None);
                continue;
            }
            self.objects.insert(draft.key.clone(), index);
            for (label, value) in draft.workload().into_iter().flat_map(|workload| &workload.template.metadata.labels) {
                self.by_label.entry((&draft.key.namespace, label, value)).or_default().push(index);
            }
        }
    }

    /// The drafts that count, in order: of two with one key the first.
    fn in_force(&self) -> Vec<usize> {
        let mut indices: Vec<usize> = self.objects.values().copied().collect();
        indices.sort_unstable();
        indices
    }

    fn error(&mut self, place: Place<'_>, message: String, hint: &str, missing: Option<ObjectKey>) {
        self.push(place, Severity::Error, message, hint, missing);
    }

    fn warning(&mut self, place: Place<'_>, message: String, hint: &str) {
        self.push(place, Severity::Warning, message, hint, None);
    }

    fn push(&mut self, place: Place<'_>, severity: Severity, message: String, hint: &str, missing: Option<ObjectKey>) {
        let Place { draft, at, path } = place;
        let (at, path, hint) = (at.clone(), path.to_owned(), Some(hint.to_owned()));
        let problem = Problem { at, path, severity, scope: Scope::Repository, message, hint };
        self.findings.push(Finding { draft, missing, problem });
    }

    fn find(&self, kind: Kind, namespace: &str, name: &str) -> Found<'a> {
        let key = ObjectKey::new(kind, namespace, name);
        match self.objects.get(&key) {
            Some(index) => Found::Draft(self.drafts[*index]),
            None if self.excused.contains(&key) => Found::Excused,
            None => Found::Nothing(key),
        }
    }

    fn missing(&mut self, place: Place<'_>, key: ObjectKey) {
        let message = format!("{key} does not exist");
        let usual = || format!("commit it, or correct the name; the namespace is {}", key.namespace);
        let hint = templates::hint(&key.name).map_or_else(usual, str::to_owned);
        self.error(place, message, &hint, Some(key));
    }

    fn draft(&mut self, index: usize, draft: &'a Draft) {
        for reference in &draft.references {
            self.reference(index, draft, reference);
        }
        self.placement(index, draft);
        if let Some(spec) = draft.service() {
            self.backends(index, draft, spec);
        }
    }

    fn reference(&mut self, index: usize, draft: &'a Draft, reference: &'a Reference) {
        let namespace = draft.key.namespace.as_str();
        match &reference.to {
            Target::ConfigMap { name, key } => self.config(index, reference, Kind::ConfigMap, namespace, name, key.as_deref()),
            Target::Secret { name, key } => self.config(index, reference, Kind::Secret, namespace, name, key.as_deref()),
            Target::PullSecret { .. } => {}
            Target::Claim { name } => self.volume_claim(index, reference, namespace, name),
            Target::Service { name } => self.service(index, draft, reference, name),
            Target::Workload { kind, name } => self.scale_target(index, draft, reference, kind, name),
            Target::Measured { metric } => self.measured(index, draft, reference, *metric),
            Target::PriorityClass { name } => self.priority_class(index, reference, name),
            Target::PodPort { name } => self.pod_port(index, draft, reference, name),
            Target::Backend { service, port } => self.backend(index, namespace, reference, service, port),
            Target::Certificate { name } => self.certificate(index, namespace, reference, name),
        }
    }
}

enum Found<'a> {
    Draft(&'a Draft),
    Excused,
    Nothing(ObjectKey),
}
