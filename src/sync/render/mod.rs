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

mod build;
mod closure;
mod jail;
mod message;
mod source;
mod task;
mod tool;

pub use jail::{Confinement, inside::run as render_jail};
pub(crate) use source::{DiskSource, GitSource, Source, Viewpoint};

use crate::manifest::{ParsedFile, Renderable, Renderer, folder_of, read_chart, read_kustomization, rendered_by};
use crate::model::{Location, Problem, RenderPolicy, Scope, Severity};
use crate::sync::paths::join;
use source::find;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use task::{Task, contents};

/// At most so many tools run at once.
const THREADS_MAX: usize = 4;
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

/// Whether kustomize and helm can be confined here: tried with `true`.
///
/// # Errors
/// Why not.
pub fn try_sandbox(settings: &RenderSettings) -> Result<(), String> {
    let program = settings.search.iter().map(|folder| folder.join("true")).find(|program| program.is_file());
    let tool = program.ok_or_else(|| "there is no program `true` to try it with".to_owned())?;
    let settings = RenderSettings { confinement: Confinement::Jail, ..settings.clone() };
    let job = jail::Job { tool: &tool, args: Vec::new(), folder: String::new(), files: &[] };
    match jail::run(&settings, &job) {
        Ok(jail::Ended::Rendered(_)) => Ok(()),
        Ok(jail::Ended::Refused(words)) => Err(words.trim().to_owned()),
        Err(error) => Err(match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        }),
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
            match Task::new(&self.settings.search, source, from, renderable, policy) {
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
            let workers: Vec<_> = ready.iter().map(|task| scope.spawn(move || build::run(settings, task, from))).collect();
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
