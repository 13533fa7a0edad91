//! Where Services lead.

use super::{ConvertError, invalid, key, key_to_proto, optional, parsed, port, uid, uid_to_proto};
use crate::model::{Backend, EndpointPort, EndpointSet, Member, NodeName, Protocol, Traffic, millis};
use crate::wire::proto;
use std::time::Duration;

/// Where a Service leads.
pub(super) fn to_proto(set: &EndpointSet) -> proto::EndpointSet {
    proto::EndpointSet {
        service: Some(key_to_proto(&set.service)),
        version: set.version,
        address: set.address.map(|address| address.to_string()).unwrap_or_default(),
        ports: set.ports.iter().map(port_to_proto).collect(),
        traffic: Some(traffic_to_proto(&set.traffic)),
        members: set.members.iter().map(member_to_proto).collect(),
        external_name: set.external_name.clone(),
        removed: set.removed,
    }
}

/// Reads where a Service leads.
pub(super) fn read(set: proto::EndpointSet) -> Result<EndpointSet, ConvertError> {
    Ok(EndpointSet {
        service: key("endpoints.service", set.service)?,
        version: set.version,
        address: optional("endpoints.address", &set.address, "an IPv4 address")?,
        ports: set.ports.into_iter().map(endpoint_port).collect::<Result<_, _>>()?,
        traffic: set.traffic.map(traffic).transpose()?.unwrap_or_default(),
        members: set.members.into_iter().map(member).collect::<Result<_, _>>()?,
        external_name: set.external_name,
        removed: set.removed,
    })
}

fn traffic_to_proto(traffic: &Traffic) -> proto::Traffic {
    proto::Traffic {
        sticky_for_ms: traffic.sticky_for.map(millis),
        internal_local: traffic.internal_local,
        external_local: traffic.external_local,
        load_balancers: traffic.load_balancers.iter().map(|name| name.as_str().to_owned()).collect(),
        source_ranges: traffic.source_ranges.iter().map(ToString::to_string).collect(),
    }
}

fn traffic(message: proto::Traffic) -> Result<Traffic, ConvertError> {
    let range = |text: &String| parsed("traffic.source_ranges", text, "a range of addresses");
    Ok(Traffic {
        sticky_for: message.sticky_for_ms.map(Duration::from_millis),
        internal_local: message.internal_local,
        external_local: message.external_local,
        load_balancers: message.load_balancers.into_iter().map(NodeName::new).collect(),
        source_ranges: message.source_ranges.iter().map(range).collect::<Result<_, _>>()?,
    })
}

fn member_to_proto(member: &Member) -> proto::Member {
    proto::Member {
        pod: uid_to_proto(&member.pod),
        node: member.node.as_str().to_owned(),
        address: member.address.to_string(),
        hostname: member.hostname.clone(),
    }
}

fn member(message: proto::Member) -> Result<Member, ConvertError> {
    Ok(Member {
        pod: uid("member.pod", &message.pod)?,
        node: NodeName::new(message.node),
        address: parsed("member.address", &message.address, "an IP address")?,
        hostname: message.hostname,
    })
}

fn port_to_proto(port: &EndpointPort) -> proto::EndpointPort {
    let protocol = match port.protocol {
        Protocol::Tcp => proto::Protocol::Tcp,
        Protocol::Udp => proto::Protocol::Udp,
    };
    let backends = port.backends.iter().map(|backend| proto::Backend {
        pod: uid_to_proto(&backend.pod),
        node: backend.node.as_str().to_owned(),
        address: backend.address.to_string(),
        port: backend.port.into(),
    });
    proto::EndpointPort {
        name: port.name.clone(),
        port: port.port.into(),
        protocol: protocol.into(),
        node_port: port.node_port.map(u32::from),
        backends: backends.collect(),
    }
}

fn endpoint_port(message: proto::EndpointPort) -> Result<EndpointPort, ConvertError> {
    let protocol = match message.protocol() {
        proto::Protocol::Unspecified => return Err(invalid("endpoints.protocol", "TCP or UDP")),
        proto::Protocol::Tcp => Protocol::Tcp,
        proto::Protocol::Udp => Protocol::Udp,
    };
    Ok(EndpointPort {
        name: message.name,
        port: port("endpoints.port", message.port)?,
        protocol,
        node_port: message.node_port.map(|number| port("endpoints.node_port", number)).transpose()?,
        backends: message.backends.into_iter().map(backend).collect::<Result<_, _>>()?,
    })
}

fn backend(message: proto::Backend) -> Result<Backend, ConvertError> {
    Ok(Backend {
        pod: uid("backend.pod", &message.pod)?,
        node: NodeName::new(message.node),
        address: parsed("backend.address", &message.address, "an IP address")?,
        port: port("backend.port", message.port)?,
    })
}
