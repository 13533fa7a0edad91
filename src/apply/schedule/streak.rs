//! The request that is being placed, and after a while all nodes in the order in which it chooses them.
//!
//! A shortcut: it changes how long a choice takes, never the choice. Nodes are kept in heaps, one per combination of the wide domains
//! that the request asks about, so that what is true for a whole zone is asked once and not once per node.

use super::filter::{self, refuses};
use super::nodes::{Load, Nodes};
use super::outlook::{Outlook, Shift, Sight};
use super::request::Request;
use crate::model::NodeName;
use std::collections::{BTreeMap, BTreeSet};

/// The request that was placed last.
#[derive(Debug, Clone, Default)]
pub(super) struct Streak {
    pub(super) request: Option<Request>,
    pub(super) outlook: Outlook,
    /// How many nodes were looked at for it one by one.
    looks: usize,
    order: Option<Order>,
}

/// The nodes that fit a request, in the order in which they are chosen.
#[derive(Debug, Clone, Default)]
struct Order {
    /// The labels of the wide domains.
    keys: Vec<String>,
    /// The nodes by the values of those labels.
    heaps: BTreeMap<Vec<Option<String>>, BTreeSet<Preference>>,
}

/// What a node is chosen by: how much the pod dislikes it, the pods of the workload that it has, its load, its name.
pub(super) type Preference = (i64, u32, Load, NodeName);

/// A node's place in the order.
pub(super) type Standing = (Vec<Option<String>>, Preference);

impl Streak {
    /// True if it is about this request.
    pub(super) fn is_for(&self, request: &Request) -> bool {
        self.request.as_ref() == Some(request)
    }

    pub(super) fn start(request: &Request, nodes: &Nodes) -> Self {
        Self { request: Some(request.clone()), outlook: Outlook::of(request, nodes), looks: 0, order: None }
    }

    /// Notes that a node was looked at.
    pub(super) fn look(&mut self) {
        self.looks = self.looks.saturating_add(1);
    }

    /// Puts all nodes in order where that pays: it costs one look at each. A pod that likes some nodes better needs it to choose.
    pub(super) fn settle(&mut self, nodes: &Nodes) {
        let Some(request) = &self.request else { return };
        let picky = request.rules.prefers() || nodes.deters();
        if self.order.is_none() && (picky || self.looks > nodes.len()) {
            self.order = Some(Order::of(request, nodes, &self.outlook));
        }
    }

    /// The first choice, if all nodes are in order: `Some(None)` if no node fits.
    pub(super) fn first_choice(&self, nodes: &Nodes) -> Option<Option<NodeName>> {
        let (request, order) = (self.request.as_ref()?, self.order.as_ref()?);
        let best = order.heaps.iter().filter_map(|(domain, heap)| {
            let labels = |key: &str| order.keys.iter().position(|known| known == key).and_then(|index| domain[index].as_deref());
            if !request.assigned && self.outlook.refuses(request, &labels, Sight::Wide).is_some() {
                return None;
            }
            let dislike = self.outlook.dislike(request, &labels, Sight::Wide);
            let (own, count, load, name) = self.first_even(request, heap, nodes)?;
            Some((own.saturating_add(dislike), count, load, name))
        });
        Some(best.min().map(|(_, _, _, name)| name.clone()))
    }

    /// The first of a heap that `DoNotSchedule` over single nodes allows.
    fn first_even<'a>(&self, request: &Request, heap: &'a BTreeSet<Preference>, nodes: &Nodes) -> Option<&'a Preference> {
        if request.assigned || !self.outlook.spreads_over_nodes(request) {
            return heap.first();
        }
        heap.iter().find(|(_, _, _, name)| {
            let offer = nodes.get(name).and_then(|node| node.offer.as_ref());
            let labels = |key: &str| offer.and_then(|offer| offer.labels.get(key)).map(String::as_str);
            self.outlook.refuses(request, &labels, Sight::NarrowSpread).is_none()
        })
    }
}

impl Order {
    fn of(request: &Request, nodes: &Nodes, outlook: &Outlook) -> Self {
        let mut order = Self { keys: outlook.wide_keys(), heaps: BTreeMap::new() };
        for name in nodes.names() {
            if let Some((domain, preference)) = order.standing(request, nodes, outlook, name) {
                order.heaps.entry(domain).or_default().insert(preference);
            }
        }
        order
    }

    /// The place of a node in the order; `None` if it does not fit, wide domains aside.
    fn standing(&self, request: &Request, nodes: &Nodes, outlook: &Outlook, name: &NodeName) -> Option<Standing> {
        if refuses(request, nodes, outlook, name, Sight::Narrow).is_some() {
            return None;
        }
        let labels = &nodes.get(name)?.offer.as_ref()?.labels;
        let domain = self.keys.iter().map(|key| labels.get(key).cloned()).collect();
        Some((domain, preference(request, nodes, outlook, name, Sight::Narrow)))
    }
}

/// What a node is chosen by.
pub(super) fn preference(request: &Request, nodes: &Nodes, outlook: &Outlook, name: &NodeName, sight: Sight) -> Preference {
    let dislike = nodes.get(name).and_then(|node| node.offer.as_ref()).map_or(0, |offer| {
        let labels = |key: &str| offer.labels.get(key).map(String::as_str);
        filter::dislike(request, offer, name).saturating_add(outlook.dislike(request, &labels, sight))
    });
    (dislike, nodes.count(&request.workload, name), nodes.load(name), name.clone())
}

impl Nodes {
    /// The place of a node in the order of the streak, before something is reserved there or given back.
    pub(super) fn standing(&self, name: &NodeName) -> Option<Standing> {
        let (request, order) = (self.streak.request.as_ref()?, self.streak.order.as_ref()?);
        order.standing(request, self, &self.streak.outlook, name)
    }

    /// Keeps the streak true after a pod has come to a node or gone from it.
    pub(super) fn follow(&mut self, name: &NodeName, changed: &Request, delta: i64, before: Option<Standing>) {
        let mut streak = std::mem::take(&mut self.streak);
        if let Some(request) = &streak.request
            && let Some(offer) = self.get(name).and_then(|node| node.offer.as_ref())
            && streak.outlook.note(request, &changed.profile, (name, offer), delta, self) == Shift::Everywhere
            && streak.order.take().is_some()
        {
            streak.looks = usize::MAX;
        }
        self.streak = streak;
        if self.streak.order.is_some() {
            let after = self.standing(name);
            self.move_in_order(before, after);
        }
    }

    fn move_in_order(&mut self, before: Option<Standing>, after: Option<Standing>) {
        let Some(order) = &mut self.streak.order else { return };
        if let Some((domain, preference)) = before
            && let Some(heap) = order.heaps.get_mut(&domain)
        {
            heap.remove(&preference);
            if heap.is_empty() {
                order.heaps.remove(&domain);
            }
        }
        if let Some((domain, preference)) = after {
            order.heaps.entry(domain).or_default().insert(preference);
        }
    }
}
