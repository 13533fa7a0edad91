//! What a change does to pods: how many start and stop, in what order, and whether something stops serving meanwhile.

use super::{Observed, sets};
use crate::model::{
    Action, BlueGreen, Body, Change, ConfigSnapshot, Desired, Effect, Kind, Object, ObjectKey, Plan, Strategy, Workload,
};
use std::collections::{BTreeMap, BTreeSet};

mod job;
mod placement;

/// The two states that a plan lies between.
pub(super) struct Scene<'a> {
    old: &'a Desired,
    new: &'a Desired,
    /// Workloads whose pods the plan replaces.
    replaced: BTreeSet<ObjectKey>,
}

/// Where the numbers of pods come from.
pub(super) enum Counts<'a> {
    /// As many run as are wanted.
    Wanted,
    /// What was seen.
    Observed(&'a Observed),
}

/// How many pods a workload has.
#[derive(Clone, Copy)]
pub(super) struct Pods {
    pub(super) before: u32,
    pub(super) after: u32,
    /// Whether an autoscaler sets the number.
    autoscaled: bool,
}

impl<'a> Scene<'a> {
    pub(super) fn new(old: &'a Desired, new: &'a Desired, plan: &Plan) -> Self {
        let replaced = plan.changes.iter().filter(|change| change.action == Action::Replace);
        Self { old, new, replaced: replaced.map(|change| change.key.clone()).collect() }
    }

    fn before(&self, key: &ObjectKey) -> Option<&'a Object> {
        self.old.objects.get(key).map(AsRef::as_ref)
    }

    fn after(&self, key: &ObjectKey) -> Option<&'a Object> {
        self.new.objects.get(key).map(AsRef::as_ref)
    }

    fn pods(&self, key: &ObjectKey, counts: &Counts<'_>) -> Pods {
        let after = wanted(self.new, key);
        let autoscaled = self.new.autoscaler_of(key).is_some();
        match counts {
            Counts::Wanted => Pods { before: wanted(self.old, key), after, autoscaled },
            Counts::Observed(observed) => {
                let seen = observed.workloads.get(key);
                let after = match seen.and_then(|pods| pods.autoscaled) {
                    Some(count) if autoscaled => count,
                    _ => after,
                };
                let before = seen.map_or(0, |pods| pods.nodes.values().sum());
                Pods { before, after: if key.kind == Kind::DaemonSet { before } else { after }, autoscaled }
            }
        }
    }
}

/// The number of pods that git asks for. Where an autoscaler is in charge, git only says the bounds: the written number within them,
/// or the least. Of a DaemonSet git says no number.
fn wanted(desired: &Desired, key: &ObjectKey) -> u32 {
    if key.kind == Kind::DaemonSet {
        return 0;
    }
    let Some(workload) = desired.objects.get(key).and_then(|object| object.workload()) else { return 0 };
    match desired.autoscaler_of(key) {
        Some(bounds) => workload.replicas.unwrap_or(bounds.min_replicas).clamp(bounds.min_replicas, bounds.max_replicas),
        None => workload.replicas.unwrap_or(1),
    }
}

/// What a change does.
pub(super) fn of(change: &Change, scene: &Scene<'_>, counts: &Counts<'_>) -> Effect {
    let mut effect = match change.key.kind {
        Kind::Deployment | Kind::Rollout | Kind::StatefulSet | Kind::DaemonSet | Kind::ReplicaSet | Kind::Job | Kind::Pod => {
            of_workload(change, scene, counts)
        }
        Kind::ConfigMap | Kind::Secret => only(of_config(change, scene)),
        Kind::Service => of_service(change, scene),
        Kind::HorizontalPodAutoscaler => only(of_autoscaler(change, scene)),
        Kind::Node => placement::of_node(change, scene, counts),
        Kind::PriorityClass => only(placement::of_class(change, scene)),
        Kind::PodDisruptionBudget => only(placement::of_budget(change, scene)),
        Kind::PersistentVolumeClaim => only(sets::claim(change.action)),
        Kind::CronJob => only(job::of_cron(change.action, scene.before(&change.key), scene.after(&change.key))),
        Kind::Namespace | Kind::Ingress => Effect::default(),
    };
    if let (Counts::Observed(observed), true) = (counts, change.key.kind.is_workload()) {
        effect.estimate = true;
        effect.order.push_str(&observed.describe(&change.key));
    }
    effect
}

fn only(order: String) -> Effect {
    Effect { order, ..Effect::default() }
}

fn of_workload(change: &Change, scene: &Scene<'_>, counts: &Counts<'_>) -> Effect {
    let pods = scene.pods(&change.key, counts);
    let (before, after) = (scene.before(&change.key), scene.after(&change.key));
    if let Some(effect) = job::of_job(change.action, before, after, pods) {
        return effect;
    }
    let strategy = after.or(before).and_then(|object| object.workload()).map(|workload| &workload.strategy);
    if let (Some(Strategy::Daemon(update)), Action::Replace | Action::Create | Action::Delete) = (strategy, change.action) {
        return sets::daemon(change.action, before, after, pods, update);
    }
    let mut effect = of_any_workload(change, (before, after), pods);
    if let Some(Strategy::Stateful(spec)) = strategy {
        sets::stateful(&mut effect, change, (before, after), pods, spec);
    }
    effect
}

fn of_any_workload(change: &Change, (before, after): (Option<&Object>, Option<&Object>), pods: Pods) -> Effect {
    match (change.action, before, after) {
        (Action::Replace, Some(old), Some(new)) => replace(old, new, pods),
        (Action::Create, ..) => create(pods),
        (Action::Delete, ..) => delete(pods),
        (Action::Scale | Action::Update, Some(old), Some(new)) => scale(old, new, pods),
        _ => Effect::default(),
    }
}

fn create(pods: Pods) -> Effect {
    let verb = if pods.after == 1 { "starts" } else { "start" };
    Effect { starts: pods.after, order: format!("{} {verb}", count(pods.after)), ..Effect::default() }
}

fn delete(pods: Pods) -> Effect {
    let verb = if pods.before == 1 { "stops" } else { "stop" };
    let order = format!("{} {verb}, and nothing of it runs afterwards", count(pods.before));
    Effect { stops: pods.before, order, downtime: pods.before > 0, ..Effect::default() }
}

fn scale(old: &Object, new: &Object, pods: Pods) -> Effect {
    let written = |object: &Object| object.workload().and_then(|workload| workload.replicas);
    if pods.autoscaled && written(old) != written(new) {
        return only("no pod starts or stops: its autoscaler sets the number".to_owned());
    }
    let (before, after) = (pods.before, pods.after);
    if after > before {
        let (more, verb) = (after - before, if after - before == 1 { "starts" } else { "start" });
        return Effect { starts: more, order: format!("{} {verb} ({before} → {after})", count(more)), ..Effect::default() };
    }
    if after < before {
        let (fewer, verb) = (before - after, if before - after == 1 { "stops" } else { "stop" });
        let mut order = format!("{} {verb} ({before} → {after})", count(fewer));
        if after == 0 {
            order.push_str(", and nothing of it runs afterwards");
        }
        return Effect { stops: fewer, order, downtime: after == 0, ..Effect::default() };
    }
    only(without_pods(old, new))
}

/// What a change of a workload does that neither replaces pods nor changes their number.
fn without_pods(old: &Object, new: &Object) -> String {
    let (Some(before), Some(after)) = (old.workload(), new.workload()) else { return String::new() };
    if before.paused != after.paused {
        let does = if after.paused { "holds a rollout that is under way" } else { "takes up a rollout that waits" };
        return format!("no pod is replaced by this alone; it {does}, if there is one");
    }
    let promoted = before.strategy.blue_green().and_then(|blue_green| blue_green.promote.as_ref());
    match after.strategy.blue_green() {
        Some(blue_green) if blue_green.promote.is_some() && blue_green.promote.as_ref() != promoted => format!(
            "promotes the waiting set, if this is its template: Service {} switches at once; the old set stops {} s later",
            blue_green.active_service, blue_green.scale_down_delay_seconds
        ),
        _ => "no pod is replaced".to_owned(),
    }
}

fn replace(old: &Object, new: &Object, pods: Pods) -> Effect {
    let (Some(before), Some(after)) = (old.workload(), new.workload()) else { return Effect::default() };
    let hashes = Some((before.snapshot.hash.clone(), after.snapshot.hash.clone()));
    let why = because(&before.snapshot.config, &after.snapshot.config);
    if after.paused {
        let order = format!("{why}no pod is replaced until spec.paused is lifted");
        return Effect { order, hashes, ..Effect::default() };
    }
    if pods.before == 0 && pods.after == 0 {
        return Effect { order: format!("{why}no pod runs, so none is replaced"), hashes, ..Effect::default() };
    }
    if after.strategy.keeps_what_runs() {
        return Effect { order: why + sets::ON_DELETE, hashes, ..Effect::default() };
    }
    let (how, downtime) = match &after.strategy {
        // What `sets` says takes the place of this.
        Strategy::OnDelete | Strategy::Stateful(_) | Strategy::Daemon(_) => (String::new(), false),
        Strategy::Rolling { .. } => rolling(after, pods),
        Strategy::Recreate | Strategy::Job(_) => recreate(pods),
        Strategy::BlueGreen(blue_green) => (side_by_side(blue_green, pods), pods.after == 0),
    };
    Effect { starts: pods.after, stops: pods.before, order: why + &how, downtime, hashes, estimate: false }
}

/// The ConfigMaps and Secrets that differ between two snapshots, as the beginning of a sentence.
pub(super) fn because(old: &ConfigSnapshot, new: &ConfigSnapshot) -> String {
    let mut changed = differing("ConfigMap", &old.config_maps, &new.config_maps);
    changed.extend(differing("Secret", &old.secrets, &new.secrets));
    if changed.is_empty() { String::new() } else { format!("{} changed; ", changed.join(" and ")) }
}

fn differing<T: PartialEq>(kind: &str, old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) -> Vec<String> {
    let both = old.iter().filter_map(|(name, value)| Some((name, value, new.get(name)?)));
    both.filter(|(_, was, is)| was != is).map(|(name, ..)| format!("{kind} {name}")).collect()
}

fn rolling(workload: &Workload, pods: Pods) -> (String, bool) {
    let Strategy::Rolling { max_surge, max_unavailable } = &workload.strategy else { return (String::new(), false) };
    let (surge, unavailable) = Workload::rolling_bounds(max_surge, max_unavailable, pods.after);
    let all = pods.after.max(pods.before);
    let downtime = unavailable >= all;
    let step = surge.saturating_add(unavailable);
    let ready = match workload.min_ready_seconds {
        0 => "ready".to_owned(),
        seconds => format!("ready for {seconds} s"),
    };
    let order = match (step.min(all), unavailable) {
        (1, 0) if all == 1 => format!("the new pod is {ready} before the old one stops"),
        (1, 0) => format!("one at a time, each new pod {ready} before an old one stops"),
        (1, _) if all == 1 => "the old pod stops, then the new one starts".to_owned(),
        (1, _) => format!("one at a time, an old pod stops before its new one starts; the next when it is {ready}"),
        (n, 0) => format!("{n} at a time, new pods {ready} before old ones stop"),
        (n, _) => format!("{n} at a time, at most {unavailable} fewer than {} serving", pods.after),
    };
    (format!("{}, rolling: {order}{}", replaced(pods), serving(downtime)), downtime)
}

fn recreate(pods: Pods) -> (String, bool) {
    let downtime = pods.before > 0;
    let order = format!(
        "{}, recreated: {} before {}{}",
        replaced(pods),
        if pods.before == 1 { "the old one stops".to_owned() } else { format!("all {} old ones stop", pods.before) },
        if pods.after == 1 { "the new one starts" } else { "the new ones start" },
        serving(downtime)
    );
    (order, downtime)
}

fn side_by_side(blue_green: &BlueGreen, pods: Pods) -> String {
    let switch = match (blue_green.auto_promotion, blue_green.auto_promotion_seconds) {
        (true, 0) => format!("Service {} switches at once when all are ready", blue_green.active_service),
        (true, seconds) => format!("Service {} switches {seconds} s after all are ready", blue_green.active_service),
        (false, _) => {
            format!("Service {} switches when a commit sets driftless.dev/promote", blue_green.active_service)
        }
    };
    format!(
        "{}, blue/green: {} new beside {} old; {switch}; the old set stops {} s later{}",
        replaced(pods),
        pods.after,
        pods.before,
        blue_green.scale_down_delay_seconds,
        serving(pods.after == 0)
    )
}

pub(super) fn serving(downtime: bool) -> &'static str {
    if downtime { "; nothing serves meanwhile" } else { "" }
}

pub(super) fn replaced(pods: Pods) -> String {
    if pods.before == pods.after {
        return format!("{} replaced", count(pods.before));
    }
    format!("{} replaced by {}", count(pods.before), pods.after)
}

pub(super) fn count(pods: u32) -> String {
    if pods == 1 { "1 pod".to_owned() } else { format!("{pods} pods") }
}

fn of_config(change: &Change, scene: &Scene<'_>) -> String {
    let desired = if change.action == Action::Delete { scene.old } else { scene.new };
    let users: Vec<&ObjectKey> = desired
        .workloads()
        .filter(|(key, workload)| key.namespace == change.key.namespace && refers(&workload.snapshot.config, &change.key))
        .map(|(key, _)| key)
        .collect();
    let (rolls, stays): (Vec<_>, Vec<_>) = users.iter().partition(|key| scene.replaced.contains(**key));
    let names = |keys: &[&&ObjectKey]| keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match (rolls.as_slice(), stays.as_slice()) {
        ([], []) => "no pod uses it".to_owned(),
        ([], stays) => format!("used by {}", names(stays)),
        (rolls, _) => format!("replaces the pods of {}", names(rolls)),
    }
}

fn refers(config: &ConfigSnapshot, key: &ObjectKey) -> bool {
    let config_map = key.kind == Kind::ConfigMap && config.config_maps.contains_key(&key.name);
    config_map || (key.kind == Kind::Secret && config.secrets.contains_key(&key.name))
}

fn of_service(change: &Change, scene: &Scene<'_>) -> Effect {
    let selector = |object: Option<&Object>| object.and_then(|object| object.service()).map(|service| service.selector.clone());
    match change.action {
        Action::Create => only("gets an address of its own".to_owned()),
        Action::Delete => Effect { order: "its address goes".to_owned(), downtime: true, ..Effect::default() },
        Action::Update | Action::Replace | Action::Scale => {
            if selector(scene.before(&change.key)) == selector(scene.after(&change.key)) {
                only("takes effect at once; no pod is replaced".to_owned())
            } else {
                only("leads to other pods at once; no pod is replaced".to_owned())
            }
        }
    }
}

fn of_autoscaler(change: &Change, scene: &Scene<'_>) -> String {
    let desired = if change.action == Action::Delete { scene.before(&change.key) } else { scene.after(&change.key) };
    let Some(Body::Autoscaler(bounds)) = desired.map(|object| &object.body) else { return String::new() };
    let target = format!("{} {}/{}", bounds.target_kind, change.key.namespace, bounds.target_name);
    match change.action {
        Action::Delete => format!("{target} returns to the number that its spec.replicas says"),
        Action::Create | Action::Update | Action::Replace | Action::Scale => {
            format!("keeps {target} between {} and {} pods", bounds.min_replicas, bounds.max_replicas)
        }
    }
}
