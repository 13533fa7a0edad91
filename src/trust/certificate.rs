//! What a certificate says: whose it is, for which key, and until when.

use super::hex;
use crate::model::{KeyFingerprint, Moment, NodeName};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio_rustls::rustls::CommonState;
use tokio_rustls::rustls::pki_types::{CertificateDer, DnsName, ServerName};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The name that every controller's certificate is for. It is verified instead of a DNS name, so that an agent reaches its controller
/// at any address: the authority is the cluster's own, and gives this name to nobody else.
pub const CONTROLLER_NAME: &str = "controller.driftless.internal";

/// Certificates are valid since a while before they were issued, for hosts whose clocks are behind.
pub(super) const CLOCK_MARGIN: Duration = Duration::from_secs(600);

/// The name of a node's certificate is its own name and this.
const NODE_SUFFIX: &str = ".node.driftless.internal";

/// The name that a node's certificate is for.
pub(super) fn node_name(node: &NodeName) -> String {
    format!("{node}{NODE_SUFFIX}")
}

/// What to dial a node's tunnel as. `None` if the name is none that a certificate could have.
#[must_use]
pub fn server_name(node: &NodeName) -> Option<ServerName<'static>> {
    DnsName::try_from(node_name(node)).ok().map(ServerName::DnsName)
}

/// The peer of an established connection, as its certificate names it. The verifier has checked that certificate.
#[must_use]
pub fn peer_of(connection: &CommonState) -> Option<(NodeName, KeyFingerprint)> {
    let described = Described::of(connection.peer_certificates()?.first()?)?;
    Some((described.node?, described.key))
}

/// A certificate, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The node that it is for; `None` if it is for none.
    pub node: Option<NodeName>,
    /// Its key.
    pub key: KeyFingerprint,
    /// From when it is valid.
    pub begins: Moment,
    /// Until when.
    pub ends: Moment,
}

impl Described {
    /// Reads a certificate; `None` if it is none.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, read) = X509Certificate::from_der(certificate).ok()?;
        let names = read.subject_alternative_name().ok().flatten();
        let mut names = names.iter().flat_map(|names| &names.value.general_names);
        let node = names.find_map(|name| {
            let GeneralName::DNSName(name) = name else { return None };
            name.strip_suffix(NODE_SUFFIX).map(NodeName::new)
        });
        let moment = |seconds: i64| Moment(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000));
        Some(Self {
            node,
            key: key_fingerprint(read.public_key().raw),
            begins: moment(read.validity().not_before.timestamp()),
            ends: moment(read.validity().not_after.timestamp()),
        })
    }
}

impl Described {
    /// When a certificate is to be renewed: at a point of the second half of its life, which `chance` (from 0 to 1) chooses.
    #[must_use]
    pub fn renewal(&self, chance: f64) -> Moment {
        let issued = self.begins + CLOCK_MARGIN;
        let half = self.ends.since(issued) / 2;
        // The last tenth is left for trying again.
        issued + half + half.mul_f64(chance.clamp(0.0, 1.0) * 0.9)
    }
}

/// The fingerprint of a key from its SubjectPublicKeyInfo in DER.
pub(super) fn key_fingerprint(key_info: &[u8]) -> KeyFingerprint {
    KeyFingerprint(hex(&Sha256::digest(key_info)))
}

/// The fingerprint of a whole certificate.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate).into()
}
