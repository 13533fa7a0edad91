//! Paths within a tree, and the symbolic links among them.

/// At most so many symbolic links are followed in a row, as Linux does it.
pub(super) const LINKS_MAX: usize = 40;

/// The file mode of a symbolic link in git.
pub(super) const MODE_LINK: i32 = 0o120_000;

/// A path as seen from a folder; `None` if it leads out of the root, or starts at another.
pub(super) fn join(folder: &str, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Where a link at `path` with this target leads; `None` if out of the root.
pub(super) fn resolve(path: &str, target: &str) -> Option<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    join(folder, target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_out_of_the_root_leads_nowhere() {
        assert_eq!(join("a/b", "./../c//d").as_deref(), Some("a/c/d"));
        assert_eq!(join("a/b", "../..").as_deref(), Some(""));
        assert_eq!(join("a/b", "../../../x"), None);
        assert_eq!(join("a/b", "/x"), None);
    }

    #[test]
    fn links_are_resolved_within_the_repository() {
        assert_eq!(resolve("deploy/web.yaml", "../base/web.yaml").as_deref(), Some("base/web.yaml"));
        assert_eq!(resolve("deploy/web.yaml", "./x//y").as_deref(), Some("deploy/x/y"));
        assert_eq!(resolve("web.yaml", "../secret"), None);
        assert_eq!(resolve("web.yaml", "/etc/passwd"), None);
    }
}
