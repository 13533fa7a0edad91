//! The repository: fetched into a folder that goes again, and read as the controller reads it.

use super::super::DoctorArgs;
use super::super::facts::{Fetched, Manifests, Repo, Trouble};
use crate::causes;
use crate::manifest::DigestKey;
use crate::model::{Location, Problem, Revision, Severity};
use crate::sync::{Loader, Mirror, RepoSpec, SyncError, redact};
use std::collections::{BTreeMap, BTreeSet};

/// What kustomize looks for in a folder.
const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// What helm does.
const CHART: &str = "Chart.yaml";

pub(super) fn repo(url: &str, args: &DoctorArgs, try_push: bool) -> Repo {
    let spec = RepoSpec { url: url.to_owned(), branch: args.branch.clone(), path: args.path.clone().unwrap_or_default() };
    let mut repo = Repo { shown: redact(url), fetched: Err(trouble_of_folder()), push: None };
    let Ok(folder) = tempfile::Builder::new().prefix("driftless-doctor-").tempdir() else { return repo };
    let fetch = || -> Result<_, SyncError> {
        let mut mirror = Mirror::open(folder.path(), &spec)?;
        let head = mirror.fetch()?;
        Ok((mirror, head))
    };
    match fetch() {
        Ok((mirror, head)) => {
            repo.push = try_push.then(|| mirror.try_push(&head.revision).map_err(|error| trouble(&error)));
            repo.fetched = Ok(read(mirror, head.branch, &head.revision, args));
        }
        Err(error) => repo.fetched = Err(trouble(&error)),
    }
    repo
}

fn trouble_of_folder() -> Trouble {
    Trouble { message: "no temporary folder can be made to fetch into".to_owned(), hint: Some("see TMPDIR".to_owned()) }
}

fn trouble(error: &SyncError) -> Trouble {
    Trouble { message: causes::in_full(error), hint: error.hint() }
}

fn read(mirror: Mirror, branch: String, revision: &Revision, args: &DoctorArgs) -> Fetched {
    let files: Vec<String> =
        mirror.tree(revision).map(|files| files.into_iter().map(|file| file.path).collect()).unwrap_or_default();
    let folders = |names: &[&str]| {
        let parts = files.iter().map(|file| file.rsplit_once('/').unwrap_or(("", file)));
        parts.filter(|(_, name)| names.contains(name)).map(|(folder, _)| folder).collect::<BTreeSet<_>>().len()
    };
    let (kustomizations, charts) = (folders(&KUSTOMIZATIONS), folders(&[CHART]));
    let mut loader = Loader::new(mirror, args.render.settings());
    Fetched {
        branch,
        commit: revision.short().to_owned(),
        kustomizations,
        charts,
        manifests: manifests(&mut loader, revision).map_err(|error| trouble(&error)),
    }
}

fn manifests(loader: &mut Loader, revision: &Revision) -> Result<Manifests, SyncError> {
    let desired = loader.load(revision, &BTreeMap::new(), &DigestKey::unkeyed())?.desired;
    let problems: Vec<&Problem> = desired.units.values().flat_map(|unit| unit.problems()).chain(&desired.problems).collect();
    let of = |severity| problems.iter().filter(move |problem| problem.severity == severity);
    Ok(Manifests {
        objects: desired.objects.len(),
        units: desired.units.len(),
        held: desired.units.values().filter(|unit| unit.is_held()).count(),
        errors: of(Severity::Error).count(),
        warnings: of(Severity::Warning).count(),
        first_error: of(Severity::Error).next().map(|problem| {
            let Location { file, line, column } = &problem.at;
            format!("{file}:{line}:{column}: {}", problem.message)
        }),
    })
}
