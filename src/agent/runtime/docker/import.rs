//! Images without a registry: made from files of this host, and imported.

use super::engine::{Engine, Session};
use super::{Docker, wire};
use crate::agent::runtime::RuntimeError;
use crate::agent::runtime::rootfs::RootFs;
use bollard::query_parameters::{CreateImageOptionsBuilder, RemoveImageOptions};
use futures_util::TryStreamExt;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What an imported image was made of, so that the same is not imported twice.
const CONTENT: &str = "driftless.dev/content";

/// `GET /images/NAME/json`, as far as we read it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    id: String,
    #[serde(default)]
    config: Option<Config>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Docker {
    /// Imports `root` as the image `repository:tag`, unless an image of the same content has that name. An image that we imported
    /// under that name before is taken away. The image has no entry point and no command.
    ///
    /// # Errors
    /// What the Engine says.
    pub async fn import_image(&self, repository: &str, tag: &str, root: &RootFs) -> Result<(), RuntimeError> {
        let session = self.shared.engine.reach().await?;
        import(&self.shared.engine, &session, (repository, tag), root).await
    }

    /// Imports an image that holds one program of this host, with the shared libraries that it needs, at
    /// `/usr/local/bin/NAME`: the demo's `driftless/demo:VERSION` is made of our own binary.
    ///
    /// # Errors
    /// A file that cannot be read, or what the Engine says.
    pub async fn import_program(&self, repository: &str, tag: &str, program: &Path) -> Result<(), RuntimeError> {
        let root = program_files(program).await?;
        self.import_image(repository, tag, &root).await
    }
}

/// See [`Docker::import_image`]; `name` is repository and tag.
pub(super) async fn import(engine: &Engine, session: &Session, name: (&str, &str), root: &RootFs) -> Result<(), RuntimeError> {
    let (repository, tag) = name;
    let action = format!("importing the image {repository}:{tag}");
    let archive = root.to_tar().map_err(|error| RuntimeError::Failed { action: action.clone(), message: error.to_string() })?;
    let content = blake3::hash(&archive).to_hex();
    let before = imported(engine, session, &format!("{repository}:{tag}")).await?;
    if before.as_ref().is_some_and(|(_, known)| known == content.as_str()) {
        return Ok(());
    }
    let options = CreateImageOptionsBuilder::new()
        .from_src("-")
        // Podman passes over a tag that is told apart.
        .repo(&format!("{repository}:{tag}"))
        .changes(vec![format!("LABEL {CONTENT}={content}")])
        .build();
    let progress = session.client.create_image(Some(options), Some(bollard::body_full(archive.into())), None);
    let done = progress.try_for_each(|_| std::future::ready(Ok(()))).await;
    done.map_err(|error| engine.failed(&action, &error))?;
    if let Some((id, _)) = before
        && let Err(error) = session.client.remove_image(&id, None::<RemoveImageOptions>, None).await
    {
        // A container still uses it; without a name it goes with `docker image prune`.
        tracing::debug!("the image that {repository}:{tag} was before stays: {error}");
    }
    Ok(())
}

/// Whether there is an image of that name.
pub(super) async fn exists(engine: &Engine, session: &Session, name: &str) -> Result<bool, RuntimeError> {
    find(engine, session, name).await.map(|image| image.is_some())
}

/// Id and content of the image of that name, if we imported it.
async fn imported(engine: &Engine, session: &Session, name: &str) -> Result<Option<(String, String)>, RuntimeError> {
    let Some(image) = find(engine, session, name).await? else { return Ok(None) };
    let mut labels = image.config.and_then(|config| config.labels).unwrap_or_default();
    Ok(labels.remove(CONTENT).map(|content| (image.id, content)))
}

async fn find(engine: &Engine, session: &Session, name: &str) -> Result<Option<Image>, RuntimeError> {
    // A name's slashes belong to the path of this call.
    let path = format!("/images/{}/json", wire::encode(name).replace("%2F", "/"));
    match session.get::<Image>(&path).await {
        Ok(image) => Ok(Some(image)),
        Err(wire::ReadError::Refused { .. }) => Ok(None),
        Err(error) => Err(engine.read_failed("looking for an image", error)),
    }
}

/// A root folder with one program of this host and what it needs to run: its shared libraries and loader at their places
/// (as `ldd` names them; a static program has none), `/etc/passwd`, `/etc/group` and `/tmp`.
///
/// # Errors
/// A file that cannot be read, named.
pub async fn program_files(program: &Path) -> Result<RootFs, RuntimeError> {
    let name = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    files_as(program, &name).await
}

/// The same, with the program under another name.
pub(super) async fn files_as(program: &Path, name: &str) -> Result<RootFs, RuntimeError> {
    let mut root = RootFs::default()
        .folder("/tmp", 0o1777)
        .file("/etc/passwd", 0o644, "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n")
        .file("/etc/group", 0o644, "root:x:0:\nnogroup:x:65534:\n")
        .file(&format!("/usr/local/bin/{name}"), 0o755, read(program).await?);
    for library in libraries(program).await? {
        root = root.file(&library, 0o755, read(Path::new(&library)).await?);
    }
    Ok(root)
}

async fn read(path: &Path) -> Result<Vec<u8>, RuntimeError> {
    tokio::fs::read(path).await.map_err(|error| RuntimeError::Failed {
        action: format!("reading {} for an image", path.display()),
        message: error.to_string(),
    })
}

/// The absolute paths of the libraries and the loader of a program.
async fn libraries(program: &Path) -> Result<BTreeSet<String>, RuntimeError> {
    let output = tokio::process::Command::new("ldd").arg(program).env("LC_ALL", "C").output().await;
    let output = output.map_err(|error| RuntimeError::Failed {
        action: format!("asking ldd for the libraries of {}", program.display()),
        message: error.to_string(),
    })?;
    // A static program makes ldd fail, and has none.
    if !output.status.success() {
        return Ok(BTreeSet::new());
    }
    let listing = String::from_utf8_lossy(&output.stdout);
    match listing.lines().find(|line| line.contains("not found")) {
        Some(line) => Err(RuntimeError::Failed {
            action: format!("looking for the libraries of {}", program.display()),
            message: line.trim().to_owned(),
        }),
        None => Ok(listing.lines().filter_map(library).map(str::to_owned).collect()),
    }
}

/// The path in a line of ldd: `libc.so.6 => /lib/… (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`; the kernel's own
/// `linux-vdso.so.1 (0x…)` has none.
fn library(line: &str) -> Option<&str> {
    let place = line.split_once("=>").map_or(line, |(_, place)| place).trim();
    let path = place.split_once(" (").map_or(place, |(path, _)| path).trim();
    path.starts_with('/').then_some(path)
}

#[cfg(test)]
mod tests {
    use super::library;

    #[test]
    fn a_line_of_ldd_names_a_path_or_none() {
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007ffd)"), None);
        assert_eq!(library("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)"), Some("/lib/x86_64-linux-gnu/libc.so.6"));
        assert_eq!(library("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)"), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(library("\tstatically linked"), None);
    }
}
