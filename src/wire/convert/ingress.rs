//! What a node serves to clients outside of the cluster.

use super::{ConvertError, key, key_to_proto, port};
use crate::model::{
    BackendProtocol, HostPattern, IngressCertificate, IngressRoute, IngressTable, IngressTarget, PathPattern, SecretBytes,
};
use crate::wire::proto;
use proto::ingress_route::Path;

/// The whole table.
pub(super) fn to_proto(table: &IngressTable) -> proto::IngressTable {
    proto::IngressTable {
        version: table.version,
        routes: table.routes.iter().map(route_to_proto).collect(),
        certificates: table.certificates.iter().map(certificate_to_proto).collect(),
    }
}

fn route_to_proto(route: &IngressRoute) -> proto::IngressRoute {
    let target = |target: &IngressTarget| proto::IngressTarget {
        service: Some(key_to_proto(&target.service)),
        port: target.port.into(),
        h2c: target.protocol == BackendProtocol::H2c,
    };
    let path = match &route.path {
        PathPattern::Exact(path) => Path::Exact(path.clone()),
        PathPattern::Prefix(path) => Path::Prefix(path.clone()),
        PathPattern::Rest => Path::Rest(true),
    };
    proto::IngressRoute {
        ingress: Some(key_to_proto(&route.ingress)),
        host: route.host.clone().into(),
        path: Some(path),
        target: route.target.as_ref().map(target),
        to_https: route.to_https,
    }
}

fn certificate_to_proto(certificate: &IngressCertificate) -> proto::IngressCertificate {
    proto::IngressCertificate {
        host: certificate.host.clone().into(),
        secret: Some(key_to_proto(&certificate.secret)),
        chain: certificate.chain.clone(),
        key: certificate.key.expose().to_vec(),
    }
}

/// Reads it.
pub(super) fn read(message: proto::IngressTable) -> Result<IngressTable, ConvertError> {
    Ok(IngressTable {
        version: message.version,
        routes: message.routes.into_iter().map(route).collect::<Result<_, _>>()?,
        certificates: message.certificates.into_iter().map(certificate).collect::<Result<_, _>>()?,
    })
}

fn route(message: proto::IngressRoute) -> Result<IngressRoute, ConvertError> {
    let path = match message.path.ok_or(ConvertError::Missing("ingress.path"))? {
        Path::Exact(path) => PathPattern::Exact(path),
        Path::Prefix(path) => PathPattern::Prefix(path),
        Path::Rest(_) => PathPattern::Rest,
    };
    Ok(IngressRoute {
        ingress: key("ingress.ingress", message.ingress)?,
        host: HostPattern::from(message.host),
        path,
        target: message.target.map(target).transpose()?,
        to_https: message.to_https,
    })
}

fn target(message: proto::IngressTarget) -> Result<IngressTarget, ConvertError> {
    let protocol = if message.h2c { BackendProtocol::H2c } else { BackendProtocol::Http1 };
    Ok(IngressTarget { service: key("ingress.service", message.service)?, port: port("ingress.port", message.port)?, protocol })
}

fn certificate(message: proto::IngressCertificate) -> Result<IngressCertificate, ConvertError> {
    Ok(IngressCertificate {
        host: HostPattern::from(message.host),
        secret: key("ingress.secret", message.secret)?,
        chain: message.chain,
        key: SecretBytes::new(message.key),
    })
}
