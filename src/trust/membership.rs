//! `agent/identity/`: a node's key, and its membership of a cluster once it has joined.

use super::TrustError;
use super::authority::Credentials;
use super::certificate::key_fingerprint;
use super::node::NodeIdentity;
use crate::model::KeyFingerprint;
use crate::private_file;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, PublicKeyData};
use std::path::{Path, PathBuf};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// The node's key; made once.
const KEY: &str = "key.pem";
/// Its certificate, and those that lead from it to an authority.
const CERTIFICATE: &str = "certificate.pem";
/// The authorities that count.
const ROOTS: &str = "authorities.pem";

/// What a node keeps in `agent/identity/`: its key, and its membership of a cluster once it has joined.
pub struct Membership {
    dir: PathBuf,
    key: KeyPair,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Membership {
    /// Opens the folder; makes it, with a fresh key, if it is missing.
    ///
    /// # Errors
    /// It cannot be written, or the key is exposed or damaged.
    pub fn open(dir: &Path) -> Result<Self, TrustError> {
        private_file::make_folder(dir)?;
        let path = dir.join(KEY);
        if private_file::read(&path)?.is_none() {
            let fresh = Zeroizing::new(KeyPair::generate_for(&PKCS_ED25519)?.serialize_pem());
            private_file::write_new(&path, &fresh)?;
        }
        let text = private_file::read(&path)?.unwrap_or_default();
        let damaged = |error: rcgen::Error| TrustError::Damaged { path, detail: error.to_string() };
        Ok(Self { dir: dir.to_owned(), key: KeyPair::from_pem(&text).map_err(damaged)? })
    }

    /// The key's fingerprint.
    #[must_use]
    pub fn key(&self) -> KeyFingerprint {
        key_fingerprint(&self.key.subject_public_key_info())
    }

    /// A request for a certificate, signed with the key.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn request(&self) -> Result<Vec<u8>, TrustError> {
        Ok(CertificateParams::default().serialize_request(&self.key)?.der().to_vec())
    }

    /// The identity, if this host has joined: with the certificate that it was last given, which may have ended.
    ///
    /// # Errors
    /// A file cannot be read, or holds what it should not.
    pub fn identity(&self) -> Result<Option<NodeIdentity>, TrustError> {
        let (Some(chain), Some(roots)) = (self.certificates(CERTIFICATE)?, self.certificates(ROOTS)?) else { return Ok(None) };
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        let credentials = Credentials { chain, roots };
        NodeIdentity::new(key, &credentials)
            .map(Some)
            .map_err(|error| TrustError::Damaged { path: self.dir.join(CERTIFICATE), detail: error.to_string() })
    }

    /// Keeps new credentials; the authorities first, since both old and new count while they change.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn keep(&self, credentials: &Credentials) -> Result<(), TrustError> {
        private_file::replace(&self.dir.join(ROOTS), &pem(&credentials.roots))?;
        Ok(private_file::replace(&self.dir.join(CERTIFICATE), &pem(&credentials.chain))?)
    }

    fn certificates(&self, name: &str) -> Result<Option<Vec<CertificateDer<'static>>>, TrustError> {
        let path = self.dir.join(name);
        let Some(text) = private_file::read(&path)? else { return Ok(None) };
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        match read {
            Ok(certificates) if !certificates.is_empty() => Ok(Some(certificates)),
            Ok(_) | Err(_) => Err(TrustError::Damaged { path, detail: "it holds no certificates".to_owned() }),
        }
    }
}

fn pem(certificates: &[CertificateDer<'_>]) -> String {
    let block = |certificate: &CertificateDer<'_>| {
        let text = STANDARD.encode(certificate);
        let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    };
    certificates.iter().map(block).collect()
}
