//! What a document needs of other objects, with the place where it says so.

use super::draft::{Reference, Target};
use super::findings::Findings;
use crate::model::{Autoscaler, Body, Container, IntOrString, PodTemplate, ServiceSpec, Strategy, Volume};
use std::collections::BTreeSet;

/// A template's references to ConfigMaps and Secrets; `root` leads to its `spec`.
pub(crate) fn of_template(template: &PodTemplate, root: &str, findings: &Findings<'_>) -> Vec<Reference> {
    let mut found = Collector { findings, references: Vec::new() };
    for (index, container) in template.spec.containers.iter().enumerate() {
        found.container(container, &format!("{root}/containers/{index}"));
    }
    for (index, volume) in template.spec.volumes.iter().enumerate() {
        found.volume(volume, &format!("{root}/volumes/{index}"));
    }
    found.references
}

/// What a document refers to that runs no pods.
pub(crate) fn of_plain(body: &Body, findings: &Findings<'_>) -> Vec<Reference> {
    match body {
        Body::Service(service) => of_service(service, findings),
        Body::Autoscaler(autoscaler) => of_autoscaler(autoscaler, findings),
        Body::Namespace
        | Body::PriorityClass(_)
        | Body::Node(_)
        | Body::ConfigMap(_)
        | Body::Secret(_)
        | Body::Claim(_)
        | Body::Ingress(_)
        | Body::Workload(_)
        | Body::Budget(_) => Vec::new(),
    }
}

/// The Services of a blue/green strategy.
pub(crate) fn of_strategy(strategy: &Strategy, findings: &Findings<'_>) -> Vec<Reference> {
    let Strategy::BlueGreen(blue_green) = strategy else { return Vec::new() };
    let mut found = Collector { findings, references: Vec::new() };
    let pointer = "/spec/strategy/blueGreen";
    found.push(Target::Service { name: blue_green.active_service.clone() }, false, &format!("{pointer}/activeService"));
    if let Some(name) = &blue_green.preview_service {
        found.push(Target::Service { name: name.clone() }, false, &format!("{pointer}/previewService"));
    }
    found.references
}

/// The target of an autoscaler.
fn of_autoscaler(autoscaler: &Autoscaler, findings: &Findings<'_>) -> Vec<Reference> {
    let mut found = Collector { findings, references: Vec::new() };
    let target = Target::Workload { kind: autoscaler.target_kind.clone(), name: autoscaler.target_name.clone() };
    found.push(target, false, "/spec/scaleTargetRef/name");
    found.references
}

/// The named ports of a Service.
fn of_service(service: &ServiceSpec, findings: &Findings<'_>) -> Vec<Reference> {
    let mut found = Collector { findings, references: Vec::new() };
    for (index, port) in service.ports.iter().enumerate() {
        if let Some(IntOrString::Text(name)) = &port.target_port {
            found.push(Target::PodPort { name: name.clone() }, false, &format!("/spec/ports/{index}/targetPort"));
        }
    }
    found.references
}

/// The names of the ConfigMaps and of the Secrets that a template refers to.
pub(crate) fn names(references: &[Reference]) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let (mut config_maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for reference in references {
        match &reference.to {
            Target::ConfigMap { name, .. } => config_maps.insert(name.as_str()),
            Target::Secret { name, .. } => secrets.insert(name.as_str()),
            Target::Service { .. } | Target::Workload { .. } | Target::PodPort { .. } => false,
        };
    }
    (config_maps, secrets)
}

struct Collector<'a> {
    findings: &'a Findings<'a>,
    references: Vec<Reference>,
}

impl Collector<'_> {
    fn push(&mut self, to: Target, optional: bool, pointer: &str) {
        let (at, path) = self.findings.place(pointer);
        self.references.push(Reference { to, at, path, optional });
    }

    fn config_map(&mut self, name: &str, key: Option<&str>, optional: bool, pointer: &str) {
        self.push(Target::ConfigMap { name: name.to_owned(), key: key.map(str::to_owned) }, optional, pointer);
    }

    fn secret(&mut self, name: &str, key: Option<&str>, optional: bool, pointer: &str) {
        self.push(Target::Secret { name: name.to_owned(), key: key.map(str::to_owned) }, optional, pointer);
    }

    fn container(&mut self, container: &Container, pointer: &str) {
        for (index, variable) in container.env.iter().enumerate() {
            let Some(source) = &variable.value_from else { continue };
            let from = format!("{pointer}/env/{index}/valueFrom");
            if let Some(selector) = &source.config_map_key_ref {
                let at = format!("{from}/configMapKeyRef/name");
                self.config_map(&selector.name, Some(&selector.key), selector.optional, &at);
            }
            if let Some(selector) = &source.secret_key_ref {
                let at = format!("{from}/secretKeyRef/name");
                self.secret(&selector.name, Some(&selector.key), selector.optional, &at);
            }
        }
        for (index, source) in container.env_from.iter().enumerate() {
            let from = format!("{pointer}/envFrom/{index}");
            if let Some(object) = &source.config_map_ref {
                self.config_map(&object.name, None, object.optional, &format!("{from}/configMapRef/name"));
            }
            if let Some(object) = &source.secret_ref {
                self.secret(&object.name, None, object.optional, &format!("{from}/secretRef/name"));
            }
        }
    }

    fn volume(&mut self, volume: &Volume, pointer: &str) {
        if let Some(source) = &volume.config_map {
            self.config_map(&source.name, None, source.optional, &format!("{pointer}/configMap/name"));
            for (index, item) in source.items.iter().enumerate() {
                let at = format!("{pointer}/configMap/items/{index}/key");
                self.config_map(&source.name, Some(&item.key), source.optional, &at);
            }
        }
        if let Some(source) = &volume.secret {
            self.secret(&source.secret_name, None, source.optional, &format!("{pointer}/secret/secretName"));
            for (index, item) in source.items.iter().enumerate() {
                let at = format!("{pointer}/secret/items/{index}/key");
                self.secret(&source.secret_name, Some(&item.key), source.optional, &at);
            }
        }
    }
}
