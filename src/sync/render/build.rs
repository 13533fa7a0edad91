//! Running a tool on a folder, and what its output or its complaint means.

use super::jail::{self, Ended, JailError, Job};
use super::message::Complaint;
use super::source::Viewpoint;
use super::task::{Files, Task};
use super::{RenderSettings, RenderedUnit, error};
use crate::manifest::{ASK_FOR_ORIGINS, RenderedText, Renderer, parse_rendered, secret_texts, with_sources, without_origins};
use crate::model::Problem;
use crate::sync::paths::join;
use std::sync::Arc;

/// Runs a task. Also says whether the outcome would be the same the next time.
pub(super) fn run(settings: &RenderSettings, task: &Task, from: Viewpoint<'_>) -> (RenderedUnit, bool) {
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
