//! Whether and where a node serves Ingress.

use crate::agent::net::ingress::{IngressLimits, IngressSettings};
use crate::model::Cidr;
use clap::Args;
use std::net::SocketAddr;

/// Whether and where to serve Ingress.
#[derive(Debug, Clone, Args)]
pub(crate) struct IngressArgs {
    /// Serve what Ingress objects say, to whoever can reach this host: the keys of their certificates come to it
    #[arg(long, env = "DRIFTLESS_INGRESS")]
    ingress: bool,
    /// Where Ingress is served without TLS
    #[arg(long, env = "DRIFTLESS_INGRESS_HTTP", value_name = "ADDRESS:PORT", default_value = "0.0.0.0:80")]
    ingress_http: SocketAddr,
    /// Where Ingress is served with TLS
    #[arg(long, env = "DRIFTLESS_INGRESS_HTTPS", value_name = "ADDRESS:PORT", default_value = "0.0.0.0:443")]
    ingress_https: SocketAddr,
    /// Proxies in front of this host whose X-Forwarded-… are believed, as 10.0.0.0/8; of others they are replaced
    #[arg(long, env = "DRIFTLESS_INGRESS_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',')]
    ingress_trusted_proxies: Vec<Cidr>,
}

impl IngressArgs {
    /// What the agent is told; `None` if it serves no Ingress.
    pub(crate) fn settings(&self) -> Option<IngressSettings> {
        self.ingress.then(|| IngressSettings {
            http: self.ingress_http,
            https: self.ingress_https,
            trusted: self.ingress_trusted_proxies.clone(),
            limits: IngressLimits::default(),
        })
    }
}
