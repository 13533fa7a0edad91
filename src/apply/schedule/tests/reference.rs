//! Placement against a scheduler that knows no index: it looks at every node and every pod each time, rule by rule.

use super::rules::written;
use super::*;
use crate::model::{LabelSelector, PodAffinityTerm, Taint, TopologySpread};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One node, as the naive scheduler knows it.
#[derive(Debug, Clone)]
struct Host {
    facts: NodeFacts,
    marks: NodeSpec,
    ready: bool,
}

/// Everything that the naive scheduler knows.
#[derive(Debug, Default)]
struct Naive {
    hosts: Vec<Host>,
    pods: Vec<(usize, Request)>,
}

impl Naive {
    fn place(&self, request: &Request) -> Option<NodeName> {
        let fitting = (0..self.hosts.len()).filter(|host| self.fits(request, *host));
        let best = fitting.min_by_key(|host| {
            let own = self.on(*host).filter(|pod| pod.workload == request.workload).count();
            (self.dislike(request, *host), own, self.load(*host), self.hosts[*host].facts.name.clone())
        });
        best.map(|host| self.hosts[host].facts.name.clone())
    }

    fn on(&self, host: usize) -> impl Iterator<Item = &Request> {
        self.pods.iter().filter(move |(at, _)| *at == host).map(|(_, pod)| pod)
    }

    fn label(&self, host: usize, key: &str) -> Option<&str> {
        self.hosts[host].facts.labels.get(key).map(String::as_str)
    }

    fn same(&self, key: &str, one: usize, other: usize) -> bool {
        self.label(one, key).is_some() && self.label(one, key) == self.label(other, key)
    }

    fn load(&self, host: usize) -> (u64, usize) {
        let used: u64 = self.on(host).map(|pod| pod.amounts.cpu_milli).sum();
        (used * 1_000_000 / self.hosts[host].facts.allocatable.cpu_milli.max(1), self.on(host).count())
    }

    fn fits(&self, request: &Request, host: usize) -> bool {
        let at = &self.hosts[host];
        let used: u64 = self.on(host).map(|pod| pod.amounts.cpu_milli).sum();
        let room = request.amounts.cpu_milli == 0 || used + request.amounts.cpu_milli <= at.facts.allocatable.cpu_milli;
        at.ready
            && room
            && self.selected(request, host)
            && self.open(request, host)
            && self.near(request, host)
            && self.far(request, host)
            && request.rules.spread.iter().filter(|wanted| wanted.is_hard()).all(|wanted| self.even(request, wanted, host))
    }

    fn selected(&self, request: &Request, host: usize) -> bool {
        let facts = &self.hosts[host].facts;
        let labels = request.node_selector.iter().all(|(key, value)| facts.labels.get(key) == Some(value));
        labels && request.rules.nodes.required.as_ref().is_none_or(|terms| terms.matches(facts.name.as_str(), &facts.labels))
    }

    fn open(&self, request: &Request, host: usize) -> bool {
        let marks = &self.hosts[host].marks;
        !marks.unschedulable
            && marks
                .taints
                .iter()
                .all(|taint| taint.effect == Taint::PREFER_NO_SCHEDULE || taint.is_tolerated(&request.rules.tolerations))
    }

    fn means(term: &PodAffinityTerm, of: &Request, pod: &Request) -> bool {
        let selector = term
            .label_selector
            .clone()
            .unwrap_or(LabelSelector { match_labels: [("no".into(), "no".into())].into(), ..LabelSelector::default() });
        let own = term.namespaces.is_empty() && of.profile.namespace == pod.profile.namespace;
        (own || term.namespaces.contains(&pod.profile.namespace)) && selector.matches(&pod.profile.labels)
    }

    fn near(&self, request: &Request, host: usize) -> bool {
        let terms = &request.rules.near.required;
        let all = |pod: &Request| terms.iter().all(|term| Self::means(term, request, pod));
        let matching: Vec<usize> = self.pods.iter().filter(|(_, pod)| all(pod)).map(|(at, _)| *at).collect();
        let counted = |at: &usize| terms.iter().any(|term| self.label(*at, &term.topology_key).is_some());
        let first = !matching.iter().any(counted) && all(request);
        terms.iter().all(|term| {
            let key = &term.topology_key;
            self.label(host, key).is_some() && (first || matching.iter().any(|at| self.same(key, *at, host)))
        })
    }

    fn far(&self, request: &Request, host: usize) -> bool {
        let shuns = |one: &Request, other: &Request, at: usize| {
            one.rules.far.required.iter().any(|term| Self::means(term, one, other) && self.same(&term.topology_key, at, host))
        };
        !self.pods.iter().any(|(at, pod)| shuns(request, pod, *at) || shuns(pod, request, *at))
    }

    /// The pods that a constraint counts, by domain.
    fn domains(&self, request: &Request, wanted: &TopologySpread) -> BTreeMap<&str, i64> {
        let alike = || request.rules.spread.iter().filter(|other| other.is_hard() == wanted.is_hard());
        let honours = |policy: &Option<String>, default: &str| policy.as_deref().unwrap_or(default) == "Honor";
        let eligible = |host: &usize| {
            alike().all(|other| self.label(*host, &other.topology_key).is_some())
                && (!honours(&wanted.node_affinity_policy, "Honor") || self.selected(request, *host))
                && (!honours(&wanted.node_taints_policy, "Ignore") || (self.hosts[*host].ready && self.open(request, *host)))
        };
        let counts = |pod: &&Request| {
            let selector = wanted.label_selector.as_ref();
            pod.profile.namespace == request.profile.namespace
                && selector.is_some_and(|selector| selector.matches(&pod.profile.labels))
        };
        let mut domains = BTreeMap::new();
        for host in (0..self.hosts.len()).filter(eligible) {
            let Some(domain) = self.label(host, &wanted.topology_key) else { continue };
            *domains.entry(domain).or_default() += self.on(host).filter(counts).count() as i64;
        }
        domains
    }

    fn even(&self, request: &Request, wanted: &TopologySpread, host: usize) -> bool {
        let domains = self.domains(request, wanted);
        let Some(domain) = self.label(host, &wanted.topology_key) else { return false };
        let fewer = wanted.min_domains.is_some_and(|min| domains.len() < min as usize);
        let emptiest = if fewer { 0 } else { domains.values().copied().min().unwrap_or(0) };
        let itself = i64::from(wanted.label_selector.as_ref().is_some_and(|selector| selector.matches(&request.profile.labels)));
        domains.get(domain).copied().unwrap_or(0) + itself - emptiest <= i64::from(wanted.max_skew)
    }

    fn dislike(&self, request: &Request, host: usize) -> i64 {
        let facts = &self.hosts[host].facts;
        let soft = |taint: &&Taint| taint.effect == Taint::PREFER_NO_SCHEDULE && !taint.is_tolerated(&request.rules.tolerations);
        let mut sum = 100 * self.hosts[host].marks.taints.iter().filter(soft).count() as i64;
        for liked in &request.rules.nodes.preferred {
            sum -= i64::from(liked.weight) * i64::from(liked.preference.matches(facts.name.as_str(), &facts.labels));
        }
        let there = |term: &PodAffinityTerm| {
            let met =
                self.pods.iter().filter(|(at, pod)| Self::means(term, request, pod) && self.same(&term.topology_key, *at, host));
            met.count() as i64
        };
        for liked in &request.rules.near.preferred {
            sum -= i64::from(liked.weight) * there(&liked.pod_affinity_term);
        }
        for shunned in &request.rules.far.preferred {
            sum += i64::from(shunned.weight) * there(&shunned.pod_affinity_term);
        }
        for wanted in request.rules.spread.iter().filter(|wanted| !wanted.is_hard()) {
            sum += match self.label(host, &wanted.topology_key) {
                Some(domain) => {
                    100 * self.domains(request, wanted).get(domain).copied().unwrap_or(0) / i64::from(wanted.max_skew)
                }
                None => 1 << 40,
            };
        }
        sum
    }
}

const KEYS: [&str; 3] = ["zone", "rack", "kubernetes.io/hostname"];

fn host() -> impl Strategy<Value = (u64, u8, u8, u8, bool, bool)> {
    (1_u64..6, 0_u8..4, 0_u8..3, 0_u8..6, prop::bool::weighted(0.1), prop::bool::weighted(0.9))
}

fn make_host(index: usize, (cores, zone, rack, taint, cordoned, ready): (u64, u8, u8, u8, bool, bool)) -> Host {
    let (name, zone, rack) = (format!("n{index}"), zone.to_string(), rack.to_string());
    let mut labels = vec![("kubernetes.io/hostname", name.as_str()), ("rack", rack.as_str())];
    if zone != "0" {
        labels.push(("zone", zone.as_str()));
    }
    let effect = ["NoSchedule", "NoExecute", "PreferNoSchedule"].get(usize::from(taint));
    let taints = effect.map(|effect| Taint { key: "team".into(), value: taint.to_string(), effect: (*effect).into() });
    let marks = NodeSpec { unschedulable: cordoned, taints: taints.into_iter().collect(), ..NodeSpec::default() };
    Host { facts: facts(&name, cores * 100, 0, &labels), marks, ready }
}

/// A term about pods: of one app, or of all that have a label, here or in both namespaces.
fn term() -> impl Strategy<Value = Value> {
    (0_usize..3, 0_u8..5, prop::bool::weighted(0.2)).prop_map(|(key, app, abroad)| {
        let selector = if app == 4 {
            json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]})
        } else {
            json!({"matchLabels": {"app": format!("w{app}")}})
        };
        let mut term = json!({"labelSelector": selector, "topologyKey": KEYS[key]});
        if abroad {
            term["namespaces"] = json!(["shop", "other"]);
        }
        term
    })
}

fn affinity() -> impl Strategy<Value = Value> {
    let required = prop::collection::vec(term(), 0..2);
    let preferred = prop::collection::vec((1_u32..100, term()), 0..2);
    (required, preferred).prop_map(|(required, preferred)| {
        let preferred: Vec<Value> = preferred.iter().map(|(weight, term)| json!({"weight": weight, "podAffinityTerm": term})).collect();
        json!({"requiredDuringSchedulingIgnoredDuringExecution": required, "preferredDuringSchedulingIgnoredDuringExecution": preferred})
    })
}

fn constraint() -> impl Strategy<Value = Value> {
    (1_u32..3, 0_usize..3, prop::bool::ANY, 0_u8..4, prop::option::of(1_u32..4), prop::bool::ANY, prop::bool::ANY).prop_map(
        |(skew, key, hard, app, domains, affinity, taints)| {
            let policy = |honour: bool| if honour { "Honor" } else { "Ignore" };
            json!({
                "maxSkew": skew,
                "topologyKey": KEYS[key],
                "whenUnsatisfiable": if hard { "DoNotSchedule" } else { "ScheduleAnyway" },
                "labelSelector": {"matchLabels": {"app": format!("w{app}")}},
                "minDomains": domains.filter(|_| hard),
                "nodeAffinityPolicy": policy(affinity),
                "nodeTaintsPolicy": policy(taints),
            })
        },
    )
}

fn template() -> impl Strategy<Value = (Value, u64)> {
    let rules = (
        prop::option::weighted(0.3, affinity()),
        prop::option::weighted(0.4, affinity()),
        prop::collection::vec(constraint(), 0..3),
    );
    let rest = (prop::option::weighted(0.3, 0_u8..3), prop::option::weighted(0.3, 0_u8..3), prop::bool::weighted(0.3), 0_u64..80);
    (rules, rest).prop_map(|((near, far, spread), (rack, zone, tolerant, cpu))| {
        let mut spec = json!({ "affinity": {}, "topologySpreadConstraints": spread });
        let terms =
            |key: &str, values: Vec<String>| json!({"matchExpressions": [{"key": key, "operator": "In", "values": values}]});
        if let Some(near) = near {
            spec["affinity"]["podAffinity"] = near;
        }
        if let Some(far) = far {
            spec["affinity"]["podAntiAffinity"] = far;
        }
        let required = rack.map(|rack| json!({ "nodeSelectorTerms": [terms("rack", vec![rack.to_string(), "2".to_owned()])] }));
        let preferred = zone.map(|zone| json!([{ "weight": 30, "preference": terms("zone", vec![zone.to_string()]) }]));
        spec["affinity"]["nodeAffinity"] = json!({
            "requiredDuringSchedulingIgnoredDuringExecution": required,
            "preferredDuringSchedulingIgnoredDuringExecution": preferred.unwrap_or(json!([])),
        });
        if tolerant {
            spec["tolerations"] = json!([{"key": "team", "operator": "Exists"}]);
        }
        (spec, cpu)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn every_choice_is_that_of_looking_at_everything(
        hosts in prop::collection::vec(host(), 1..9),
        templates in prop::collection::vec(template(), 4),
        steps in prop::collection::vec((0_usize..4, 1_usize..14, 0_usize..3, any::<prop::sample::Index>()), 1..12),
    ) {
        let hosts: Vec<Host> = hosts.into_iter().enumerate().map(|(index, host)| make_host(index, host)).collect();
        let mut nodes = Nodes::default();
        for host in &hosts {
            nodes.set(&host.facts, &host.marks, host.ready);
        }
        let requests: Vec<Request> = templates.into_iter().enumerate().map(|(index, (spec, cpu))| {
            let namespace = if index == 3 { "other" } else { "shop" };
            let mut request = written(&format!("w{index}@{namespace}"), spec);
            request.amounts.cpu_milli = cpu;
            request
        }).collect();
        let mut naive = Naive { hosts, pods: Vec::new() };
        for (which, times, leave, who) in steps {
            let request = &requests[which];
            for _ in 0..times {
                let expected = naive.place(request);
                prop_assert_eq!(place(request, &mut nodes).ok(), expected.clone());
                let Some(name) = expected else { break };
                nodes.reserve(&name, request);
                let at = naive.hosts.iter().position(|host| host.facts.name == name).expect("a host");
                naive.pods.push((at, request.clone()));
                for _ in 0..leave.min(naive.pods.len()).min(1) {
                    let (at, request) = naive.pods.swap_remove(who.index(naive.pods.len()));
                    nodes.release(&naive.hosts[at].facts.name.clone(), &request);
                }
            }
        }
    }
}
