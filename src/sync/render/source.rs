//! Where a build's files come from: a revision in git, or a folder on disk. Both are looked into by need, and links are followed within
//! them only.

use crate::manifest::FILE_BYTES_MAX;
use crate::sync::paths::{LINKS_MAX, MODE_LINK, join};
use git2::{ObjectType, Repository, Tree};
use std::fs;
use std::path::{Path, PathBuf};

/// What there is at a path. Paths are relative to the root, with `/`; the root itself is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A file, and what names its contents (empty where nothing does).
    File(String),
    Folder,
    /// A symbolic link and its target.
    Link(String),
    Submodule,
}

/// Something to build from.
pub(crate) trait Source {
    /// What lies at a path whose folders are no links.
    fn entry(&self, path: &str) -> Option<Entry>;
    /// The names in a folder, sorted.
    fn children(&self, folder: &str) -> Vec<String>;
    /// The contents of a file, or why they cannot be read.
    fn bytes(&self, path: &str) -> Result<Vec<u8>, String>;
}

/// A revision of a repository.
pub(crate) struct GitSource<'a> {
    repo: &'a Repository,
    root: Tree<'a>,
}

impl<'a> GitSource<'a> {
    pub(crate) fn new(repo: &'a Repository, root: Tree<'a>) -> Self {
        Self { repo, root }
    }

    fn folder(&self, path: &str) -> Option<Tree<'a>> {
        let id = if path.is_empty() { self.root.id() } else { self.root.get_path(Path::new(path)).ok()?.id() };
        self.repo.find_tree(id).ok()
    }
}

impl Source for GitSource<'_> {
    fn entry(&self, path: &str) -> Option<Entry> {
        if path.is_empty() {
            return Some(Entry::Folder);
        }
        let entry = self.root.get_path(Path::new(path)).ok()?;
        match entry.kind()? {
            ObjectType::Tree => Some(Entry::Folder),
            ObjectType::Commit => Some(Entry::Submodule),
            ObjectType::Blob if entry.filemode() == MODE_LINK => {
                let blob = self.repo.find_blob(entry.id()).ok()?;
                Some(Entry::Link(String::from_utf8_lossy(blob.content()).into_owned()))
            }
            ObjectType::Blob => Some(Entry::File(entry.id().to_string())),
            ObjectType::Any | ObjectType::Tag => None,
        }
    }

    fn children(&self, folder: &str) -> Vec<String> {
        let Some(tree) = self.folder(folder) else { return Vec::new() };
        tree.iter().filter_map(|entry| entry.name().ok().map(str::to_owned)).collect()
    }

    fn bytes(&self, path: &str) -> Result<Vec<u8>, String> {
        let read = || {
            let id = self.root.get_path(Path::new(path))?.id();
            let (size, _) = self.repo.odb()?.read_header(id)?;
            if size > FILE_BYTES_MAX {
                return Ok(Err(too_large(size as u64)));
            }
            Ok(Ok(self.repo.find_blob(id)?.content().to_vec()))
        };
        read().map_err(|error: git2::Error| error.message().to_owned())?
    }
}

/// A folder on disk.
pub(crate) struct DiskSource {
    root: PathBuf,
}

impl DiskSource {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }
}

impl Source for DiskSource {
    fn entry(&self, path: &str) -> Option<Entry> {
        let place = self.root.join(path);
        let meta = fs::symlink_metadata(&place).ok()?;
        if meta.is_symlink() {
            return Some(Entry::Link(fs::read_link(&place).ok()?.to_string_lossy().into_owned()));
        }
        if meta.is_dir() {
            let is_submodule = !path.is_empty() && place.join(".git").is_file();
            return Some(if is_submodule { Entry::Submodule } else { Entry::Folder });
        }
        meta.is_file().then(|| Entry::File(String::new()))
    }

    fn children(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.join(folder)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name != ".git").collect();
        names.sort();
        names
    }

    fn bytes(&self, path: &str) -> Result<Vec<u8>, String> {
        let place = self.root.join(path);
        let size = fs::metadata(&place).map_err(|error| error.to_string())?.len();
        if size > FILE_BYTES_MAX as u64 {
            return Err(too_large(size));
        }
        fs::read(&place).map_err(|error| error.to_string())
    }
}

fn too_large(size: u64) -> String {
    format!("it has {size} bytes; at most {FILE_BYTES_MAX} are read")
}

/// What a path leads to, links followed within the source; `None` if to nothing, or out of it.
pub(super) fn find(source: &dyn Source, path: &str) -> Option<(String, Entry)> {
    let mut rest: Vec<String> = path.split('/').rev().filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let (mut here, mut links) = (String::new(), 0);
    while let Some(part) = rest.pop() {
        let next = join(&here, &part)?;
        match source.entry(&next)? {
            Entry::Link(target) => {
                links += 1;
                if links > LINKS_MAX || target.starts_with('/') {
                    return None;
                }
                rest.extend(target.split('/').rev().filter(|part| !part.is_empty()).map(str::to_owned));
            }
            found if rest.is_empty() => return Some((next, found)),
            Entry::Folder => here = next,
            Entry::File(_) | Entry::Submodule => return None,
        }
    }
    Some((here, Entry::Folder))
}

/// From where people look at a source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Viewpoint<'a> {
    /// The watched path, from the root of the source.
    pub(crate) watched: &'a str,
    /// What they call the watched path; empty where its files go by their own names.
    pub(crate) prefix: &'a str,
}

impl Viewpoint<'_> {
    /// A path of the source as they see it.
    pub(super) fn shown(&self, path: &str) -> String {
        let (mut from, mut to): (Vec<&str>, Vec<&str>) = (parts(self.watched), parts(path));
        let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        (from, to) = (from.split_off(common), to.split_off(common));
        let mut shown = parts(self.prefix);
        for _ in from {
            if shown.last().is_none_or(|last| *last == "..") {
                shown.push("..");
            } else {
                shown.pop();
            }
        }
        shown.extend(to);
        let root = if self.prefix.starts_with('/') { "/" } else { "" };
        let path = format!("{root}{}", shown.join("/"));
        if path.is_empty() { ".".to_owned() } else { path }
    }
}

fn parts(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_within_the_source_only() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("base/deep")).unwrap();
        fs::write(root.join("base/deep/x.yaml"), "x").unwrap();
        symlink("base/deep", root.join("short")).unwrap();
        symlink("../../../../etc/passwd", root.join("base/out")).unwrap();
        symlink("/etc/passwd", root.join("base/absolute")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let source = DiskSource::new(root.to_owned());
        assert_eq!(find(&source, "short/x.yaml"), Some(("base/deep/x.yaml".to_owned(), Entry::File(String::new()))));
        assert_eq!(find(&source, "short"), Some(("base/deep".to_owned(), Entry::Folder)));
        for gone in ["base/out", "base/absolute", "loop", "nothing"] {
            assert_eq!(find(&source, gone), None, "{gone}");
        }
    }

    #[test]
    fn paths_are_shown_from_the_watched_path() {
        let shown = |watched, prefix, path| Viewpoint { watched, prefix }.shown(path);
        assert_eq!(shown("", "", "base/x.yaml"), "base/x.yaml");
        assert_eq!(shown("prod", "", "prod/x.yaml"), "x.yaml");
        assert_eq!(shown("clusters/prod", "", "base/x.yaml"), "../../base/x.yaml");
        assert_eq!(shown("prod", "", "prod"), ".");
        assert_eq!(shown("prod", "/repo/prod", "base/x.yaml"), "/repo/base/x.yaml");
        assert_eq!(shown("a/b", "b", "c/x.yaml"), "../c/x.yaml");
    }
}
