//! Kubernetes' own read API over a [`View`]: discovery, get, list, watch, server-side tables and pod logs.
//!
//! Input: a path, a query and an Accept header. Output: what an API server would answer. Invariants: objects are built from the
//! view alone, so two requests of one version agree; Secrets' values and literal environment values are redacted where the objects
//! are built, so that no form of answer can leak them.
//! What is deliberately absent: writes, and Kubernetes' machinery that nothing here asks for (protobuf, aggregated discovery,
//! OpenAPI, paging: a list is always whole).

mod accept;
mod answer;
mod autoscalers;
mod cells;
mod claims;
mod discovery;
mod endpoints;
mod events;
mod ingresses;
mod jobs;
mod log;
mod metadata;
mod nodes;
mod path;
mod placement;
mod pods;
mod resource;
mod selector;
mod services;
mod sets;
mod settings;
mod table;
mod usage;
mod watching;
mod workloads;

pub(super) use answer::answer;
pub(super) use discovery::version;
pub use resource::{Group, Resource, ResourceFacts};

use crate::model::View;
use serde_json::Value;

/// Which objects are wanted: the part of a request that can be decided before they are built.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Scope {
    /// Only of this namespace.
    namespace: Option<String>,
    /// Only of this name.
    name: Option<String>,
}

impl Scope {
    fn takes(&self, namespace: &str, name: &str) -> bool {
        self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
            && self.name.as_deref().is_none_or(|wanted| wanted == name)
    }
}

/// The objects of a resource, in the order of namespace and name.
fn objects(view: &View, resource: Resource, scope: &Scope) -> Vec<Value> {
    match resource {
        Resource::Namespaces => settings::namespaces(view, scope),
        Resource::ConfigMaps => settings::config_maps(view, scope),
        Resource::Secrets => settings::secrets(view, scope),
        Resource::Nodes => nodes::nodes(view, scope),
        Resource::Pods => pods::pods(view, scope),
        Resource::Services => services::services(view, scope),
        Resource::Endpoints => endpoints::endpoints(view, scope),
        Resource::EndpointSlices => endpoints::endpoint_slices(view, scope),
        Resource::Ingresses => ingresses::ingresses(view, scope),
        Resource::Claims => claims::claims(view, scope),
        Resource::Events => events::events(view, scope),
        Resource::Deployments => workloads::deployments(view, scope),
        Resource::StatefulSets => sets::stateful_sets(view, scope),
        Resource::DaemonSets => sets::daemon_sets(view, scope),
        Resource::ReplicaSets => sets::replica_sets(view, scope),
        Resource::Rollouts => workloads::rollouts(view, scope),
        Resource::Jobs => jobs::jobs(view, scope),
        Resource::CronJobs => jobs::cron_jobs(view, scope),
        Resource::Autoscalers => autoscalers::autoscalers(view, scope),
        Resource::PriorityClasses => placement::priority_classes(view, scope),
        Resource::Budgets => placement::budgets(view, scope),
        Resource::SeriesEvents => events::series_events(view, scope),
        Resource::PodMetrics => usage::pods(view, scope),
        Resource::NodeMetrics => usage::nodes(view, scope),
    }
}
