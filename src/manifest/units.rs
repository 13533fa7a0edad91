//! Units: which files are read, and which of them are loaded or held as one.

use crate::model::UnitName;
use std::collections::BTreeSet;

/// The file that holds the policy, at the root of the watched path.
pub const POLICY_FILE: &str = "driftless.yaml";

/// What turns a folder into manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renderer {
    Kustomize,
    Helm,
}

impl Renderer {
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Renderer::Kustomize => "Kustomization",
            Renderer::Helm => "Chart",
        }
    }

    pub(crate) fn refusal(self) -> &'static str {
        match self {
            Renderer::Kustomize => "folders with a kustomization are not rendered yet",
            Renderer::Helm => "Helm charts are not rendered yet",
        }
    }

    pub(crate) fn instead(self) -> &'static str {
        match self {
            Renderer::Kustomize => "commit what `kubectl kustomize` prints, or list the folder in .driftlessignore",
            Renderer::Helm => "commit what `helm template` prints, or list the folder in .driftlessignore",
        }
    }
}

/// The renderer that a file of this name asks for.
pub(crate) fn rendered_by(path: &str) -> Option<Renderer> {
    match path.rsplit('/').next()? {
        "kustomization.yaml" | "kustomization.yml" | "Kustomization" => Some(Renderer::Kustomize),
        "Chart.yaml" => Some(Renderer::Helm),
        _ => None,
    }
}

/// Whether a file may hold manifests: `.yaml`, `.yml` or `.json` (or a kustomization), in no dot-folder, and not the policy.
#[must_use]
pub fn is_candidate(path: &str) -> bool {
    let is_hidden = path.split('/').any(|part| part.starts_with('.'));
    let has_extension = [".yaml", ".yml", ".json"].iter().any(|extension| path.ends_with(extension));
    !is_hidden && path != POLICY_FILE && (has_extension || rendered_by(path).is_some())
}

/// The unit of a file by its path alone: its top-level folder, `.` at the root. In a tree with kustomizations or charts their
/// folders are units of their own; `load` sees to that.
#[must_use]
pub fn unit_of(path: &str) -> UnitName {
    UnitName::new(path.split_once('/').map_or(".", |(folder, _)| folder))
}

/// The units of a tree.
pub(crate) struct Units {
    rendered: BTreeSet<String>,
}

impl Units {
    pub(crate) fn new<'a>(paths: impl Iterator<Item = &'a str>) -> Self {
        let rendered = paths.filter(|path| rendered_by(path).is_some()).map(|path| folder_of(path).to_owned()).collect();
        Self { rendered }
    }

    /// The nearest folder above a file that has a kustomization or a chart, else its top-level folder.
    pub(crate) fn of(&self, path: &str) -> UnitName {
        let mut folder = folder_of(path);
        loop {
            if self.rendered.contains(folder) {
                return UnitName::new(folder);
            }
            if folder == "." {
                return unit_of(path);
            }
            folder = folder_of(folder);
        }
    }

    /// Whether a unit is a folder that wants rendering.
    pub(crate) fn is_rendered(&self, unit: &UnitName) -> bool {
        self.rendered.contains(unit.as_str())
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_found_by_their_extension_outside_dot_folders() {
        for good in ["a.yaml", "shop/web.yml", "x/y/z.json", "shop/Kustomization", "sub/driftless.yaml"] {
            assert!(is_candidate(good), "{good}");
        }
        for bad in [".github/ci.yaml", "shop/.hidden/x.yaml", "shop/.x.yaml", "README.md", "driftless.yaml", "yaml"] {
            assert!(!is_candidate(bad), "{bad}");
        }
    }

    #[test]
    fn a_unit_is_the_top_folder_or_the_nearest_one_that_is_rendered() {
        let units = Units::new(["infra/chart/Chart.yaml", "base/kustomization.yaml"].into_iter());
        for (path, unit) in [
            ("ns.yaml", "."),
            ("shop/web.yaml", "shop"),
            ("shop/deep/web.yaml", "shop"),
            ("infra/x.yaml", "infra"),
            ("infra/chart/templates/x.yaml", "infra/chart"),
            ("base/patch.yaml", "base"),
        ] {
            assert_eq!(units.of(path).as_str(), unit, "{path}");
        }
        let units = Units::new(["kustomization.yaml"].into_iter());
        assert_eq!(units.of("shop/web.yaml").as_str(), ".", "a kustomization at the root takes everything");
    }
}
