//! What a document needs of other objects, with the place where it says so.

use super::draft::{Reference, Target};
use super::findings::Findings;
use crate::model::{
    Autoscaler, Body, CLAIM_OF_POD, Container, IngressBackend, IngressSpec, IntOrString, PodTemplate, ProjectedSource,
    ServiceSpec, Strategy, Volume,
};
use std::collections::BTreeSet;

/// A template's references to ConfigMaps, Secrets and its PriorityClass; `root` leads to its `spec`.
pub(crate) fn of_template(template: &PodTemplate, root: &str, findings: &Findings<'_>) -> Vec<Reference> {
    let mut found = Collector { findings, references: Vec::new() };
    for (field, containers) in [("initContainers", &template.spec.init_containers), ("containers", &template.spec.containers)] {
        for (index, container) in containers.iter().enumerate() {
            found.container(container, &format!("{root}/{field}/{index}"));
        }
    }
    for (index, secret) in template.spec.image_pull_secrets.iter().enumerate() {
        found.pull_secret(&secret.name, &format!("{root}/imagePullSecrets/{index}/name"));
    }
    for (index, volume) in template.spec.volumes.iter().enumerate() {
        found.volume(volume, &format!("{root}/volumes/{index}"));
    }
    if let Some(name) = template.spec.priority_class_name.as_ref().filter(|name| !name.is_empty()) {
        found.push(Target::PriorityClass { name: name.clone() }, false, &format!("{root}/priorityClassName"));
    }
    found.references
}

/// What a document refers to that runs no pods.
pub(crate) fn of_plain(body: &Body, findings: &Findings<'_>) -> Vec<Reference> {
    match body {
        Body::Service(service) => of_service(service, findings),
        Body::Autoscaler(autoscaler) => of_autoscaler(autoscaler, findings),
        Body::Ingress(ingress) => of_ingress(ingress, findings),
        Body::Namespace
        | Body::PriorityClass(_)
        | Body::Node(_)
        | Body::ConfigMap(_)
        | Body::Secret(_)
        | Body::Claim(_)
        | Body::Workload(_)
        | Body::CronJob(_)
        | Body::Budget(_) => Vec::new(),
    }
}

/// The Services of a blue/green strategy.
pub(crate) fn of_strategy(strategy: &Strategy, findings: &Findings<'_>) -> Vec<Reference> {
    let Some(blue_green) = strategy.blue_green() else { return Vec::new() };
    let mut found = Collector { findings, references: Vec::new() };
    let pointer = "/spec/strategy/blueGreen";
    found.push(Target::Service { name: blue_green.active_service.clone() }, false, &format!("{pointer}/activeService"));
    if let Some(name) = &blue_green.preview_service {
        found.push(Target::Service { name: name.clone() }, false, &format!("{pointer}/previewService"));
    }
    found.references
}

/// The target of an autoscaler, and what each metric looks at there. One that is not written is told where the target is.
fn of_autoscaler(autoscaler: &Autoscaler, findings: &Findings<'_>) -> Vec<Reference> {
    let mut found = Collector { findings, references: Vec::new() };
    let target = Target::Workload { kind: autoscaler.target_kind.clone(), name: autoscaler.target_name.clone() };
    let target_at = "/spec/scaleTargetRef/name";
    found.push(target, false, target_at);
    for metric in 0..autoscaler.metrics.len() {
        let written = [
            format!("/spec/metrics/{metric}/containerResource/container"),
            format!("/spec/metrics/{metric}/resource/name"),
            "/spec/targetCPUUtilizationPercentage".to_owned(),
        ];
        let at = written.iter().map(String::as_str).find(|pointer| findings.has(pointer)).unwrap_or(target_at);
        found.push(Target::Measured { metric }, false, at);
    }
    found.references
}

/// The Services and certificates of an Ingress.
fn of_ingress(spec: &IngressSpec, findings: &Findings<'_>) -> Vec<Reference> {
    let mut found = Collector { findings, references: Vec::new() };
    if let Some(backend) = &spec.default_backend {
        found.backend(backend, "/spec/defaultBackend");
    }
    for (outer, rule) in spec.rules.iter().enumerate() {
        for (inner, path) in rule.http.iter().flat_map(|http| &http.paths).enumerate() {
            found.backend(&path.backend, &format!("/spec/rules/{outer}/http/paths/{inner}/backend"));
        }
    }
    for (index, tls) in spec.tls.iter().enumerate() {
        if let Some(name) = &tls.secret_name {
            found.push(Target::Certificate { name: name.clone() }, false, &format!("/spec/tls/{index}/secretName"));
        }
    }
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

/// The ConfigMaps and Secrets that a template refers to, by name.
#[derive(Default)]
pub(crate) struct Names<'a> {
    pub(crate) config_maps: BTreeSet<&'a str>,
    pub(crate) secrets: BTreeSet<&'a str>,
    /// Secrets with logins of registries: no part of what runs.
    pub(crate) pull_secrets: BTreeSet<&'a str>,
}

/// The names that a template refers to.
pub(crate) fn names(references: &[Reference]) -> Names<'_> {
    let mut names = Names::default();
    for reference in references {
        match &reference.to {
            Target::ConfigMap { name, .. } => names.config_maps.insert(name.as_str()),
            Target::Secret { name, .. } => names.secrets.insert(name.as_str()),
            Target::PullSecret { name } => names.pull_secrets.insert(name.as_str()),
            Target::Claim { .. }
            | Target::Service { .. }
            | Target::Workload { .. }
            | Target::Measured { .. }
            | Target::PriorityClass { .. }
            | Target::PodPort { .. }
            | Target::Backend { .. }
            | Target::Certificate { .. } => false,
        };
    }
    names
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

    fn backend(&mut self, backend: &IngressBackend, pointer: &str) {
        let Some(service) = &backend.service else { return };
        let to = Target::Backend { service: service.name.clone(), port: service.port.clone() };
        self.push(to, false, &format!("{pointer}/service/name"));
    }

    /// One that is missing is passed over, as in Kubernetes: the image may be public. It is no part of what the pod runs.
    fn pull_secret(&mut self, name: &str, pointer: &str) {
        self.push(Target::PullSecret { name: name.to_owned() }, true, pointer);
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
        // What a claim template makes is there by itself.
        let claim = volume.persistent_volume_claim.as_ref().filter(|claim| !claim.claim_name.contains(CLAIM_OF_POD));
        if let Some(claim) = claim {
            self.push(
                Target::Claim { name: claim.claim_name.clone() },
                false,
                &format!("{pointer}/persistentVolumeClaim/claimName"),
            );
        }
        if let Some(source) = &volume.config_map {
            self.config_map(&source.name, None, source.optional, &format!("{pointer}/configMap/name"));
            for (index, item) in source.items.iter().enumerate() {
                let at = format!("{pointer}/configMap/items/{index}/key");
                self.config_map(&source.name, Some(&item.key), source.optional, &at);
            }
        }
        for (index, source) in volume.projected.iter().flat_map(|projected| &projected.sources).enumerate() {
            self.projected(source, &format!("{pointer}/projected/sources/{index}"));
        }
        if let Some(source) = &volume.secret {
            self.secret(&source.secret_name, None, source.optional, &format!("{pointer}/secret/secretName"));
            for (index, item) in source.items.iter().enumerate() {
                let at = format!("{pointer}/secret/items/{index}/key");
                self.secret(&source.secret_name, Some(&item.key), source.optional, &at);
            }
        }
    }

    fn projected(&mut self, source: &ProjectedSource, pointer: &str) {
        if let Some(object) = &source.config_map {
            self.config_map(&object.name, None, object.optional, &format!("{pointer}/configMap/name"));
            for (index, item) in object.items.iter().enumerate() {
                let at = format!("{pointer}/configMap/items/{index}/key");
                self.config_map(&object.name, Some(&item.key), object.optional, &at);
            }
        }
        if let Some(object) = &source.secret {
            self.secret(&object.name, None, object.optional, &format!("{pointer}/secret/name"));
            for (index, item) in object.items.iter().enumerate() {
                let at = format!("{pointer}/secret/items/{index}/key");
                self.secret(&object.name, Some(&item.key), object.optional, &at);
            }
        }
    }
}
