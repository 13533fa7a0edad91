//! The demo's repo: a bare one, as a git host has it, and a clone to push from, as a developer has it.

use crate::cli::{CliError, CliResult};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of one variant of the example repo, as they are in this binary: path and text.
macro_rules! example {
    ($variant:literal: $($path:literal),+) => {
        &[$(($path, include_str!(concat!("../../../example-repo/", $variant, "/", $path)))),+]
    };
}

/// The shop as host processes.
const PROCESS_FILES: &[(&str, &str)] = example!(
    "process": "shop/namespace.yaml", "shop/settings.yaml", "shop/web.yaml", "shop/worker.yaml", "api/api.yaml", "api/token.yaml"
);

/// The same in containers.
const DOCKER_FILES: &[(&str, &str)] = example!(
    "docker": "shop/namespace.yaml", "shop/settings.yaml", "shop/web.yaml", "shop/worker.yaml", "api/api.yaml", "api/token.yaml"
);

/// The two repos.
pub(super) struct DemoRepo {
    bare: PathBuf,
    clone: PathBuf,
}

impl DemoRepo {
    /// A bare repo without a commit, and a clone that holds the example of the runtime, not committed yet.
    pub(super) fn create(folder: &Path, runtime: &str) -> CliResult<Self> {
        let repo = Self { bare: folder.join("shop.git"), clone: folder.join("shop") };
        git(folder, &["init", "--quiet", "--bare", "--initial-branch=main", "shop.git"])?;
        git(folder, &["init", "--quiet", "--initial-branch=main", "shop"])?;
        let bare = repo.bare.to_string_lossy().into_owned();
        git(&repo.clone, &["remote", "add", "origin", &bare])?;
        let files = if runtime == "docker" { DOCKER_FILES } else { PROCESS_FILES };
        files.iter().try_for_each(|(path, text)| repo.write(path, text))?;
        repo.push("The shop, v1")?;
        Ok(repo)
    }

    /// The bare one.
    pub(super) fn bare_dir(&self) -> &Path {
        &self.bare
    }

    /// The one to push from.
    pub(super) fn clone_dir(&self) -> &Path {
        &self.clone
    }

    /// Replaces `old` by `new` in a file; an error if it is not there, so that no step pretends.
    pub(super) fn edit(&self, path: &str, old: &str, new: &str) -> CliResult<()> {
        let file = self.clone.join(path);
        let text = fs::read_to_string(&file).map_err(|error| CliError::with_source(format!("cannot read {path}"), error))?;
        if !text.contains(old) {
            return Err(CliError::new(format!("{path} does not say {old:?} any more")));
        }
        self.write(path, &text.replacen(old, new, 1))
    }

    /// Commits everything and pushes. Returns the short commit.
    pub(super) fn push(&self, message: &str) -> CliResult<String> {
        git(&self.clone, &["add", "--all"])?;
        git(&self.clone, &["commit", "--quiet", "--allow-empty", "--message", message])?;
        self.push_head()
    }

    /// Undoes `commit` by a commit, and pushes it.
    pub(super) fn revert(&self, commit: &str) -> CliResult<String> {
        git(&self.clone, &["revert", "--no-edit", commit])?;
        self.push_head()
    }

    /// Removes every file, and pushes that.
    pub(super) fn remove_everything(&self, message: &str) -> CliResult<String> {
        git(&self.clone, &["rm", "--quiet", "-r", "."])?;
        self.push(message)
    }

    fn push_head(&self) -> CliResult<String> {
        git(&self.clone, &["push", "--quiet", "origin", "main"])?;
        Ok(git(&self.clone, &["rev-parse", "--short=8", "HEAD"])?.trim().to_owned())
    }

    fn write(&self, path: &str, text: &str) -> CliResult<()> {
        let file = self.clone.join(path);
        let made = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&file, text));
        made.map_err(|error| CliError::with_source(format!("cannot write {}", file.display()), error))
    }
}

/// Runs git with an author of its own, whatever the user's configuration says, and returns its stdout.
pub(super) fn git(folder: &Path, args: &[&str]) -> CliResult<String> {
    const OWN: [&str; 8] = [
        "-c",
        "user.name=Driftless demo",
        "-c",
        "user.email=demo@driftless.dev",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "core.hooksPath=/dev/null",
    ];
    let output = Command::new("git")
        .args(OWN)
        .args(args)
        .current_dir(folder)
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .map_err(|error| CliError::with_source("cannot run git", error).hint("install it: apt-get install git"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(CliError::with_source(format!("git {} failed", args.first().unwrap_or(&"")), said));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What differs between a shop of processes and one of containers.
    fn in_containers(text: &str) -> String {
        let lines = text.lines().filter(|line| line.trim() != "runtimeClassName: process");
        let mut out = String::new();
        for line in lines {
            if let Some(indent) = line.find("command: [\"driftless\"") {
                out.push_str(&format!("{}image: driftless/demo:{}\n", " ".repeat(indent), env!("CARGO_PKG_VERSION")));
                out.push_str(&format!("{}imagePullPolicy: Never\n", " ".repeat(indent)));
            }
            out.push_str(line);
            out.push('\n');
        }
        out
    }

    #[test]
    fn the_docker_shop_differs_from_the_process_shop_in_the_runtime_only() {
        for ((path, text), (docker_path, docker_text)) in PROCESS_FILES.iter().zip(DOCKER_FILES) {
            assert_eq!(path, docker_path);
            assert_eq!(&in_containers(text), docker_text, "{path}");
        }
    }
}
