//! What changes of Nodes, PriorityClasses and PodDisruptionBudgets do to pods.

use super::{Counts, Scene};
use crate::model::{Action, Change, Effect, Kind, NodeName, NodeSpec, Object, ObjectKey, Taint};
use std::collections::BTreeMap;

/// What a drain does, whoever is there.
const DRAIN: &str = "takes no new pods and sends its own away one by one, each once another is ready elsewhere where that is possible, as budgets allow";

/// What a change of a Node does: to new pods always, to those that run there only by a drain or a
/// `NoExecute` taint.
pub(super) fn of_node(change: &Change, scene: &Scene<'_>, counts: &Counts<'_>) -> Effect {
    let (old, new) = (scene.before(&change.key), scene.after(&change.key));
    let (before, after) = (marks(old), marks(new));
    let name = NodeName::new(change.key.name.clone());
    let mut said = Vec::new();
    let mut effect = Effect::default();
    if removed(new) && !removed(old) {
        said.push(
            "its key counts no more, what ran there is taken for gone, its data included, and is replaced elsewhere".to_owned(),
        );
        if matches!(counts, Counts::Observed(_)) {
            let here = on(counts, &name);
            let names: Vec<String> = here.iter().map(|(key, count)| format!("{count} of {key}")).collect();
            effect.stops += here.values().sum::<u32>();
            effect.estimate = true;
            said.push(if names.is_empty() { "nothing runs there now".to_owned() } else { format!("now {}", names.join(", ")) });
        }
    }
    if after.drain != before.drain {
        said.push(if after.drain { DRAIN } else { "is drained no more; what has left does not come back for it" }.to_owned());
    }
    if let (true, false, Counts::Observed(_)) = (after.drain, before.drain, counts) {
        let (pods, text) = drained(scene, counts, &name);
        effect.stops += pods;
        effect.estimate = true;
        said.push(text);
    }
    if after.unschedulable != before.unschedulable && after.drain == before.drain {
        said.push(
            if after.unschedulable { "takes no new pods; what runs there stays" } else { "takes new pods again" }.to_owned(),
        );
    }
    for taint in after.taints.iter().filter(|taint| !before.taints.contains(taint)) {
        said.push(added(taint));
        if let (Counts::Observed(_), Taint::NO_EXECUTE) = (counts, taint.effect.as_str()) {
            let (pods, text) = leaving(scene, counts, &name, taint);
            effect.stops += pods;
            effect.estimate = true;
            said.push(text);
        }
    }
    for taint in before.taints.iter().filter(|taint| !after.taints.contains(taint)) {
        said.push(format!("the taint {{{}: {}}}:{} is lifted", taint.key, taint.value, taint.effect));
    }
    if labels(old) != labels(new) {
        said.push("its labels count for pods that are placed from now on; what runs there stays".to_owned());
    }
    if after.unschedulable && !before.unschedulable && !after.drain && matches!(counts, Counts::Observed(_)) {
        said.push(format!("{} there now", super::count(on(counts, &name).values().sum())));
        effect.estimate = true;
    }
    effect.starts = effect.stops;
    effect.order = if said.is_empty() { "no pod moves".to_owned() } else { said.join("; ") };
    effect
}

fn marks(object: Option<&Object>) -> NodeSpec {
    object.and_then(|object| object.node()).cloned().unwrap_or_default()
}

fn removed(object: Option<&Object>) -> bool {
    object.and_then(|object| object.meta.annotations.get(NodeSpec::REMOVED)).is_some_and(|value| value == "true")
}

fn labels(object: Option<&Object>) -> BTreeMap<String, String> {
    object.map(|object| object.meta.labels.clone()).unwrap_or_default()
}

fn added(taint: &Taint) -> String {
    let what = format!("the taint {{{}: {}}}", taint.key, taint.value);
    match taint.effect.as_str() {
        Taint::NO_EXECUTE => format!("{what} sends pods away that do not tolerate it; they are replaced elsewhere"),
        Taint::PREFER_NO_SCHEDULE => format!("{what} makes it the last choice for new pods that do not tolerate it"),
        _ => format!("{what} keeps new pods away that do not tolerate it; what runs there stays"),
    }
}

/// How many pods of each workload a node has now.
fn on<'a>(counts: &Counts<'a>, name: &NodeName) -> BTreeMap<&'a ObjectKey, u32> {
    let Counts::Observed(observed) = counts else { return BTreeMap::new() };
    let here = observed.workloads.iter().filter_map(|(key, pods)| Some((key, *pods.nodes.get(name)?)));
    here.filter(|(_, count)| *count > 0).collect()
}

/// Who leaves a node that is drained, and who stays and why.
fn drained(scene: &Scene<'_>, counts: &Counts<'_>, name: &NodeName) -> (u32, String) {
    let (mut pods, mut leaving, mut staying) = (0, Vec::new(), Vec::new());
    for (key, count) in on(counts, name) {
        match stays(key, scene.after(key)) {
            Some(why) => staying.push(format!("{count} of {key} ({why})")),
            None => {
                pods += count;
                leaving.push(format!("{count} of {key}"));
            }
        }
    }
    let leave = if leaving.is_empty() { "nobody there now leaves".to_owned() } else { format!("now {}", leaving.join(", ")) };
    let stay = if staying.is_empty() { String::new() } else { format!("; it keeps {}", staying.join(", ")) };
    (pods, leave + &stay)
}

/// Why the pods of a workload stay on a node that is drained, if they do.
fn stays(key: &ObjectKey, object: Option<&Object>) -> Option<&'static str> {
    let spec = object.and_then(|object| object.snapshot()).map(|snapshot| &snapshot.template.spec);
    let reasons = [
        (key.kind == Kind::DaemonSet, "on every node"),
        (key.kind == Kind::Job, "to its end"),
        (key.kind == Kind::Pod, "nothing would start it elsewhere"),
        (spec.is_some_and(|spec| spec.node_name.is_some()), "nodeName chose it"),
        (spec.is_some_and(|spec| !spec.claim_keys(&key.namespace, "").is_empty()), "its data is there"),
    ];
    reasons.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why)
}

/// Who leaves a node for a taint: those that run there now and do not tolerate it at all.
fn leaving(scene: &Scene<'_>, counts: &Counts<'_>, name: &NodeName, taint: &Taint) -> (u32, String) {
    let stays = |key: &ObjectKey| {
        let spec = scene.after(key).and_then(|object| object.snapshot()).map(|snapshot| &snapshot.template.spec);
        spec.is_some_and(|spec| taint.is_tolerated(&spec.tolerations))
    };
    let leaving: Vec<(&ObjectKey, u32)> = on(counts, name).into_iter().filter(|(key, _)| !stays(key)).collect();
    let names: Vec<String> = leaving.iter().map(|(key, count)| format!("{count} of {key}")).collect();
    let text = if names.is_empty() { "nobody there now has to leave".to_owned() } else { format!("now {}", names.join(", ")) };
    (leaving.into_iter().map(|(_, count)| count).sum(), text)
}

/// What a change of a PriorityClass does.
pub(super) fn of_class(change: &Change, scene: &Scene<'_>) -> String {
    let desired = if change.action == Action::Delete { scene.old } else { scene.new };
    let name = Some(change.key.name.as_str());
    let users =
        desired.workloads().filter(|(_, workload)| workload.snapshot.template.spec.priority_class_name.as_deref() == name);
    let users: Vec<String> = users.map(|(key, _)| key.to_string()).collect();
    let who = if users.is_empty() { "no workload names it".to_owned() } else { format!("for {}", users.join(", ")) };
    format!("decides who is placed first and who makes room; no pod is replaced ({who})")
}

/// What a change of a PodDisruptionBudget does.
pub(super) fn of_budget(change: &Change, scene: &Scene<'_>) -> String {
    let gone = change.action == Action::Delete;
    let (desired, object) = if gone { (scene.old, scene.before(&change.key)) } else { (scene.new, scene.after(&change.key)) };
    let selector = object.and_then(|object| object.budget()).and_then(|budget| budget.selector.as_ref());
    let here = desired.workloads().filter(|(key, _)| key.namespace == change.key.namespace);
    let covered = here
        .filter(|(_, workload)| selector.is_some_and(|selector| selector.matches(&workload.snapshot.template.metadata.labels)));
    let names: Vec<String> = covered.map(|(key, _)| key.to_string()).collect();
    let whose = if names.is_empty() { "no pods".to_owned() } else { format!("the pods of {}", names.join(", ")) };
    let verb = if gone { "no longer protects" } else { "protects" };
    format!("{verb} {whose} from making room for higher ones; no pod is replaced")
}
