//! What a change does to the pods of StatefulSets and DaemonSets, and to volumes.

use super::effect::{Pods, because, count, replaced, serving};
use crate::model::{Action, Change, DaemonUpdate, Effect, IntOrString, Object, Stateful, StatefulUpdate, Strategy, Workload};

/// What a new template does where it is for new pods only.
pub(super) const ON_DELETE: &str = "no pod is replaced by this: a pod gets the new template when somebody removes the old one";

/// What becomes of a volume claim.
pub(super) fn claim(action: Action) -> String {
    match action {
        Action::Create => "a folder is made on the node that first runs a pod with it, and its pods run there from then on",
        Action::Delete => "the volume is deleted when no pod uses it any more: ALL DATA IN IT IS DESTROYED",
        Action::Update | Action::Replace | Action::Scale => "takes effect at once; the data stays where it is",
    }
    .to_owned()
}

/// Says of a StatefulSet what is particular to it: in what order its pods go, and what becomes of their volumes.
pub(super) fn stateful(
    effect: &mut Effect,
    change: &Change,
    (before, after): (Option<&Object>, Option<&Object>),
    pods: Pods,
    spec: &Stateful,
) {
    let set = Names { name: &change.key.name, first: spec.first };
    match change.action {
        Action::Replace => replace(effect, (before, after), pods, spec, set),
        Action::Create if pods.after > 0 => effect.order.push_str(&start(0, pods.after, spec, set)),
        Action::Scale if pods.after > pods.before => effect.order.push_str(&start(pods.before, pods.after, spec, set)),
        Action::Scale if pods.after < pods.before => {
            let order = if spec.parallel { "all at once".to_owned() } else { format!("{} first", set.at(pods.before - 1)) };
            effect.order.push_str(&format!(", {order}{}", volumes(spec, spec.retention.delete_when_scaled)));
        }
        Action::Delete => effect.order.push_str(&volumes(spec, spec.retention.delete_when_deleted)),
        Action::Update => lower_partition(effect, before, spec, set),
        Action::Create | Action::Scale => {}
    }
}

/// The names of numbered pods.
#[derive(Clone, Copy)]
struct Names<'a> {
    name: &'a str,
    first: u32,
}

impl Names<'_> {
    fn at(self, index: u32) -> String {
        format!("{}-{}", self.name, self.first.saturating_add(index))
    }

    /// `web-0`, or `web-0 to web-2`.
    fn span(self, from: u32, to: u32) -> String {
        if to <= from + 1 { self.at(from) } else { format!("{} to {}", self.at(from), self.at(to - 1)) }
    }
}

fn start(from: u32, to: u32, spec: &Stateful, set: Names<'_>) -> String {
    let order = if spec.parallel || to == from + 1 { "" } else { ", each when the one before it is ready" };
    let claims = match spec.claims.as_slice() {
        [] => String::new(),
        [claim] => format!(", each with a volume {} of its own", claim.name),
        claims => format!(", each with {} volumes of its own", claims.len()),
    };
    format!(": {}{order}{claims}", set.span(from, to))
}

fn volumes(spec: &Stateful, deleted: bool) -> String {
    match (spec.claims.is_empty(), deleted) {
        (true, _) => String::new(),
        (false, true) => "; their volumes are deleted: ALL DATA IN THEM IS DESTROYED".to_owned(),
        (false, false) => "; their volumes are kept".to_owned(),
    }
}

fn replace(
    effect: &mut Effect,
    (before, after): (Option<&Object>, Option<&Object>),
    pods: Pods,
    spec: &Stateful,
    set: Names<'_>,
) {
    let StatefulUpdate::Rolling { partition, max_unavailable } = &spec.update else { return };
    let (Some(old), Some(new)) = (before.and_then(Object::workload), after.and_then(Object::workload)) else { return };
    if pods.before == 0 && pods.after == 0 {
        return;
    }
    let why = because(&old.snapshot.config, &new.snapshot.config);
    let kept = partition.saturating_sub(spec.first).min(pods.after);
    let moved = pods.after - kept;
    (effect.starts, effect.stops) = (moved, pods.before.saturating_sub(kept));
    if moved == 0 {
        effect.order = format!("{why}no pod is replaced: all numbers are below the partition {partition}");
        return;
    }
    let bound = Workload::update_bound(max_unavailable, pods.after).max(1);
    effect.downtime = kept == 0 && bound >= pods.after;
    let ready = ready(new);
    let how = match (moved, bound) {
        (1, _) => "the old pod stops, then the new one starts".to_owned(),
        (_, 1) => format!("one at a time, an old pod stops before its new one starts; the next when it is {ready}"),
        (_, bound) => format!("{bound} at a time, old pods stop before their new ones start"),
    };
    let order = if moved == 1 { set.at(kept) } else { format!("{} down to {}", set.at(pods.after - 1), set.at(kept)) };
    let rest = match kept {
        0 => String::new(),
        1 => format!("; {} keeps the old template (partition {partition})", set.at(0)),
        _ => format!("; {} keep the old template (partition {partition})", set.span(0, kept)),
    };
    let what = if kept == 0 { replaced(pods) } else { format!("{} replaced", count(moved)) };
    effect.order = format!("{why}{what}, {order}: {how}{rest}{}", serving(effect.downtime));
}

fn ready(workload: &Workload) -> String {
    match workload.min_ready_seconds {
        0 => "ready".to_owned(),
        seconds => format!("ready for {seconds} s"),
    }
}

/// Pods that an earlier partition kept at an older template get the newest when it is lowered.
fn lower_partition(effect: &mut Effect, before: Option<&Object>, spec: &Stateful, set: Names<'_>) {
    let Some(Strategy::Stateful(old)) = before.and_then(Object::workload).map(|workload| &workload.strategy) else {
        return;
    };
    let partition = |spec: &Stateful| match spec.update {
        StatefulUpdate::Rolling { partition, .. } => partition.max(spec.first) - spec.first,
        StatefulUpdate::OnDelete => u32::MAX,
    };
    let (old, new) = (partition(old), partition(spec));
    if new < old {
        let which = if old == u32::MAX { format!("from {} on", set.at(new)) } else { set.span(new, old) };
        effect.order = format!("pods with an older template are replaced ({which}), from the highest number down");
    }
}

/// What a change does to the pods of a DaemonSet. How many nodes suit is not known from git.
pub(super) fn daemon(
    action: Action,
    before: Option<&Object>,
    after: Option<&Object>,
    pods: Pods,
    update: &DaemonUpdate,
) -> Effect {
    let (old, new) = (before.and_then(Object::workload), after.and_then(Object::workload));
    let (order, starts, stops) = match action {
        Action::Create => ("a pod starts on every node that suits".to_owned(), 0, 0),
        Action::Delete => ("its pods stop on every node, and nothing of it runs afterwards".to_owned(), 0, pods.before),
        Action::Replace | Action::Update | Action::Scale => (roll(pods, update, new), pods.before, pods.before),
    };
    let hashes = old.zip(new).map(|(old, new)| (old.snapshot.hash.clone(), new.snapshot.hash.clone()));
    let why = old.zip(new).map(|(old, new)| because(&old.snapshot.config, &new.snapshot.config)).unwrap_or_default();
    if *update == DaemonUpdate::OnDelete && action == Action::Replace {
        return Effect { order: why + ON_DELETE, hashes, ..Effect::default() };
    }
    Effect { starts, stops, order: why + &order, downtime: action == Action::Delete, hashes, estimate: false }
}

fn roll(pods: Pods, update: &DaemonUpdate, workload: Option<&Workload>) -> String {
    let DaemonUpdate::Rolling { max_surge, max_unavailable } = update else { return String::new() };
    let what = if pods.before == 0 { "the pod of every node replaced".to_owned() } else { replaced(pods) };
    let (surge, unavailable) = (nodes(max_surge), nodes(max_unavailable));
    let ready = workload.map_or_else(|| "ready".to_owned(), ready);
    let how = match surge {
        Some(surge) => format!("{surge} at a time, the new pod {ready} before the old one stops"),
        None => format!(
            "{} at a time, the old pod of a node stops before its new one starts",
            unavailable.unwrap_or_else(|| "one node".to_owned())
        ),
    };
    format!("{what}, {how}")
}

/// `one node`, `3 nodes`, `10% of the nodes`; `None` for none.
fn nodes(bound: &IntOrString) -> Option<String> {
    match bound {
        zero if zero.is_zero() => None,
        IntOrString::Int(1) => Some("one node".to_owned()),
        IntOrString::Int(count) => Some(format!("{count} nodes")),
        IntOrString::Text(text) => Some(format!("{text} of the nodes")),
    }
}
