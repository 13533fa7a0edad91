//! A repository to render from, and a loader that reads it as the controller does.

use driftless::manifest::{DigestKey, GoodUnit, Loaded};
use driftless::model::{Revision, UnitName, UnitState};
use driftless::sync::{Confinement, Loader, Mirror, RenderSettings, RepoSpec};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Workshop {
    dir: tempfile::TempDir,
}

pub(crate) type Good = BTreeMap<UnitName, Arc<GoodUnit>>;

impl Workshop {
    pub(crate) fn new() -> Self {
        let workshop = Self { dir: tempfile::tempdir().expect("a temporary folder") };
        fs::create_dir(workshop.repo()).unwrap();
        workshop.git(&["init", "--quiet", "--initial-branch=main"]);
        workshop
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// A folder for stand-ins of the tools.
    pub(crate) fn bin(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let file = self.repo().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// A stand-in: a shell script that goes by the name of a tool.
    pub(crate) fn stand_in(&self, name: &str, script: &str) {
        fs::create_dir_all(self.bin()).unwrap();
        let file = self.bin().join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        // Whoever the tool runs as must get there, as with a tool that is installed.
        for folder in [self.dir.path(), &self.bin()] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"])
            .args(args)
            .current_dir(self.repo())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .expect("git runs");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub(crate) fn commit(&self) -> Revision {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "Change"]);
        Revision::new(self.git(&["rev-parse", "HEAD"]))
    }

    pub(crate) fn settings(&self) -> RenderSettings {
        RenderSettings { program: env!("CARGO_BIN_EXE_driftless").into(), ..RenderSettings::default() }
    }

    /// Settings that find the stand-ins only.
    pub(crate) fn stand_ins(&self, confinement: Confinement, wall_max: Duration) -> RenderSettings {
        RenderSettings { confinement, search: vec![self.bin()], wall_max, ..self.settings() }
    }

    pub(crate) fn loader(&self, path: &str, settings: RenderSettings) -> Loader {
        let spec = RepoSpec { url: self.repo().display().to_string(), path: path.to_owned(), ..RepoSpec::default() };
        Loader::new(Mirror::open(&self.dir.path().join("mirror"), &spec).unwrap(), settings)
    }

    /// Commits what was written and loads it.
    pub(crate) fn load(&self, loader: &mut Loader, good: &Good) -> Loaded {
        let revision = self.commit();
        let mut head = loader.mirror_mut().fetch().unwrap();
        if head.suspect.is_some() {
            head = loader.mirror_mut().fetch().unwrap();
        }
        assert_eq!(head.revision, revision);
        loader.load(&revision, good, &DigestKey::unkeyed()).unwrap()
    }

    /// `driftless ARGS…` in the repository.
    pub(crate) fn driftless(&self, args: &[&str]) -> Output {
        driftless(&self.repo(), args)
    }
}

pub(crate) fn driftless(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_driftless")).args(args).current_dir(folder).output().expect("driftless runs")
}

/// `Kind/name` of every object.
pub(crate) fn names(loaded: &Loaded) -> Vec<String> {
    loaded.desired.objects.keys().map(|key| format!("{}/{}", key.kind, key.name)).collect()
}

/// `file:line: message` of every error.
pub(crate) fn errors(loaded: &Loaded) -> Vec<String> {
    let all = loaded.desired.units.values().flat_map(UnitState::problems).chain(&loaded.desired.problems);
    all.filter(|problem| problem.is_error())
        .map(|problem| format!("{}:{}: {}", problem.at.file, problem.at.line, problem.message))
        .collect()
}
