//! The ledger on disk: `ledger.json` in the state folder, and the secrets of its templates on tmpfs.
//!
//! Written whole, synced and renamed, so that a reader sees the old one or the new one. One that cannot be understood is put
//! aside, and the agent starts without memory: containers carry labels to be adopted by. Where the new one cannot be written, the old
//! one gets another name, `ledger.old.json` (that takes no room on a full disk): an agent that starts knows that it is not the last word.

use super::ingress_file::{self, TableFile};
use crate::agent::core::{Ledger, PodRecord, ServiceRecord};
use crate::agent::launch::Folders;
use crate::model::{ConfigSnapshot, Epoch, Generation, NodeNetwork, PodSnapshot, PodTemplate, SecretBytes, TemplateHash};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The version of the file. Fields are only ever added within one.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct LedgerFile {
    version: u32,
    assignment: (Epoch, Generation),
    pods: Vec<PodRecord>,
    templates: BTreeMap<TemplateHash, TemplateFile>,
    services: Vec<ServiceRecord>,
    #[serde(default)]
    network: Option<Arc<NodeNetwork>>,
    #[serde(default)]
    proxy_port: Option<u16>,
    ingress: Option<TableFile>,
}

#[derive(Serialize, Deserialize)]
struct TemplateFile {
    template: PodTemplate,
    /// As base64.
    config_maps: Blobs,
    /// The names of Secrets; their values are on tmpfs.
    secrets: BTreeSet<String>,
    /// Names the contents of both.
    #[serde(default)]
    config_version: String,
}

/// Name → key → base64.
type Blobs = BTreeMap<String, BTreeMap<String, String>>;

/// Where it is.
pub(super) fn path(folders: &Folders) -> PathBuf {
    folders.state.join("ledger.json")
}

/// The name of the file with a template's secrets, in one version of them.
fn secrets_file(hash: &TemplateHash, version: &str) -> String {
    if version.is_empty() { format!("{hash}.json") } else { format!("{hash}.{version}.json") }
}

/// Where one is that a newer one should have replaced.
fn old_path(folders: &Folders) -> PathBuf {
    folders.state.join("ledger.old.json")
}

fn secrets_folder(folders: &Folders) -> PathBuf {
    folders.run.join("secrets")
}

/// Reads the ledger. One that is missing or broken is an empty one that is not intact; nor is an old one.
///
/// # Errors
/// It is there and cannot be read.
pub(super) fn load(folders: &Folders) -> io::Result<Ledger> {
    if let Some(ledger) = read(&path(folders), folders)? {
        return Ok(ledger);
    }
    let old = read(&old_path(folders), folders)?;
    Ok(Ledger { intact: false, ..old.unwrap_or_default() })
}

/// `None` if it is missing, or was broken and is put aside.
fn read(path: &Path, folders: &Folders) -> io::Result<Option<Ledger>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match serde_json::from_slice::<LedgerFile>(&bytes).map_err(io::Error::other).and_then(|file| check(&file).map(|()| file)) {
        Ok(file) => Ok(Some(whole(file, folders))),
        Err(error) => {
            let aside = path.with_extension("json.broken");
            tracing::error!(path = %path.display(), aside = %aside.display(), %error,
                "the ledger cannot be understood: put aside; containers are adopted by their labels");
            fs::rename(path, &aside)?;
            Ok(None)
        }
    }
}

fn check(file: &LedgerFile) -> io::Result<()> {
    if file.version == VERSION { Ok(()) } else { Err(io::Error::other(format!("it has version {}", file.version))) }
}

fn whole(file: LedgerFile, folders: &Folders) -> Ledger {
    let mut ledger = Ledger {
        assignment: file.assignment,
        pods: file.pods.into_iter().map(|pod| (pod.run.uid, pod)).collect(),
        services: file.services.into_iter().map(|service| (service.set.service.clone(), service)).collect(),
        network: file.network,
        proxy_port: file.proxy_port,
        ingress: file.ingress.map(|table| Arc::new(table.whole(folders))),
        intact: true,
        ..Ledger::default()
    };
    for (hash, template) in file.templates {
        match snapshot(&hash, template, folders) {
            Some(snapshot) => {
                ledger.templates.insert(hash, Arc::new(snapshot));
            }
            None => {
                ledger.lost_secrets.insert(hash);
            }
        }
    }
    ledger
}

/// `None` if its secrets are gone.
fn snapshot(hash: &TemplateHash, file: TemplateFile, folders: &Folders) -> Option<PodSnapshot> {
    let config_maps = decode(&file.config_maps, |bytes| bytes)?;
    let mut config = ConfigSnapshot { config_maps, secrets: BTreeMap::new(), version: file.config_version };
    if !file.secrets.is_empty() {
        let bytes = Zeroizing::new(fs::read(secrets_folder(folders).join(secrets_file(hash, &config.version))).ok()?);
        config.secrets = decode(&serde_json::from_slice::<Blobs>(&bytes).ok()?, SecretBytes::new)?;
        if !file.secrets.iter().all(|name| config.secrets.contains_key(name)) {
            return None;
        }
    }
    Some(PodSnapshot { hash: hash.clone(), template: file.template, config: Arc::new(config) })
}

fn decode<T>(blobs: &Blobs, wrap: impl Fn(Vec<u8>) -> T) -> Option<BTreeMap<String, BTreeMap<String, T>>> {
    let inner = |keys: &BTreeMap<String, String>| {
        keys.iter().map(|(key, text)| Some((key.clone(), wrap(STANDARD.decode(text.as_bytes()).ok()?)))).collect::<Option<_>>()
    };
    blobs.iter().map(|(name, keys)| Some((name.clone(), inner(keys)?))).collect()
}

fn encode<T>(data: &BTreeMap<String, BTreeMap<String, T>>, bytes: impl Fn(&T) -> &[u8]) -> Blobs {
    let inner =
        |keys: &BTreeMap<String, T>| keys.iter().map(|(key, value)| (key.clone(), STANDARD.encode(bytes(value)))).collect();
    data.iter().map(|(name, keys)| (name.clone(), inner(keys))).collect()
}

/// Writes the ledger; the error is one sentence.
///
/// # Errors
/// The disk is full, or a folder cannot be written. The ledger on disk is then the old one, and called so.
pub(super) fn save(folders: &Folders, ledger: &Ledger) -> Result<(), String> {
    let (secrets, path) = (secrets_folder(folders), path(folders));
    let of_ingress = |error: io::Error| format!("the keys of Ingress: {error}");
    let written = save_secrets(&secrets, ledger).map_err(|error| format!("{}: {error}", secrets.display()));
    let keys = |()| ledger.ingress.iter().try_for_each(|table| ingress_file::save_keys(folders, table)).map_err(of_ingress);
    let written = written.and_then(keys);
    let written = written.and_then(|()| save_ledger(&path, ledger).map_err(|error| format!("{}: {error}", path.display())));
    if let Err(message) = written {
        return match absent_is_fine(fs::rename(&path, old_path(folders))) {
            Ok(()) => Err(message),
            Err(error) => Err(format!("{message}; and the old one cannot be renamed: {error}")),
        };
    }
    absent_is_fine(fs::remove_file(old_path(folders))).map_err(|error| format!("{}: {error}", old_path(folders).display()))?;
    ingress_file::clear_keys(folders, ledger.ingress.as_deref()).map_err(of_ingress)?;
    clear_secrets(&secrets, ledger).map_err(|error| format!("{}: {error}", secrets.display()))
}

fn absent_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A version of a template's secrets never changes, so that each is written once.
fn save_secrets(folder: &Path, ledger: &Ledger) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    for (hash, snapshot) in with_secrets(ledger) {
        let path = folder.join(secrets_file(hash, &snapshot.config.version));
        if !path.exists() {
            let blobs = encode(&snapshot.config.secrets, SecretBytes::expose);
            let bytes = Zeroizing::new(serde_json::to_vec(&blobs)?);
            write_atomically(&path, &bytes)?;
        }
    }
    Ok(())
}

/// Deletes secrets of no template, once no ledger on disk names them.
fn clear_secrets(folder: &Path, ledger: &Ledger) -> io::Result<()> {
    let kept: BTreeSet<String> =
        with_secrets(ledger).map(|(hash, snapshot)| secrets_file(hash, &snapshot.config.version)).collect();
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_name().to_str().is_none_or(|name| !kept.contains(name)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn with_secrets(ledger: &Ledger) -> impl Iterator<Item = (&TemplateHash, &Arc<PodSnapshot>)> {
    ledger.templates.iter().filter(|(_, snapshot)| !snapshot.config.secrets.is_empty())
}

fn save_ledger(path: &Path, ledger: &Ledger) -> io::Result<()> {
    let template = |snapshot: &PodSnapshot| TemplateFile {
        template: snapshot.template.clone(),
        config_maps: encode(&snapshot.config.config_maps, Vec::as_slice),
        secrets: snapshot.config.secrets.keys().cloned().collect(),
        config_version: snapshot.config.version.clone(),
    };
    let file = LedgerFile {
        version: VERSION,
        assignment: ledger.assignment,
        pods: ledger.pods.values().cloned().collect(),
        templates: ledger.templates.iter().map(|(hash, snapshot)| (hash.clone(), template(snapshot))).collect(),
        services: ledger.services.values().cloned().collect(),
        network: ledger.network.clone(),
        proxy_port: ledger.proxy_port,
        ingress: ledger.ingress.as_deref().map(TableFile::new),
    };
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    write_atomically(path, &serde_json::to_vec(&file)?)
}

pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::{load, path, save};
    use crate::agent::core::Ledger;
    use crate::agent::launch::Folders;
    use crate::model::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn folders(at: &std::path::Path) -> Folders {
        Folders { run: at.join("run"), state: at.join("state") }
    }

    fn ledger() -> Ledger {
        let mut config = ConfigSnapshot::default();
        config.config_maps.insert("settings".to_owned(), BTreeMap::from([("a".to_owned(), vec![0, 255])]));
        let secret = BTreeMap::from([("password".to_owned(), SecretBytes::new(b"hunter2".to_vec()))]);
        config.secrets.insert("db".to_owned(), secret);
        let hash = TemplateHash::new("ab".repeat(20));
        let snapshot = PodSnapshot { hash: hash.clone(), template: PodTemplate::default(), config: Arc::new(config) };
        Ledger {
            assignment: (Epoch(3), Generation(9)),
            templates: BTreeMap::from([(hash, Arc::new(snapshot))]),
            ingress: Some(Arc::new(table())),
            intact: true,
            ..Ledger::default()
        }
    }

    fn table() -> IngressTable {
        let key = |kind, name: &str| ObjectKey::new(kind, "shop", name);
        let target = IngressTarget { service: key(Kind::Service, "web"), port: 80, protocol: BackendProtocol::H2c };
        let route = |host, path| IngressRoute {
            ingress: key(Kind::Ingress, "i"),
            host: HostPattern::new(host),
            path,
            target: Some(target.clone()),
            to_https: true,
        };
        IngressTable {
            version: 7,
            routes: vec![route("*.shop.example", PathPattern::Exact("/a".to_owned())), route("", PathPattern::Rest)],
            certificates: vec![IngressCertificate {
                host: HostPattern::new("*.shop.example"),
                secret: key(Kind::Secret, "cert"),
                chain: b"chain".to_vec(),
                key: SecretBytes::new(b"hunter2".to_vec()),
            }],
        }
    }

    #[test]
    fn what_was_saved_is_loaded_and_no_secret_is_in_the_state_folder() {
        let at = tempfile::tempdir().expect("a folder");
        let folders = folders(at.path());
        save(&folders, &ledger()).expect("saved");
        assert_eq!(load(&folders).expect("loaded"), ledger());
        let text = std::fs::read_to_string(path(&folders)).expect("text");
        assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{text}");
    }

    #[test]
    fn after_a_reboot_templates_with_secrets_are_known_to_be_lost() {
        let at = tempfile::tempdir().expect("a folder");
        let folders = folders(at.path());
        save(&folders, &ledger()).expect("saved");
        std::fs::remove_dir_all(&folders.run).expect("tmpfs is empty");
        let loaded = load(&folders).expect("loaded");
        assert!(loaded.templates.is_empty());
        assert_eq!(loaded.lost_secrets, ledger().templates.keys().cloned().collect());
        let served = loaded.ingress.expect("its routes are known");
        assert_eq!((served.version, &served.routes), (0, &table().routes), "it is to be told anew");
        assert!(served.certificates.is_empty());
    }

    #[test]
    fn a_broken_ledger_is_put_aside_and_a_missing_one_is_no_memory() {
        let at = tempfile::tempdir().expect("a folder");
        let folders = folders(at.path());
        assert!(!load(&folders).expect("loaded").intact);
        std::fs::create_dir_all(&folders.state).expect("made");
        std::fs::write(path(&folders), "{\"version\":1,").expect("written");
        assert!(!load(&folders).expect("loaded").intact);
        assert!(folders.state.join("ledger.json.broken").exists());
        assert!(!path(&folders).exists());
    }

    #[test]
    fn a_ledger_that_a_newer_one_could_not_replace_is_remembered_and_not_intact() {
        let at = tempfile::tempdir().expect("a folder");
        let folders = folders(at.path());
        save(&folders, &ledger()).expect("saved");
        // What no write gets past, for root neither: a file where the folder of the secrets should be.
        std::fs::rename(folders.run.join("secrets"), folders.run.join("away")).expect("moved");
        std::fs::write(folders.run.join("secrets"), "").expect("written");
        let newer = Ledger { assignment: (Epoch(3), Generation(10)), ..ledger() };
        for _ in 0..2 {
            save(&folders, &newer).expect_err("not saved");
        }
        let loaded = load(&folders).expect("loaded");
        assert_eq!((loaded.assignment, loaded.intact), (ledger().assignment, false));
        std::fs::remove_file(folders.run.join("secrets")).expect("removed");
        save(&folders, &newer).expect("saved");
        assert_eq!(load(&folders).expect("loaded"), newer);
        assert!(!folders.state.join("ledger.old.json").exists());
    }

    #[test]
    fn a_newer_version_of_a_templates_secrets_takes_the_place_of_the_older() {
        let at = tempfile::tempdir().expect("a folder");
        let folders = folders(at.path());
        save(&folders, &ledger()).expect("saved");
        let mut newer = ledger();
        for snapshot in newer.templates.values_mut() {
            let secret = BTreeMap::from([("password".to_owned(), SecretBytes::new(b"hunter3".to_vec()))]);
            let secrets = BTreeMap::from([("db".to_owned(), secret)]);
            let config = ConfigSnapshot { secrets, version: "v2".to_owned(), ..ConfigSnapshot::default() };
            *snapshot = Arc::new(PodSnapshot { config: Arc::new(config), ..(**snapshot).clone() });
        }
        save(&folders, &newer).expect("saved");
        assert_eq!(load(&folders).expect("loaded"), newer);
        assert_eq!(std::fs::read_dir(folders.run.join("secrets")).expect("a folder").count(), 1);
    }

    #[test]
    fn secrets_of_templates_that_are_dropped_are_deleted() {
        let at = tempfile::tempdir().expect("a folder");
        let folders = folders(at.path());
        save(&folders, &ledger()).expect("saved");
        save(&folders, &Ledger::default()).expect("saved");
        for folder in ["secrets", "ingress"] {
            assert_eq!(std::fs::read_dir(folders.run.join(folder)).expect("a folder").count(), 0);
        }
    }
}
