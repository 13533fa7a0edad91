//! Problems between objects: what is missing, what is there twice, what leads nowhere.

use super::draft::{Draft, DraftWorkload, Reference, Target};
use crate::model::{Body, Kind, Location, ObjectKey, Problem, Scope, ServiceSpec, Severity};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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

impl<'a> Checker<'a> {
    fn index(&mut self) {
        for (index, draft) in self.drafts.iter().enumerate() {
            if let Some(first) = self.objects.get(&draft.key) {
                let first = &self.drafts[*first].at;
                let message = format!("{} is there already: {}:{}", draft.key, first.file, first.line);
                self.error(index, &draft.at, "metadata.name", message, "remove or rename one of them", None);
                continue;
            }
            self.objects.insert(draft.key.clone(), index);
            for (label, value) in draft.workload().into_iter().flat_map(|workload| &workload.template.metadata.labels) {
                self.by_label.entry((&draft.key.namespace, label, value)).or_default().push(index);
            }
        }
    }

    fn error(&mut self, draft: usize, at: &Location, path: &str, message: String, hint: &str, missing: Option<ObjectKey>) {
        self.push(draft, at, path, Severity::Error, message, hint, missing);
    }

    fn warning(&mut self, draft: usize, at: &Location, path: &str, message: String, hint: &str) {
        self.push(draft, at, path, Severity::Warning, message, hint, None);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one problem; only error and warning above call it")]
    fn push(
        &mut self,
        draft: usize,
        at: &Location,
        path: &str,
        severity: Severity,
        message: String,
        hint: &str,
        missing: Option<ObjectKey>,
    ) {
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

    fn draft(&mut self, index: usize, draft: &'a Draft) {
        for reference in &draft.references {
            self.reference(index, draft, reference);
        }
        if let Some(spec) = draft.service()
            && self.selected(&draft.key.namespace, spec).is_empty()
            && !self.may_select_excused(&draft.key.namespace)
        {
            let message = format!("{} selects no pods", draft.key);
            self.warning(
                index,
                &draft.at,
                "spec.selector",
                message,
                "no workload of the namespace has these labels on its template",
            );
        }
    }

    fn may_select_excused(&self, namespace: &str) -> bool {
        self.excused.iter().any(|key| key.kind.is_workload() && key.namespace == namespace)
    }

    fn selected(&self, namespace: &str, spec: &ServiceSpec) -> Vec<&'a DraftWorkload> {
        let Some((label, value)) = spec.selector.iter().next() else { return Vec::new() };
        let candidates = self.by_label.get(&(namespace, label.as_str(), value.as_str())).into_iter().flatten();
        candidates.filter_map(|index| self.drafts[*index].workload()).filter(|workload| selects(spec, workload)).collect()
    }

    fn reference(&mut self, index: usize, draft: &'a Draft, reference: &'a Reference) {
        let namespace = draft.key.namespace.as_str();
        match &reference.to {
            Target::ConfigMap { name, key } => self.config(index, reference, Kind::ConfigMap, namespace, name, key.as_deref()),
            Target::Secret { name, key } => self.config(index, reference, Kind::Secret, namespace, name, key.as_deref()),
            Target::Service { name } => self.service(index, draft, reference, name),
            Target::Workload { kind, name } => self.scale_target(index, draft, reference, kind, name),
            Target::PodPort { name } => self.pod_port(index, draft, reference, name),
        }
    }

    fn missing(&mut self, index: usize, reference: &Reference, key: ObjectKey) {
        let message = format!("{key} does not exist");
        let hint = format!("commit it, or correct the name; the namespace is {}", key.namespace);
        self.error(index, &reference.at, &reference.path, message, &hint, Some(key));
    }

    fn config(&mut self, index: usize, reference: &Reference, kind: Kind, namespace: &str, name: &str, key: Option<&str>) {
        match (self.find(kind, namespace, name), key) {
            _ if reference.optional => {}
            (Found::Nothing(_), Some(_)) if reference.path.ends_with(".key") => {} // reported at the volume's name
            (Found::Nothing(object), _) => self.missing(index, reference, object),
            (Found::Draft(draft), Some(key)) if !has_key(draft, key) => {
                let message = format!("{} has no key {key}", draft.key);
                let hint = format!("it is written in {}:{}", draft.at.file, draft.line);
                self.error(index, &reference.at, &reference.path, message, &hint, Some(draft.key.clone()));
            }
            (Found::Draft(_) | Found::Excused, _) => {}
        }
    }

    fn service(&mut self, index: usize, draft: &'a Draft, reference: &Reference, name: &str) {
        match self.find(Kind::Service, &draft.key.namespace, name) {
            Found::Nothing(key) => self.missing(index, reference, key),
            Found::Excused => {}
            Found::Draft(service) => {
                let Some(spec) = service.service() else { return };
                if draft.workload().is_some_and(|workload| !selects(spec, workload)) {
                    let message = format!("{} does not select the pods of {}", service.key, draft.key);
                    self.warning(
                        index,
                        &reference.at,
                        &reference.path,
                        message,
                        "its selector must match the labels of the template",
                    );
                }
            }
        }
    }

    fn scale_target(&mut self, index: usize, draft: &'a Draft, reference: &Reference, kind: &str, name: &str) {
        let kind = Kind::named(kind).unwrap_or(Kind::Deployment);
        let target = match self.find(kind, &draft.key.namespace, name) {
            Found::Nothing(key) => return self.missing(index, reference, key),
            Found::Excused => return,
            Found::Draft(target) => target,
        };
        let Some(workload) = target.workload() else { return };
        if workload.replicas.is_some() {
            let message = format!("{} also sets replicas; the autoscaler decides", target.key);
            self.warning(index, &reference.at, &reference.path, message, "leave spec.replicas out of the workload");
        }
        let Some(autoscaler) = draft.autoscaler() else { return };
        if autoscaler.cpu_percent.is_some() && workload.template.spec.requests().cpu_milli == 0 {
            let message = format!("{} requests no cpu, so a percentage of it says nothing", target.key);
            self.warning(index, &reference.at, &reference.path, message, "write resources.requests.cpu, or use averageValue");
        }
    }

    fn pod_port(&mut self, index: usize, draft: &'a Draft, reference: &Reference, name: &str) {
        let Some(spec) = draft.service() else { return };
        let selected = self.selected(&draft.key.namespace, spec);
        let has_port = |workload: &&DraftWorkload| {
            workload.template.spec.containers.iter().any(|container| container.ports.iter().any(|port| port.name == name))
        };
        if !selected.is_empty() && !selected.iter().any(has_port) {
            let message = format!("no container behind {} has a port named {name}", draft.key);
            self.error(
                index,
                &reference.at,
                &reference.path,
                message,
                "name the port in the container, or write its number",
                None,
            );
        }
    }

    fn scaled_twice(&mut self) {
        let drafts = self.drafts;
        let mut scaled: BTreeMap<(&str, &str, &str), &Draft> = BTreeMap::new();
        for index in self.objects.values().copied().collect::<Vec<usize>>() {
            let draft = drafts[index];
            let Some(autoscaler) = draft.autoscaler() else { continue };
            let target = (draft.key.namespace.as_str(), autoscaler.target_kind.as_str(), autoscaler.target_name.as_str());
            if let Some(first) = scaled.insert(target, draft) {
                let message = format!("{} and {} scale the same workload", first.key, draft.key);
                self.error(index, &draft.at, "spec.scaleTargetRef", message, "keep one of them", None);
            }
        }
    }
}

enum Found<'a> {
    Draft(&'a Draft),
    Excused,
    Nothing(ObjectKey),
}

fn selects(spec: &ServiceSpec, workload: &DraftWorkload) -> bool {
    let labels = &workload.template.metadata.labels;
    !spec.selector.is_empty() && spec.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn has_key(draft: &Draft, key: &str) -> bool {
    match draft.plain() {
        Some(Body::ConfigMap(data)) => data.contains_key(key),
        Some(Body::Secret(data)) => data.contains_key(key),
        Some(_) | None => false,
    }
}
