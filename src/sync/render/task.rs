//! One folder on its way: which tool is run on which files, with which arguments.

use super::closure::{Closure, gather, kustomization_in};
use super::error;
use super::source::{Source, Viewpoint};
use super::tool::{self, Tool};
use crate::manifest::{Renderable, Renderer, read_chart};
use crate::model::{HelmRelease, Problem, RenderPolicy};
use crate::sync::paths::join;
use std::path::PathBuf;

/// The files of one build may have so many bytes.
const BUILD_BYTES_MAX: usize = 64 << 20;
/// A release's name may have so many characters: <https://helm.sh/docs/chart_template_guide/builtin_objects/>.
const RELEASE_CHARS_MAX: usize = 53;

/// The files of a copy: path and bytes.
pub(super) type Files = Vec<(String, Vec<u8>)>;

/// One folder on its way.
pub(super) struct Task {
    pub(super) folder: String,
    pub(super) renderer: Renderer,
    pub(super) tool: Tool,
    pub(super) key: String,
    /// Names what went in, the same wherever and with whichever tool it is rendered.
    pub(super) digest: String,
    pub(super) closure: Closure,
    pub(super) files: Files,
    pub(super) args: Vec<String>,
    /// From the root of the source.
    pub(super) place: String,
    pub(super) file: String,
    pub(super) chart: String,
    pub(super) namespace: String,
}

impl Task {
    /// What is to be run, or what keeps it from being run.
    pub(super) fn new(
        search: &[PathBuf],
        source: &dyn Source,
        from: Viewpoint<'_>,
        renderable: &Renderable,
        policy: &RenderPolicy,
    ) -> Result<Self, Vec<Problem>> {
        let renderer = renderable.renderer;
        let place = join(from.watched, &renderable.folder).unwrap_or_default();
        let file = match renderer {
            Renderer::Kustomize => kustomization_in(source, &place),
            Renderer::Helm => join(&place, "Chart.yaml"),
        };
        let file = file.unwrap_or_else(|| place.clone());
        let tool = tool::find(renderer, search).ok_or_else(|| {
            let (message, hint) = tool::instead(renderer);
            vec![error(from.shown(&file), message.to_owned(), Some(hint))]
        })?;
        let release = policy.helm.get(&renderable.folder).cloned().unwrap_or_default();
        let values: Vec<String> =
            release.values.iter().map(|path| join(from.watched, path).unwrap_or_else(|| path.clone())).collect();
        let values = if renderer == Renderer::Helm { values } else { Vec::new() };
        let closure = gather(source, from, &place, renderer, &values);
        if !closure.problems.is_empty() {
            return Err(closure.problems);
        }
        let mut args = tool.args();
        let namespace = release.namespace.clone().unwrap_or_else(|| "default".to_owned());
        match renderer {
            Renderer::Kustomize => args.push(".".to_owned()),
            Renderer::Helm => args.extend(helm_args(&renderable.folder, &place, &release, &namespace, &values)),
        }
        let chart = source.bytes(&file).map(|bytes| read_chart(&bytes).name).unwrap_or_default();
        let digest = digest(&closure, &args[1..], &place);
        let key = format!("{digest} {} {}", from.watched, tool.identity);
        let (folder, files) = (renderable.folder.clone(), Vec::new());
        Ok(Self { folder, renderer, tool, key, digest, closure, files, args, place, file, chart, namespace })
    }
}

/// The bytes of a build's files, or which one cannot be read, and why.
pub(super) fn contents(source: &dyn Source, closure: &Closure) -> Result<Files, (String, String)> {
    let mut files = Vec::with_capacity(closure.files.len());
    let mut size = 0;
    for (path, (_, real)) in &closure.files {
        let bytes = source.bytes(real).map_err(|why| (path.clone(), why))?;
        size += bytes.len();
        if size > BUILD_BYTES_MAX {
            return Err((path.clone(), format!("all of them together are larger than {} MiB", BUILD_BYTES_MAX >> 20)));
        }
        files.push((path.clone(), bytes));
    }
    Ok(files)
}

/// `helm template NAME CHART …`, run at the root of the copy. Hooks that only test a release are not part of what runs.
fn helm_args(folder: &str, place: &str, release: &HelmRelease, namespace: &str, values: &[String]) -> Vec<String> {
    let name = release.release.clone().unwrap_or_else(|| release_name(folder));
    let mut args = vec![name, format!("./{place}"), format!("--namespace={namespace}"), "--skip-tests".to_owned()];
    args.extend(values.iter().map(|path| format!("--values={path}")));
    args.extend(
        release.set.iter().map(|(key, value)| format!("--set={key}={}", value.replace('\\', "\\\\").replace(',', "\\,"))),
    );
    args
}

/// The name of the folder as a release's name.
fn release_name(folder: &str) -> String {
    let name = folder.rsplit('/').next().filter(|name| *name != ".").unwrap_or("release").to_lowercase();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(RELEASE_CHARS_MAX).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "release".to_owned() } else { name.to_owned() }
}

/// Names what goes into a build.
fn digest(closure: &Closure, args: &[String], place: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    add(place);
    args.iter().for_each(|arg| add(arg));
    for (path, (id, _)) in &closure.files {
        add(path);
        add(id);
    }
    hasher.finalize().to_hex().to_string()
}
