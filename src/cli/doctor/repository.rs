//! The repository and its tools, and what that means.

use super::check::{Verdict, counted};
use super::facts::{Facts, Fetched, Repo, Trouble};
use super::host::version_in;

/// The oldest kubectl whose `kustomize` is new enough.
const KUBECTL_OLDEST: (u64, u64) = (1, 24);

fn fetched(facts: &Facts) -> Option<&Fetched> {
    facts.repo.as_ref()?.fetched.as_ref().ok()
}

/// Whether the repository uses a tool; `None` if that is not known.
fn used(facts: &Facts, count: fn(&Fetched) -> usize) -> Option<usize> {
    fetched(facts).map(count)
}

pub(super) fn kustomize(facts: &Facts) -> Verdict {
    let uses = used(facts, |fetched| fetched.kustomizations);
    let kubectl = facts.programs.get("kubectl");
    if let Some(said) = facts.programs.get("kustomize") {
        return Verdict::ok(format!("kustomize {said}"));
    }
    match kubectl.map(|said| (said, version_in(said))) {
        Some((said, Some(version))) if version >= KUBECTL_OLDEST => Verdict::ok(format!("kubectl kustomize ({said})")),
        Some((said, _)) => {
            lacking(uses, &format!("kubectl is too old for it ({said})"), "folders with a kustomization", KUSTOMIZE)
        }
        None => lacking(uses, "neither kustomize nor kubectl is in PATH", "folders with a kustomization", KUSTOMIZE),
    }
}

const KUSTOMIZE: &str = "install kustomize, or kubectl 1.24 or newer";

pub(super) fn helm(facts: &Facts) -> Verdict {
    match facts.programs.get("helm") {
        Some(said) => Verdict::ok(format!("helm {said}")),
        None => lacking(used(facts, |fetched| fetched.charts), "helm is not in PATH", "charts", "install helm 3 or newer"),
    }
}

/// A tool that is missing is an error where the repository uses it.
fn lacking(uses: Option<usize>, seen: &str, what: &str, hint: &str) -> Verdict {
    match uses {
        Some(0) => Verdict::ok(format!("{seen}, and the repository has no {what}")),
        Some(count) => Verdict::error(format!("{seen}; the repository has {what}: {count}"), hint),
        None => Verdict::warning(seen, format!("{hint}, if the repository has {what}")),
    }
}

pub(super) fn sandbox(sandbox: &Result<(), String>, facts: &Facts) -> Verdict {
    let uses = used(facts, |fetched| fetched.kustomizations + fetched.charts);
    match sandbox {
        Ok(()) => Verdict::ok("kustomize and helm can be confined"),
        Err(why) => lacking(
            uses,
            &format!("kustomize and helm cannot be confined: {why}"),
            "folders to render",
            "allow user namespaces (sysctl -w kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0 \
             on Ubuntu), run as root, or accept the risk with --render-unconfined",
        ),
    }
}

fn trouble(trouble: &Trouble) -> Verdict {
    Verdict::of(trouble, "see what git says with DRIFTLESS_LOG=debug")
}

pub(super) fn fetch(repo: &Repo) -> Verdict {
    match &repo.fetched {
        Ok(fetched) => Verdict::ok(format!("{}: {} is at {}", repo.shown, fetched.branch, fetched.commit)),
        Err(error) => trouble(error),
    }
}

pub(super) fn push(push: &Result<(), Trouble>) -> Verdict {
    match push {
        Ok(()) => Verdict::ok("driftless/* may be pushed (tried without pushing; rules for branches are the host's secret)"),
        Err(error) => trouble(error),
    }
}

pub(super) fn manifests(repo: &Repo) -> Option<Verdict> {
    let manifests = match &repo.fetched.as_ref().ok()?.manifests {
        Ok(manifests) => manifests,
        Err(error) => return Some(trouble(error)),
    };
    let seen = format!("{} in {}", counted(manifests.objects, "object"), counted(manifests.units, "unit"));
    Some(match &manifests.first_error {
        Some(first) => Verdict::error(
            format!("{seen}, {} of them with {}; the first: {first}", manifests.held, counted(manifests.errors, "error")),
            "`driftless validate` in a clone names every one",
        ),
        None if manifests.objects == 0 => {
            Verdict::warning("there are no manifests", "is --path the folder that holds them?".to_owned())
        }
        None if manifests.warnings > 0 => Verdict::warning(
            format!("{seen}, {}", counted(manifests.warnings, "warning")),
            "`driftless validate` in a clone names them",
        ),
        None => Verdict::ok(seen),
    })
}
