//! A laboratory of real git repositories in a temporary folder: a bare remote and a clone that pushes to it.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    /// A bare remote `shop.git` with the branch `main`, and a clone `work`, without a commit.
    pub(crate) fn new() -> Self {
        let lab = Self { dir: tempfile::tempdir().expect("a temporary folder") };
        lab.git(lab.root(), &["init", "--quiet", "--bare", "--initial-branch=main", "shop.git"]);
        lab.git(lab.root(), &["init", "--quiet", "--initial-branch=main", "work"]);
        lab.git(&lab.work(), &["remote", "add", "origin", "../shop.git"]);
        lab
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn remote(&self) -> PathBuf {
        self.path("shop.git")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.path("work")
    }

    /// Runs git and returns its standard output, trimmed.
    pub(crate) fn git(&self, folder: &Path, args: &[&str]) -> String {
        let (ok, text) = self.try_git(folder, args);
        assert!(ok, "git {args:?} in {}: {text}", folder.display());
        text
    }

    pub(crate) fn try_git(&self, folder: &Path, args: &[&str]) -> (bool, String) {
        let who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"];
        let output = Command::new("git")
            .args(who)
            .args(args)
            .current_dir(folder)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("LC_ALL", "C")
            .output()
            .expect("git runs");
        let text = if output.status.success() { &output.stdout } else { &output.stderr };
        (output.status.success(), String::from_utf8_lossy(text).trim().to_owned())
    }

    /// Writes a file in the clone.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let file = self.work().join(path);
        std::fs::create_dir_all(file.parent().expect("a parent")).expect("folders");
        std::fs::write(file, text).expect("a file");
    }

    /// Commits everything in the clone and returns the commit.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.git(&self.work(), &["add", "--all"]);
        self.git(&self.work(), &["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&self.work(), &["rev-parse", "HEAD"])
    }

    /// Commits a file and pushes `main`.
    pub(crate) fn push_file(&self, path: &str, text: &str) -> String {
        self.write(path, text);
        let commit = self.commit(&format!("Change {path}"));
        self.push();
        commit
    }

    pub(crate) fn push(&self) {
        self.git(&self.work(), &["push", "--quiet", "--force", "origin", "HEAD:main"]);
    }

    /// Takes the remote away, or brings it back.
    pub(crate) fn set_away(&self, away: bool) {
        let (here, there) = (self.remote(), self.path("away.git"));
        let (from, to) = if away { (here, there) } else { (there, here) };
        std::fs::rename(from, to).expect("a rename");
    }
}
