//! The files of a revision below the watched path, read without a work tree.

use super::commits::parse;
use super::error::nearest;
use super::paths::{LINKS_MAX, MODE_LINK, resolve};
use super::{Mirror, SyncError};
use crate::model::Revision;
use git2::{ObjectType, Oid, Repository, Tree, TreeEntry};

/// At most so many files below the watched path are looked at.
const FILES_MAX: usize = 200_000;
/// Trees nested deeper than this are not ours.
const DEPTH_MAX: usize = 64;

/// One file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    /// Relative to the watched path, with `/`. Bytes that are no UTF-8 appear as U+FFFD.
    pub path: String,
    /// The object id of its contents.
    pub blob: String,
    /// What it is.
    pub kind: TreeKind,
}

/// What an entry of a tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeKind {
    /// A file.
    File,
    /// A symbolic link, and where it leads.
    Link(LinkEnd),
    /// A submodule.
    Submodule,
}

/// Where a symbolic link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEnd {
    /// To a file below the watched path, which is read where it lies.
    File,
    /// To a folder below the watched path.
    Folder,
    /// To a file of the repository outside the watched path.
    OutsideFile,
    /// To a folder of the repository outside the watched path, or out of the repository.
    Outside,
    /// To nothing.
    Nowhere,
}

/// The contents of a file, or its size in bytes if it is too large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// The bytes.
    Bytes(Vec<u8>),
    /// It was not read.
    TooLarge(usize),
}

impl Mirror {
    /// The files of a revision below the watched path, in path order; dot-folders are skipped.
    ///
    /// # Errors
    /// The revision or the path is not there, or there are far too many files.
    pub fn tree(&self, revision: &Revision) -> Result<Vec<TreeFile>, SyncError> {
        let what = format!("cannot read revision {}", revision.short());
        let root = self.root(revision)?;
        let watched = self.watched(&root, revision)?;
        let mut reading = Reading { repo: &self.repo, root: &root, watched: &self.path, files: Vec::new() };
        reading.folder(&watched, "", 0).map_err(SyncError::objects(what))?;
        if reading.files.len() > FILES_MAX {
            return Err(SyncError::TooManyFiles { revision: revision.short().to_owned(), limit: FILES_MAX });
        }
        let mut files = reading.files;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// The tree of a whole revision.
    pub(super) fn root(&self, revision: &Revision) -> Result<Tree<'_>, SyncError> {
        let commit = parse(revision).and_then(|id| self.repo.find_commit(id));
        let what = format!("cannot read revision {}", revision.short());
        commit.and_then(|commit| commit.tree()).map_err(SyncError::objects(what))
    }

    /// The tree of the watched path.
    fn watched(&self, root: &Tree<'_>, revision: &Revision) -> Result<Tree<'_>, SyncError> {
        let entry = if self.path.is_empty() { Ok(root.id()) } else { root.get_path(self.path.as_ref()).map(|entry| entry.id()) };
        match entry.and_then(|id| self.repo.find_tree(id)) {
            Ok(tree) => Ok(tree),
            Err(_) => Err(SyncError::MissingPath {
                path: self.path.clone(),
                revision: revision.short().to_owned(),
                near: self.folders_near(root),
            }),
        }
    }

    /// Folders beside the one that is missing, or at the root.
    fn folders_near(&self, root: &Tree<'_>) -> Vec<String> {
        let (parent, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let beside = root.get_path(parent.as_ref()).ok().and_then(|entry| self.repo.find_tree(entry.id()).ok());
        let prefix = if beside.is_some() { format!("{parent}/") } else { String::new() };
        let folders: Vec<String> = beside
            .as_ref()
            .unwrap_or(root)
            .iter()
            .filter(|entry| entry.kind() == Some(ObjectType::Tree))
            .map(|entry| name_of(&entry))
            .filter(|folder| !folder.starts_with('.'))
            .collect();
        nearest(name, folders, 5).into_iter().map(|folder| format!("{prefix}{folder}")).collect()
    }

    /// The contents of a file, if they are at most `max` bytes; a larger one is not read into memory.
    ///
    /// # Errors
    /// The object is not in the mirror.
    pub fn blob(&self, blob: &str, max: usize) -> Result<Contents, SyncError> {
        let read = || {
            let id = Oid::from_str(blob)?;
            let (size, _) = self.repo.odb()?.read_header(id)?;
            if size > max {
                return Ok(Contents::TooLarge(size));
            }
            Ok(Contents::Bytes(self.repo.find_blob(id)?.content().to_vec()))
        };
        read().map_err(SyncError::objects(format!("cannot read the file {blob}")))
    }
}

struct Reading<'a> {
    repo: &'a Repository,
    root: &'a Tree<'a>,
    watched: &'a str,
    files: Vec<TreeFile>,
}

impl Reading<'_> {
    fn folder(&mut self, tree: &Tree<'_>, prefix: &str, depth: usize) -> Result<(), git2::Error> {
        for entry in tree {
            if self.files.len() > FILES_MAX {
                return Ok(());
            }
            let name = name_of(&entry);
            let path = format!("{prefix}{name}");
            match entry.kind() {
                Some(ObjectType::Tree) if name.starts_with('.') || depth == DEPTH_MAX => {}
                Some(ObjectType::Tree) => self.folder(&self.repo.find_tree(entry.id())?, &format!("{path}/"), depth + 1)?,
                Some(ObjectType::Blob) => {
                    let kind = self.kind(&entry, &path);
                    self.files.push(TreeFile { path, blob: entry.id().to_string(), kind });
                }
                Some(ObjectType::Commit) => {
                    self.files.push(TreeFile { path, blob: entry.id().to_string(), kind: TreeKind::Submodule });
                }
                Some(ObjectType::Any | ObjectType::Tag) | None => {}
            }
        }
        Ok(())
    }

    fn kind(&self, entry: &TreeEntry<'_>, path: &str) -> TreeKind {
        if entry.filemode() != MODE_LINK {
            return TreeKind::File;
        }
        let whole = if self.watched.is_empty() { path.to_owned() } else { format!("{}/{path}", self.watched) };
        TreeKind::Link(self.follow(&whole, entry.id()))
    }

    /// Follows a link at `path` (from the repository's root) within the tree.
    fn follow(&self, path: &str, link: Oid) -> LinkEnd {
        let (mut path, mut link) = (path.to_owned(), link);
        for _ in 0..LINKS_MAX {
            let Ok(blob) = self.repo.find_blob(link) else { return LinkEnd::Nowhere };
            let target = String::from_utf8_lossy(blob.content()).into_owned();
            let Some(landed) = resolve(&path, &target) else { return LinkEnd::Outside };
            if landed.is_empty() {
                return if self.watched.is_empty() { LinkEnd::Folder } else { LinkEnd::Outside };
            }
            let Ok(entry) = self.root.get_path(landed.as_ref()) else { return LinkEnd::Nowhere };
            let within = self.watched.is_empty() || landed == self.watched || landed.starts_with(&format!("{}/", self.watched));
            match entry.kind() {
                Some(ObjectType::Tree) => return if within { LinkEnd::Folder } else { LinkEnd::Outside },
                Some(ObjectType::Blob) if entry.filemode() == MODE_LINK => (path, link) = (landed, entry.id()),
                Some(ObjectType::Blob) => return if within { LinkEnd::File } else { LinkEnd::OutsideFile },
                Some(ObjectType::Commit | ObjectType::Any | ObjectType::Tag) | None => return LinkEnd::Outside,
            }
        }
        LinkEnd::Nowhere
    }
}

fn name_of(entry: &TreeEntry<'_>) -> String {
    String::from_utf8_lossy(entry.name_bytes()).into_owned()
}
