//! The resources that are served, as one table.

use std::fmt;

/// A resource: a kind as paths name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// `v1 Namespace`
    Namespaces,
    /// `v1 Node`
    Nodes,
    /// `v1 Pod`
    Pods,
    /// `v1 Service`
    Services,
    /// `v1 Endpoints`
    Endpoints,
    /// `discovery.k8s.io/v1 EndpointSlice`
    EndpointSlices,
    /// `networking.k8s.io/v1 Ingress`
    Ingresses,
    /// `v1 ConfigMap`
    ConfigMaps,
    /// `v1 Secret`
    Secrets,
    /// `v1 PersistentVolumeClaim`
    Claims,
    /// `v1 Event`
    Events,
    /// `apps/v1 Deployment`
    Deployments,
    /// `apps/v1 StatefulSet`
    StatefulSets,
    /// `apps/v1 DaemonSet`
    DaemonSets,
    /// `apps/v1 ReplicaSet`
    ReplicaSets,
    /// `argoproj.io/v1alpha1 Rollout`
    Rollouts,
    /// `batch/v1 Job`
    Jobs,
    /// `batch/v1 CronJob`
    CronJobs,
    /// `autoscaling/v2 HorizontalPodAutoscaler`
    Autoscalers,
    /// `scheduling.k8s.io/v1 PriorityClass`
    PriorityClasses,
    /// `policy/v1 PodDisruptionBudget`
    Budgets,
    /// `events.k8s.io/v1 Event`: the same events in the newer shape.
    SeriesEvents,
    /// `metrics.k8s.io/v1beta1 PodMetrics`
    PodMetrics,
    /// `metrics.k8s.io/v1beta1 NodeMetrics`
    NodeMetrics,
}

/// A group and its only served version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Empty for the core group.
    pub name: &'static str,
    /// `v1`
    pub version: &'static str,
}

impl Group {
    /// The core group.
    pub const CORE: Group = Group { name: "", version: "v1" };
    /// Deployments and their like.
    pub const APPS: Group = Group { name: "apps", version: "v1" };
    /// Rollouts.
    pub const ROLLOUTS: Group = Group { name: "argoproj.io", version: "v1alpha1" };
    /// Jobs.
    pub const BATCH: Group = Group { name: "batch", version: "v1" };
    /// Autoscalers.
    pub const AUTOSCALING: Group = Group { name: "autoscaling", version: "v2" };

    /// Ingresses.
    pub const NETWORKING: Group = Group { name: "networking.k8s.io", version: "v1" };
    /// Endpoint slices.
    pub const DISCOVERY: Group = Group { name: "discovery.k8s.io", version: "v1" };

    /// Priorities.
    pub const SCHEDULING: Group = Group { name: "scheduling.k8s.io", version: "v1" };
    /// Disruption budgets.
    pub const POLICY: Group = Group { name: "policy", version: "v1" };

    /// Events in their newer shape.
    pub const EVENTS: Group = Group { name: "events.k8s.io", version: "v1" };

    /// What pods and nodes use.
    pub const METRICS: Group = Group { name: "metrics.k8s.io", version: "v1beta1" };

    /// The groups below `/apis`.
    pub const NAMED: [Group; 10] = [
        Group::APPS,
        Group::ROLLOUTS,
        Group::BATCH,
        Group::AUTOSCALING,
        Group::NETWORKING,
        Group::DISCOVERY,
        Group::SCHEDULING,
        Group::POLICY,
        Group::EVENTS,
        Group::METRICS,
    ];
}

/// `apiVersion`
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { f.write_str(self.version) } else { write!(f, "{}/{}", self.name, self.version) }
    }
}

/// What discovery says of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceFacts {
    /// Its group and version.
    pub group: Group,
    /// `pods`
    pub plural: &'static str,
    /// `pod`
    pub singular: &'static str,
    /// `Pod`
    pub kind: &'static str,
    /// `po`
    pub short: &'static [&'static str],
    /// Whether it lives in a namespace.
    pub namespaced: bool,
    /// Part of `kubectl get all`.
    pub in_all: bool,
}

impl Resource {
    /// Every resource, in the order in which discovery lists them.
    pub const ALL: [Resource; 24] = [
        Resource::Namespaces,
        Resource::Nodes,
        Resource::Pods,
        Resource::Services,
        Resource::Endpoints,
        Resource::EndpointSlices,
        Resource::Ingresses,
        Resource::ConfigMaps,
        Resource::Secrets,
        Resource::Claims,
        Resource::Events,
        Resource::Deployments,
        Resource::StatefulSets,
        Resource::DaemonSets,
        Resource::ReplicaSets,
        Resource::Rollouts,
        Resource::Jobs,
        Resource::CronJobs,
        Resource::Autoscalers,
        Resource::PriorityClasses,
        Resource::Budgets,
        Resource::SeriesEvents,
        Resource::PodMetrics,
        Resource::NodeMetrics,
    ];

    /// What discovery says of it.
    #[must_use]
    pub fn facts(self) -> ResourceFacts {
        let core = |plural, singular, kind, short| ResourceFacts {
            group: Group::CORE,
            plural,
            singular,
            kind,
            short,
            namespaced: true,
            in_all: false,
        };
        let apps = |plural, singular, kind, short| ResourceFacts {
            group: Group::APPS,
            in_all: true,
            ..core(plural, singular, kind, short)
        };
        match self {
            Resource::Namespaces => ResourceFacts { namespaced: false, ..core("namespaces", "namespace", "Namespace", &["ns"]) },
            Resource::Nodes => ResourceFacts { namespaced: false, ..core("nodes", "node", "Node", &["no"]) },
            Resource::Pods => ResourceFacts { in_all: true, ..core("pods", "pod", "Pod", &["po"]) },
            Resource::Services => ResourceFacts { in_all: true, ..core("services", "service", "Service", &["svc"]) },
            Resource::Endpoints => core("endpoints", "endpoints", "Endpoints", &["ep"]),
            Resource::EndpointSlices => {
                ResourceFacts { group: Group::DISCOVERY, ..core("endpointslices", "endpointslice", "EndpointSlice", &[]) }
            }
            Resource::Ingresses => {
                ResourceFacts { group: Group::NETWORKING, ..core("ingresses", "ingress", "Ingress", &["ing"]) }
            }
            Resource::ConfigMaps => core("configmaps", "configmap", "ConfigMap", &["cm"]),
            Resource::Secrets => core("secrets", "secret", "Secret", &[]),
            Resource::Claims => core("persistentvolumeclaims", "persistentvolumeclaim", "PersistentVolumeClaim", &["pvc"]),
            Resource::Events => core("events", "event", "Event", &["ev"]),
            Resource::Deployments => apps("deployments", "deployment", "Deployment", &["deploy"]),
            Resource::StatefulSets => apps("statefulsets", "statefulset", "StatefulSet", &["sts"]),
            Resource::DaemonSets => apps("daemonsets", "daemonset", "DaemonSet", &["ds"]),
            Resource::ReplicaSets => apps("replicasets", "replicaset", "ReplicaSet", &["rs"]),
            Resource::Rollouts => {
                ResourceFacts { group: Group::ROLLOUTS, in_all: true, ..core("rollouts", "rollout", "Rollout", &["ro"]) }
            }
            Resource::Jobs => ResourceFacts { group: Group::BATCH, in_all: true, ..core("jobs", "job", "Job", &[]) },
            Resource::CronJobs => {
                ResourceFacts { group: Group::BATCH, in_all: true, ..core("cronjobs", "cronjob", "CronJob", &["cj"]) }
            }
            Resource::Autoscalers => ResourceFacts {
                group: Group::AUTOSCALING,
                in_all: true,
                ..core("horizontalpodautoscalers", "horizontalpodautoscaler", "HorizontalPodAutoscaler", &["hpa"])
            },
            Resource::PriorityClasses => ResourceFacts {
                group: Group::SCHEDULING,
                namespaced: false,
                ..core("priorityclasses", "priorityclass", "PriorityClass", &["pc"])
            },
            Resource::Budgets => ResourceFacts {
                group: Group::POLICY,
                ..core("poddisruptionbudgets", "poddisruptionbudget", "PodDisruptionBudget", &["pdb"])
            },
            // A name of the core group stands for its resource there: these three are reached with their group, or as a kind.
            Resource::SeriesEvents => ResourceFacts { group: Group::EVENTS, ..core("events", "event", "Event", &[]) },
            Resource::PodMetrics => ResourceFacts { group: Group::METRICS, ..core("pods", "podmetrics", "PodMetrics", &[]) },
            Resource::NodeMetrics => {
                ResourceFacts { group: Group::METRICS, namespaced: false, ..core("nodes", "nodemetrics", "NodeMetrics", &[]) }
            }
        }
    }

    /// The resource that a person means by a name: plural, singular, short, kind, or with its group.
    #[must_use]
    pub fn named(name: &str) -> Option<Resource> {
        let name = name.to_ascii_lowercase();
        Resource::ALL.into_iter().find(|resource| {
            let facts = resource.facts();
            name == facts.plural
                || name == facts.singular
                || name == facts.kind.to_ascii_lowercase()
                || facts.short.contains(&name.as_str())
                || name == resource.qualified()
        })
    }

    /// The path of its objects in a namespace, or of all of them.
    #[must_use]
    pub fn path(self, namespace: Option<&str>) -> String {
        let facts = self.facts();
        let root = if facts.group.name.is_empty() { "/api" } else { "/apis" };
        match namespace.filter(|_| facts.namespaced) {
            Some(namespace) => format!("{root}/{}/namespaces/{namespace}/{}", facts.group, facts.plural),
            None => format!("{root}/{}/{}", facts.group, facts.plural),
        }
    }

    /// The resource of a group by its plural.
    #[must_use]
    pub fn find(group: Group, plural: &str) -> Option<Resource> {
        Resource::ALL.into_iter().find(|resource| {
            let facts = resource.facts();
            facts.group == group && facts.plural == plural
        })
    }

    /// `deployments.apps`, as kubectl names it in messages.
    #[must_use]
    pub fn qualified(self) -> String {
        let facts = self.facts();
        if facts.group.name.is_empty() { facts.plural.into() } else { format!("{}.{}", facts.plural, facts.group.name) }
    }
}
