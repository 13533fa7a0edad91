//! From a request to an answer.

use super::super::refusal::{Refusal, json_response};
use super::super::server::Server;
use super::accept::Form;
use super::path::Target;
use super::resource::Resource;
use super::selector::Selector;
use super::table::{self, Include};
use super::{Scope, discovery, log, objects, watching};
use crate::model::View;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Query parameters, the last of a name winning.
pub(super) type Parameters = BTreeMap<String, String>;

/// What is wanted of a resource, and in which form.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) resource: Resource,
    pub(super) scope: Scope,
    pub(super) selector: Selector,
    pub(super) form: Form,
    pub(super) include: Include,
}

/// Answers everything below `/api` and `/apis`.
pub(in crate::status) async fn answer(
    State(server): State<Arc<Server>>,
    uri: Uri,
    headers: HeaderMap,
    Query(parameters): Query<Parameters>,
) -> Response {
    match respond(&server, uri.path(), &headers, &parameters).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn respond(server: &Server, path: &str, headers: &HeaderMap, parameters: &Parameters) -> Result<Response, Refusal> {
    let target = Target::parse(path).ok_or_else(|| Refusal::no_such_path(path))?;
    if let Target::Log { namespace, pod } = target {
        return log::log(server, &namespace, &pod, parameters, headers).await;
    }
    let form = Form::choose(headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()))?;
    match target {
        Target::CoreVersions => Ok(json_response(&discovery::core_versions(server.address))),
        Target::Groups => Ok(json_response(&discovery::groups())),
        Target::Group(group) => Ok(json_response(&discovery::group(group))),
        Target::Resources(group) => Ok(json_response(&discovery::resources(group))),
        Target::Collection { resource, namespace } => {
            let wanted = Wanted::of_collection(resource, namespace, form, parameters)?;
            if flag(parameters, "watch") { watch(server, wanted, parameters) } else { Ok(list(server, &wanted)) }
        }
        Target::Item { resource, namespace, name } => {
            let scope = Scope { namespace, name: Some(name) };
            item(server, &Wanted::new(resource, scope, form, parameters)?)
        }
        Target::Log { .. } => Err(Refusal::no_such_path(path)),
    }
}

impl Wanted {
    fn new(resource: Resource, scope: Scope, form: Form, parameters: &Parameters) -> Result<Wanted, Refusal> {
        let include = Include::parse(parameters.get("includeObject").map(String::as_str))?;
        Ok(Wanted { resource, scope, selector: Selector::default(), form, include })
    }

    fn of_collection(
        resource: Resource,
        namespace: Option<String>,
        form: Form,
        parameters: &Parameters,
    ) -> Result<Wanted, Refusal> {
        let text = |name: &str| parameters.get(name).map(String::as_str);
        let selector = Selector::parse(text("labelSelector"), text("fieldSelector"))?;
        let scope = Scope { namespace, name: selector.exact_name().map(str::to_owned) };
        Ok(Wanted { selector, ..Wanted::new(resource, scope, form, parameters)? })
    }

    /// The objects in a view.
    pub(super) fn objects(&self, view: &View) -> Vec<Value> {
        let mut found = objects(view, self.resource, &self.scope);
        found.retain(|object| self.selector.takes(object));
        found
    }

    /// One object in the wanted form.
    pub(super) fn shape(&self, object: &Value, version: &str) -> Value {
        match self.form {
            Form::Json => object.clone(),
            Form::Table => table::table(self.resource, std::slice::from_ref(object), version, self.include, crate::clock::now()),
        }
    }
}

/// Writes the version of the view into an object.
pub(super) fn stamp(object: &mut Value, version: &str) {
    object["metadata"]["resourceVersion"] = json!(version);
}

fn list(server: &Server, wanted: &Wanted) -> Response {
    let view = server.feed.current();
    let version = view.version.to_string();
    let mut found = wanted.objects(&view);
    for object in &mut found {
        stamp(object, &version);
    }
    let facts = wanted.resource.facts();
    json_response(&match wanted.form {
        Form::Table => table::table(wanted.resource, &found, &version, wanted.include, crate::clock::now()),
        Form::Json => json!({
            "kind": format!("{}List", facts.kind),
            "apiVersion": facts.group.to_string(),
            "metadata": { "resourceVersion": version },
            "items": found,
        }),
    })
}

fn item(server: &Server, wanted: &Wanted) -> Result<Response, Refusal> {
    let view = server.feed.current();
    let version = view.version.to_string();
    let name = wanted.scope.name.as_deref().unwrap_or("");
    let mut object =
        wanted.objects(&view).into_iter().next().ok_or_else(|| Refusal::not_found(&wanted.resource.qualified(), name))?;
    stamp(&mut object, &version);
    Ok(json_response(&wanted.shape(&object, &version)))
}

fn watch(server: &Server, wanted: Wanted, parameters: &Parameters) -> Result<Response, Refusal> {
    let start = match parameters.get("resourceVersion").map(String::as_str) {
        None | Some("" | "0") => watching::Start::FromNothing,
        Some(version) => {
            let number =
                version.parse().map_err(|_| Refusal::bad_request(format!("resourceVersion {version:?} is no number")))?;
            watching::Start::From(server.feed.at(number).ok_or_else(|| Refusal::expired(version))?)
        }
    };
    let seconds = match parameters.get("timeoutSeconds") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| Refusal::bad_request(format!("timeoutSeconds {text:?} is no number")))?),
    };
    Ok(watching::stream(
        server,
        watching::Watch {
            wanted,
            start,
            bookmarks: flag(parameters, "allowWatchBookmarks"),
            mark_initial: flag(parameters, "sendInitialEvents"),
            limit: seconds.map(Duration::from_secs),
        },
    ))
}

/// True for `true` and `1`, as Kubernetes reads a boolean parameter.
pub(super) fn flag(parameters: &Parameters, name: &str) -> bool {
    matches!(parameters.get(name).map(String::as_str), Some("true" | "1"))
}
