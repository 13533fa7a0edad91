//! The cluster's certificate authority: one file for each generation in `identity/`, with its key, its certificate, and the same key
//! certified by the generation before it.
//!
//! Certificates come from the newest generation. Whoever trusts an older one only still finds a way: the controller sends the
//! certificates that lead from each generation to the next. The generation before the newest is accepted until the last certificate
//! that it issued has ended; then it is forgotten by everyone who has renewed, which by then is everyone.

use super::certificate::{CLOCK_MARGIN, CONTROLLER_NAME, Described, fingerprint, key_fingerprint, node_name};
use super::{TrustError, random};
use crate::model::{KeyFingerprint, Moment, NodeName};
use crate::private_file;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SerialNumber,
};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};

/// How long a certificate of a node is valid, and the controller's own.
pub const NODE_LIFE: Duration = Duration::from_secs(24 * 3600);

/// How long an authority is valid.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// More generations than anybody makes.
const GENERATIONS_MAX: usize = 1_000;

/// A certificate with all that goes with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The certificate, and those that lead from it to an authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The authorities that are accepted.
    pub roots: Vec<CertificateDer<'static>>,
}

/// One generation.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    /// The same key, certified by the generation before.
    cross: Option<CertificateDer<'static>>,
    made: Moment,
}

/// All generations, oldest first; never empty. Its `Debug` shows no key.
pub struct Authorities(Vec<Authority>);

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Authorities").field(&super::hex(&self.fingerprint())).finish()
    }
}

fn path_of(dir: &Path, generation: usize) -> PathBuf {
    dir.join(format!("ca-{generation}.pem"))
}

impl Authorities {
    /// Reads what is in `identity/`; makes the first generation if there is none.
    ///
    /// # Errors
    /// A file is exposed or damaged, or cannot be written. In every case nothing was changed.
    pub fn load_or_create(dir: &Path, cluster_id: &str, now: Moment) -> Result<Self, TrustError> {
        if let Some(found) = Self::load(dir)? {
            return Ok(found);
        }
        add(dir, cluster_id, None, 1, now)?;
        Self::load(dir)?.ok_or_else(|| TrustError::Damaged { path: path_of(dir, 1), detail: "it is gone again".to_owned() })
    }

    /// Reads what is in `identity/`; `None` if there is nothing yet.
    ///
    /// # Errors
    /// A file is exposed or damaged.
    pub fn load(dir: &Path) -> Result<Option<Self>, TrustError> {
        let mut generations = Vec::new();
        for generation in 1..GENERATIONS_MAX {
            let path = path_of(dir, generation);
            let Some(text) = private_file::read(&path)? else {
                // The oldest may have been taken away by whoever wants them forgotten.
                if generations.is_empty() && generation < 32 { continue } else { break }
            };
            let read = parse(&text).map_err(|detail| TrustError::Damaged { path, detail })?;
            generations.push(read);
        }
        Ok((!generations.is_empty()).then_some(Self(generations)))
    }

    /// Adds a generation: from now on it issues all certificates.
    ///
    /// # Errors
    /// The last rotation is not over, or the file cannot be written.
    pub fn rotate(dir: &Path, cluster_id: &str, life: Duration, now: Moment) -> Result<Self, TrustError> {
        let present = Self::load_or_create(dir, cluster_id, now)?;
        if present.roots(life, now).len() > 1 {
            return Err(TrustError::Rotating);
        }
        let next = (1..GENERATIONS_MAX).rev().find(|generation| path_of(dir, *generation).exists()).unwrap_or(0) + 1;
        add(dir, cluster_id, Some(present.newest()), next, now)?;
        Self::load_or_create(dir, cluster_id, now)
    }

    fn newest(&self) -> &Authority {
        // It is never empty: `load` sees to it.
        &self.0[self.0.len() - 1]
    }

    /// The SHA-256 of the newest authority's certificate: what a token carries.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.newest().root)
    }

    /// The authorities whose certificates are accepted: the newest, and those before it until the certificates that they issued have
    /// ended, where `life` is how long those were valid.
    #[must_use]
    pub fn roots(&self, life: Duration, now: Moment) -> Vec<CertificateDer<'static>> {
        let successors = self.0.iter().skip(1).map(|next| Some(next.made)).chain([None]);
        let accepted =
            self.0.iter().zip(successors).filter(|(_, replaced)| replaced.is_none_or(|at| now.since(at) < life + CLOCK_MARGIN));
        accepted.map(|(authority, _)| authority.root.clone()).collect()
    }

    /// A certificate for a node: for the key that signed `request`, and the name that we say. Nothing else of the request counts.
    ///
    /// # Errors
    /// The request is not valid.
    pub fn issue_node(&self, node: &NodeName, request: &Request, life: Duration, now: Moment) -> Result<Credentials, TrustError> {
        let names = vec![SanType::DnsName(node_name(node).try_into()?)];
        let usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(&request.0.public_key, node.as_str(), names, usages, life, now)
    }

    /// A fresh key and certificate for a controller, that is also known by the names and addresses in `advertised`.
    ///
    /// # Errors
    /// A name is none.
    pub fn issue_controller(
        &self,
        advertised: &[String],
        life: Duration,
        now: Moment,
    ) -> Result<(PrivateKeyDer<'static>, Credentials), TrustError> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut names = vec![SanType::DnsName(CONTROLLER_NAME.try_into()?)];
        for name in advertised {
            names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        let credentials = self.issue(&key, "controller", names, vec![ExtendedKeyUsagePurpose::ServerAuth], life, now)?;
        Ok((PrivateKeyDer::Pkcs8(key.serialize_der().into()), credentials))
    }

    fn issue(
        &self,
        key: &impl PublicKeyData,
        subject: &str,
        names: Vec<SanType>,
        usages: Vec<ExtendedKeyUsagePurpose>,
        life: Duration,
        now: Moment,
    ) -> Result<Credentials, TrustError> {
        let mut params = params(subject, life, now)?;
        params.subject_alt_names = names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(key, &self.newest().issuer)?.der().clone();
        let bridges = self.0.iter().rev().filter_map(|authority| authority.cross.clone());
        // The authorities themselves go along: whoever has a token only knows one of them by its fingerprint.
        let roots = self.0.iter().map(|authority| authority.root.clone());
        let chain = [leaf].into_iter().chain(bridges).chain(roots).collect();
        Ok(Credentials { chain, roots: self.roots(life, now) })
    }
}

/// A request for a certificate whose signature was verified: whoever sent it has the key.
#[derive(Debug)]
pub struct Request(CertificateSigningRequestParams);

impl Request {
    /// Reads a PKCS #10 request.
    ///
    /// # Errors
    /// It cannot be read, or was not signed by the key that it names.
    pub fn read(der: &[u8]) -> Result<Self, TrustError> {
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der));
        request.map(Self).map_err(|_| TrustError::Request)
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> KeyFingerprint {
        key_fingerprint(&self.0.public_key.subject_public_key_info())
    }
}

/// What all certificates have in common.
fn params(subject: &str, life: Duration, now: Moment) -> Result<CertificateParams, TrustError> {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "driftless");
    name.push(DnType::CommonName, subject);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.serial_number = Some(SerialNumber::from_slice(&random::<16>()?));
    params.not_before = date(now - CLOCK_MARGIN);
    params.not_after = date(now + life);
    Ok(params)
}

fn date(at: Moment) -> OffsetDateTime {
    let seconds = i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Makes a generation and writes it, unless another process was faster.
fn add(dir: &Path, cluster_id: &str, before: Option<&Authority>, generation: usize, now: Moment) -> Result<(), TrustError> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let mut params = params(&format!("cluster {cluster_id}, authority {generation}"), AUTHORITY_LIFE, now)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root = params.self_signed(&key)?;
    let cross = before.map(|before| params.signed_by(&key, &before.issuer)).transpose()?;
    let text =
        zeroize::Zeroizing::new([key.serialize_pem(), root.pem(), cross.map(|cross| cross.pem()).unwrap_or_default()].concat());
    private_file::write_new(&path_of(dir, generation), &text)?;
    Ok(())
}

fn parse(text: &str) -> Result<Authority, String> {
    let key = KeyPair::from_pem(text).map_err(|error| format!("its key cannot be read ({error})"))?;
    let certificates: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let mut certificates = certificates.map_err(|_| "its certificate cannot be read".to_owned())?.into_iter();
    let root = certificates.next().ok_or("it has no certificate")?;
    let described = Described::of(&root).ok_or("its certificate cannot be read")?;
    if described.key != key_fingerprint(&key.subject_public_key_info()) {
        return Err("its certificate is for another key".to_owned());
    }
    let issuer = Issuer::from_ca_cert_der(&root, key).map_err(|error| error.to_string())?;
    Ok(Authority { issuer, root, cross: certificates.next(), made: described.begins + CLOCK_MARGIN })
}
