//! All Ingresses as one table of routes and certificates. Pure.
//!
//! Ingresses are taken in the order of their keys. Where two claim one host and path, or one host's certificate, the first has it, and
//! the other is told so. `defaultBackend` takes what no rule takes: of an Ingress with rules, for their hosts; of one without, for all
//! (<https://kubernetes.io/docs/concepts/services-networking/ingress/#default-backend>). Where no Ingress is without rules, the first
//! `defaultBackend` of any takes requests for hosts that nobody names.

use crate::model::{
    BackendProtocol, Body, HostPattern, IngressBackend, IngressCertificate, IngressPath, IngressRoute, IngressSpec,
    IngressTarget, Kind, Object, ObjectKey, PathPattern, Protocol, ServicePort,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// `"false"` serves hosts with a certificate without TLS too.
const SSL_REDIRECT: &str = "nginx.ingress.kubernetes.io/ssl-redirect";

/// `"true"` sends every request without TLS away, also where the certificate is somebody else's in front of us.
const FORCE_SSL_REDIRECT: &str = "nginx.ingress.kubernetes.io/force-ssl-redirect";

/// `GRPC` for pods that speak HTTP/2.
const BACKEND_PROTOCOL: &str = "nginx.ingress.kubernetes.io/backend-protocol";

/// HTTP/2 without TLS: <https://kubernetes.io/docs/concepts/services-networking/service/#application-protocol>.
const H2C: &str = "kubernetes.io/h2c";

type Objects = BTreeMap<ObjectKey, Arc<Object>>;

/// What all Ingresses come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Routes {
    pub(super) routes: Vec<IngressRoute>,
    pub(super) certificates: Vec<IngressCertificate>,
    /// What is not served as it is written.
    pub(super) conflicts: BTreeSet<Conflict>,
}

/// What an Ingress claims and another has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Conflict {
    /// Who claims it.
    pub(super) ingress: ObjectKey,
    /// One sentence.
    pub(super) message: String,
}

/// Puts the Ingresses among these objects together.
pub(super) fn routes(objects: &Objects) -> Routes {
    let mut draft = Draft { objects, certificates: BTreeMap::new(), claims: BTreeMap::new(), conflicts: BTreeSet::new() };
    let ingresses: Vec<(&Object, &IngressSpec)> =
        objects.values().filter_map(|object| Some((object.as_ref(), object.ingress()?))).collect();
    for (object, spec) in &ingresses {
        draft.certify(&object.key, spec);
    }
    for (object, spec) in &ingresses {
        draft.rule(object, spec);
    }
    let (ruled, free): (Vec<_>, Vec<_>) = ingresses.iter().partition(|(_, spec)| !spec.rules.is_empty());
    for (object, backend) in free.iter().filter_map(|(object, spec)| Some((object, spec.default_backend.as_ref()?))) {
        draft.claim(object, HostPattern::Any, PathPattern::Rest, backend);
    }
    let last = ruled.iter().find_map(|(object, spec)| Some((object, spec.default_backend.as_ref()?)));
    if let Some((object, backend)) = last.filter(|_| !draft.claims.contains_key(&(HostPattern::Any, PathPattern::Rest))) {
        draft.claim(object, HostPattern::Any, PathPattern::Rest, backend);
    }
    Routes {
        routes: draft.claims.into_values().collect(),
        certificates: draft.certificates.into_values().collect(),
        conflicts: draft.conflicts,
    }
}

struct Draft<'a> {
    objects: &'a Objects,
    certificates: BTreeMap<HostPattern, IngressCertificate>,
    claims: BTreeMap<(HostPattern, PathPattern), IngressRoute>,
    conflicts: BTreeSet<Conflict>,
}

impl Draft<'_> {
    /// The certificates that an Ingress names, as far as they are there.
    fn certify(&mut self, ingress: &ObjectKey, spec: &IngressSpec) {
        for tls in &spec.tls {
            let Some(name) = &tls.secret_name else { continue };
            let secret = ObjectKey::new(Kind::Secret, &ingress.namespace, name.clone());
            let Some(Body::Secret(data)) = self.objects.get(&secret).map(|object| &object.body) else { continue };
            let (Some(chain), Some(key)) = (data.get("tls.crt"), data.get("tls.key")) else { continue };
            let written = tls.hosts.iter().map(String::as_str);
            let of_rules = spec.rules.iter().map(|rule| rule.host.as_deref().unwrap_or_default());
            let hosts: BTreeSet<HostPattern> = match tls.hosts.is_empty() {
                false => written.map(HostPattern::new).collect(),
                true if spec.rules.is_empty() => BTreeSet::from([HostPattern::Any]),
                true => of_rules.map(HostPattern::new).collect(),
            };
            for host in hosts {
                let other = self.certificates.get(&host).map(|known| &known.secret).filter(|other| **other != secret);
                if let Some(other) = other {
                    let message = format!("{host} is served with the certificate of {other}, not of {secret}");
                    self.conflicts.insert(Conflict { ingress: ingress.clone(), message });
                    continue;
                }
                let certificate = IngressCertificate {
                    host: host.clone(),
                    secret: secret.clone(),
                    chain: chain.expose().to_vec(),
                    key: key.clone(),
                };
                self.certificates.entry(host).or_insert(certificate);
            }
        }
    }

    /// The rules of an Ingress, and its default for their hosts.
    fn rule(&mut self, object: &Object, spec: &IngressSpec) {
        for rule in &spec.rules {
            let host = HostPattern::new(rule.host.as_deref().unwrap_or_default());
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                self.claim(object, host.clone(), pattern(path), &path.backend);
            }
        }
        let hosts: BTreeSet<&str> = spec.rules.iter().map(|rule| rule.host.as_deref().unwrap_or_default()).collect();
        for host in hosts {
            if let Some(backend) = &spec.default_backend {
                self.claim(object, HostPattern::new(host), PathPattern::Rest, backend);
            }
        }
    }

    fn claim(&mut self, object: &Object, host: HostPattern, path: PathPattern, backend: &IngressBackend) {
        let claim = (host, path);
        if let Some(first) = self.claims.get(&claim) {
            if first.ingress != object.key {
                let message = format!("{} of {} is served by {}", claim.1, claim.0, first.ingress);
                self.conflicts.insert(Conflict { ingress: object.key.clone(), message });
            }
            return;
        }
        let (host, path) = claim.clone();
        let says = |name: &str, value: &str| object.meta.annotations.get(name).is_some_and(|text| text == value);
        let has_certificate = self.certificates.keys().any(|certified| certified.covers(&host));
        let to_https = says(FORCE_SSL_REDIRECT, "true") || (has_certificate && !says(SSL_REDIRECT, "false"));
        let route = IngressRoute { ingress: object.key.clone(), host, path, target: self.target(object, backend), to_https };
        self.claims.insert(claim, route);
    }

    /// The port of the Service that a backend means.
    fn target(&self, object: &Object, backend: &IngressBackend) -> Option<IngressTarget> {
        let wanted = backend.service.as_ref()?;
        let service = ObjectKey::new(Kind::Service, &object.key.namespace, wanted.name.clone());
        let is_meant = |port: &&ServicePort| match &wanted.port.name {
            Some(name) => port.name == *name,
            None => Some(port.port) == wanted.port.number,
        };
        let ports = &self.objects.get(&service)?.service()?.ports;
        let port = ports.iter().filter(|port| port.protocol == Protocol::Tcp).find(is_meant)?;
        let grpc = object.meta.annotations.get(BACKEND_PROTOCOL).is_some_and(|protocol| protocol.eq_ignore_ascii_case("GRPC"));
        let is_h2c = grpc || port.app_protocol.as_deref() == Some(H2C);
        let protocol = if is_h2c { BackendProtocol::H2c } else { BackendProtocol::Http1 };
        Some(IngressTarget { service, port: port.port, protocol })
    }
}

/// `ImplementationSpecific` is a prefix here; `/shop/` and `/shop` are one.
fn pattern(path: &IngressPath) -> PathPattern {
    if path.path_type == "Exact" {
        return PathPattern::Exact(path.path.clone());
    }
    match path.path.trim_end_matches('/') {
        "" => PathPattern::Prefix("/".to_owned()),
        prefix => PathPattern::Prefix(prefix.to_owned()),
    }
}
