//! A pod's names, and where it looks names up:
//! <https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/>.

use super::security::{is_of_network, sysctls};
use super::{ClusterNames, LaunchError};
use crate::agent::runtime::{LookUp, PodNetwork, Resolver};
use crate::model::{PodRun, PodSpec};

/// A label of a host name has at most so many characters; Kubernetes cuts longer pod names too.
const LABEL_MAX: usize = 63;

/// The kernel's limit for a host name.
const HOSTNAME_MAX: usize = 64;

/// The network of a pod.
pub(super) fn resolve(spec: &PodSpec, run: &PodRun, names: ClusterNames<'_>) -> Result<PodNetwork, LaunchError> {
    let resolver = resolver(spec, &run.workload.namespace, names);
    let network = PodNetwork { hosts: spec.host_aliases.clone(), resolver, ..PodNetwork::default() };
    if spec.host_network {
        return Ok(PodNetwork { host: true, ..network });
    }
    let of_index = run.job_index().map(|index| format!("{}-{index}", run.workload.name));
    let name = label(of_index.as_deref().or(spec.hostname.as_deref()).unwrap_or(&run.name));
    let namespace = &run.workload.namespace;
    let domain = spec.subdomain.as_ref().map(|subdomain| format!("{subdomain}.{namespace}.svc.{}", names.domain));
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

/// Whom the pod asks, by its `dnsPolicy`; `None` is the runtime's own way, which is the host's. Where nobody answers the names of the
/// cluster, every policy but `None` is.
/// <https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#pod-s-dns-policy>
fn resolver(spec: &PodSpec, namespace: &str, names: ClusterNames<'_>) -> Option<Resolver> {
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let asks_cluster = policy == "ClusterFirstWithHostNet" || (policy == "ClusterFirst" && !spec.host_network);
    let domain = names.domain;
    let first = match names.server {
        _ if policy == "None" => LookUp::Nowhere,
        Some(server) if asks_cluster => {
            let searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
            LookUp::Cluster { server, searches }
        }
        Some(_) | None => LookUp::Host,
    };
    let config = spec.dns_config.clone();
    if first == LookUp::Host && config.is_none() {
        return None;
    }
    Some(Resolver { first, config: config.unwrap_or_default() })
}
