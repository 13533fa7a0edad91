//! A node's identity: its name, its key, and the certificate that binds them, which changes while the node runs.

use super::authority::Credentials;
use super::certificate::Described;
use super::verify::{Roots, Verifier, Whose, client_config};
use super::{TrustError, provider};
use crate::model::{KeyFingerprint, NodeName};
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, ServerConfig, SignatureScheme};

/// The key on record for each node. Clones share it, and it may be set at any time: connections that are made from then on are
/// verified with it.
#[derive(Debug, Clone, Default)]
pub struct KnownKeys(Arc<ArcSwap<BTreeMap<NodeName, KeyFingerprint>>>);

impl KnownKeys {
    /// These count from now on, and no others.
    pub fn set(&self, keys: BTreeMap<NodeName, KeyFingerprint>) {
        self.0.store(Arc::new(keys));
    }

    /// Whether a node of this name has this key.
    #[must_use]
    pub fn accepts(&self, node: &NodeName, key: &KeyFingerprint) -> bool {
        self.0.load().get(node) == Some(key)
    }
}

/// The certificate that is shown. It may be exchanged while connections are made; those that are open stay.
#[derive(Debug)]
struct Shown(ArcSwap<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Who shows a certificate, and which authorities count for it. Clones share it. Its `Debug` shows no key.
#[derive(Clone)]
pub struct NodeIdentity {
    shown: Arc<Shown>,
    roots: Arc<ArcSwap<Roots>>,
}

impl std::fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeIdentity").field("certificate", &self.certificate()).finish_non_exhaustive()
    }
}

impl NodeIdentity {
    /// An identity that shows these credentials.
    ///
    /// # Errors
    /// They are not usable with this key.
    pub fn new(key: PrivateKeyDer<'static>, credentials: &Credentials) -> Result<Self, TrustError> {
        let key = provider().key_provider.load_private_key(key)?;
        let certified = CertifiedKey::new(credentials.chain.clone(), key);
        certified.keys_match()?;
        let roots = Roots::new(&credentials.roots)?;
        let (shown, roots) = (Shown(ArcSwap::from_pointee(certified)), ArcSwap::from_pointee(roots));
        Ok(Self { shown: Arc::new(shown), roots: Arc::new(roots) })
    }

    /// Shows these credentials from now on. Open connections stay.
    ///
    /// # Errors
    /// They are not usable with the key of this identity; then nothing has changed.
    pub fn replace(&self, credentials: &Credentials) -> Result<(), TrustError> {
        let key = Arc::clone(&self.shown.0.load().key);
        self.show(key, credentials)
    }

    /// Shows another key from now on, with its credentials. Open connections stay.
    ///
    /// # Errors
    /// They are not usable with the key; then nothing has changed.
    pub fn replace_with_key(&self, key: PrivateKeyDer<'static>, credentials: &Credentials) -> Result<(), TrustError> {
        self.show(provider().key_provider.load_private_key(key)?, credentials)
    }

    fn show(&self, key: Arc<dyn SigningKey>, credentials: &Credentials) -> Result<(), TrustError> {
        let certified = CertifiedKey::new(credentials.chain.clone(), key);
        certified.keys_match()?;
        let roots = Roots::new(&credentials.roots)?;
        self.shown.0.store(Arc::new(certified));
        self.roots.store(Arc::new(roots));
        Ok(())
    }

    /// How many authorities count.
    #[must_use]
    pub fn roots(&self) -> usize {
        self.roots.load().count
    }

    /// What the certificate that is shown says.
    #[must_use]
    pub fn certificate(&self) -> Option<Described> {
        Described::of(self.shown.0.load().cert.first()?)
    }

    /// How to dial other nodes: dial [`server_name`](super::server_name) of the node. Their certificates must lead to an authority, and
    /// their keys be in `peers`.
    ///
    /// # Errors
    /// The provider of cryptography is unusable.
    pub fn client_config(&self, peers: KnownKeys) -> Result<ClientConfig, TrustError> {
        self.config_for(Whose::Node(peers))
    }

    /// How to be dialled by other nodes, whose keys must be in `peers`. [`peer_of`](super::peer_of) says who dialled.
    ///
    /// # Errors
    /// The provider of cryptography is unusable.
    pub fn server_config(&self, peers: KnownKeys) -> Result<ServerConfig, TrustError> {
        self.server_config_for(Whose::Node(peers))
    }

    fn config_for(&self, whose: Whose) -> Result<ClientConfig, TrustError> {
        let verifier = Verifier { roots: Arc::clone(&self.roots), whose };
        client_config(Arc::new(verifier), Some(Arc::clone(&self.shown) as Arc<dyn ResolvesClientCert>))
    }

    fn server_config_for(&self, whose: Whose) -> Result<ServerConfig, TrustError> {
        let verifier: Arc<dyn ClientCertVerifier> = Arc::new(Verifier { roots: Arc::clone(&self.roots), whose });
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
        let shown = Arc::clone(&self.shown) as Arc<dyn ResolvesServerCert>;
        let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(shown);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// How a node dials its controller: as [`CONTROLLER_NAME`](super::CONTROLLER_NAME), showing its certificate if `show`.
///
/// # Errors
/// The provider of cryptography is unusable.
pub fn controller_config(identity: &NodeIdentity, show: bool) -> Result<ClientConfig, TrustError> {
    if show {
        return identity.config_for(Whose::Controller);
    }
    let verifier = Verifier { roots: Arc::clone(&identity.roots), whose: Whose::Controller };
    client_config(Arc::new(verifier), None)
}

/// How a controller is dialled: whoever shows a certificate must show one of a node, and who shows none is a stranger. Whether the
/// node's key is (still) on record is for the caller to ask.
///
/// # Errors
/// The provider of cryptography is unusable.
pub fn server_config(identity: &NodeIdentity) -> Result<ServerConfig, TrustError> {
    identity.server_config_for(Whose::AnyNode)
}
