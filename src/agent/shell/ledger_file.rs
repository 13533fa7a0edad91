//! The ledger on disk: `ledger.json` in the state folder; the secrets of its templates are in files of their own.
//!
//! Written whole, synced and renamed, so that a reader sees the old one or the new one. One that cannot be understood is put
//! aside, and the agent starts without memory: containers carry labels to be adopted by. Where the new one cannot be written, the old
//! one gets another name, `ledger.old.json` (that takes no room on a full disk): an agent that starts knows that it is not the last word.

use super::ingress_file::{self, TableFile};
use super::secret_files::{SecretFiles, Shelf, absent_is_fine, write_atomically};
use crate::agent::core::{Ledger, PodRecord, SecretLoss, ServiceRecord, WithoutSecrets};
use crate::agent::launch::Folders;
use crate::model::{ConfigSnapshot, Epoch, Generation, NodeNetwork, PodSnapshot, PodTemplate, SecretBytes, TemplateHash};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
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
    /// The names of Secrets; their values are elsewhere.
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

/// Reads the ledger. One that is missing or broken is an empty one that is not intact; nor is an old one.
///
/// # Errors
/// It is there and cannot be read.
pub(super) fn load(files: &SecretFiles) -> io::Result<Ledger> {
    if let Some(ledger) = read(&path(files.folders()), files)? {
        return Ok(ledger);
    }
    let old = read(&old_path(files.folders()), files)?;
    Ok(Ledger { intact: false, ..old.unwrap_or_default() })
}

/// `None` if it is missing, or was broken and is put aside.
fn read(path: &Path, files: &SecretFiles) -> io::Result<Option<Ledger>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match serde_json::from_slice::<LedgerFile>(&bytes).map_err(io::Error::other).and_then(|file| check(&file).map(|()| file)) {
        Ok(file) => Ok(Some(whole(file, files))),
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

fn whole(file: LedgerFile, files: &SecretFiles) -> Ledger {
    let (ingress, lost_ingress) = file.ingress.map(|table| table.whole(files)).unzip();
    let mut ledger = Ledger {
        assignment: file.assignment,
        pods: file.pods.into_iter().map(|pod| (pod.run.uid, pod)).collect(),
        services: file.services.into_iter().map(|service| (service.set.service.clone(), service)).collect(),
        network: file.network,
        proxy_port: file.proxy_port,
        ingress,
        lost_ingress: lost_ingress.flatten(),
        intact: true,
        ..Ledger::default()
    };
    let mut losses = BTreeMap::new();
    for (hash, template) in file.templates {
        match snapshot(&hash, template, files) {
            Some(Ok(snapshot)) => {
                ledger.templates.insert(hash, Arc::new(snapshot));
            }
            Some(Err(lost)) => {
                *losses.entry(lost.loss).or_insert(0_usize) += 1;
                ledger.lost_secrets.insert(hash, lost);
            }
            // Nobody but this agent writes it. The controller sends it again.
            None => tracing::warn!(template = %hash, "a template of the ledger cannot be understood"),
        }
    }
    for (loss, templates) in losses {
        tell_of(loss, &format!("the secrets of {templates} pod templates"));
    }
    ledger
}

/// Says in the log that secrets cannot be had, and what to do about it.
pub(super) fn tell_of(loss: SecretLoss, what: &str) {
    match loss.hint() {
        Some(hint) => tracing::error!(%loss, hint, "{what} cannot be had; nothing of them is deleted"),
        None => tracing::info!(%loss, "{what} cannot be had: they come again from the controller"),
    }
}

/// The template, or what of it is known without its secrets. `None` if it cannot be understood.
fn snapshot(hash: &TemplateHash, file: TemplateFile, files: &SecretFiles) -> Option<Result<PodSnapshot, WithoutSecrets>> {
    let config_maps = decode(&file.config_maps, |bytes| bytes)?;
    let mut config = ConfigSnapshot { config_maps, secrets: BTreeMap::new(), version: file.config_version };
    let whole = |config| PodSnapshot { hash: hash.clone(), template: file.template, config: Arc::new(config) };
    if file.secrets.is_empty() {
        return Some(Ok(whole(config)));
    }
    let all = |bytes: &[u8]| {
        let values = decode(&serde_json::from_slice::<Blobs>(bytes).ok()?, SecretBytes::new)?;
        file.secrets.iter().all(|name| values.contains_key(name)).then_some(values)
    };
    Some(match files.find(Shelf::Templates, &secrets_file(hash, &config.version), all) {
        Ok(secrets) => {
            config.secrets = secrets;
            Ok(whole(config))
        }
        Err(loss) => Err(WithoutSecrets { rest: Arc::new(whole(config)), secrets: file.secrets.clone(), loss }),
    })
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
pub(super) fn save(files: &SecretFiles, ledger: &Ledger) -> Result<(), String> {
    let (path, old) = (path(files.folders()), old_path(files.folders()));
    let of = |path: &Path| format!("{}: ", path.display());
    let written = save_secrets(files, ledger);
    let written = written.and_then(|()| save_ledger(&path, ledger).map_err(|error| format!("{}{error}", of(&path))));
    if let Err(message) = written {
        return match absent_is_fine(fs::rename(&path, old)) {
            Ok(()) => Err(message),
            Err(error) => Err(format!("{message}; and the old one cannot be renamed: {error}")),
        };
    }
    absent_is_fine(fs::remove_file(&old)).map_err(|error| format!("{}{error}", of(&old)))?;
    clear_secrets(files, ledger).map_err(|error| format!("secrets that are not needed any more: {error}"))
}

/// Writes the secrets of a ledger wherever they are to be kept and are not.
///
/// # Errors
/// As [`save`].
pub(super) fn save_secrets(files: &SecretFiles, ledger: &Ledger) -> Result<(), String> {
    files.prepare().map_err(|error| format!("the folders of secrets: {error}"))?;
    for (hash, snapshot) in with_secrets(ledger) {
        let bytes = || {
            let blobs = encode(&snapshot.config.secrets, SecretBytes::expose);
            Ok(Zeroizing::new(serde_json::to_vec(&blobs)?))
        };
        let put = files.put(Shelf::Templates, &secrets_file(hash, &snapshot.config.version), bytes);
        put.map_err(|error| format!("the secrets of a pod template: {error}"))?;
    }
    let of_ingress = |error: io::Error| format!("the keys of Ingress: {error}");
    ledger.ingress.iter().try_for_each(|table| ingress_file::save_keys(files, table)).map_err(of_ingress)
}

/// Deletes secrets of no template, once no ledger on disk names them.
fn clear_secrets(files: &SecretFiles, ledger: &Ledger) -> io::Result<()> {
    let lost = ledger.lost_secrets.iter().map(|(hash, lost)| (hash, &lost.rest));
    let kept = with_secrets(ledger).chain(lost);
    let kept = kept.map(|(hash, snapshot)| secrets_file(hash, &snapshot.config.version)).collect();
    files.keep_only(Shelf::Templates, &kept)?;
    ingress_file::clear_keys(files, ledger.lost_ingress.as_deref().or(ledger.ingress.as_deref()))
}

fn with_secrets(ledger: &Ledger) -> impl Iterator<Item = (&TemplateHash, &Arc<PodSnapshot>)> {
    ledger.templates.iter().filter(|(_, snapshot)| !snapshot.config.secrets.is_empty())
}

fn save_ledger(path: &Path, ledger: &Ledger) -> io::Result<()> {
    let template = |snapshot: &PodSnapshot, secrets: BTreeSet<String>| TemplateFile {
        template: snapshot.template.clone(),
        config_maps: encode(&snapshot.config.config_maps, Vec::as_slice),
        secrets,
        config_version: snapshot.config.version.clone(),
    };
    let names = |snapshot: &PodSnapshot| snapshot.config.secrets.keys().cloned().collect();
    let whole = ledger.templates.iter().map(|(hash, snapshot)| (hash.clone(), template(snapshot, names(snapshot))));
    let lost = ledger.lost_secrets.iter().map(|(hash, lost)| (hash.clone(), template(&lost.rest, lost.secrets.clone())));
    let file = LedgerFile {
        version: VERSION,
        assignment: ledger.assignment,
        pods: ledger.pods.values().cloned().collect(),
        templates: lost.chain(whole).collect(),
        services: ledger.services.values().cloned().collect(),
        network: ledger.network.clone(),
        proxy_port: ledger.proxy_port,
        ingress: ledger.lost_ingress.as_deref().or(ledger.ingress.as_deref()).map(TableFile::new),
    };
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    write_atomically(path, &serde_json::to_vec(&file)?)
}

#[cfg(test)]
mod tests {
    use super::super::secret_files::{SecretFiles, SecretsAtRest};
    use super::{load, path, save, save_secrets};
    use crate::agent::core::{Ledger, SecretLoss};
    use crate::agent::launch::Folders;
    use crate::model::*;
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    fn files(at: &Path, at_rest: &SecretsAtRest) -> SecretFiles {
        let folders = Folders { run: at.join("run"), state: at.join("state") };
        SecretFiles::new(folders, at_rest, "test", &NodeName::new("n1")).expect("files")
    }

    fn on_tmpfs(at: &Path) -> SecretFiles {
        files(at, &SecretsAtRest::Tmpfs)
    }

    fn sealed(at: &Path, key: u8) -> SecretFiles {
        files(at, &SecretsAtRest::Sealed(format!("{key:02x}").repeat(32).parse().expect("a key")))
    }

    fn reboot(at: &Path) {
        std::fs::remove_dir_all(at.join("run")).expect("tmpfs is empty");
    }

    /// The files below a folder.
    fn below(folder: PathBuf) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<_> = entries.flat_map(|path| if path.is_dir() { below(path) } else { vec![path] }).collect();
        files.sort();
        files
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
        for files in [on_tmpfs, |at: &Path| sealed(at, 1)] {
            let at = tempfile::tempdir().expect("a folder");
            let files = files(at.path());
            save(&files, &ledger()).expect("saved");
            assert_eq!(load(&files).expect("loaded"), ledger());
            for file in below(at.path().join("state")) {
                let text = String::from_utf8_lossy(&std::fs::read(&file).expect("bytes")).into_owned();
                assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{}: {text}", file.display());
                let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{}", file.display());
            }
        }
    }

    #[test]
    fn after_a_reboot_templates_with_secrets_are_known_to_be_lost_however_often_the_agent_starts() {
        let at = tempfile::tempdir().expect("a folder");
        let files = on_tmpfs(at.path());
        save(&files, &ledger()).expect("saved");
        reboot(at.path());
        for _ in 0..2 {
            let loaded = load(&files).expect("loaded");
            assert!(loaded.templates.is_empty());
            assert_eq!(losses(&loaded), [SecretLoss::Rebooted]);
            let served = loaded.ingress.as_deref().expect("its routes are known");
            assert_eq!((served.version, &served.routes), (0, &table().routes), "it is to be told anew");
            assert!(served.certificates.is_empty());
            save(&files, &loaded).expect("saved");
        }
    }

    fn losses(ledger: &Ledger) -> Vec<SecretLoss> {
        ledger.lost_secrets.values().map(|lost| lost.loss).collect()
    }

    #[test]
    fn after_a_reboot_what_is_sealed_is_whole() {
        let at = tempfile::tempdir().expect("a folder");
        save(&sealed(at.path(), 1), &ledger()).expect("saved");
        reboot(at.path());
        assert_eq!(load(&sealed(at.path(), 1)).expect("loaded"), ledger());
    }

    #[test]
    fn with_another_key_nothing_opens_and_the_right_one_may_come_back() {
        let at = tempfile::tempdir().expect("a folder");
        save(&sealed(at.path(), 1), &ledger()).expect("saved");
        reboot(at.path());
        let wrong = sealed(at.path(), 2);
        for _ in 0..2 {
            let loaded = load(&wrong).expect("loaded");
            assert_eq!(losses(&loaded), [SecretLoss::OtherKey]);
            assert!(loaded.templates.is_empty());
            assert_eq!(loaded.ingress.as_deref().map(|table| table.version), Some(0));
            save_secrets(&wrong, &loaded).expect("saved");
            save(&wrong, &loaded).expect("saved");
        }
        reboot(at.path());
        assert_eq!(load(&sealed(at.path(), 1)).expect("loaded"), ledger());
    }

    #[test]
    fn what_was_sealed_with_an_older_key_or_is_damaged_is_sealed_anew_once_the_values_are_there() {
        let at = tempfile::tempdir().expect("a folder");
        save(&sealed(at.path(), 1), &ledger()).expect("saved");
        let newer = sealed(at.path(), 2);
        save(&newer, &ledger()).expect("saved");
        reboot(at.path());
        assert_eq!(load(&newer).expect("loaded"), ledger());
        for file in below(at.path().join("state/sealed")) {
            std::fs::write(file, "driftless").expect("damaged");
        }
        let loaded = load(&newer).expect("loaded");
        assert_eq!(losses(&loaded), [SecretLoss::Damaged]);
        save(&newer, &ledger()).expect("saved");
        reboot(at.path());
        assert_eq!(load(&newer).expect("loaded"), ledger());
    }

    #[test]
    fn files_of_two_templates_cannot_be_swapped() {
        let at = tempfile::tempdir().expect("a folder");
        let files = sealed(at.path(), 1);
        let mut two = ledger();
        let (hash, other) = (TemplateHash::new("ab".repeat(20)), TemplateHash::new("cd".repeat(20)));
        let copy = PodSnapshot { hash: other.clone(), ..(*two.templates[&hash]).clone() };
        two.templates.insert(other, Arc::new(copy));
        save(&files, &two).expect("saved");
        let [first, second] = &below(at.path().join("state/sealed/secrets"))[..] else { panic!("two files") };
        std::fs::copy(first, second).expect("copied");
        reboot(at.path());
        let loaded = load(&files).expect("loaded");
        assert_eq!((loaded.templates.len(), losses(&loaded)), (1, vec![SecretLoss::Damaged]));
    }

    #[test]
    fn sealing_that_is_begun_or_given_up_counts_at_the_next_start() {
        let at = tempfile::tempdir().expect("a folder");
        let (plain, sealing) = (on_tmpfs(at.path()), sealed(at.path(), 1));
        save(&plain, &ledger()).expect("saved");
        save_secrets(&sealing, &load(&sealing).expect("loaded")).expect("sealed");
        reboot(at.path());
        assert_eq!(load(&sealing).expect("loaded"), ledger());
        save_secrets(&plain, &ledger()).expect("saved");
        assert!(!at.path().join("state/sealed").exists());
    }

    #[test]
    fn a_broken_ledger_is_put_aside_and_a_missing_one_is_no_memory() {
        let at = tempfile::tempdir().expect("a folder");
        let files = on_tmpfs(at.path());
        assert!(!load(&files).expect("loaded").intact);
        std::fs::create_dir_all(&files.folders().state).expect("made");
        std::fs::write(path(files.folders()), "{\"version\":1,").expect("written");
        assert!(!load(&files).expect("loaded").intact);
        assert!(files.folders().state.join("ledger.json.broken").exists());
        assert!(!path(files.folders()).exists());
    }

    #[test]
    fn a_ledger_that_a_newer_one_could_not_replace_is_remembered_and_not_intact() {
        let at = tempfile::tempdir().expect("a folder");
        let files = on_tmpfs(at.path());
        save(&files, &ledger()).expect("saved");
        // What no write gets past, for root neither: a file where the folder of the secrets should be.
        std::fs::rename(files.folders().run.join("secrets"), files.folders().run.join("away")).expect("moved");
        std::fs::write(files.folders().run.join("secrets"), "").expect("written");
        let newer = Ledger { assignment: (Epoch(3), Generation(10)), ..ledger() };
        for _ in 0..2 {
            save(&files, &newer).expect_err("not saved");
        }
        let loaded = load(&files).expect("loaded");
        assert_eq!((loaded.assignment, loaded.intact), (ledger().assignment, false));
        std::fs::remove_file(files.folders().run.join("secrets")).expect("removed");
        save(&files, &newer).expect("saved");
        assert_eq!(load(&files).expect("loaded"), newer);
        assert!(!files.folders().state.join("ledger.old.json").exists());
    }

    #[test]
    fn a_newer_version_of_a_templates_secrets_takes_the_place_of_the_older() {
        let at = tempfile::tempdir().expect("a folder");
        let files = on_tmpfs(at.path());
        save(&files, &ledger()).expect("saved");
        let mut newer = ledger();
        for snapshot in newer.templates.values_mut() {
            let secret = BTreeMap::from([("password".to_owned(), SecretBytes::new(b"hunter3".to_vec()))]);
            let secrets = BTreeMap::from([("db".to_owned(), secret)]);
            let config = ConfigSnapshot { secrets, version: "v2".to_owned(), ..ConfigSnapshot::default() };
            *snapshot = Arc::new(PodSnapshot { config: Arc::new(config), ..(**snapshot).clone() });
        }
        save(&files, &newer).expect("saved");
        assert_eq!(load(&files).expect("loaded"), newer);
        assert_eq!(std::fs::read_dir(files.folders().run.join("secrets")).expect("a folder").count(), 1);
    }

    #[test]
    fn secrets_of_templates_that_are_dropped_are_deleted() {
        let at = tempfile::tempdir().expect("a folder");
        let files = sealed(at.path(), 1);
        save(&files, &ledger()).expect("saved");
        for folder in ["run", "state/sealed"] {
            assert_eq!(below(at.path().join(folder)).len(), 2, "{folder}");
        }
        save(&files, &Ledger::default()).expect("saved");
        for folder in ["run", "state/sealed"] {
            assert_eq!(below(at.path().join(folder)).len(), 0, "{folder}");
        }
    }
}
