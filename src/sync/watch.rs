//! A push to a repository on this host, noticed at once.
//!
//! Watched are HEAD, packed-refs, `refs/` and `reftable/`, never `objects/`. It is an addition to polling, never its replacement: a
//! watch can fail, be lost, or not exist on a file system.

use super::SyncError;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Quiet for so long, and a push is taken to be over …
const QUIET: Duration = Duration::from_millis(15);
/// … but so many bursts later it is told anyway.
const BURSTS_MAX: u32 = 20;

/// A running watch; dropping it ends it.
pub struct RepoWatch {
    _watcher: RecommendedWatcher,
}

/// Calls `moved` after each burst of changes to the refs of the repository at `path` (bare, a clone, or a linked work tree). Changes to
/// our own audit branches don't count. `moved` runs on a thread of the watch's own and should return soon.
///
/// # Errors
/// `path` is no repository, or the host cannot watch it; polling still works.
pub fn watch_repo(path: &Path, moved: impl Fn() + Send + 'static) -> Result<RepoWatch, SyncError> {
    let git_dir = git_dir(path)?;
    let (sender, receiver) = mpsc::channel::<()>();
    let root = git_dir.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error may stand for events that were lost.
        if event.map_or(true, |event| matters(&root, &event)) {
            // The other end goes away only with the watch.
            let _ = sender.send(());
        }
    })
    .map_err(|source| unwatchable(path, source))?;
    watcher.watch(&git_dir, RecursiveMode::NonRecursive).map_err(|source| unwatchable(&git_dir, source))?;
    for folder in ["refs", "reftable"].map(|name| git_dir.join(name)).iter().filter(|folder| folder.is_dir()) {
        watcher.watch(folder, RecursiveMode::Recursive).map_err(|source| unwatchable(folder, source))?;
    }
    let _detached = std::thread::Builder::new()
        .name("repo-watch".into())
        .spawn(move || settle(&receiver, &moved))
        .map_err(SyncError::io("cannot start a thread to watch", path))?;
    Ok(RepoWatch { _watcher: watcher })
}

/// Turns bursts into single calls, until the watch is dropped.
fn settle(receiver: &mpsc::Receiver<()>, moved: &dyn Fn()) {
    while receiver.recv().is_ok() {
        for _ in 0..BURSTS_MAX {
            match receiver.recv_timeout(QUIET) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        moved();
    }
}

fn matters(git_dir: &Path, event: &notify::Event) -> bool {
    !matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(|path| is_ref(git_dir, path))
}

fn is_ref(git_dir: &Path, path: &Path) -> bool {
    let Ok(inside) = path.strip_prefix(git_dir) else { return true };
    let inside = inside.to_string_lossy();
    if inside.ends_with(".lock") || inside.starts_with("refs/heads/driftless/audit") {
        return false;
    }
    inside == "HEAD" || inside == "packed-refs" || inside.starts_with("refs/") || inside.starts_with("reftable/")
}

/// The folder that holds the refs: `path` itself if it is bare, `path/.git`, or what a `.git` file and its `commondir` name.
fn git_dir(path: &Path) -> Result<PathBuf, SyncError> {
    let dot_git = path.join(".git");
    let found = if dot_git.is_file() {
        let text = fs::read_to_string(&dot_git).map_err(SyncError::io("cannot read", &dot_git))?;
        let named = path.join(text.trim().strip_prefix("gitdir:").unwrap_or_default().trim());
        match fs::read_to_string(named.join("commondir")) {
            Ok(common) => named.join(common.trim()),
            Err(_) => named,
        }
    } else if dot_git.is_dir() {
        dot_git
    } else {
        path.to_owned()
    };
    if !found.join("HEAD").is_file() {
        return Err(SyncError::MissingRepo { repo: path.display().to_string() });
    }
    // Events name paths as they were watched, so one spelling of them serves both.
    Ok(found.canonicalize().unwrap_or(found))
}

fn unwatchable(path: &Path, error: notify::Error) -> SyncError {
    SyncError::Git { what: format!("watching {}", path.display()), detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_matter_and_objects_locks_and_our_own_branches_do_not() {
        let git = Path::new("/srv/shop.git");
        let check = |path: &str| is_ref(git, &git.join(path));
        assert!(check("HEAD") && check("packed-refs") && check("refs/heads/main") && check("reftable/tables.list"));
        assert!(!check("refs/heads/main.lock") && !check("refs/heads/driftless/audit-prod"));
        assert!(!check("index") && !check("FETCH_HEAD") && !check("objects/ab/cdef"));
    }

    #[test]
    fn the_refs_of_bare_plain_and_linked_work_trees_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        git2::Repository::init_bare(root.join("bare.git")).unwrap();
        git2::Repository::init(root.join("plain")).unwrap();
        fs::create_dir_all(root.join("plain/.git/worktrees/linked")).unwrap();
        fs::write(root.join("plain/.git/worktrees/linked/commondir"), "../..\n").unwrap();
        fs::create_dir(root.join("linked")).unwrap();
        fs::write(root.join("linked/.git"), format!("gitdir: {}\n", root.join("plain/.git/worktrees/linked").display())).unwrap();
        assert_eq!(git_dir(&root.join("bare.git")).unwrap(), root.join("bare.git"));
        assert_eq!(git_dir(&root.join("plain")).unwrap(), root.join("plain/.git"));
        assert_eq!(git_dir(&root.join("linked")).unwrap(), root.join("plain/.git"));
        assert!(matches!(git_dir(&root), Err(SyncError::MissingRepo { .. })));
    }
}
