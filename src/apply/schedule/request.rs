//! What a pod asks of a node, and what it means to other pods.

use crate::model::{
    Amounts, Grant, LabelSelector, Lease, NodeAffinity, NodeName, ObjectKey, PodAffinity, PodAffinityTerm, PodSpec, PodTemplate,
    Protocol, RuntimeKind, TemplateHash, Toleration, TopologySpread,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The label by which Kubernetes tells the pods of one template from those of another (`matchLabelKeys` names it).
const TEMPLATE_LABEL: &str = "pod-template-hash";

/// What a pod asks of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The workload that it belongs to, whose pods are spread.
    pub workload: ObjectKey,
    /// The sum of its containers' requests.
    pub amounts: Amounts,
    /// Devices that its containers ask for.
    pub devices: BTreeSet<String>,
    /// The runtime that it needs.
    pub runtime: RuntimeKind,
    /// Whether the node must see to it that it stops itself (`driftless.dev/lease`).
    pub leased: bool,
    /// Labels that the node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Ports that it publishes on the host.
    pub host_ports: BTreeSet<HostPort>,
    /// What the host must allow.
    pub needs: BTreeSet<Grant>,
    /// The one node that it may run on: `nodeName`, or where its volume is.
    pub pinned: Option<NodeName>,
    /// True if `nodeName` chose the node. Then taints, cordons and the wishes of other pods are passed over, as in Kubernetes,
    /// where such a pod never meets the scheduler.
    pub assigned: bool,
    /// What it means to other pods.
    pub profile: Arc<Profile>,
    /// What else it wants; shared, since most pods want nothing.
    pub rules: Arc<Rules>,
}

/// A port of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// Its number.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The address that it is published on; every one if absent.
    pub address: Option<IpAddr>,
}

/// What a pod means to other pods: where it is, what it is called, and whom it keeps away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Required anti-affinity: it also keeps those away that come later.
    pub avoids: Vec<PodAffinityTerm>,
}

/// What a pod wants of its place beside cpu, memory, labels and ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// `affinity.nodeAffinity`
    pub nodes: NodeAffinity,
    /// `affinity.podAffinity`
    pub near: PodAffinity,
    /// `affinity.podAntiAffinity`
    pub far: PodAffinity,
    /// `topologySpreadConstraints`, with `matchLabelKeys` written into their selectors.
    pub spread: Vec<TopologySpread>,
    /// `tolerations`
    pub tolerations: Vec<Toleration>,
}

impl Request {
    /// What a pod of this template asks.
    #[must_use]
    pub fn of(workload: &ObjectKey, template: &PodTemplate, hash: &TemplateHash) -> Self {
        let spec = &template.spec;
        let profile = Profile::of(workload, template, hash);
        Self {
            amounts: spec.requests(),
            devices: spec.devices(),
            runtime: if spec.is_process() { RuntimeKind::Process } else { RuntimeKind::Docker },
            leased: Lease::of(template).is_some(),
            node_selector: spec.node_selector.clone(),
            host_ports: HostPort::of(spec),
            needs: Grant::needed_by(spec),
            pinned: spec.node_name.clone().map(NodeName::new),
            assigned: spec.node_name.is_some(),
            rules: Arc::new(Rules::of(spec, &profile)),
            profile: Arc::new(profile),
            ..Self::unknown(workload)
        }
    }

    /// What a pod asks whose template is not known any more: nothing.
    #[must_use]
    pub fn unknown(workload: &ObjectKey) -> Self {
        Self {
            workload: workload.clone(),
            amounts: Amounts::default(),
            devices: BTreeSet::new(),
            runtime: RuntimeKind::Docker,
            leased: false,
            node_selector: BTreeMap::new(),
            host_ports: BTreeSet::new(),
            needs: BTreeSet::new(),
            pinned: None,
            assigned: false,
            profile: Arc::new(Profile { namespace: workload.namespace.clone(), ..Profile::default() }),
            rules: Arc::default(),
        }
    }

    /// The same for a pod that runs once on every node: what keeps others away because of the node's state does not keep it.
    /// <https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/#taints-and-tolerations>
    #[must_use]
    pub fn of_every_node(mut self) -> Self {
        let exists = |key: &str, effect: &str| Toleration {
            key: Some(format!("node.kubernetes.io/{key}")),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        let rules = Arc::make_mut(&mut self.rules);
        rules.tolerations.extend(["not-ready", "unreachable"].map(|key| exists(key, "NoExecute")));
        let states = ["disk-pressure", "memory-pressure", "pid-pressure", "unschedulable", "network-unavailable"];
        rules.tolerations.extend(states.map(|key| exists(key, "NoSchedule")));
        self
    }
}

impl HostPort {
    fn of(spec: &PodSpec) -> BTreeSet<Self> {
        let ports = spec.lasting_containers().flat_map(|container| &container.ports);
        let published = ports.filter_map(|port| {
            let address = port.host_ip.as_ref().and_then(|text| text.parse().ok()).filter(|ip: &IpAddr| !ip.is_unspecified());
            Some(Self { port: port.host_port?, protocol: port.protocol, address })
        });
        published.collect()
    }

    /// True if both cannot be published on one host.
    #[must_use]
    pub fn conflicts(&self, other: &Self) -> bool {
        let same_address = self.address.is_none() || other.address.is_none() || self.address == other.address;
        (self.port, self.protocol) == (other.port, other.protocol) && same_address
    }
}

impl Profile {
    fn of(workload: &ObjectKey, template: &PodTemplate, hash: &TemplateHash) -> Self {
        let mut labels = template.metadata.labels.clone();
        labels.entry(TEMPLATE_LABEL.to_owned()).or_insert_with(|| hash.short().to_owned());
        let affinity = template.spec.affinity.as_ref();
        let avoids = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref()).map(|far| far.required.clone());
        Self { namespace: workload.namespace.clone(), labels, avoids: avoids.unwrap_or_default() }
    }
}

impl Rules {
    fn of(spec: &PodSpec, profile: &Profile) -> Self {
        let affinity = spec.affinity.clone().unwrap_or_default();
        Self {
            nodes: affinity.node_affinity.unwrap_or_default(),
            near: affinity.pod_affinity.unwrap_or_default(),
            far: affinity.pod_anti_affinity.unwrap_or_default(),
            spread: spec.topology_spread_constraints.iter().map(|wanted| completed(wanted, &profile.labels)).collect(),
            tolerations: spec.tolerations.clone(),
        }
    }

    /// True if it looks at pods of other namespaces.
    pub(super) fn looks_abroad(&self) -> bool {
        let preferred = self.near.preferred.iter().chain(&self.far.preferred).map(|liked| &liked.pod_affinity_term);
        let mut terms = self.near.required.iter().chain(&self.far.required).chain(preferred);
        terms.any(|term| !term.namespaces.is_empty() || term.namespace_selector.is_some())
    }

    /// True if it likes some nodes better than others that fit as well.
    #[must_use]
    pub fn prefers(&self) -> bool {
        let soft = |wanted: &TopologySpread| !wanted.is_hard();
        !self.nodes.preferred.is_empty()
            || !self.near.preferred.is_empty()
            || !self.far.preferred.is_empty()
            || self.spread.iter().any(soft)
    }
}

/// A spread constraint whose selector also wants the pod's own values of the `matchLabelKeys`.
fn completed(wanted: &TopologySpread, labels: &BTreeMap<String, String>) -> TopologySpread {
    let mut wanted = wanted.clone();
    let own = wanted.match_label_keys.iter().filter_map(|key| Some((key.clone(), labels.get(key)?.clone())));
    let own: Vec<(String, String)> = own.collect();
    if !own.is_empty() {
        wanted.label_selector.get_or_insert_with(LabelSelector::default).match_labels.extend(own);
    }
    wanted
}

/// The namespaces that git has, with their labels: what a `namespaceSelector` looks at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Namespaces(pub BTreeMap<String, BTreeMap<String, String>>);

impl Namespaces {
    /// True if a selector takes the namespace. Each has the label `kubernetes.io/metadata.name` by itself.
    fn match_selector(&self, selector: &LabelSelector, namespace: &str) -> bool {
        let mut labels = self.0.get(namespace).cloned().unwrap_or_default();
        labels.insert("kubernetes.io/metadata.name".to_owned(), namespace.to_owned());
        selector.matches(&labels)
    }

    /// True if a term of a pod in the namespace `own` means the pod of this profile.
    pub(super) fn means(&self, term: &PodAffinityTerm, own: &str, other: &Profile) -> bool {
        let in_scope = match &term.namespace_selector {
            None if term.namespaces.is_empty() => other.namespace == own,
            None => term.namespaces.contains(&other.namespace),
            Some(selector) => term.namespaces.contains(&other.namespace) || self.match_selector(selector, &other.namespace),
        };
        in_scope && term.label_selector.as_ref().is_some_and(|selector| selector.matches(&other.labels))
    }
}
