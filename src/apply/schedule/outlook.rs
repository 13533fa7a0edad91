//! What one request sees of the other pods: how many are where, by the domains that its rules speak of.
//!
//! It is made when a request is first placed, and kept up to date with every reservation while the same request is placed again and
//! again. A *domain* is the set of nodes that have one value of a label; it is *narrow* if each of them is one node (the host name),
//! else *wide* (a zone). What is narrow changes for the node alone where a pod comes or goes; what is wide is asked once per domain.

use super::filter::repelled;
use super::nodes::{Nodes, Offer};
use super::refusal::Refusal;
use super::request::{Namespaces, Profile, Request};
use crate::model::{NodeName, PodAffinityTerm, TopologySpread};
use std::collections::BTreeMap;

/// What each pod in a domain weighs for `ScheduleAnyway` with `maxSkew: 1`: as much as the heaviest preference of a pod.
const SPREAD_WEIGHT: i64 = 100;

/// What it weighs that a node lacks the label of a `ScheduleAnyway` constraint: more than any number of pods.
const LACKS_LABEL: i64 = 1 << 40;

/// Labels of a node or of a domain, by key.
type Labels<'l> = &'l dyn Fn(&str) -> Option<&'l str>;

/// Which domains to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// All of them.
    All,
    /// Those of many nodes.
    Wide,
    /// Those of one node, `DoNotSchedule` aside: that also depends on the emptiest domain elsewhere.
    Narrow,
    /// `DoNotSchedule` over domains of one node.
    NarrowSpread,
}

/// What one request sees.
#[derive(Debug, Clone, Default)]
pub(super) struct Outlook {
    /// By required affinity term: the pods that match all such terms.
    near: Vec<Tally>,
    /// True if the pod matches its own affinity terms: then it may be the first of its kind.
    founds: bool,
    /// By required anti-affinity term: the pods that match it.
    far: Vec<Tally>,
    /// By label: the pods that keep this one away from their domain.
    guards: Vec<Tally>,
    /// By spread constraint: the pods that it counts.
    spread: Vec<Spread>,
    /// By preferred term: what a pod in the domain weighs, and the pods that match. What is wanted near has a negative weight.
    likes: Vec<(i64, Tally)>,
}

/// Pods by domain.
#[derive(Debug, Clone, Default)]
struct Tally {
    key: String,
    narrow: bool,
    domains: BTreeMap<String, u32>,
}

/// Pods by eligible domain, those without any included.
#[derive(Debug, Clone, Default)]
struct Spread {
    tally: Tally,
    /// How many domains have so many pods.
    levels: BTreeMap<u32, u32>,
    /// True if the pod is counted itself.
    counts_itself: bool,
}

/// What a change of the pods means to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Shift {
    /// At most the node where it happened looks different.
    Here,
    /// Every node may look different.
    Everywhere,
}

impl Outlook {
    /// What a request sees as things are.
    pub(super) fn of(request: &Request, nodes: &Nodes) -> Self {
        let mut outlook = Self::blank(request, nodes);
        for name in nodes.names() {
            if let Some(offer) = nodes.get(name).and_then(|node| node.offer.as_ref()) {
                outlook.admit(request, nodes, name, offer);
            }
        }
        for (profile, counts) in nodes.groups.seen_by(request, outlook.is_curious()) {
            let relation = outlook.relation(request, profile, &nodes.namespaces);
            if relation.is_none() {
                continue;
            }
            for (name, count) in counts {
                let Some(offer) = nodes.get(name).and_then(|node| node.offer.as_ref()) else { continue };
                let _ = outlook.count(request, &relation, (name, offer), i64::from(*count), nodes);
            }
        }
        outlook
    }

    fn blank(request: &Request, nodes: &Nodes) -> Self {
        let rules = &request.rules;
        let tally = |key: &String| Tally { key: key.clone(), narrow: nodes.is_narrow(key), domains: BTreeMap::new() };
        let own = &request.profile;
        let means_itself = |term: &PodAffinityTerm| nodes.namespaces.means(term, &own.namespace, own);
        let near = rules.near.preferred.iter().map(|liked| (-i64::from(liked.weight), &liked.pod_affinity_term));
        let far = rules.far.preferred.iter().map(|shunned| (i64::from(shunned.weight), &shunned.pod_affinity_term));
        Self {
            near: rules.near.required.iter().map(|term| tally(&term.topology_key)).collect(),
            founds: rules.near.required.iter().all(means_itself),
            far: rules.far.required.iter().map(|term| tally(&term.topology_key)).collect(),
            guards: Vec::new(),
            spread: rules
                .spread
                .iter()
                .map(|wanted| Spread {
                    tally: tally(&wanted.topology_key),
                    levels: BTreeMap::new(),
                    counts_itself: is_counted(wanted, own, own),
                })
                .collect(),
            likes: near.chain(far).map(|(weight, term)| (weight, tally(&term.topology_key))).collect(),
        }
    }

    /// True if it looks at pods for its own sake, and not only at those that keep it away.
    fn is_curious(&self) -> bool {
        !(self.near.is_empty() && self.far.is_empty() && self.spread.is_empty() && self.likes.is_empty())
    }

    /// Makes the domains of a node known to the spread constraints that it is eligible for.
    fn admit(&mut self, request: &Request, nodes: &Nodes, name: &NodeName, offer: &Offer) {
        for (wanted, spread) in request.rules.spread.iter().zip(&mut self.spread) {
            if let Some(domain) = offer.labels.get(&wanted.topology_key)
                && is_eligible(request, wanted, nodes, name, offer)
                && !spread.tally.domains.contains_key(domain)
            {
                spread.tally.domains.insert(domain.clone(), 0);
                *spread.levels.entry(0).or_default() += 1;
            }
        }
    }

    /// Notes that a pod has come to a node or gone from it.
    pub(super) fn note(
        &mut self,
        request: &Request,
        profile: &Profile,
        node: (&NodeName, &Offer),
        delta: i64,
        nodes: &Nodes,
    ) -> Shift {
        if !self.is_curious() && profile.avoids.is_empty() {
            return Shift::Here;
        }
        let relation = self.relation(request, profile, &nodes.namespaces);
        if relation.is_none() { Shift::Here } else { self.count(request, &relation, node, delta, nodes) }
    }

    /// What a pod of this profile is to the request.
    fn relation(&self, request: &Request, profile: &Profile, namespaces: &Namespaces) -> Relation {
        let (own, rules) = (&request.profile, &request.rules);
        let means = |term: &PodAffinityTerm| namespaces.means(term, &own.namespace, profile);
        let liked = rules.near.preferred.iter().chain(&rules.far.preferred).map(|liked| &liked.pod_affinity_term);
        let guards = profile.avoids.iter().filter(|term| namespaces.means(term, &profile.namespace, own));
        Relation {
            near: !rules.near.required.is_empty() && rules.near.required.iter().all(means),
            far: indexes(rules.far.required.iter().map(means)),
            spread: indexes(rules.spread.iter().map(|wanted| is_counted(wanted, own, profile))),
            likes: indexes(liked.map(means)),
            guards: guards.map(|term| term.topology_key.clone()).collect(),
        }
    }

    /// Counts pods of one relation on a node.
    fn count(
        &mut self,
        request: &Request,
        relation: &Relation,
        (name, offer): (&NodeName, &Offer),
        delta: i64,
        nodes: &Nodes,
    ) -> Shift {
        let label = |key: &str| offer.labels.get(key).map(String::as_str);
        let mut shift = Shift::Here;
        if relation.near {
            let was_alone = self.is_first();
            self.near.iter_mut().for_each(|tally| tally.change(&label, delta));
            if was_alone != self.is_first() {
                shift = Shift::Everywhere;
            }
        }
        for index in &relation.far {
            self.far[*index].change(&label, delta);
        }
        for index in &relation.likes {
            self.likes[*index].1.change(&label, delta);
        }
        for index in &relation.spread {
            if is_eligible(request, &request.rules.spread[*index], nodes, name, offer) {
                self.spread[*index].change(&label, delta);
            }
        }
        for key in &relation.guards {
            let known = self.guards.iter().position(|tally| tally.key == *key);
            let index = known.unwrap_or(self.guards.len());
            if known.is_none() {
                self.guards.push(Tally { key: key.clone(), narrow: nodes.is_narrow(key), domains: BTreeMap::new() });
                shift = Shift::Everywhere;
            }
            self.guards[index].change(&label, delta);
        }
        shift
    }

    /// True if there is no pod yet that the request wants to be near to.
    fn is_first(&self) -> bool {
        self.near.iter().all(|tally| tally.domains.is_empty())
    }

    /// The labels whose wide domains it asks about.
    pub(super) fn wide_keys(&self) -> Vec<String> {
        let tallies = self.near.iter().chain(&self.far).chain(&self.guards).chain(self.spread.iter().map(|spread| &spread.tally));
        let tallies = tallies.chain(self.likes.iter().map(|(_, tally)| tally));
        let mut keys: Vec<String> = tallies.filter(|tally| !tally.narrow).map(|tally| tally.key.clone()).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// True if [`Sight::NarrowSpread`] may refuse.
    pub(super) fn spreads_over_nodes(&self, request: &Request) -> bool {
        self.spread.iter().zip(&request.rules.spread).any(|(spread, wanted)| spread.tally.narrow && wanted.is_hard())
    }

    /// Why a pod cannot go where these labels are.
    pub(super) fn refuses(&self, request: &Request, labels: Labels<'_>, sight: Sight) -> Option<Refusal> {
        self.uneven(request, labels, sight).or_else(|| self.unwelcome(labels, sight))
    }

    fn uneven(&self, request: &Request, labels: Labels<'_>, sight: Sight) -> Option<Refusal> {
        let hard = self.spread.iter().zip(&request.rules.spread).filter(|(_, wanted)| wanted.is_hard());
        for (spread, wanted) in hard.filter(|(spread, _)| sight.takes_spread(spread.tally.narrow)) {
            let Some(domain) = labels(&wanted.topology_key) else {
                return Some(Refusal::NoSpreadLabel(wanted.topology_key.clone()));
            };
            if spread.skew(domain, wanted.min_domains) > i64::from(wanted.max_skew) {
                return Some(Refusal::Spread);
            }
        }
        None
    }

    fn unwelcome(&self, labels: Labels<'_>, sight: Sight) -> Option<Refusal> {
        let alone = self.founds && self.is_first();
        let seen = |tally: &&Tally| sight.takes(tally.narrow);
        let has = |tally: &Tally| labels(&tally.key).is_some_and(|domain| alone || tally.at(domain) > 0);
        if !self.near.iter().filter(seen).all(has) {
            return Some(Refusal::PodAffinity);
        }
        let has_any = |tally: &Tally| labels(&tally.key).is_some_and(|domain| tally.at(domain) > 0);
        if self.far.iter().filter(seen).any(has_any) {
            return Some(Refusal::PodAntiAffinity);
        }
        self.guards.iter().filter(seen).any(has_any).then_some(Refusal::ExistingAntiAffinity)
    }

    /// How much a pod dislikes to go where these labels are, for the pods that are there.
    pub(super) fn dislike(&self, request: &Request, labels: Labels<'_>, sight: Sight) -> i64 {
        let mut sum = 0_i64;
        for (weight, tally) in self.likes.iter().filter(|(_, tally)| sight.takes(tally.narrow)) {
            let pods = labels(&tally.key).map_or(0, |domain| tally.at(domain));
            sum = sum.saturating_add(weight.saturating_mul(i64::from(pods)));
        }
        let soft = self.spread.iter().zip(&request.rules.spread).filter(|(_, wanted)| !wanted.is_hard());
        for (spread, wanted) in soft.filter(|(spread, _)| sight.takes(spread.tally.narrow)) {
            let weight = labels(&spread.tally.key).map_or(LACKS_LABEL, |domain| {
                i64::from(spread.tally.at(domain)) * SPREAD_WEIGHT / i64::from(wanted.max_skew.max(1))
            });
            sum = sum.saturating_add(weight);
        }
        sum
    }
}

/// What a pod is to a request: the rules of the request that count it, and the labels by which it keeps the request away.
struct Relation {
    near: bool,
    far: Vec<usize>,
    spread: Vec<usize>,
    likes: Vec<usize>,
    guards: Vec<String>,
}

impl Relation {
    fn is_none(&self) -> bool {
        !self.near && self.far.is_empty() && self.spread.is_empty() && self.likes.is_empty() && self.guards.is_empty()
    }
}

fn indexes(holds: impl Iterator<Item = bool>) -> Vec<usize> {
    holds.enumerate().filter(|(_, holds)| *holds).map(|(index, _)| index).collect()
}

impl Sight {
    fn takes(self, narrow: bool) -> bool {
        match self {
            Sight::All => true,
            Sight::Wide => !narrow,
            Sight::Narrow => narrow,
            Sight::NarrowSpread => false,
        }
    }

    fn takes_spread(self, narrow: bool) -> bool {
        match self {
            Sight::All => true,
            Sight::Wide => !narrow,
            Sight::Narrow => false,
            Sight::NarrowSpread => narrow,
        }
    }
}

impl Tally {
    fn at(&self, domain: &str) -> u32 {
        self.domains.get(domain).copied().unwrap_or(0)
    }

    /// A node without the label is in no domain. A domain without pods is forgotten.
    fn change<'l>(&mut self, label: &dyn Fn(&str) -> Option<&'l str>, delta: i64) {
        let Some(domain) = label(&self.key) else { return };
        let count = shifted(self.at(domain), delta);
        if count == 0 {
            self.domains.remove(domain);
        } else if let Some(known) = self.domains.get_mut(domain) {
            *known = count;
        } else {
            self.domains.insert(domain.to_owned(), count);
        }
    }
}

impl Spread {
    /// How many more pods than the emptiest domain this one would have with the new pod. Where there are fewer domains than
    /// wanted, the emptiest counts as empty.
    fn skew(&self, domain: &str, domains_min: Option<u32>) -> i64 {
        let fewer = domains_min.is_some_and(|wanted| self.tally.domains.len() < wanted as usize);
        let emptiest = if fewer { 0 } else { self.levels.keys().next().copied().unwrap_or(0) };
        i64::from(self.tally.at(domain)) + i64::from(self.counts_itself) - i64::from(emptiest)
    }

    fn change<'l>(&mut self, label: &dyn Fn(&str) -> Option<&'l str>, delta: i64) {
        let Some(domain) = label(&self.tally.key) else { return };
        let Some(count) = self.tally.domains.get_mut(domain) else { return };
        if let Some(domains) = self.levels.get_mut(count) {
            *domains -= 1;
            if *domains == 0 {
                self.levels.remove(count);
            }
        }
        *count = shifted(*count, delta);
        *self.levels.entry(*count).or_default() += 1;
    }
}

fn shifted(count: u32, delta: i64) -> u32 {
    u32::try_from(i64::from(count).saturating_add(delta)).unwrap_or(0)
}

/// True if a spread constraint counts a pod of this profile: pods of the same namespace that its selector takes.
fn is_counted(wanted: &TopologySpread, own: &Profile, other: &Profile) -> bool {
    own.namespace == other.namespace && wanted.label_selector.as_ref().is_some_and(|selector| selector.matches(&other.labels))
}

/// True if a spread constraint looks at a node: it has the labels of all constraints of its strength, the pod's node affinity allows
/// it (unless that is to be ignored), and no taint keeps the pod away (if taints are to be honoured).
fn is_eligible(request: &Request, wanted: &TopologySpread, nodes: &Nodes, name: &NodeName, offer: &Offer) -> bool {
    let alike = request.rules.spread.iter().filter(|other| other.is_hard() == wanted.is_hard());
    if !alike.into_iter().all(|other| offer.labels.contains_key(&other.topology_key)) {
        return false;
    }
    let ignores = |policy: &Option<String>, default: bool| policy.as_deref().map_or(default, |policy| policy == "Ignore");
    let selected = || {
        let labels = request.node_selector.iter().all(|(key, value)| offer.labels.get(key) == Some(value));
        labels && request.rules.nodes.required.as_ref().is_none_or(|terms| terms.matches(name.as_str(), &offer.labels))
    };
    let open = || nodes.get(name).is_some_and(|node| node.ready) && repelled(&request.rules.tolerations, offer).is_none();
    (ignores(&wanted.node_affinity_policy, false) || selected()) && (ignores(&wanted.node_taints_policy, true) || open())
}
