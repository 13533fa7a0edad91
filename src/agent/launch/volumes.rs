//! The volumes of a container: which folders, with what in them, appear where.
//!
//! What we write (ConfigMaps, Secrets, fields of the pod) lies on tmpfs, as does an emptyDir with medium `Memory`; other emptyDirs lie on
//! disk. A claim's folder outlives its pods. Paths are made of text here; where symbolic links lead is seen by the shell, which
//! also makes what is missing.

use super::{LaunchError, LaunchInput, expand, fields};
use crate::agent::runtime::{EnvValue, HostPathKind, Mount, Propagation, VolumeContents, VolumeFile, VolumeKind};
use crate::model::{DownwardFile, EmptyDir, HostPath, KeyToPath, Projected, ProjectedSource, SecretBytes, Volume, VolumeMount};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Mode bits of files whose volume says none.
const MODE: u32 = 0o644;

/// Files of a volume, by relative path.
type Files = BTreeMap<String, VolumeFile>;

/// The volumes that this container mounts, and its mounts in the order of the template.
pub(super) fn resolve(
    input: &LaunchInput<'_>,
    env: &[(String, EnvValue)],
) -> Result<(Vec<VolumeContents>, Vec<Mount>), LaunchError> {
    let mut contents: BTreeMap<PathBuf, VolumeContents> = BTreeMap::new();
    let mut mounts = Vec::new();
    for mount in &input.container.volume_mounts {
        let volumes = &input.snapshot.template.spec.volumes;
        let volume = volumes
            .iter()
            .find(|volume| volume.name == mount.name)
            .ok_or_else(|| LaunchError::NoVolume { volume: mount.name.clone() })?;
        let whole = contents_of(volume, input)?;
        let source = source_of(&whole, mount, env)?;
        // What we wrote is ours: an agent that writes it again must find what it wrote.
        let is_ours = matches!(whole.kind, VolumeKind::Files(_));
        let claim_is_read_only = volume.persistent_volume_claim.as_ref().is_some_and(|claim| claim.read_only);
        let read_only = mount.read_only || is_ours || claim_is_read_only;
        mounts.push(Mount { source, target: mount.mount_path.clone(), read_only, propagation: propagation(mount) });
        contents.insert(whole.folder.clone(), whole);
    }
    Ok((contents.into_values().collect(), mounts))
}

/// The volumes that this container mounts and whose files are ours.
pub(super) fn files(input: &LaunchInput<'_>) -> Result<Vec<VolumeContents>, LaunchError> {
    let mounted = |volume: &&Volume| input.container.volume_mounts.iter().any(|mount| mount.name == volume.name);
    let volumes = input.snapshot.template.spec.volumes.iter().filter(mounted).map(|volume| contents_of(volume, input));
    let is_ours = |volume: &VolumeContents| matches!(volume.kind, VolumeKind::Files(_));
    volumes.filter(|made| made.as_ref().map_or(true, is_ours)).collect()
}

fn propagation(mount: &VolumeMount) -> Propagation {
    match mount.mount_propagation.as_str() {
        "HostToContainer" => Propagation::HostToContainer,
        "Bidirectional" => Propagation::Bidirectional,
        _ => Propagation::Private,
    }
}

fn source_of(whole: &VolumeContents, mount: &VolumeMount, env: &[(String, EnvValue)]) -> Result<PathBuf, LaunchError> {
    let below = if mount.sub_path_expr.is_empty() { mount.sub_path.clone() } else { expand::path(&mount.sub_path_expr, env)? };
    if below.is_empty() && mount.sub_path_expr.is_empty() {
        return Ok(whole.folder.clone());
    }
    checked(&mount.name, &below).map(|path| whole.folder.join(path))
}

/// A relative path without `..`.
pub(super) fn checked<'a>(volume: &str, path: &'a str) -> Result<&'a str, LaunchError> {
    let escapes = path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..");
    if escapes {
        return Err(LaunchError::Escapes { volume: volume.to_owned(), path: path.to_owned() });
    }
    Ok(path)
}

fn contents_of(volume: &Volume, input: &LaunchInput<'_>) -> Result<VolumeContents, LaunchError> {
    let on_tmpfs = input.folders.pod_run(input.run.uid).join("volumes").join(&volume.name);
    let on_disk = input.folders.pod_state(input.run.uid).join("volumes").join(&volume.name);
    let group = input.snapshot.template.spec.security_context.as_ref().and_then(|pod| pod.fs_group);
    let contents = |folder, kind| Ok(VolumeContents { folder, kind, group });
    if let Some(host) = &volume.host_path {
        // The host's own files keep the groups that they have, as in Kubernetes.
        return Ok(VolumeContents { folder: host.path.clone().into(), kind: of_host(host, input), group: None });
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        return contents(input.folders.claim(&input.run.workload.namespace, &claim.claim_of(&input.run.name)), VolumeKind::Claim);
    }
    if let Some(files) = files_of(volume, input)? {
        return contents(on_tmpfs, VolumeKind::Files(files));
    }
    let dir = volume.empty_dir.clone().unwrap_or_default();
    let EmptyDir { medium, size_limit } = dir;
    if medium == "Memory" {
        return contents(on_tmpfs, VolumeKind::Scratch { tmpfs_bytes: size_limit.map(|limit| limit.value()) });
    }
    contents(on_disk, VolumeKind::Scratch { tmpfs_bytes: None })
}

fn of_host(host: &HostPath, input: &LaunchInput<'_>) -> VolumeKind {
    let kind = match host.r#type.as_str() {
        "DirectoryOrCreate" => HostPathKind::DirectoryOrCreate,
        "Directory" => HostPathKind::Directory,
        "FileOrCreate" => HostPathKind::FileOrCreate,
        "File" => HostPathKind::File,
        "Socket" => HostPathKind::Socket,
        "CharDevice" => HostPathKind::CharDevice,
        "BlockDevice" => HostPathKind::BlockDevice,
        _ => HostPathKind::Any,
    };
    VolumeKind::Host { kind, allowed: input.facts.allows.host_paths().map(PathBuf::from).collect() }
}

/// The files of a volume that we write; `None` for the other kinds.
fn files_of(volume: &Volume, input: &LaunchInput<'_>) -> Result<Option<Files>, LaunchError> {
    let writer = Writer { volume: &volume.name, input };
    if let Some(source) = &volume.config_map {
        let of = Source { name: &source.name, items: &source.items, mode: source.default_mode, optional: source.optional };
        return writer.config_map(&of).map(Some);
    }
    if let Some(source) = &volume.secret {
        let of = Source { name: &source.secret_name, items: &source.items, mode: source.default_mode, optional: source.optional };
        return writer.secret(&of).map(Some);
    }
    if let Some(source) = &volume.downward_api {
        return writer.downward(&source.items, source.default_mode).map(Some);
    }
    volume.projected.as_ref().map(|source| writer.projected(source)).transpose()
}

/// One ConfigMap or Secret of a volume.
struct Source<'a> {
    name: &'a str,
    items: &'a [KeyToPath],
    mode: Option<u32>,
    optional: bool,
}

/// Turns the sources of one volume into files.
struct Writer<'a> {
    volume: &'a str,
    input: &'a LaunchInput<'a>,
}

impl Writer<'_> {
    fn config_map(&self, source: &Source<'_>) -> Result<Files, LaunchError> {
        let data = self.input.snapshot.config.config_maps.get(source.name);
        self.files("ConfigMap", source, data, |bytes| SecretBytes::new(bytes.clone()))
    }

    fn secret(&self, source: &Source<'_>) -> Result<Files, LaunchError> {
        let data = self.input.snapshot.config.secrets.get(source.name);
        self.files("Secret", source, data, SecretBytes::clone)
    }

    /// A later source wins.
    fn projected(&self, projected: &Projected) -> Result<Files, LaunchError> {
        let mode = projected.default_mode;
        let mut files = Files::new();
        for source in &projected.sources {
            let ProjectedSource { config_map, secret, downward_api } = source;
            if let Some(object) = config_map {
                let of = Source { name: &object.name, items: &object.items, mode, optional: object.optional };
                files.extend(self.config_map(&of)?);
            }
            if let Some(object) = secret {
                let of = Source { name: &object.name, items: &object.items, mode, optional: object.optional };
                files.extend(self.secret(&of)?);
            }
            if let Some(api) = downward_api {
                files.extend(self.downward(&api.items, mode)?);
            }
        }
        Ok(files)
    }

    fn downward(&self, items: &[DownwardFile], default_mode: Option<u32>) -> Result<Files, LaunchError> {
        let mut files = Files::new();
        for item in items {
            let path = checked(self.volume, &item.path)?.to_owned();
            let mode = item.mode.or(default_mode).unwrap_or(MODE);
            files.insert(path, VolumeFile { mode, bytes: SecretBytes::new(self.told(item)?.into_bytes()) });
        }
        Ok(files)
    }

    /// What a file of the downward API says.
    fn told(&self, item: &DownwardFile) -> Result<String, LaunchError> {
        let error = |path: &str, why| LaunchError::Field { user: format!("volume {}", self.volume), path: path.to_owned(), why };
        if let Some(reference) = &item.field_ref {
            return fields::field(&reference.field_path, self.input).map_err(|why| error(&reference.field_path, why));
        }
        let Some(reference) = &item.resource_field_ref else { return Ok(String::new()) };
        let amount = fields::amount(reference, self.input).map_err(|why| error(&reference.resource, why))?;
        Ok(amount.to_string())
    }

    fn files<T>(
        &self,
        kind: &'static str,
        source: &Source<'_>,
        data: Option<&BTreeMap<String, T>>,
        bytes: impl Fn(&T) -> SecretBytes,
    ) -> Result<Files, LaunchError> {
        let user = || format!("volume {}", self.volume);
        let mode = source.mode.unwrap_or(MODE);
        let Some(data) = data else {
            if source.optional {
                return Ok(Files::new());
            }
            return Err(LaunchError::MissingConfig { kind, name: source.name.to_owned(), user: user() });
        };
        if source.items.is_empty() {
            return Ok(data.iter().map(|(key, value)| (key.clone(), VolumeFile { mode, bytes: bytes(value) })).collect());
        }
        let mut files = Files::new();
        for item in source.items {
            let path = checked(self.volume, &item.path)?.to_owned();
            match data.get(&item.key) {
                Some(value) => {
                    files.insert(path, VolumeFile { mode: item.mode.unwrap_or(mode), bytes: bytes(value) });
                }
                None if source.optional => {}
                None => {
                    let (name, key) = (source.name.to_owned(), item.key.clone());
                    return Err(LaunchError::MissingKey { kind, name, key, user: user() });
                }
            }
        }
        Ok(files)
    }
}
