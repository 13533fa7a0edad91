//! Rules of one Service: <https://kubernetes.io/docs/concepts/services-networking/service/>.

use super::check_keys;
use crate::manifest::findings::Findings;
use crate::model::{Cidr, ServiceKind, ServiceSpec, SessionAffinity, TrafficPolicy};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Checks a Service.
pub(super) fn check(spec: &ServiceSpec, findings: &mut Findings<'_>) {
    if spec.kind == ServiceKind::ExternalName {
        check_external_name(spec, findings);
    } else {
        check_selector(spec, findings);
        check_address(spec, findings);
        if spec.external_name.is_some() {
            findings.error("/spec/externalName", "is for type: ExternalName only", None);
        }
    }
    check_ports(spec, findings);
    check_fitting(spec, findings);
}

fn check_external_name(spec: &ServiceSpec, findings: &mut Findings<'_>) {
    match &spec.external_name {
        None => findings.error("/spec/externalName", "is required with type: ExternalName", None),
        Some(name) if name.parse::<Ipv4Addr>().is_ok() => {
            findings.error("/spec/externalName", "must be a name, not an address", None);
        }
        Some(_) => {}
    }
    if spec.cluster_ip.is_some() {
        findings.error("/spec/clusterIP", "must be absent with type: ExternalName", None);
    }
}

fn check_selector(spec: &ServiceSpec, findings: &mut Findings<'_>) {
    if spec.selector.is_empty() {
        let hint = "Services lead to pods only; write the labels of the pods".to_owned();
        findings.error("/spec/selector", "is required", Some(hint));
    }
    check_keys(&spec.selector, "/spec/selector", findings);
}

fn check_address(spec: &ServiceSpec, findings: &mut Findings<'_>) {
    if spec.is_headless() && spec.kind.is_external() {
        let message = format!("must not be None with type: {}", spec.kind.as_str());
        findings.error("/spec/clusterIP", &message, None);
    } else if !spec.is_headless() && spec.cluster_ip.is_some() && spec.written_address().is_none() {
        findings.error("/spec/clusterIP", "must be None or an IPv4 address", None);
    }
}

fn check_ports(spec: &ServiceSpec, findings: &mut Findings<'_>) {
    if spec.ports.is_empty() && spec.has_address() {
        findings.error("/spec/ports", "is required", None);
    }
    let (mut names, mut numbers, mut of_nodes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (index, port) in spec.ports.iter().enumerate() {
        let pointer = format!("/spec/ports/{index}");
        if spec.ports.len() > 1 && port.name.is_empty() {
            findings.error(&format!("{pointer}/name"), "is required where there are several ports", None);
        } else if !names.insert(&port.name) {
            findings.error(&format!("{pointer}/name"), "is the name of another port", None);
        }
        if !numbers.insert((port.port, port.protocol)) {
            findings.error(&format!("{pointer}/port"), "is the port of another entry with the same protocol", None);
        }
        let Some(node_port) = port.node_port else { continue };
        if !spec.kind.is_external() {
            findings.error(&format!("{pointer}/nodePort"), "is for type: NodePort and LoadBalancer only", None);
        } else if !of_nodes.insert((node_port, port.protocol)) {
            findings.error(&format!("{pointer}/nodePort"), "is the node port of another entry with the same protocol", None);
        }
    }
}

/// Fields that mean something only beside others.
fn check_fitting(spec: &ServiceSpec, findings: &mut Findings<'_>) {
    if spec.external_traffic_policy != TrafficPolicy::Cluster && !spec.kind.is_external() {
        findings.error("/spec/externalTrafficPolicy", "is for type: NodePort and LoadBalancer only", None);
    }
    if spec.session_affinity_config.is_some() && spec.session_affinity == SessionAffinity::None {
        findings.error("/spec/sessionAffinityConfig", "is for sessionAffinity: ClientIP only", None);
    }
    let balances = spec.kind == ServiceKind::LoadBalancer;
    if spec.allocate_load_balancer_node_ports.is_some() && !balances {
        findings.error("/spec/allocateLoadBalancerNodePorts", "is for type: LoadBalancer only", None);
    }
    if !spec.load_balancer_source_ranges.is_empty() && !balances {
        findings.error("/spec/loadBalancerSourceRanges", "is for type: LoadBalancer only", None);
    }
    for (index, range) in spec.load_balancer_source_ranges.iter().enumerate() {
        if let Err(error) = range.trim().parse::<Cidr>() {
            findings.error(
                &format!("/spec/loadBalancerSourceRanges/{index}"),
                "must be a range of IPv4 addresses",
                Some(error.to_string()),
            );
        }
    }
}
