//! Rendering: what kustomize and helm make of the folders that are theirs.
//!
//! ```text
//! renderables ─manifest::entries─▶ folders ─closure─▶ the files that each may read ─jail─▶ documents ─manifest─▶ parsed, with origins
//! ```
//!
//! Role: finds the folders of a tree that are for a tool, gathers what each build may read, runs the user's own tool on a copy of it, and
//! turns what comes out into a parsed file or a problem at the right place. In: a source (a revision, a folder on disk), the policy. Out: for
//! every folder its documents, or why there are none. The controller, `plan` and `validate --render` share it.
//!
//! Invariants:
//! - A tool runs in the [`jail`](self::inside) or not at all, unless that was asked for; see there for what it can reach.
//! - What would fetch or run something is refused before anything runs, as far as the text shows it, and fails in the jail anyway.
//! - The same files and the same tool are rendered once: outcomes are kept by what went in, in memory, and dropped when no tree uses them
//!   any more. Nothing rendered is written to a disk.
//! - What we ask a tool for on top (where documents come from) is taken out again: a template hash does not depend on it.
//!
//! Deliberately absent: running helm from kustomize, fetching charts or bases, plugins.

mod closure;
mod jail;
mod message;
mod source;
mod tool;

pub use jail::{Confinement, inside::run as render_jail};
pub(crate) use source::{DiskSource, GitSource, Source, Viewpoint};

use crate::manifest::{
    ASK_FOR_ORIGINS, ParsedFile, Renderable, RenderedText, Renderer, folder_of, parse_rendered, read_chart, read_kustomization,
    rendered_by, secret_texts, with_sources, without_origins,
};
use crate::model::{HelmRelease, Location, Problem, RenderPolicy, Scope, Severity};
use crate::sync::paths::join;
use closure::{Closure, gather, kustomization_in};
use jail::{Ended, JailError, Job};
use message::Complaint;
use source::find;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tool::Tool;

/// At most so many tools run at once.
const THREADS_MAX: usize = 4;
/// The files of one build may have so many bytes.
const BUILD_BYTES_MAX: usize = 64 << 20;
/// A release's name may have so many characters: <https://helm.sh/docs/chart_template_guide/builtin_objects/>.
const RELEASE_CHARS_MAX: usize = 53;

/// How to render.
#[derive(Debug, Clone)]
pub struct RenderSettings {
    /// Whether the tools are confined.
    pub confinement: Confinement,
    /// Driftless itself, which makes the jail.
    pub program: PathBuf,
    /// Where tools are looked for.
    pub search: Vec<PathBuf>,
    /// How long one run may take.
    pub wall_max: Duration,
}

impl Default for RenderSettings {
    fn default() -> Self {
        Self {
            confinement: Confinement::Jail,
            // The one that runs, even if the file has been replaced by now.
            program: PathBuf::from("/proc/self/exe"),
            search: tool::search_path(),
            wall_max: jail::WALL_MAX,
        }
    }
}

/// What became of a folder.
#[derive(Debug, Clone)]
pub(crate) struct RenderedUnit {
    /// Its documents, if it could be rendered.
    pub(crate) documents: Option<Arc<ParsedFile>>,
    /// What kept it from being rendered.
    pub(crate) problems: Vec<Problem>,
}

/// Renders folders, and keeps what came of them.
#[derive(Debug)]
pub(crate) struct Rendering {
    settings: RenderSettings,
    kept: BTreeMap<String, RenderedUnit>,
    /// What was asked for since the last sweep.
    used: BTreeSet<String>,
    /// How often a tool was run.
    runs: usize,
}

/// The files of a copy: path and bytes.
type Files = Vec<(String, Vec<u8>)>;

/// One folder on its way.
struct Task {
    folder: String,
    renderer: Renderer,
    tool: Tool,
    key: String,
    /// Names what went in, the same wherever and with whichever tool it is rendered.
    digest: String,
    closure: Closure,
    files: Files,
    args: Vec<String>,
    /// From the root of the source.
    place: String,
    file: String,
    chart: String,
    namespace: String,
}

impl Rendering {
    pub(crate) fn new(settings: RenderSettings) -> Self {
        Self { settings, kept: BTreeMap::new(), used: BTreeSet::new(), runs: 0 }
    }

    /// How often a tool was run.
    pub(crate) fn runs(&self) -> usize {
        self.runs
    }

    /// Drops what was not asked for since the last time, and is not in use.
    pub(crate) fn evict(&mut self) {
        let used = std::mem::take(&mut self.used);
        self.kept.retain(|key, unit| {
            used.contains(key) || unit.documents.as_ref().is_some_and(|documents| Arc::strong_count(documents) > 1)
        });
    }

    /// Renders folders of a source. The result is by folder, relative to the watched path.
    pub(crate) fn render(
        &mut self,
        source: &dyn Source,
        from: Viewpoint<'_>,
        folders: &[&Renderable],
        policy: &RenderPolicy,
    ) -> BTreeMap<String, RenderedUnit> {
        let mut rendered = BTreeMap::new();
        let mut tasks = Vec::new();
        for renderable in folders {
            match self.task(source, from, renderable, policy) {
                Err(problems) => drop(rendered.insert(renderable.folder.clone(), RenderedUnit { documents: None, problems })),
                Ok(task) => {
                    self.used.insert(task.key.clone());
                    match self.kept.get(&task.key) {
                        Some(kept) => drop(rendered.insert(task.folder, kept.clone())),
                        None => tasks.push(task),
                    }
                }
            }
            if tasks.len() == THREADS_MAX {
                self.run(&mut tasks, source, from, &mut rendered);
            }
        }
        self.run(&mut tasks, source, from, &mut rendered);
        rendered
    }

    fn run(
        &mut self,
        tasks: &mut Vec<Task>,
        source: &dyn Source,
        from: Viewpoint<'_>,
        rendered: &mut BTreeMap<String, RenderedUnit>,
    ) {
        let mut ready = Vec::new();
        for mut task in std::mem::take(tasks) {
            match contents(source, &task.closure) {
                Ok(files) => {
                    task.files = files;
                    ready.push(task);
                }
                Err((path, why)) => {
                    let message = format!("this file is needed to render {}, and {why}", task.folder);
                    let problem = error(from.shown(&path), message, None);
                    rendered.insert(task.folder, RenderedUnit { documents: None, problems: vec![problem] });
                }
            }
        }
        let settings = &self.settings;
        let outcomes: Vec<(RenderedUnit, bool)> = std::thread::scope(|scope| {
            let workers: Vec<_> = ready.iter().map(|task| scope.spawn(move || perform(settings, task, from))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        for (task, (unit, is_lasting)) in ready.into_iter().zip(outcomes) {
            self.runs += 1;
            if is_lasting {
                self.kept.insert(task.key, unit.clone());
            }
            rendered.insert(task.folder, unit);
        }
    }

    /// What is to be run, or what keeps it from being run.
    fn task(
        &self,
        source: &dyn Source,
        from: Viewpoint<'_>,
        renderable: &Renderable,
        policy: &RenderPolicy,
    ) -> Result<Task, Vec<Problem>> {
        let renderer = renderable.renderer;
        let place = join(from.watched, &renderable.folder).unwrap_or_default();
        let file = match renderer {
            Renderer::Kustomize => kustomization_in(source, &place),
            Renderer::Helm => join(&place, "Chart.yaml"),
        };
        let file = file.unwrap_or_else(|| place.clone());
        let tool = tool::find(renderer, &self.settings.search).ok_or_else(|| {
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
        Ok(Task { folder, renderer, tool, key, digest, closure, files, args, place, file, chart, namespace })
    }
}

/// Finds the folders of a tree that are for a tool. `files` are those below the watched path, relative to it.
pub(crate) fn renderables<'a>(source: &dyn Source, watched: &str, files: impl Iterator<Item = &'a str>) -> Vec<Renderable> {
    let mut found: BTreeMap<String, Renderable> = BTreeMap::new();
    for path in files {
        let Some(renderer) = rendered_by(path) else { continue };
        let folder = folder_of(path).to_owned();
        let bytes = join(watched, path).and_then(|path| find(source, &path)).and_then(|(real, _)| source.bytes(&real).ok());
        let bytes = bytes.unwrap_or_default();
        let renderable = match renderer {
            Renderer::Kustomize => used_by(source, watched, &folder, path, &bytes),
            Renderer::Helm => {
                let is_whole = !read_chart(&bytes).is_library;
                Renderable { folder: folder.clone(), renderer, is_whole, uses: BTreeSet::new() }
            }
        };
        // A kustomization goes before a chart in the same folder: it says what is made of it.
        let is_better = found.get(&folder).is_none_or(|other| renderer < other.renderer);
        if is_better {
            found.insert(folder, renderable);
        }
    }
    found.into_values().collect()
}

fn used_by(source: &dyn Source, watched: &str, folder: &str, path: &str, bytes: &[u8]) -> Renderable {
    let kustomization = read_kustomization(path, bytes);
    let here = join(watched, folder).unwrap_or_default();
    let targets = kustomization.references.iter().filter(|mention| mention.may_be_folder);
    let uses = targets.filter_map(|mention| {
        let (target, _) = find(source, &join(&here, &mention.text)?)?;
        let inside = if watched.is_empty() { Some(target.as_str()) } else { target.strip_prefix(&format!("{watched}/")) };
        Some(if target == watched { ".".to_owned() } else { inside?.to_owned() })
    });
    let uses = uses.collect();
    Renderable { folder: folder.to_owned(), renderer: Renderer::Kustomize, is_whole: !kustomization.is_component, uses }
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

/// The bytes of a build's files, or which one cannot be read, and why.
fn contents(source: &dyn Source, closure: &Closure) -> Result<Files, (String, String)> {
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

/// Runs a task. Also says whether the outcome would be the same the next time.
fn perform(settings: &RenderSettings, task: &Task, from: Viewpoint<'_>) -> (RenderedUnit, bool) {
    let first = match with_origins_asked(task) {
        Some(files) => once(settings, task, &files),
        None => once(settings, task, &task.files),
    };
    // An older kustomize does not know what it was asked for; and what is wrong must be told about the file as it was written.
    let outcome = match first {
        Ok(Ended::Refused(_)) if is_asked(task) => once(settings, task, &task.files),
        other => other,
    };
    match outcome {
        Ok(Ended::Rendered(output)) => (documents(task, from, output), true),
        Ok(Ended::Refused(words)) => {
            let secrets: Vec<String> = task.files.iter().flat_map(|(_, bytes)| secret_texts(bytes)).collect();
            let complaint = Complaint {
                renderer: task.renderer,
                from,
                file: &task.file,
                folder: &task.place,
                chart: &task.chart,
                closure: &task.closure,
                secrets: &secrets,
            };
            (RenderedUnit { documents: None, problems: vec![complaint.problem(&words)] }, true)
        }
        Err(failure) => (RenderedUnit { documents: None, problems: vec![failed(task, from, &failure)] }, false),
    }
}

fn once(settings: &RenderSettings, task: &Task, files: &[(String, Vec<u8>)]) -> Result<Ended, JailError> {
    let folder = if task.renderer == Renderer::Kustomize { task.place.clone() } else { String::new() };
    jail::run(settings, &Job { tool: &task.tool.path, args: task.args.clone(), folder, files })
}

fn is_asked(task: &Task) -> bool {
    task.closure.kustomizations.get(&task.file).is_some_and(|kustomization| !kustomization.is_closed)
}

/// The files with a kustomization that asks for origins.
fn with_origins_asked(task: &Task) -> Option<Files> {
    let mut files = is_asked(task).then(|| task.files.clone())?;
    let (_, bytes) = files.iter_mut().find(|(path, _)| *path == task.file)?;
    bytes.extend_from_slice(ASK_FOR_ORIGINS.as_bytes());
    Some(files)
}

fn documents(task: &Task, from: Viewpoint<'_>, output: Vec<u8>) -> RenderedUnit {
    let Ok(output) = String::from_utf8(output) else {
        let message = format!("what {} printed is not UTF-8 text", task.renderer.name());
        return RenderedUnit { documents: None, problems: vec![error(from.shown(&task.file), message, None)] };
    };
    let mut text = match task.renderer {
        Renderer::Kustomize if is_asked(task) => without_origins(&output),
        Renderer::Kustomize => RenderedText { text: output, namespace: task.namespace.clone(), ..RenderedText::default() },
        Renderer::Helm => with_sources(output, &task.namespace),
    };
    for origin in text.origins.values_mut().flatten() {
        *origin = from.shown(&origin_path(task, origin));
    }
    let problems = if task.renderer == Renderer::Helm { hooks(task, from, &text) } else { Vec::new() };
    let documents = parse_rendered(&from.shown(&task.place), &task.digest, &text);
    RenderedUnit { documents: Some(Arc::new(documents)), problems }
}

/// Hooks mean a moment of an installation, and there are none here: one that cleans up at the end must not run at the start.
fn hooks(task: &Task, from: Viewpoint<'_>, text: &RenderedText) -> Vec<Problem> {
    let named = |line: &str| Some(line.trim_start().replace('"', "").strip_prefix("helm.sh/hook: ")?.trim().to_owned());
    let found = text.text.lines().zip(1..).filter_map(|(line, number)| Some((named(line)?, number)));
    found
        .map(|(hook, line)| {
            let file = text.origin_at(line).map_or_else(|| from.shown(&task.file), str::to_owned);
            let hint = "switch the hook off with the chart's values, or commit what it does as an object of its own";
            error(file, format!("this is a {hook} hook of helm, which would run at the wrong time"), Some(hint))
        })
        .collect()
}

/// A tool's word for where a document came from, as a path of the repository.
fn origin_path(task: &Task, origin: &str) -> String {
    let inside = match task.renderer {
        Renderer::Kustomize => origin,
        Renderer::Helm => origin.strip_prefix(&format!("{}/", task.chart)).unwrap_or(origin),
    };
    join(&task.place, inside).unwrap_or_else(|| origin.to_owned())
}

fn failed(task: &Task, from: Viewpoint<'_>, failure: &JailError) -> Problem {
    let hint = match failure {
        JailError::NoJail(_) => Some(
            "allow user namespaces for this user (sysctl kernel.unprivileged_userns_clone=1, or the container's seccomp profile), run as root, or \
             accept that whoever may push can run programs here: --render-unconfined",
        ),
        JailError::Late(_) | JailError::TooMuch | JailError::Killed => {
            Some("render it elsewhere and commit the result, if it is meant to be so large")
        }
        JailError::Io(_) => None,
    };
    let cause = std::error::Error::source(failure).map(|cause| format!(": {cause}")).unwrap_or_default();
    error(from.shown(&task.file), format!("{} did not render this: {failure}{cause}", task.renderer.name()), hint)
}

fn error(file: String, message: String, hint: Option<&str>) -> Problem {
    Problem {
        at: Location { file, line: 0, column: 0 },
        path: String::new(),
        severity: Severity::Error,
        scope: Scope::Document,
        message,
        hint: hint.map(str::to_owned),
    }
}
