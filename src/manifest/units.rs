//! Units: which files are read, and which of them are loaded or held as one.

use crate::model::UnitName;
use std::collections::BTreeSet;

/// The file that holds the policy, at the root of the watched path.
pub const POLICY_FILE: &str = "driftless.yaml";

/// What turns a folder into manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Renderer {
    /// `kustomization.yaml`
    Kustomize,
    /// `Chart.yaml`
    Helm,
}

impl Renderer {
    /// The kind of document that asks for it.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Renderer::Kustomize => "Kustomization",
            Renderer::Helm => "Chart",
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Renderer::Kustomize => "kustomize",
            Renderer::Helm => "helm",
        }
    }
}

/// The renderer that a file of this name asks for.
#[must_use]
pub fn rendered_by(path: &str) -> Option<Renderer> {
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

/// The unit of a file by its path alone: its top-level folder, `.` at the root. In a tree with kustomizations or charts the folders that
/// are rendered are units of their own; `load` sees to that.
#[must_use]
pub fn unit_of(path: &str) -> UnitName {
    UnitName::new(path.split_once('/').map_or(".", |(folder, _)| folder))
}

/// The folder of a file, `.` at the root.
#[must_use]
pub fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(folder, _)| folder)
}

/// A folder that could be rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renderable {
    /// The folder, relative to the watched path; `.` for the path itself.
    pub folder: String,
    /// By what.
    pub renderer: Renderer,
    /// Whether it means something by itself: no `Component`, no library chart.
    pub is_whole: bool,
    /// The folders that it uses, relative to the watched path.
    pub uses: BTreeSet<String>,
}

/// The folders of a tree that are rendered, each a unit: those that `driftless.yaml` lists, else every one that no other uses.
/// Charts within charts are parts of them. Also returned are the listed ones that are not there.
#[must_use]
pub fn entries<'a>(found: &'a [Renderable], listed: &'a [String]) -> (Vec<&'a Renderable>, Vec<&'a str>) {
    if !listed.is_empty() {
        let named = |name: &str| found.iter().find(|renderable| renderable.folder == plain(name));
        let missing = listed.iter().map(String::as_str).filter(|name| named(name).is_none()).collect();
        let is_listed = |renderable: &&Renderable| listed.iter().any(|name| plain(name) == renderable.folder);
        return (found.iter().filter(is_listed).collect(), missing);
    }
    let used: BTreeSet<&str> = found.iter().flat_map(|renderable| &renderable.uses).map(String::as_str).collect();
    let charts: Vec<&Renderable> = found.iter().filter(|renderable| renderable.renderer == Renderer::Helm).collect();
    let is_part = |folder: &str| {
        charts.iter().any(|chart| folder.starts_with(&format!("{}/", chart.folder)) || (chart.folder == "." && folder != "."))
    };
    let is_entry = |renderable: &&Renderable| {
        let folder = renderable.folder.as_str();
        renderable.is_whole && !used.contains(folder) && !is_part(folder)
    };
    (found.iter().filter(is_entry).collect(), Vec::new())
}

/// `./overlays/prod/` as `overlays/prod`.
fn plain(name: &str) -> &str {
    let name = name.trim_start_matches("./").trim_end_matches('/');
    if name.is_empty() { "." } else { name }
}

/// The nearest of some folders at or above a path.
pub(crate) fn nearest_above(folders: impl Fn(&str) -> bool, path: &str) -> Option<&str> {
    let mut folder = path;
    loop {
        if folders(folder) {
            return Some(folder);
        }
        if folder == "." {
            return None;
        }
        folder = folder_of(folder);
    }
}

/// Whether a file lies in one of some folders, however deep.
#[must_use]
pub fn is_within(folders: &BTreeSet<String>, path: &str) -> bool {
    nearest_above(|folder| folders.contains(folder), folder_of(path)).is_some()
}

/// The units of a tree.
pub(crate) struct Units {
    rendered: BTreeSet<String>,
}

impl Units {
    /// Units of a tree in which these folders are rendered.
    pub(crate) fn new<'a>(rendered: impl Iterator<Item = &'a str>) -> Self {
        Self { rendered: rendered.map(str::to_owned).collect() }
    }

    /// The nearest folder at or above a path that is rendered, else its top-level folder.
    pub(crate) fn of(&self, path: &str) -> UnitName {
        nearest_above(|folder| self.rendered.contains(folder), path).map_or_else(|| unit_of(path), UnitName::new)
    }
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
        let units = Units::new(["infra/chart", "base"].into_iter());
        for (path, unit) in [
            ("ns.yaml", "."),
            ("shop/web.yaml", "shop"),
            ("shop/deep/web.yaml", "shop"),
            ("infra/x.yaml", "infra"),
            ("infra/chart/templates/x.yaml", "infra/chart"),
            ("infra/chart", "infra/chart"),
            ("base/patch.yaml", "base"),
        ] {
            assert_eq!(units.of(path).as_str(), unit, "{path}");
        }
        let units = Units::new(["."].into_iter());
        assert_eq!(units.of("shop/web.yaml").as_str(), ".", "a kustomization at the root takes everything");
    }

    fn kustomization(folder: &str, uses: &[&str]) -> Renderable {
        let uses = uses.iter().map(|folder| (*folder).to_owned()).collect();
        Renderable { folder: folder.to_owned(), renderer: Renderer::Kustomize, is_whole: true, uses }
    }

    fn chart(folder: &str) -> Renderable {
        Renderable { renderer: Renderer::Helm, ..kustomization(folder, &[]) }
    }

    fn chosen(found: &[Renderable], listed: &[&str]) -> (Vec<String>, Vec<String>) {
        let listed: Vec<String> = listed.iter().map(|folder| (*folder).to_owned()).collect();
        let (chosen, missing) = entries(found, &listed);
        (chosen.iter().map(|entry| entry.folder.clone()).collect(), missing.into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn what_no_other_uses_is_rendered() {
        let component = Renderable { is_whole: false, ..kustomization("tls", &[]) };
        let found = [
            kustomization("base", &[]),
            kustomization("overlays/dev", &["base"]),
            kustomization("overlays/prod", &["base", "tls"]),
            component,
            chart("charts/web"),
            chart("charts/web/charts/redis"),
        ];
        assert_eq!(chosen(&found, &[]).0, ["overlays/dev", "overlays/prod", "charts/web"]);
        assert_eq!(chosen(&[chart("."), chart("charts/x")], &[]).0, ["."]);
    }

    #[test]
    fn a_list_in_the_policy_decides() {
        let found =
            [kustomization("base", &[]), kustomization("overlays/prod", &["base"]), kustomization("overlays/dev", &["base"])];
        let (chosen, missing) = chosen(&found, &["./overlays/prod/", "base", "gone"]);
        assert_eq!(chosen, ["base", "overlays/prod"]);
        assert_eq!(missing, ["gone"]);
    }
}
