//! Ingresses: the Services behind them, their certificates, and paths that are there twice.

use super::{Checker, Found, Place};
use crate::manifest::draft::{Draft, Reference};
use crate::model::{Body, IngressPort, Kind, ServicePort};
use std::collections::BTreeMap;

/// The annotation that named the class before there was a field for it.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// A tool that makes certificates when it sees annotations like this.
const CERT_MANAGER: &str = "cert-manager.io/";

/// What one request is matched by: class, host, path and how the path is compared.
type Route<'a> = (&'a str, &'a str, &'a str, &'a str);

impl Checker<'_> {
    /// The Service must be there, with the port: requests for the path could never be answered.
    pub(super) fn backend(&mut self, index: usize, namespace: &str, reference: &Reference, service: &str, port: &IngressPort) {
        let place = Place::of(index, reference);
        let draft = match self.find(Kind::Service, namespace, service) {
            Found::Nothing(key) => return self.missing(place, key),
            Found::Excused => return,
            Found::Draft(draft) => draft,
        };
        let Some(spec) = draft.service() else { return };
        let is_meant = |known: &ServicePort| match (&port.name, port.number) {
            (Some(name), _) => known.name == *name,
            (None, number) => Some(known.port) == number,
        };
        if !spec.ports.iter().any(is_meant) {
            let wanted = port.name.clone().or_else(|| port.number.map(|number| number.to_string())).unwrap_or_default();
            let message = format!("{} has no port {wanted}", draft.key);
            let hint = format!("it is written in {}:{}", draft.at.file, draft.line);
            self.error(place, message, &hint, Some(draft.key.clone()));
        }
    }

    /// A missing certificate is a warning: it may be made by a tool, and the rest of the Ingress works.
    pub(super) fn certificate(&mut self, index: usize, namespace: &str, reference: &Reference, name: &str) {
        let place = Place::of(index, reference);
        match self.find(Kind::Secret, namespace, name) {
            Found::Nothing(key) => {
                let is_made = self.drafts[index].meta.annotations.keys().any(|key| key.starts_with(CERT_MANAGER));
                let hint =
                    if is_made { "cert-manager does not run here: commit the Secret" } else { "commit it, or correct the name" };
                self.warning(place, format!("{key} does not exist"), hint);
            }
            Found::Excused => {}
            Found::Draft(draft) => {
                let Some(Body::Secret(data)) = draft.plain() else { return };
                if let Some(lacking) = ["tls.crt", "tls.key"].into_iter().find(|key| !data.contains_key(*key)) {
                    let message = format!("{} has no key {lacking}, so it is no certificate", draft.key);
                    self.warning(place, message, "kubectl create secret tls --dry-run=client -o yaml writes one");
                }
            }
        }
    }

    /// Of two rules for one host and path, which one counts would be chance.
    pub(super) fn same_paths(&mut self) {
        let drafts = self.drafts;
        let mut routes: BTreeMap<Route<'_>, &Draft> = BTreeMap::new();
        for index in self.in_force() {
            let draft = drafts[index];
            for route in routes_of(draft) {
                let Some(first) = routes.insert(route, draft) else { continue };
                let (_, host, path, _) = route;
                let host = if host.is_empty() { "every host" } else { host };
                let place = Place { draft: index, at: &draft.at, path: "spec.rules" };
                let message = format!("{} and {} both have a rule for {host} and {path}", first.key, draft.key);
                self.error(place, message, "keep one of them", None);
            }
        }
    }
}

fn routes_of(draft: &Draft) -> impl Iterator<Item = Route<'_>> {
    let class = draft.ingress().and_then(|spec| spec.ingress_class_name.as_deref());
    let class = class.or_else(|| draft.meta.annotations.get(CLASS_ANNOTATION).map(String::as_str)).unwrap_or_default();
    draft.ingress().into_iter().flat_map(|spec| &spec.rules).flat_map(move |rule| {
        let host = rule.host.as_deref().unwrap_or_default();
        let paths = rule.http.iter().flat_map(|http| &http.paths);
        paths.map(move |path| (class, host, normal(&path.path), path.path_type.as_str()))
    })
}

/// `/shop/` and `/shop` are one prefix.
fn normal(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        shorter => shorter,
    }
}
