//! The volumes of a container: which folders, with which files, appear where.
//!
//! ConfigMaps and Secrets lie on tmpfs, as does an emptyDir with medium `Memory`; other emptyDirs lie on disk. A `subPath` of an
//! emptyDir is made where it is missing, as in Kubernetes.

use super::{LaunchError, LaunchInput};
use crate::agent::runtime::{Mount, VolumeContents, VolumeFile};
use crate::model::{KeyToPath, SecretBytes, Volume, VolumeMount};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Mode bits of files whose volume says none.
const MODE: u32 = 0o644;

/// The volumes that this container mounts, and its mounts in the order of the template.
pub(super) fn resolve(input: &LaunchInput<'_>) -> Result<(Vec<VolumeContents>, Vec<Mount>), LaunchError> {
    let mut contents: BTreeMap<PathBuf, VolumeContents> = BTreeMap::new();
    let mut mounts = Vec::new();
    for mount in &input.container.volume_mounts {
        let volumes = &input.snapshot.template.spec.volumes;
        let volume = volumes
            .iter()
            .find(|volume| volume.name == mount.name)
            .ok_or_else(|| LaunchError::NoVolume { volume: mount.name.clone() })?;
        let whole = contents_of(volume, input)?;
        let source = source_of(&whole, mount)?;
        if whole.writable && source != whole.folder {
            let folder = source.clone();
            contents.insert(folder.clone(), VolumeContents { folder, files: BTreeMap::new(), writable: true });
        }
        // What we wrote is ours: an agent that writes it again must find what it wrote.
        let read_only = mount.read_only || !whole.writable;
        mounts.push(Mount { source, target: mount.mount_path.clone(), read_only });
        contents.insert(whole.folder.clone(), whole);
    }
    Ok((contents.into_values().collect(), mounts))
}

fn source_of(whole: &VolumeContents, mount: &VolumeMount) -> Result<PathBuf, LaunchError> {
    if mount.sub_path.is_empty() {
        return Ok(whole.folder.clone());
    }
    checked(&mount.name, &mount.sub_path).map(|path| whole.folder.join(path))
}

/// A relative path without `..`.
fn checked<'a>(volume: &str, path: &'a str) -> Result<&'a str, LaunchError> {
    let escapes = path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..");
    if escapes {
        return Err(LaunchError::Escapes { volume: volume.to_owned(), path: path.to_owned() });
    }
    Ok(path)
}

fn contents_of(volume: &Volume, input: &LaunchInput<'_>) -> Result<VolumeContents, LaunchError> {
    let on_tmpfs = input.folders.pod_run(input.run.uid).join("volumes").join(&volume.name);
    let on_disk = input.folders.pod_state(input.run.uid).join("volumes").join(&volume.name);
    let config = &input.snapshot.config;
    if let Some(source) = &volume.config_map {
        let of = Source { kind: "ConfigMap", name: &source.name, volume: &volume.name, optional: source.optional };
        let data = config.config_maps.get(&source.name);
        let files = of.files(data, &source.items, source.default_mode, |bytes| SecretBytes::new(bytes.clone()))?;
        return Ok(VolumeContents { folder: on_tmpfs, files, writable: false });
    }
    if let Some(source) = &volume.secret {
        let of = Source { kind: "Secret", name: &source.secret_name, volume: &volume.name, optional: source.optional };
        let data = config.secrets.get(&source.secret_name);
        let files = of.files(data, &source.items, source.default_mode, SecretBytes::clone)?;
        return Ok(VolumeContents { folder: on_tmpfs, files, writable: false });
    }
    let in_memory = volume.empty_dir.as_ref().is_some_and(|dir| dir.medium == "Memory");
    Ok(VolumeContents { folder: if in_memory { on_tmpfs } else { on_disk }, files: BTreeMap::new(), writable: true })
}

struct Source<'a> {
    kind: &'static str,
    name: &'a str,
    volume: &'a str,
    optional: bool,
}

impl Source<'_> {
    fn files<T>(
        &self,
        data: Option<&BTreeMap<String, T>>,
        items: &[KeyToPath],
        default_mode: Option<u32>,
        bytes: impl Fn(&T) -> SecretBytes,
    ) -> Result<BTreeMap<String, VolumeFile>, LaunchError> {
        let user = || format!("volume {}", self.volume);
        let mode = default_mode.unwrap_or(MODE);
        let Some(data) = data else {
            if self.optional {
                return Ok(BTreeMap::new());
            }
            return Err(LaunchError::MissingConfig { kind: self.kind, name: self.name.to_owned(), user: user() });
        };
        if items.is_empty() {
            return Ok(data.iter().map(|(key, value)| (key.clone(), VolumeFile { mode, bytes: bytes(value) })).collect());
        }
        let mut files = BTreeMap::new();
        for item in items {
            let path = checked(self.volume, &item.path)?.to_owned();
            match data.get(&item.key) {
                Some(value) => {
                    files.insert(path, VolumeFile { mode: item.mode.unwrap_or(mode), bytes: bytes(value) });
                }
                None if self.optional => {}
                None => {
                    let (name, key) = (self.name.to_owned(), item.key.clone());
                    return Err(LaunchError::MissingKey { kind: self.kind, name, key, user: user() });
                }
            }
        }
        Ok(files)
    }
}
