//! The table of Ingress within the ledger; the keys of its certificates are in a file of their own.

use super::ledger_file::tell_of;
use super::secret_files::{SecretFiles, Shelf};
use crate::agent::core::SecretLoss;
use crate::model::{HostPattern, IngressCertificate, IngressRoute, IngressTable, ObjectKey, SecretBytes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The table without its keys.
#[derive(Serialize, Deserialize)]
pub(super) struct TableFile {
    version: u64,
    routes: Vec<IngressRoute>,
    certificates: Vec<CertificateFile>,
}

#[derive(Serialize, Deserialize)]
struct CertificateFile {
    host: HostPattern,
    secret: ObjectKey,
    /// As base64.
    chain: String,
}

/// Secret → its key as base64.
type Keys = BTreeMap<String, String>;

fn keys_file(version: u64) -> String {
    format!("{version}.json")
}

impl TableFile {
    pub(super) fn new(table: &IngressTable) -> Self {
        let certificate = |certificate: &IngressCertificate| CertificateFile {
            host: certificate.host.clone(),
            secret: certificate.secret.clone(),
            chain: STANDARD.encode(&certificate.chain),
        };
        Self {
            version: table.version,
            routes: table.routes.clone(),
            certificates: table.certificates.iter().map(certificate).collect(),
        }
    }

    /// The table with its keys. Where these cannot be had, it serves without its certificates, and counts as never told: the controller
    /// tells it anew. What it was is then the second, for as long as the keys may come back.
    pub(super) fn whole(self, files: &SecretFiles) -> (Arc<IngressTable>, Option<Arc<IngressTable>>) {
        let keys = if self.certificates.is_empty() { Ok(Keys::new()) } else { read_keys(files, self.version) };
        let table = |version, certificates| IngressTable { version, routes: self.routes.clone(), certificates };
        let with = |keys: &Keys| self.certificates.iter().map(|file| file.whole(keys)).collect::<Option<Vec<_>>>();
        match keys.and_then(|keys| with(&keys).ok_or(SecretLoss::Damaged)) {
            Ok(certificates) => (Arc::new(table(self.version, certificates)), None),
            Err(loss) => {
                tell_of(loss, "the keys of the certificates of Ingress");
                let lost = self.certificates.iter().filter_map(CertificateFile::without_key).collect();
                (Arc::new(table(0, Vec::new())), Some(Arc::new(table(self.version, lost))))
            }
        }
    }
}

impl CertificateFile {
    fn whole(&self, keys: &Keys) -> Option<IngressCertificate> {
        let key = STANDARD.decode(keys.get(&self.secret.short())?).ok()?;
        Some(IngressCertificate { key: SecretBytes::new(key), ..self.without_key()? })
    }

    fn without_key(&self) -> Option<IngressCertificate> {
        Some(IngressCertificate {
            host: self.host.clone(),
            secret: self.secret.clone(),
            chain: STANDARD.decode(&self.chain).ok()?,
            key: SecretBytes::new(Vec::new()),
        })
    }
}

fn read_keys(files: &SecretFiles, version: u64) -> Result<Keys, SecretLoss> {
    files.find(Shelf::Ingress, &keys_file(version), |bytes| serde_json::from_slice(bytes).ok())
}

/// Writes the keys of a table, once per version, before the ledger names it.
pub(super) fn save_keys(files: &SecretFiles, table: &IngressTable) -> io::Result<()> {
    if table.certificates.is_empty() {
        return Ok(());
    }
    files.put(Shelf::Ingress, &keys_file(table.version), || {
        let encoded = |certificate: &IngressCertificate| (certificate.secret.short(), STANDARD.encode(certificate.key.expose()));
        let keys: Keys = table.certificates.iter().map(encoded).collect();
        Ok(Zeroizing::new(serde_json::to_vec(&keys)?))
    })
}

/// Deletes the keys of older tables, once no ledger on disk names them.
pub(super) fn clear_keys(files: &SecretFiles, table: Option<&IngressTable>) -> io::Result<()> {
    let kept: BTreeSet<String> = table.map(|table| keys_file(table.version)).into_iter().collect();
    files.keep_only(Shelf::Ingress, &kept)
}
