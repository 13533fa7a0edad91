//! Which programs render: the user's own, found in `PATH`.

use crate::manifest::Renderer;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A program that renders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tool {
    /// Absolute, without symbolic links.
    pub(super) path: PathBuf,
    /// Its first argument.
    verb: &'static str,
    /// What another version of it does not have: path, size and time of change.
    pub(super) identity: String,
}

/// The programs that there are for a renderer, the better one first, with the verb that renders.
fn candidates(renderer: Renderer) -> &'static [(&'static str, &'static str)] {
    match renderer {
        Renderer::Kustomize => &[("kustomize", "build"), ("kubectl", "kustomize")],
        Renderer::Helm => &[("helm", "template")],
    }
}

/// The program to render with, if there is one in the search path.
pub(super) fn find(renderer: Renderer, search: &[PathBuf]) -> Option<Tool> {
    candidates(renderer).iter().find_map(|(name, verb)| {
        let path = search.iter().map(|folder| folder.join(name)).find(|path| is_program(path))?;
        let path = fs::canonicalize(path).ok()?;
        let meta = fs::metadata(&path).ok()?;
        let identity = format!("{} {} {}.{}", path.display(), meta.size(), meta.mtime(), meta.mtime_nsec());
        Some(Tool { path, verb, identity })
    })
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// What to do where there is no such program.
pub(super) fn instead(renderer: Renderer) -> (&'static str, &'static str) {
    match renderer {
        Renderer::Kustomize => (
            "this folder is for kustomize, and neither kustomize nor kubectl is in PATH",
            "install one of them where Driftless runs, or list the folder in .driftlessignore",
        ),
        Renderer::Helm => (
            "this folder is a Helm chart, and helm is not in PATH",
            "install helm where Driftless runs, or list the folder in .driftlessignore",
        ),
    }
}

impl Tool {
    /// The argument list that renders, before what is specific to a folder.
    pub(super) fn args(&self) -> Vec<String> {
        vec![self.verb.to_owned()]
    }
}

/// The folders of `PATH`.
pub(super) fn search_path() -> Vec<PathBuf> {
    std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect())
        .unwrap_or_default()
}
