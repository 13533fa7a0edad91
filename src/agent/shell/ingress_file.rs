//! The table of Ingress within the ledger, and the keys of its certificates on tmpfs.

use crate::agent::launch::Folders;
use crate::model::{HostPattern, IngressCertificate, IngressRoute, IngressTable, ObjectKey, SecretBytes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
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

fn folder(folders: &Folders) -> PathBuf {
    folders.run.join("ingress")
}

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

    /// The table with its keys. Where they are gone (a reboot), it serves without its certificates, and counts as never told: the
    /// controller tells it anew.
    pub(super) fn whole(self, folders: &Folders) -> IngressTable {
        let keys = if self.certificates.is_empty() { Some(Keys::new()) } else { read_keys(folders, self.version) };
        let certificates =
            keys.and_then(|keys| self.certificates.iter().map(|file| file.whole(&keys)).collect::<Option<Vec<_>>>());
        match certificates {
            Some(certificates) => IngressTable { version: self.version, routes: self.routes, certificates },
            None => IngressTable { version: 0, routes: self.routes, certificates: Vec::new() },
        }
    }
}

impl CertificateFile {
    fn whole(&self, keys: &Keys) -> Option<IngressCertificate> {
        let key = STANDARD.decode(keys.get(&self.secret.short())?).ok()?;
        Some(IngressCertificate {
            host: self.host.clone(),
            secret: self.secret.clone(),
            chain: STANDARD.decode(&self.chain).ok()?,
            key: SecretBytes::new(key),
        })
    }
}

fn read_keys(folders: &Folders, version: u64) -> Option<Keys> {
    let bytes = Zeroizing::new(fs::read(folder(folders).join(keys_file(version))).ok()?);
    serde_json::from_slice(&bytes).ok()
}

/// Writes the keys of a table, once per version, before the ledger names it.
pub(super) fn save_keys(folders: &Folders, table: &IngressTable) -> io::Result<()> {
    let folder = folder(folders);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let path = folder.join(keys_file(table.version));
    if table.certificates.is_empty() || path.exists() {
        return Ok(());
    }
    let encoded = |certificate: &IngressCertificate| (certificate.secret.short(), STANDARD.encode(certificate.key.expose()));
    let keys: Keys = table.certificates.iter().map(encoded).collect();
    let bytes = Zeroizing::new(serde_json::to_vec(&keys)?);
    super::ledger_file::write_atomically(&path, &bytes)
}

/// Deletes the keys of older tables, once no ledger on disk names them.
pub(super) fn clear_keys(folders: &Folders, table: Option<&IngressTable>) -> io::Result<()> {
    let entries = match fs::read_dir(folder(folders)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let kept = table.map(|table| keys_file(table.version));
    for entry in entries.flatten().filter(|entry| entry.file_name().to_str() != kept.as_deref()) {
        fs::remove_file(entry.path())?;
    }
    Ok(())
}
