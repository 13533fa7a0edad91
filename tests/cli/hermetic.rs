//! A folder and an environment that nothing of the user's reaches: no HOME, no git configuration, no clock in commits.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A program in PATH.
pub(crate) enum Program {
    /// One that prints this.
    Prints(&'static str),
    /// The one of this host.
    Real,
}

fn real(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.exists()).expect("it is installed")
}

pub(crate) struct Workspace {
    dir: TempDir,
}

impl Workspace {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.path().join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    /// Commits everything; the same content gives the same commit id.
    pub(crate) fn commit(&self, message: &str) {
        if !self.path().join(".git").exists() {
            self.git(&["init", "--quiet", "--initial-branch=main"]);
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
    }

    pub(crate) fn git(&self, args: &[&str]) {
        let mut command = Command::new("git");
        let output = self.hermetic(&mut command).args(args).output().expect("git runs");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs driftless here: exit code, stdout and stderr as one text, with the folder's name taken out.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_driftless"));
        self.shown(self.hermetic(&mut command).args(args).stdin(Stdio::null()))
    }

    fn shown(&self, command: &mut Command) -> String {
        let output = command.output().expect("driftless runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&*self.path().to_string_lossy(), "[DIR]");
        let code = output.status.code().map_or("a signal".to_owned(), |code| code.to_string());
        format!("exit: {code}\n--- stdout\n{}--- stderr\n{}", text(&output.stdout), text(&output.stderr))
    }

    /// The same with no other programs in PATH than these: a name and what it prints, or the path of a real one.
    pub(crate) fn run_beside(&self, programs: &[(&str, Program)], args: &[&str]) -> String {
        let bin = self.path().join("bin");
        std::fs::create_dir_all(&bin).expect("a folder");
        for (name, program) in programs {
            match program {
                Program::Prints(text) => {
                    let path = bin.join(name);
                    std::fs::write(&path, format!("#!/bin/sh\necho '{text}'\n")).expect("a script");
                    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("a program");
                }
                Program::Real => std::os::unix::fs::symlink(real(name), bin.join(name)).expect("a link"),
            }
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_driftless"));
        self.hermetic(&mut command).env("PATH", &bin);
        self.shown(command.args(args).stdin(Stdio::null()))
    }

    fn hermetic<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .current_dir(self.path())
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", "Ada")
            .env("GIT_AUTHOR_EMAIL", "ada@example.org")
            .env("GIT_AUTHOR_DATE", "2026-01-02T03:04:05Z")
            .env("GIT_COMMITTER_NAME", "Ada")
            .env("GIT_COMMITTER_EMAIL", "ada@example.org")
            .env("GIT_COMMITTER_DATE", "2026-01-02T03:04:05Z")
    }
}
