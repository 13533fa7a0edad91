//! The resources that are served, as one table.

use std::fmt;

/// A resource: a kind as paths name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    Namespaces,
    Nodes,
    Pods,
    Services,
    Endpoints,
    ConfigMaps,
    Secrets,
    Events,
    Deployments,
    Rollouts,
    Autoscalers,
}

/// A group and its only served version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    /// Empty for the core group.
    pub(super) name: &'static str,
    /// `v1`
    pub(super) version: &'static str,
}

impl Group {
    pub(super) const CORE: Group = Group { name: "", version: "v1" };
    pub(super) const APPS: Group = Group { name: "apps", version: "v1" };
    pub(super) const ROLLOUTS: Group = Group { name: "argoproj.io", version: "v1alpha1" };
    pub(super) const AUTOSCALING: Group = Group { name: "autoscaling", version: "v2" };

    /// The groups below `/apis`.
    pub(super) const NAMED: [Group; 3] = [Group::APPS, Group::ROLLOUTS, Group::AUTOSCALING];
}

/// `apiVersion`
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { f.write_str(self.version) } else { write!(f, "{}/{}", self.name, self.version) }
    }
}

/// What discovery says of a resource.
pub(super) struct Facts {
    pub(super) group: Group,
    pub(super) plural: &'static str,
    pub(super) singular: &'static str,
    pub(super) kind: &'static str,
    pub(super) short: &'static [&'static str],
    pub(super) namespaced: bool,
    /// Part of `kubectl get all`.
    pub(super) in_all: bool,
}

impl Resource {
    /// Every resource, in the order in which discovery lists them.
    pub(super) const ALL: [Resource; 11] = [
        Resource::Namespaces,
        Resource::Nodes,
        Resource::Pods,
        Resource::Services,
        Resource::Endpoints,
        Resource::ConfigMaps,
        Resource::Secrets,
        Resource::Events,
        Resource::Deployments,
        Resource::Rollouts,
        Resource::Autoscalers,
    ];

    /// What discovery says of it.
    pub(super) fn facts(self) -> Facts {
        let core = |plural, singular, kind, short| Facts {
            group: Group::CORE,
            plural,
            singular,
            kind,
            short,
            namespaced: true,
            in_all: false,
        };
        match self {
            Resource::Namespaces => Facts { namespaced: false, ..core("namespaces", "namespace", "Namespace", &["ns"]) },
            Resource::Nodes => Facts { namespaced: false, ..core("nodes", "node", "Node", &["no"]) },
            Resource::Pods => Facts { in_all: true, ..core("pods", "pod", "Pod", &["po"]) },
            Resource::Services => Facts { in_all: true, ..core("services", "service", "Service", &["svc"]) },
            Resource::Endpoints => core("endpoints", "endpoints", "Endpoints", &["ep"]),
            Resource::ConfigMaps => core("configmaps", "configmap", "ConfigMap", &["cm"]),
            Resource::Secrets => core("secrets", "secret", "Secret", &[]),
            Resource::Events => core("events", "event", "Event", &["ev"]),
            Resource::Deployments => {
                Facts { group: Group::APPS, in_all: true, ..core("deployments", "deployment", "Deployment", &["deploy"]) }
            }
            Resource::Rollouts => {
                Facts { group: Group::ROLLOUTS, in_all: true, ..core("rollouts", "rollout", "Rollout", &["ro"]) }
            }
            Resource::Autoscalers => Facts {
                group: Group::AUTOSCALING,
                in_all: true,
                ..core("horizontalpodautoscalers", "horizontalpodautoscaler", "HorizontalPodAutoscaler", &["hpa"])
            },
        }
    }

    /// The resource of a group by its plural.
    pub(super) fn find(group: Group, plural: &str) -> Option<Resource> {
        Resource::ALL.into_iter().find(|resource| {
            let facts = resource.facts();
            facts.group == group && facts.plural == plural
        })
    }

    /// `deployments.apps`, as kubectl names it in messages.
    pub(super) fn qualified(self) -> String {
        let facts = self.facts();
        if facts.group.name.is_empty() { facts.plural.into() } else { format!("{}.{}", facts.plural, facts.group.name) }
    }
}
