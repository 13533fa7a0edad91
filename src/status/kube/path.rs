//! Kubernetes' URL scheme: <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris>.

use super::resource::{Group, Resource};

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/GROUP`
    Group(Group),
    /// `/api/v1`, `/apis/GROUP/VERSION`
    Resources(Group),
    /// All objects of a resource, or those of a namespace.
    Collection { resource: Resource, namespace: Option<String> },
    /// One object.
    Item { resource: Resource, namespace: Option<String>, name: String },
    /// A pod's log.
    Log { namespace: String, pod: String },
}

impl Target {
    /// Reads a path. `None` if there is no such thing here.
    pub(super) fn parse(path: &str) -> Option<Target> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match parts.as_slice() {
            ["api"] => Some(Target::CoreVersions),
            ["api", "v1", rest @ ..] => Target::within(Group::CORE, rest),
            ["apis"] => Some(Target::Groups),
            ["apis", name] => Group::NAMED.into_iter().find(|group| group.name == *name).map(Target::Group),
            ["apis", name, version, rest @ ..] => {
                let group = Group::NAMED.into_iter().find(|group| group.name == *name && group.version == *version)?;
                Target::within(group, rest)
            }
            _ => None,
        }
    }

    fn within(group: Group, parts: &[&str]) -> Option<Target> {
        match *parts {
            [] => Some(Target::Resources(group)),
            ["namespaces", namespace, "pods", pod, "log"] if group == Group::CORE => {
                Some(Target::Log { namespace: namespace.into(), pod: pod.into() })
            }
            ["namespaces", name] | ["namespaces", name, "status"] if group == Group::CORE => {
                Some(Target::Item { resource: Resource::Namespaces, namespace: None, name: name.into() })
            }
            ["namespaces", namespace, plural] => {
                let resource = Target::namespaced(group, plural, true)?;
                Some(Target::Collection { resource, namespace: Some(namespace.into()) })
            }
            ["namespaces", namespace, plural, name] | ["namespaces", namespace, plural, name, "status"] => {
                let resource = Target::namespaced(group, plural, true)?;
                Some(Target::Item { resource, namespace: Some(namespace.into()), name: name.into() })
            }
            [plural] => Some(Target::Collection { resource: Resource::find(group, plural)?, namespace: None }),
            [plural, name] | [plural, name, "status"] => {
                let resource = Target::namespaced(group, plural, false)?;
                Some(Target::Item { resource, namespace: None, name: name.into() })
            }
            _ => None,
        }
    }

    fn namespaced(group: Group, plural: &str, namespaced: bool) -> Option<Resource> {
        Resource::find(group, plural).filter(|resource| resource.facts().namespaced == namespaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(resource: Resource, namespace: Option<&str>, name: &str) -> Option<Target> {
        Some(Target::Item { resource, namespace: namespace.map(Into::into), name: name.into() })
    }

    fn collection(resource: Resource, namespace: Option<&str>) -> Option<Target> {
        Some(Target::Collection { resource, namespace: namespace.map(Into::into) })
    }

    #[test]
    fn paths_read_as_kubernetes_writes_them() {
        assert_eq!(Target::parse("/api"), Some(Target::CoreVersions));
        assert_eq!(Target::parse("/api/v1"), Some(Target::Resources(Group::CORE)));
        assert_eq!(Target::parse("/apis"), Some(Target::Groups));
        assert_eq!(Target::parse("/apis/apps"), Some(Target::Group(Group::APPS)));
        assert_eq!(Target::parse("/apis/apps/v1"), Some(Target::Resources(Group::APPS)));
        assert_eq!(Target::parse("/api/v1/pods"), collection(Resource::Pods, None));
        assert_eq!(Target::parse("/api/v1/namespaces/shop/pods"), collection(Resource::Pods, Some("shop")));
        assert_eq!(Target::parse("/api/v1/namespaces/shop/pods/web"), item(Resource::Pods, Some("shop"), "web"));
        assert_eq!(Target::parse("/api/v1/namespaces"), collection(Resource::Namespaces, None));
        assert_eq!(Target::parse("/api/v1/namespaces/shop"), item(Resource::Namespaces, None, "shop"));
        assert_eq!(Target::parse("/api/v1/nodes/one"), item(Resource::Nodes, None, "one"));
        assert_eq!(
            Target::parse("/apis/apps/v1/namespaces/shop/deployments/web/status"),
            item(Resource::Deployments, Some("shop"), "web")
        );
        assert_eq!(
            Target::parse("/api/v1/namespaces/shop/pods/web/log"),
            Some(Target::Log { namespace: "shop".into(), pod: "web".into() })
        );
    }

    #[test]
    fn what_is_not_served_is_no_target() {
        for path in [
            "/",
            "/api/v2",
            "/apis/apps/v1beta1",
            "/apis/batch/v2/jobs",
            "/api/v1/deployments",
            "/apis/apps/v1/pods",
            "/api/v1/pods/web",
            "/api/v1/namespaces/shop/nodes",
            "/api/v1/namespaces/shop/pods/web/exec",
            "/apis/apps/v1/namespaces/shop",
        ] {
            assert_eq!(Target::parse(path), None, "{path}");
        }
    }
}
