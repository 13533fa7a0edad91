//! A pod's names, and where it looks names up:
//! <https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/>.

use super::LaunchError;
use super::security::{is_of_network, sysctls};
use crate::agent::runtime::{LookUp, PodNetwork, Resolver};
use crate::model::{NetworkSettings, PodRun, PodSpec};

/// What the names of a cluster end with that was told nothing else.
const CLUSTER_DOMAIN: &str = NetworkSettings::DOMAIN;

/// A label of a host name has at most so many characters; Kubernetes cuts longer pod names too.
const LABEL_MAX: usize = 63;

/// The kernel's limit for a host name.
const HOSTNAME_MAX: usize = 64;

/// The network of a pod. `told` is what names end with, if the nodes make a network together.
pub(super) fn resolve(spec: &PodSpec, run: &PodRun, told: Option<&str>) -> Result<PodNetwork, LaunchError> {
    let resolver = resolver(spec, &run.workload.namespace, told);
    let network = PodNetwork { hosts: spec.host_aliases.clone(), resolver, ..PodNetwork::default() };
    if spec.host_network {
        return Ok(PodNetwork { host: true, ..network });
    }
    let of_index = run.job_index().map(|index| format!("{}-{index}", run.workload.name));
    let name = label(of_index.as_deref().or(spec.hostname.as_deref()).unwrap_or(&run.name));
    let namespace = &run.workload.namespace;
    let domain =
        spec.subdomain.as_ref().map(|subdomain| format!("{subdomain}.{namespace}.svc.{}", told.unwrap_or(CLUSTER_DOMAIN)));
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

/// Without a network of its nodes there is no server of the cluster to ask first; `None` is the runtime's own way, which is the host's.
/// <https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#pod-s-dns-policy>
fn resolver(spec: &PodSpec, namespace: &str, told: Option<&str>) -> Option<Resolver> {
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let asks_cluster = policy == "ClusterFirstWithHostNet" || (policy == "ClusterFirst" && !spec.host_network);
    let first = match told {
        _ if policy == "None" => LookUp::Nowhere,
        Some(domain) if asks_cluster => {
            LookUp::Cluster { searches: vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()] }
        }
        Some(_) | None => LookUp::Host,
    };
    let config = spec.dns_config.clone();
    if first == LookUp::Host && config.is_none() {
        return None;
    }
    Some(Resolver { first, config: config.unwrap_or_default() })
}
