//! A pod's names, and where it looks names up:
//! <https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/>.

use super::LaunchError;
use super::security::{is_of_network, sysctls};
use crate::agent::runtime::{PodNetwork, Resolver};
use crate::model::{PodRun, PodSpec};

/// What the names of a cluster end with.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// A label of a host name has at most so many characters; Kubernetes cuts longer pod names too.
const LABEL_MAX: usize = 63;

/// The kernel's limit for a host name.
const HOSTNAME_MAX: usize = 64;

/// The network of a pod.
pub(super) fn resolve(spec: &PodSpec, run: &PodRun) -> Result<PodNetwork, LaunchError> {
    let network = PodNetwork { hosts: spec.host_aliases.clone(), resolver: resolver(spec), ..PodNetwork::default() };
    if spec.host_network {
        return Ok(PodNetwork { host: true, ..network });
    }
    let of_index = run.job_index().map(|index| format!("{}-{index}", run.workload.name));
    let name = label(of_index.as_deref().or(spec.hostname.as_deref()).unwrap_or(&run.name));
    let namespace = &run.workload.namespace;
    let domain = spec.subdomain.as_ref().map(|subdomain| format!("{subdomain}.{namespace}.svc.{CLUSTER_DOMAIN}"));
    let (hostname, domain) = match domain {
        Some(domain) if spec.set_hostname_as_fqdn => (fitting(format!("{name}.{domain}"))?, None),
        domain => (name.to_owned(), domain),
    };
    let sysctls = spec.security_context.as_ref().map(|pod| sysctls(pod, is_of_network)).unwrap_or_default();
    Ok(PodNetwork { hostname, domain, sysctls, ..network })
}

/// Cut to a label, which does not end with a dash or a dot.
fn label(name: &str) -> &str {
    let end = name.char_indices().nth(LABEL_MAX).map_or(name.len(), |(at, _)| at);
    name[..end].trim_end_matches(['-', '.'])
}

fn fitting(hostname: String) -> Result<String, LaunchError> {
    if hostname.len() > HOSTNAME_MAX { Err(LaunchError::LongHostname { hostname }) } else { Ok(hostname) }
}

/// Every policy but `None` is the host's own way: there is no DNS of the cluster to ask first.
fn resolver(spec: &PodSpec) -> Option<Resolver> {
    let inherits = spec.dns_policy.as_deref() != Some("None");
    match &spec.dns_config {
        None if inherits => None,
        config => Some(Resolver { inherits, config: config.clone().unwrap_or_default() }),
    }
}
