//! `--render`: kustomizations and charts in place of what is written for them.

use super::super::{CliError, CliResult};
use super::{ValidateArgs, policy_of, shown};
use crate::manifest::{self, Renderable, RenderedFolder, Renderer};
use crate::sync::{DiskSource, Rendering, Viewpoint, renderables};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// So many kustomizations are looked at to find what a folder belongs to.
const KUSTOMIZATIONS_MAX: usize = 10_000;

/// Renders what there is to render below the folders that were named, and takes its sources out of `files`.
pub(super) fn all(args: &ValidateArgs, files: &mut BTreeMap<String, Vec<u8>>) -> CliResult<Vec<RenderedFolder>> {
    let mut rendering = Rendering::new(args.how.settings());
    let mut folders = Vec::new();
    for path in args.paths.iter().filter(|path| path.is_dir()) {
        folders.extend(below(path, args.each, &mut rendering, files)?);
    }
    Ok(folders)
}

/// What a folder renders to. Its kustomizations may use whatever is in the repository that the folder belongs to.
fn below(
    path: &Path,
    each: bool,
    rendering: &mut Rendering,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> CliResult<Vec<RenderedFolder>> {
    let unreadable = |error| CliError::with_source(format!("cannot read {}", path.display()), error);
    let whole = fs::canonicalize(path).map_err(unreadable)?;
    let name = shown(path).trim_end_matches('/').to_owned();
    let inside: Vec<String> = files.keys().filter_map(|file| within(&name, file)).collect();
    let root = match whole.ancestors().find(|folder| folder.join(".git").exists()) {
        Some(root) => root.to_owned(),
        None => reach(&whole, &inside),
    };
    let root = root.as_path();
    let watched = whole.strip_prefix(root).unwrap_or(Path::new("")).to_string_lossy().into_owned();
    let source = DiskSource::new(root.to_owned());
    let policy = policy_of(path)?;
    let found = renderables(&source, &watched, inside.iter().map(String::as_str));
    let (chosen, missing) = if each {
        // As a repository of its own, a folder is used by no other.
        (found.iter().filter(|renderable| renderable.is_whole).collect::<Vec<&Renderable>>(), Vec::new())
    } else {
        manifest::entries(&found, &policy.render.entries)
    };
    if let Some(folder) = missing.first() {
        return Err(CliError::new(format!(
            "render.entries in driftless.yaml lists {folder}, which has neither a kustomization nor a chart"
        ))
        .hint("correct the folder; it is relative to driftless.yaml"));
    }
    let rendered = rendering.render(&source, Viewpoint { watched: &watched, prefix: &name }, &chosen, &policy.render);
    let sources: BTreeSet<String> = found.iter().map(|renderable| renderable.folder.clone()).collect();
    files.retain(|file, _| within(&name, file).is_none_or(|inside| !manifest::is_within(&sources, &inside)));
    let folders = rendered.into_iter().map(|(folder, unit)| {
        let documents = unit.documents.map(|documents| (*documents).clone());
        let folder = documents.as_ref().map_or(folder, |documents| documents.file().to_owned());
        RenderedFolder { folder, documents, problems: unit.problems }
    });
    Ok(folders.collect())
}

/// The folder that holds all kustomizations which those in a folder lead to: without git, that is the tree.
fn reach(folder: &Path, inside: &[String]) -> PathBuf {
    let mut root = folder.to_owned();
    let mut open: Vec<PathBuf> = inside.iter().map(|file| folder.join(file)).filter(|file| is_kustomization(file)).collect();
    let mut seen: BTreeSet<PathBuf> = open.iter().cloned().collect();
    while let Some(file) = open.pop() {
        let (Some(here), Ok(bytes)) = (file.parent(), fs::read(&file)) else { continue };
        let mentions = manifest::read_kustomization("", &bytes).references;
        let targets = mentions.iter().filter(|mention| mention.may_be_folder).filter_map(|mention| {
            let target = fs::canonicalize(here.join(&mention.text)).ok()?;
            fs::read_dir(&target).ok()?.flatten().map(|entry| entry.path()).find(|path| is_kustomization(path))
        });
        for target in targets.collect::<Vec<PathBuf>>() {
            if seen.len() < KUSTOMIZATIONS_MAX && seen.insert(target.clone()) {
                while !target.starts_with(&root) && root.pop() {}
                open.push(target);
            }
        }
    }
    root
}

fn is_kustomization(file: &Path) -> bool {
    file.file_name().and_then(|name| name.to_str()).and_then(manifest::rendered_by) == Some(Renderer::Kustomize)
}

/// A file's path from the folder that was named.
fn within(folder: &str, file: &str) -> Option<String> {
    if folder.is_empty() || folder == "." {
        Some(file.to_owned())
    } else {
        Some(file.strip_prefix(folder)?.strip_prefix('/')?.to_owned())
    }
}
