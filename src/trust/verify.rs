//! Verifiers: does a certificate lead to an authority that counts, is it for the right name, and is its key the one on record?

use super::certificate::{Described, fingerprint};
use super::node::KnownKeys;
use super::{TrustError, provider};
use arc_swap::ArcSwap;
use std::sync::Arc;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};

/// The authority that showed itself is not the one that the token names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the controller there has another certificate authority than the one of the token")]
pub struct WrongAuthority;

/// The key is not the one that the cluster knows for this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this key is not on record for this node, or the node was removed")]
pub(super) struct NotOnRecord;

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

/// The authorities that count, ready for verifying. They may be exchanged while connections are made.
#[derive(Debug)]
pub(super) struct Roots {
    servers: Arc<WebPkiServerVerifier>,
    clients: Arc<dyn ClientCertVerifier>,
    pub(super) count: usize,
}

impl Roots {
    pub(super) fn new<'a>(roots: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> Result<Self, TrustError> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root.clone())?;
        }
        let (count, store) = (store.len(), Arc::new(store));
        let unusable = |_| Error::General("there is no authority to verify certificates with".to_owned());
        let servers = WebPkiServerVerifier::builder_with_provider(Arc::clone(&store), provider()).build().map_err(unusable)?;
        let clients = WebPkiClientVerifier::builder_with_provider(store, provider()).build().map_err(unusable)?;
        Ok(Self { servers, clients, count })
    }
}

/// Whose certificate is asked for.
#[derive(Debug, Clone)]
pub(super) enum Whose {
    /// The controller's.
    Controller,
    /// That of a node whose key is on record.
    Node(KnownKeys),
    /// That of any node. The caller looks at the record by itself, and can then say what is wrong. None is needed either.
    AnyNode,
}

/// Verifies servers and clients alike.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) roots: Arc<ArcSwap<Roots>>,
    pub(super) whose: Whose,
}

impl Verifier {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let described = || Described::of(certificate).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding));
        let accepted = match &self.whose {
            Whose::Controller => true,
            Whose::AnyNode => described()?.node.is_some(),
            Whose::Node(keys) => {
                let described = described()?;
                described.node.is_some_and(|node| keys.accepts(&node, &described.key))
            }
        };
        if accepted { Ok(()) } else { Err(other(NotOnRecord)) }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.roots.load().servers.verify_server_cert(end_entity, intermediates, server_name, ocsp, now)?;
        self.check(end_entity).map(|()| verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.roots.load().servers.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.roots.load().servers.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.load().servers.supported_verify_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        !matches!(self.whose, Whose::AnyNode)
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A client has one certificate, and always shows it.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.roots.load().clients.verify_client_cert(end_entity, intermediates, now)?;
        self.check(end_entity).map(|()| verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.roots.load().clients.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.roots.load().clients.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.load().clients.supported_verify_schemes()
    }
}

/// Verifies a controller by the fingerprint of its authority alone.
#[derive(Debug)]
struct Pinned([u8; 32]);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = intermediates.iter().find(|certificate| fingerprint(certificate) == self.0);
        let root = pinned.ok_or_else(|| other(WrongAuthority))?.clone().into_owned();
        let roots = Roots::new([&root]).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        roots.servers.verify_server_cert(end_entity, intermediates, server_name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// How to dial a controller of which only the fingerprint of its authority is known: dial [`CONTROLLER_NAME`](super::CONTROLLER_NAME). The client shows no
/// certificate.
///
/// # Errors
/// The provider of cryptography is unusable.
pub fn pinned_config(authority: [u8; 32]) -> Result<ClientConfig, TrustError> {
    client_config(Arc::new(Pinned(authority)), None)
}

/// A client of TLS 1.3 that verifies as told and never resumes a session.
pub(super) fn client_config(
    verifier: Arc<dyn ServerCertVerifier>,
    shown: Option<Arc<dyn tokio_rustls::rustls::client::ResolvesClientCert>>,
) -> Result<ClientConfig, TrustError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match shown {
        Some(shown) => builder.with_client_cert_resolver(shown),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}
