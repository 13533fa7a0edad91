//! A revision to desired: the tree is read, what is new in it is parsed, and `manifest` says what it means.
//!
//! Parsed files are kept by (path, blob), so that a push costs what it changed. What neither this tree nor a last good unit uses any
//! more is dropped.

use super::render::{GitSource, RenderSettings, RenderedUnit, Rendering, Viewpoint, renderables};
use super::tree::{Contents, LinkEnd, TreeFile, TreeKind};
use super::{Mirror, SyncError};
use crate::manifest::{
    DigestKey, FILE_BYTES_MAX, GoodUnit, IgnoreSet, Loaded, POLICY_FILE, ParsedFile, StoredFile, TreeInput, entries,
    is_candidate, is_within, load, parse_all, read_policy, rendered_by,
};
use crate::model::{Location, Policy, Problem, Revision, Scope, Severity, UnitName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The ignore file at the root of the watched path.
const IGNORE_FILE: &str = ".driftlessignore";
/// How every Git LFS pointer begins: <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
/// At most so many bytes of files are in memory at once while parsing.
const BATCH_BYTES_MAX: usize = 32 << 20;

/// Reads revisions from a mirror. It belongs to one thread at a time; its calls block.
pub struct Loader {
    mirror: Mirror,
    cache: BTreeMap<Key, Arc<ParsedFile>>,
    rendering: Rendering,
}

/// Path and blob: the path is part of every problem that a parsed file holds.
type Key = (String, String);

/// A file that has to be parsed.
struct Fresh {
    path: String,
    blob: String,
    bytes: Vec<u8>,
}

impl Fresh {
    fn stored(&self) -> StoredFile<'_> {
        StoredFile { path: &self.path, blob: &self.blob, bytes: &self.bytes }
    }
}

impl Loader {
    /// A loader with an empty cache.
    #[must_use]
    pub fn new(mirror: Mirror, render: RenderSettings) -> Self {
        Self { mirror, cache: BTreeMap::new(), rendering: Rendering::new(render) }
    }

    /// The mirror.
    #[must_use]
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// The mirror, to fetch.
    pub fn mirror_mut(&mut self) -> &mut Mirror {
        &mut self.mirror
    }

    /// What a revision means. A unit with an error is held at its last good files; hand in `good` of the result the next time.
    ///
    /// # Errors
    /// The revision or the path cannot be read. What is wrong with its files is not an error here, but a problem of a unit.
    pub fn load(
        &mut self,
        revision: &Revision,
        last_good: &BTreeMap<UnitName, Arc<GoodUnit>>,
        key: &DigestKey,
    ) -> Result<Loaded, SyncError> {
        let input = self.read(revision)?;
        let loaded = load(&input, last_good, key);
        self.evict();
        Ok(loaded)
    }

    /// As [`Loader::load`], without dropping anything from the cache: for several revisions in a row.
    pub(super) fn load_keeping(
        &mut self,
        revision: &Revision,
        last_good: &BTreeMap<UnitName, Arc<GoodUnit>>,
        key: &DigestKey,
    ) -> Result<Loaded, SyncError> {
        let input = self.read(revision)?;
        Ok(load(&input, last_good, key))
    }

    /// How many parsed files are kept.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.cache.len()
    }

    /// How often kustomize or helm was run.
    #[must_use]
    pub fn renders(&self) -> usize {
        self.rendering.runs()
    }

    /// Drops what only the cache still holds: not the tree that is being loaded, and not the last good units, which whoever got them
    /// from [`Loader::load`] holds.
    pub(super) fn evict(&mut self) {
        self.cache.retain(|_, file| Arc::strong_count(file) > 1);
        self.rendering.evict();
    }

    /// The candidate files of a revision, parsed, and what its kustomizations and charts render to.
    fn read(&mut self, revision: &Revision) -> Result<TreeInput, SyncError> {
        let mut tree = self.mirror.tree(revision)?;
        let (policy, mut problems) = self.policy(&tree)?;
        let ignored = IgnoreSet::new(policy.ignore.iter().map(String::as_str));
        tree.retain(|file| !ignored.is_ignored(&file.path));
        let (sources, rendered) = self.render(revision, &tree, &policy, &mut problems)?;
        let mut files = BTreeMap::new();
        let mut wanted = Vec::new();
        // What lies beside a kustomization or a chart are its sources, not manifests.
        for file in tree.iter().filter(|file| !is_within(&sources, &file.path)) {
            match &file.kind {
                TreeKind::File if is_candidate(&file.path) => match self.cache.get(&key_of(file)) {
                    Some(parsed) => drop(files.insert(file.path.clone(), Arc::clone(parsed))),
                    None => wanted.push(file),
                },
                TreeKind::File => {}
                TreeKind::Link(end) => problems.extend(link_problem(&file.path, end)),
                TreeKind::Submodule => problems.push(submodule_problem(&file.path)),
            }
        }
        self.parse(&wanted, &mut files, &mut problems)?;
        problems.sort();
        let mut units = BTreeMap::new();
        for (folder, RenderedUnit { documents, problems }) in rendered {
            files.extend(documents.map(|documents| (folder.clone(), documents)));
            units.insert(folder, problems);
        }
        Ok(TreeInput { revision: revision.clone(), files, problems, policy, rendered: units })
    }

    /// Renders what is to be rendered. Returned are the folders that hold sources of it, rendered or not, and what came of each.
    fn render(
        &mut self,
        revision: &Revision,
        tree: &[TreeFile],
        policy: &Policy,
        problems: &mut Vec<Problem>,
    ) -> Result<(BTreeSet<String>, BTreeMap<String, RenderedUnit>), SyncError> {
        let paths =
            || tree.iter().filter(|file| file.kind == TreeKind::File && is_candidate(&file.path)).map(|file| file.path.as_str());
        if policy.render.entries.is_empty() && !paths().any(|path| rendered_by(path).is_some()) {
            return Ok((BTreeSet::new(), BTreeMap::new()));
        }
        let source = GitSource::new(&self.mirror.repo, self.mirror.root(revision)?);
        let found = renderables(&source, &self.mirror.path, paths());
        let (chosen, missing) = entries(&found, &policy.render.entries);
        problems.extend(missing.into_iter().map(|folder| {
            let message = format!("render.entries lists {folder}, which has neither a kustomization nor a chart");
            error(POLICY_FILE, message, "correct the folder; it is relative to the watched path")
        }));
        let rendered =
            self.rendering.render(&source, Viewpoint { watched: &self.mirror.path, prefix: "" }, &chosen, &policy.render);
        Ok((found.into_iter().map(|renderable| renderable.folder).collect(), rendered))
    }

    /// `driftless.yaml` with the lines of `.driftlessignore` as further patterns.
    fn policy(&self, tree: &[TreeFile]) -> Result<(Policy, Vec<Problem>), SyncError> {
        let (mut policy, mut problems) = match self.root_file(tree, POLICY_FILE)? {
            Some(Ok(bytes)) => read_policy(POLICY_FILE, &bytes),
            Some(Err(problem)) => (Policy::default(), vec![problem]),
            None => (Policy::default(), Vec::new()),
        };
        match self.root_file(tree, IGNORE_FILE)? {
            Some(Ok(bytes)) => policy.ignore.extend(String::from_utf8_lossy(&bytes).lines().map(str::to_owned)),
            Some(Err(problem)) => problems.push(problem),
            None => {}
        }
        Ok((policy, problems))
    }

    /// A file at the root of the watched path, or why it cannot be read.
    fn root_file(&self, tree: &[TreeFile], name: &str) -> Result<Option<Result<Vec<u8>, Problem>>, SyncError> {
        let Some(file) = tree.iter().find(|file| file.path == name) else { return Ok(None) };
        if file.kind != TreeKind::File {
            return Ok(Some(Err(error(POLICY_FILE, format!("{name} is not a plain file"), "commit the file itself"))));
        }
        Ok(Some(match self.mirror.blob(&file.blob, FILE_BYTES_MAX)? {
            Contents::Bytes(bytes) => Ok(bytes),
            Contents::TooLarge(size) => Err(too_large(POLICY_FILE, size)),
        }))
    }

    /// Parses the wanted files in batches, on several threads, and keeps them.
    fn parse(
        &mut self,
        wanted: &[&TreeFile],
        files: &mut BTreeMap<String, Arc<ParsedFile>>,
        problems: &mut Vec<Problem>,
    ) -> Result<(), SyncError> {
        let mut batch = Vec::new();
        let mut bytes_in_batch = 0;
        for file in wanted {
            match self.mirror.blob(&file.blob, FILE_BYTES_MAX)? {
                Contents::TooLarge(size) => problems.push(too_large(&file.path, size)),
                Contents::Bytes(bytes) if bytes.starts_with(LFS_POINTER) => problems.push(lfs_problem(&file.path)),
                Contents::Bytes(bytes) => {
                    bytes_in_batch += bytes.len();
                    batch.push(Fresh { path: file.path.clone(), blob: file.blob.clone(), bytes });
                }
            }
            if bytes_in_batch > BATCH_BYTES_MAX {
                self.keep(&batch, files);
                batch.clear();
                bytes_in_batch = 0;
            }
        }
        self.keep(&batch, files);
        Ok(())
    }

    fn keep(&mut self, batch: &[Fresh], files: &mut BTreeMap<String, Arc<ParsedFile>>) {
        let stored: Vec<StoredFile<'_>> = batch.iter().map(Fresh::stored).collect();
        for (fresh, parsed) in batch.iter().zip(parse_all(&stored)) {
            let parsed = Arc::new(parsed);
            files.insert(fresh.path.clone(), Arc::clone(&parsed));
            self.cache.insert((fresh.path.clone(), fresh.blob.clone()), parsed);
        }
    }
}

fn key_of(file: &TreeFile) -> Key {
    (file.path.clone(), file.blob.clone())
}

/// A link that stays below the watched path is passed over, because what it leads to is read where it lies. One that leaves it is an
/// error wherever a manifest or a folder of them may have been meant: to read nothing there could delete what runs.
fn link_problem(path: &str, end: &LinkEnd) -> Option<Problem> {
    let candidate = is_candidate(path);
    // A name without an extension may have been a folder of manifests.
    let folder_like = !path.rsplit('/').next().unwrap_or(path).contains('.');
    let folder = format!("{path}/");
    let leaves = "leads out of the watched path";
    match end {
        LinkEnd::File if candidate => Some(warning(path, "this symbolic link is passed over; the file is read where it lies")),
        LinkEnd::Folder if folder_like => {
            Some(warning(&folder, "this symbolic link is passed over; the folder is read where it lies"))
        }
        LinkEnd::OutsideFile | LinkEnd::Outside | LinkEnd::Nowhere if candidate => {
            let does = if *end == LinkEnd::Nowhere { "leads to nothing" } else { leaves };
            Some(error(path, format!("this symbolic link {does}"), "commit the file itself"))
        }
        LinkEnd::Outside if folder_like => {
            let hint = "commit the folder itself, or list the link in .driftlessignore";
            Some(error(&folder, format!("this symbolic link {leaves}"), hint))
        }
        LinkEnd::File | LinkEnd::Folder | LinkEnd::OutsideFile | LinkEnd::Outside | LinkEnd::Nowhere => None,
    }
}

fn submodule_problem(path: &str) -> Problem {
    let hint = "commit the files themselves, or list the submodule in .driftlessignore";
    error(&format!("{path}/"), "this is a submodule, which is not followed".into(), hint)
}

fn lfs_problem(path: &str) -> Problem {
    error(
        path,
        "this is a Git LFS pointer, not a manifest".into(),
        "keep manifests out of LFS: `git lfs untrack`, then commit the file",
    )
}

fn too_large(path: &str, size: usize) -> Problem {
    let message = format!("this file has {size} bytes; at most {FILE_BYTES_MAX} are read");
    error(path, message, "split it, or list it in .driftlessignore if it holds no manifests")
}

fn error(path: &str, message: String, hint: &str) -> Problem {
    Problem { severity: Severity::Error, hint: Some(hint.to_owned()), ..warning(path, &message) }
}

fn warning(path: &str, message: &str) -> Problem {
    Problem {
        at: Location { file: path.to_owned(), line: 0, column: 0 },
        path: String::new(),
        severity: Severity::Warning,
        scope: Scope::Document,
        message: message.to_owned(),
        hint: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_an_error_only_where_manifests_may_be_missed() {
        let severity = |path: &str, end: &LinkEnd| link_problem(path, end).map(|problem| (problem.at.file, problem.severity));
        let held = |file: &str| Some((file.to_owned(), Severity::Error));
        assert_eq!(severity("shop/web.yaml", &LinkEnd::OutsideFile), held("shop/web.yaml"));
        assert_eq!(severity("shop/web.yaml", &LinkEnd::Nowhere), held("shop/web.yaml"));
        assert_eq!(severity("prod", &LinkEnd::Outside), held("prod/"), "the unit that the folder was is held");
        assert_eq!(severity("shop/web.yaml", &LinkEnd::File).map(|(_, severity)| severity), Some(Severity::Warning));
        assert_eq!(severity("LICENSE", &LinkEnd::OutsideFile), None);
        assert_eq!(severity("logo.png", &LinkEnd::Outside), None);
    }
}
