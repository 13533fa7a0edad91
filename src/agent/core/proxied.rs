//! Who the proxy may send people to, by Service.

use crate::model::{EndpointSet, UsedEndpoints};
use std::sync::Arc;

/// The sets of one Service that were handed to the proxy and that it may still follow.
#[derive(Debug, Clone, Default)]
pub(super) struct Proxied {
    /// The newest version that it is known to follow.
    in_use: u64,
    /// That set and newer ones, oldest first.
    handed: Vec<Arc<EndpointSet>>,
}

impl Proxied {
    /// A set that the ledger brought: the proxy leads nowhere yet, and from now on nowhere but there.
    pub(super) fn begun(set: &Arc<EndpointSet>) -> Self {
        Self { in_use: set.version, handed: vec![Arc::clone(set)] }
    }

    /// A set is handed over. The proxy may follow it from now on, and the ones before until it says otherwise.
    pub(super) fn hand(&mut self, set: &Arc<EndpointSet>) {
        if self.handed.last().is_none_or(|last| last.version < set.version) {
            self.handed.push(Arc::clone(set));
        }
    }

    /// The proxy follows none that is older than this version.
    pub(super) fn acknowledge(&mut self, version: u64) {
        self.in_use = self.in_use.max(version);
        self.handed.retain(|set| set.version >= version);
    }

    pub(super) fn in_use(&self) -> u64 {
        self.in_use
    }

    /// What a hello says of it.
    pub(super) fn used(&self) -> UsedEndpoints {
        UsedEndpoints { version: self.in_use, pods: self.handed.iter().flat_map(|set| set.pods()).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Backend, EndpointPort, Epoch, Incarnation, Kind, NodeName, ObjectKey, PodUid, Protocol, TemplateHash};
    use std::collections::BTreeSet;

    fn uid(counter: u64) -> PodUid {
        let web = ObjectKey::new(Kind::Deployment, "shop", "web");
        PodUid::derive("test", &web, 0, &TemplateHash::new("aa"), Incarnation { epoch: Epoch(1), counter })
    }

    fn set(version: u64, pods: &[u64]) -> Arc<EndpointSet> {
        let backends = pods.iter().map(|pod| Backend {
            pod: uid(*pod),
            node: NodeName::new("n1"),
            address: [127, 0, 0, 1].into(),
            port: 80,
        });
        let port = EndpointPort {
            name: String::new(),
            port: 80,
            protocol: Protocol::Tcp,
            node_port: None,
            backends: backends.collect(),
        };
        let service = ObjectKey::new(Kind::Service, "shop", "web");
        Arc::new(EndpointSet { ports: vec![port], ..EndpointSet::empty(service, version) })
    }

    fn check(proxied: &Proxied, version: u64, pods: &[u64]) {
        assert_eq!(proxied.used(), UsedEndpoints { version, pods: pods.iter().map(|pod| uid(*pod)).collect::<BTreeSet<_>>() });
    }

    #[test]
    fn a_pod_may_be_used_from_the_handing_over_until_a_set_without_it_is_acknowledged() {
        let mut proxied = Proxied::begun(&set(5, &[1, 2]));
        check(&proxied, 5, &[1, 2]);
        proxied.hand(&set(6, &[2, 3]));
        proxied.hand(&set(6, &[2, 3]));
        proxied.hand(&set(7, &[3]));
        check(&proxied, 5, &[1, 2, 3]);
        proxied.acknowledge(6);
        check(&proxied, 6, &[2, 3]);
        proxied.acknowledge(5);
        check(&proxied, 6, &[2, 3]);
        proxied.acknowledge(7);
        check(&proxied, 7, &[3]);
    }
}
