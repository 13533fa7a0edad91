//! What one build may read: the folders that a kustomization or a chart leads to, copied as plain files.

use super::source::{Entry, Source, Viewpoint, find};
use crate::manifest::{Kustomization, Mention, Renderer, folder_of, is_remote, read_kustomization, read_plugin, rendered_by};
use crate::model::{Location, Problem, Scope, Severity};
use crate::sync::paths::join;
use std::collections::{BTreeMap, BTreeSet};

/// More files than this are no source of a build.
const FILES_MAX: usize = 20_000;
/// Folders nested deeper than this are not ours; a link to a folder above itself ends here.
const DEPTH_MAX: usize = 32;

/// The files of one build.
#[derive(Debug, Default)]
pub(super) struct Closure {
    /// By their path in the copy, which is that in the repository: what names the contents, and where they lie if a link leads there.
    pub(super) files: BTreeMap<String, (String, String)>,
    /// What keeps the build from being run.
    pub(super) problems: Vec<Problem>,
    /// The kustomizations in it, by their path.
    pub(super) kustomizations: BTreeMap<String, Kustomization>,
    /// Links that lead out, submodules: not in the copy.
    pub(super) left_out: Vec<String>,
}

/// Gathers what a folder's build may read. `folder` is relative to the root of the source, and so are `more`, further files.
pub(super) fn gather(source: &dyn Source, from: Viewpoint<'_>, folder: &str, renderer: Renderer, more: &[String]) -> Closure {
    let mut gathering = Gathering { source, from, closure: Closure::default(), visited: BTreeSet::new() };
    match renderer {
        Renderer::Kustomize => gathering.kustomization(folder),
        Renderer::Helm => gathering.copy(folder, folder, 0),
    }
    for file in more {
        gathering.file(file);
    }
    if gathering.closure.files.len() > FILES_MAX {
        let place = Location { file: from.shown(folder), line: 0, column: 0 };
        let message = format!("this folder leads to more than {FILES_MAX} files, which is too much to render");
        gathering.refuse(place, message, "split it, or keep other things out of its folders");
    }
    gathering.closure
}

/// The kustomization of a folder, if there is one.
pub(super) fn kustomization_in(source: &dyn Source, folder: &str) -> Option<String> {
    let names = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
    let path = names.iter().filter_map(|name| join(folder, name)).find(|path| find(source, path).is_some())?;
    (rendered_by(&path) == Some(Renderer::Kustomize)).then_some(path)
}

struct Gathering<'a> {
    source: &'a dyn Source,
    from: Viewpoint<'a>,
    closure: Closure,
    visited: BTreeSet<String>,
}

impl Gathering<'_> {
    fn refuse(&mut self, at: Location, message: String, hint: &str) {
        let hint = Some(hint.to_owned());
        let problem = Problem { at, path: String::new(), severity: Severity::Error, scope: Scope::Document, message, hint };
        self.closure.problems.push(problem);
    }

    /// A folder with a kustomization, everything in it, and what it leads to.
    fn kustomization(&mut self, folder: &str) {
        if !self.visited.insert(folder.to_owned()) || self.visited.len() > FILES_MAX {
            return;
        }
        self.copy(folder, folder, 0);
        let Some(path) = kustomization_in(self.source, folder) else { return };
        let Some((real, _)) = find(self.source, &path) else { return };
        let found = match self.source.bytes(&real) {
            Ok(bytes) => read_kustomization(&self.from.shown(&path), &bytes),
            Err(why) => {
                let at = Location { file: self.from.shown(&path), line: 0, column: 0 };
                return self.refuse(at, format!("the kustomization cannot be read: {why}"), "commit a plain file");
            }
        };
        self.closure.problems.extend(found.problems.iter().cloned());
        for mention in &found.references {
            self.mention(folder, mention);
        }
        self.closure.kustomizations.insert(path, found);
    }

    fn mention(&mut self, folder: &str, mention: &Mention) {
        let target = join(folder, &mention.text);
        match target.as_deref().and_then(|path| find(self.source, path)) {
            Some((path, Entry::Folder)) if mention.may_be_folder => self.kustomization(&path),
            Some((path, Entry::File(_))) => self.plugin(&path),
            Some((_, Entry::Submodule)) => self.refuse(
                mention.at.clone(),
                format!("{} is a submodule, which is not followed", mention.text),
                "commit the files themselves",
            ),
            Some((_, Entry::Folder | Entry::Link(_))) => {}
            None if is_remote(&mention.text) => self.refuse(
                mention.at.clone(),
                format!("{} is remote, and rendering reaches no network", mention.text),
                "commit a copy of it, and refer to that",
            ),
            None if target.is_none() => self.refuse(
                mention.at.clone(),
                format!("{} leads out of the repository", mention.text),
                "what is rendered lies in the repository",
            ),
            // Kustomize says so better, in its own words.
            None => {}
        }
    }

    /// A file that is named may configure a plugin.
    fn plugin(&mut self, path: &str) {
        let is_config = [".yaml", ".yml"].iter().any(|extension| path.ends_with(extension));
        if let Ok(bytes) = self.source.bytes(path).map_err(drop)
            && is_config
            && may_be_plugin(&bytes)
        {
            let file = self.from.shown(path);
            let problems = read_plugin(&file, &bytes);
            self.closure
                .problems
                .extend(problems.into_iter().filter(|problem| !self.closure.problems.contains(problem)).collect::<Vec<_>>());
        }
    }

    /// Copies a file, which may lie behind a link.
    fn file(&mut self, path: &str) {
        match find(self.source, path) {
            Some((real, Entry::File(id))) => drop(self.closure.files.insert(path.to_owned(), (id, real))),
            Some((_, Entry::Folder | Entry::Submodule | Entry::Link(_))) | None => {
                let at = Location { file: crate::manifest::POLICY_FILE.to_owned(), line: 0, column: 0 };
                let message = format!("{} is not a file of the repository", self.from.shown(path));
                self.refuse(at, message, "correct the path in render.helm; it is relative to the watched path");
            }
        }
    }

    /// Copies what lies in `real` to `path`; they differ where a link led.
    fn copy(&mut self, path: &str, real: &str, depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        for name in self.source.children(real) {
            if self.closure.files.len() > FILES_MAX || name == ".git" {
                return;
            }
            let (Some(path), Some(from)) = (join(path, &name), join(real, &name)) else { continue };
            match find(self.source, &from) {
                Some((real, Entry::File(id))) => drop(self.closure.files.insert(path, (id, real))),
                Some((real, Entry::Folder)) => self.copy(&path, &real, depth + 1),
                Some((_, Entry::Submodule | Entry::Link(_))) | None => self.closure.left_out.push(path),
            }
        }
    }
}

/// Whether a file is worth reading as the configuration of a plugin; most are manifests.
fn may_be_plugin(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.contains("config.kubernetes.io/function") || text.contains("HelmChartInflationGenerator")
}

impl Closure {
    /// Where something of the build is named, by its path in the copy.
    pub(super) fn mention_of(&self, path: &str) -> Option<&Mention> {
        self.kustomizations.iter().find_map(|(file, kustomization)| {
            let folder = if file.contains('/') { folder_of(file) } else { "" };
            kustomization.references.iter().find(|mention| join(folder, &mention.text).as_deref() == Some(path))
        })
    }

    /// Where something of the build is named, as it is written there.
    pub(super) fn mention_as(&self, text: &str) -> Option<(String, &Mention)> {
        self.kustomizations.iter().find_map(|(file, kustomization)| {
            let folder = if file.contains('/') { folder_of(file) } else { "" };
            let mention = kustomization.references.iter().find(|mention| mention.text == text)?;
            Some((join(folder, text)?, mention))
        })
    }
}
