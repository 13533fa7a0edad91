//! Which certificate a client is shown.

use crate::causes;
use crate::model::{HostPattern, IngressCertificate, IngressTable, ObjectKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

/// What the certificate says that is shown where no other fits.
const NOBODY: &str = "Driftless Ingress Default Certificate";

/// Why a Secret is no certificate. Says nothing of what is in it.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("tls.crt is not PEM")]
    Chain(#[source] pem::Error),
    #[error("tls.crt has no certificate")]
    Empty,
    #[error("tls.key is no private key as PEM")]
    Key,
    #[error("the certificate and the key cannot be used")]
    Pair(#[source] rustls::Error),
}

/// The certificates of a table, by host.
#[derive(Debug)]
pub(super) struct Certificates {
    by_host: BTreeMap<HostPattern, Arc<CertifiedKey>>,
}

impl Certificates {
    /// Those of a table. One that cannot be used is left out and logged; its hosts are shown the default one.
    pub(super) fn new(table: &IngressTable, provider: &CryptoProvider) -> Self {
        let mut known: BTreeMap<&ObjectKey, Option<Arc<CertifiedKey>>> = BTreeMap::new();
        let mut by_host = BTreeMap::new();
        for certificate in &table.certificates {
            let read = known.entry(&certificate.secret).or_insert_with(|| match read(certificate, provider) {
                Ok(key) => Some(Arc::new(key)),
                Err(error) => {
                    tracing::warn!(secret = %certificate.secret, "{}", causes::in_full(&error));
                    None
                }
            });
            by_host.extend(read.clone().map(|key| (certificate.host.clone(), key)));
        }
        Self { by_host }
    }

    /// The certificate for the name that a client asks for (SNI), if there is one.
    pub(super) fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let wildcard = name.split_once('.').map(|(_, parent)| HostPattern::Wildcard(parent.to_owned()));
        let hosts = [Some(HostPattern::Exact(name)), wildcard, Some(HostPattern::Any)];
        hosts.into_iter().flatten().find_map(|host| self.by_host.get(&host))
    }
}

fn read(certificate: &IngressCertificate, provider: &CryptoProvider) -> Result<CertifiedKey, Unusable> {
    let chain = CertificateDer::pem_slice_iter(&certificate.chain).collect::<Result<Vec<_>, _>>().map_err(Unusable::Chain)?;
    if chain.is_empty() {
        return Err(Unusable::Empty);
    }
    // Its error could repeat a part of the text.
    let key = PrivateKeyDer::from_pem_slice(certificate.key.expose()).map_err(|_| Unusable::Key)?;
    CertifiedKey::from_der(chain, key, provider).map_err(Unusable::Pair)
}

/// A certificate that nobody signed, made anew at each start: a client that asks for a host without one gets as far as to be told so.
///
/// # Errors
/// The system gives no random numbers.
pub(super) fn default_certificate(provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let made = || -> Result<_, rcgen::Error> {
        let key = rcgen::KeyPair::generate()?;
        let mut wanted = rcgen::CertificateParams::new(vec!["ingress.invalid".to_owned()])?;
        wanted.distinguished_name.push(rcgen::DnType::CommonName, NOBODY);
        Ok((wanted.self_signed(&key)?, key))
    };
    let (certificate, key) = made().map_err(|error| causes::in_full(&error))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    CertifiedKey::from_der(vec![certificate.der().clone()], key, provider).map_err(|error| causes::in_full(&error))
}
