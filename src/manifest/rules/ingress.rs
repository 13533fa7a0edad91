//! Rules within an Ingress.

use super::super::findings::Findings;
use crate::model::{IngressPath, IngressSpec};

/// Checks the spec of an Ingress.
pub(super) fn check(spec: &IngressSpec, findings: &mut Findings<'_>) {
    if spec.rules.is_empty() && spec.default_backend.is_none() {
        findings.error("/spec", "must have rules or defaultBackend", None);
    }
    for (outer, rule) in spec.rules.iter().enumerate() {
        let paths = rule.http.iter().flat_map(|http| &http.paths).enumerate();
        for (inner, path) in paths {
            check_path(path, &format!("/spec/rules/{outer}/http/paths/{inner}/path"), findings);
        }
        let host = rule.host.as_deref().unwrap_or_default();
        if !spec.tls.is_empty()
            && !host.is_empty()
            && !spec.tls.iter().any(|tls| tls.hosts.is_empty() || covers(&tls.hosts, host))
        {
            let message = format!("no entry of spec.tls is for {host}: it is served without TLS");
            findings.warning(&format!("/spec/rules/{outer}/host"), message, None);
        }
    }
}

/// As Kubernetes has it: <https://kubernetes.io/docs/concepts/services-networking/ingress/#path-types>.
fn check_path(path: &IngressPath, pointer: &str, findings: &mut Findings<'_>) {
    if path.path_type == "ImplementationSpecific" {
        return;
    }
    if path.path.is_empty() {
        findings.error(pointer, &format!("is required when pathType is {}", path.path_type), None);
    }
    let odd = ["//", "/./", "/../", "%2f", "%2F"].into_iter().find(|part| path.path.contains(part));
    if let Some(part) = odd.or_else(|| ["/..", "/."].into_iter().find(|end| path.path.ends_with(end))) {
        findings.error(pointer, &format!("must not have {part}"), None);
    }
}

/// Whether hosts of a certificate cover a host: `*.` stands for one label.
fn covers(hosts: &[String], host: &str) -> bool {
    let parent = host.split_once('.').map(|(_, parent)| parent);
    hosts.iter().any(|pattern| pattern == host || pattern.strip_prefix("*.").is_some_and(|end| Some(end) == parent))
}
