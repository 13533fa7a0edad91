//! Draining a node: which pod leaves it next, and why the others are still there.
//!
//! Pods leave one by one. Where its workload allows it, a pod goes when another is ready elsewhere (one more than wanted is asked for,
//! for as long as that takes); where two must not run side by side (`Recreate`, the numbers of a StatefulSet), it goes first, once
//! another node has room for it. Disruption budgets are asked before a pod goes, and rollouts are let finish: they place their new
//! pods elsewhere anyway. What would start nowhere else stays, and is told.

use crate::model::{BudgetView, DrainReason, ObjectKey, PodUid};

/// A pod on the node, those of DaemonSets aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant<'a> {
    /// Its uid.
    pub uid: PodUid,
    /// Its workload.
    pub workload: &'a ObjectKey,
    /// How it moves; what it stays for, if it does not.
    pub way: Result<Way, DrainReason>,
    /// Where it stands.
    pub stage: Stage,
    /// Whether it serves.
    pub serving: bool,
    /// Whether a rollout of its workload is under way.
    pub rollout: bool,
    /// Whether all pods of its workload are as wanted.
    pub whole: bool,
    /// The disruption budgets that count it, with what they allow now.
    pub budgets: Vec<(ObjectKey, BudgetView)>,
}

/// How a pod moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Another is ready before it goes.
    Surge,
    /// It goes before another starts.
    Stop,
}

/// Where a pod stands in the drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing has begun.
    Here,
    /// One more is asked for in its place.
    Surging {
        /// Whether that one is ready.
        ready: bool,
        /// Whether it has taken so long that others need not wait for it.
        late: bool,
    },
    /// It was told to go.
    Leaving,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Ask for one more pod of this one's workload.
    Surge(PodUid),
    /// Retire it.
    Retire(PodUid),
}

/// The next move on one node, and why each pod is still there, in the order of `tenants`. `room` says whether another node would take
/// a pod, and is asked for as few as possible; `taken` whether a pod of the workload moves off another node.
pub fn next<'a>(
    tenants: &[Tenant<'a>],
    taken: &dyn Fn(&ObjectKey) -> bool,
    room: &mut dyn FnMut(&Tenant<'a>) -> Result<(), String>,
) -> (Option<Move>, Vec<DrainReason>) {
    let mut busy = tenants.iter().any(in_the_way);
    let mut found = None;
    let mut judge = |tenant: &Tenant<'a>| {
        let verdict = match tenant.stage {
            Stage::Leaving => Err(DrainReason::Leaves),
            Stage::Surging { ready: true, .. } => budgeted(tenant).map(|()| Move::Retire(tenant.uid)),
            Stage::Surging { ready: false, .. } if !tenant.serving => budgeted(tenant).map(|()| Move::Retire(tenant.uid)),
            Stage::Surging { ready: false, .. } => Err(DrainReason::Replacement(tenant.workload.clone())),
            Stage::Here => begin(tenant, busy || taken(tenant.workload), room),
        };
        match verdict {
            Ok(next) if found.is_none() => {
                found = Some(next);
                busy = true;
                DrainReason::Leaves
            }
            Ok(_) => DrainReason::Turn,
            Err(reason) => reason,
        }
    };
    let reasons = tenants.iter().map(&mut judge).collect();
    (found, reasons)
}

/// True if others wait for this pod.
fn in_the_way(tenant: &Tenant<'_>) -> bool {
    match tenant.stage {
        Stage::Here => false,
        Stage::Surging { late, .. } => !late,
        Stage::Leaving => true,
    }
}

/// What a pod begins with whose turn it may be. What keeps it for long is told even while others go first.
fn begin<'a>(
    tenant: &Tenant<'a>,
    busy: bool,
    room: &mut dyn FnMut(&Tenant<'a>) -> Result<(), String>,
) -> Result<Move, DrainReason> {
    let way = tenant.way.clone()?;
    if tenant.rollout {
        return Err(DrainReason::Rollout(tenant.workload.clone()));
    }
    let goes_first = way == Way::Stop || !tenant.serving;
    if goes_first {
        budgeted(tenant)?;
    }
    if busy {
        return Err(DrainReason::Turn);
    }
    if way == Way::Stop && tenant.serving && !tenant.whole {
        return Err(DrainReason::Replacement(tenant.workload.clone()));
    }
    room(tenant).map_err(|refusals| DrainReason::Placement(tenant.workload.clone(), refusals))?;
    Ok(if goes_first { Move::Retire(tenant.uid) } else { Move::Surge(tenant.uid) })
}

/// Whether every budget lets it go. One that does not serve costs its budget nothing, but goes only while the others are enough
/// (`IfHealthyBudget`: <https://kubernetes.io/docs/tasks/run-application/configure-pdb/#unhealthy-pod-eviction-policy>).
fn budgeted(tenant: &Tenant<'_>) -> Result<(), DrainReason> {
    let allows = |budget: &BudgetView| budget.allowed > 0 || (!tenant.serving && budget.healthy >= budget.desired);
    match tenant.budgets.iter().find(|(_, budget)| !allows(budget)) {
        Some((key, _)) => Err(DrainReason::Budget(key.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Epoch, Incarnation, Kind, TemplateHash};

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::Deployment, "shop", name)
    }

    fn uid(name: &str) -> PodUid {
        PodUid::derive("test", &key(name), 0, &TemplateHash::new("a"), Incarnation { epoch: Epoch(1), counter: 1 })
    }

    /// `web`, and after it any of `stop`, `bound`, `unready`, `rollout`, `broken` (others of the workload are not as wanted), `budget`
    /// (allows nothing), `tight` (allows nothing, the others are enough), `surging`, `ready`, `late`, `leaving`.
    fn tenant<'a>(line: &str, workload: &'a ObjectKey) -> Tenant<'a> {
        let has = |word: &str| line.split_whitespace().any(|found| found == word);
        let budget = BudgetView { expected: 3, healthy: if has("tight") { 2 } else { 1 }, desired: 2, allowed: 0 };
        Tenant {
            uid: uid(&workload.name),
            workload,
            way: match (has("bound"), has("stop")) {
                (true, _) => Err(DrainReason::Volumes(workload.clone())),
                (false, true) => Ok(Way::Stop),
                (false, false) => Ok(Way::Surge),
            },
            stage: match () {
                () if has("leaving") => Stage::Leaving,
                () if has("surging") => Stage::Surging { ready: has("ready"), late: has("late") },
                () => Stage::Here,
            },
            serving: !has("unready"),
            rollout: has("rollout"),
            whole: !has("broken"),
            budgets: if has("budget") || has("tight") { vec![(key("pdb"), budget)] } else { Vec::new() },
        }
    }

    /// Pods by line, those of the workload `full` finding no other node and those of `taken` moving elsewhere; the move and the reasons.
    fn check(lines: &[&str], expected: &str, reasons: &[&str]) {
        let keys: Vec<ObjectKey> = lines.iter().map(|line| key(line.split_whitespace().next().expect("a name"))).collect();
        let tenants: Vec<Tenant<'_>> = lines.iter().zip(&keys).map(|(line, key)| tenant(line, key)).collect();
        let mut room = |tenant: &Tenant<'_>| match tenant.workload.name.as_str() {
            "full" => Err("0/2 nodes fit".to_owned()),
            _ => Ok(()),
        };
        let (next, found) = next(&tenants, &|workload| workload.name == "taken", &mut room);
        let name = |wanted: PodUid| keys.iter().map(|key| &key.name).find(|name| uid(name) == wanted).expect("a name");
        let said = match next {
            None => "nothing".to_owned(),
            Some(Move::Surge(pod)) => format!("surge {}", name(pod)),
            Some(Move::Retire(pod)) => format!("retire {}", name(pod)),
        };
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            (said.as_str(), found.iter().map(String::as_str).collect::<Vec<_>>()),
            (expected, reasons.to_vec()),
            "{lines:?}"
        );
    }

    #[test]
    fn pods_leave_one_by_one_each_when_another_is_ready_elsewhere() {
        check(&["web", "api"], "surge web", &["it is leaving", "another pod goes first"]);
        check(&["web surging", "api"], "nothing", &["shop/web has to be ready elsewhere first", "another pod goes first"]);
        check(&["web surging ready", "api"], "retire web", &["it is leaving", "another pod goes first"]);
        check(&["web leaving", "api"], "nothing", &["it is leaving", "another pod goes first"]);
        check(&["taken", "api"], "surge api", &["another pod goes first", "it is leaving"]);
        check(&[], "nothing", &[]);
    }

    #[test]
    fn a_replacement_that_takes_too_long_does_not_hold_up_the_others() {
        check(&["web surging late", "api"], "surge api", &["shop/web has to be ready elsewhere first", "it is leaving"]);
    }

    #[test]
    fn what_must_not_run_twice_goes_first_once_another_node_has_room() {
        check(&["db stop"], "retire db", &["it is leaving"]);
        check(&["full stop"], "nothing", &["no other node can take a pod of shop/full: 0/2 nodes fit"]);
        check(&["db stop broken"], "nothing", &["shop/db has to be ready elsewhere first"]);
        check(&["db stop broken unready"], "retire db", &["it is leaving"]);
    }

    #[test]
    fn a_pod_that_does_not_serve_needs_no_replacement_first() {
        check(&["web unready"], "retire web", &["it is leaving"]);
        check(&["web surging unready"], "retire web", &["it is leaving"]);
    }

    #[test]
    fn budgets_are_asked_before_a_pod_goes_and_not_before_one_more_comes() {
        check(&["web budget"], "surge web", &["it is leaving"]);
        check(&["web budget surging ready"], "nothing", &["budget shop/pdb allows no disruption now"]);
        check(&["db stop budget", "api"], "surge api", &["budget shop/pdb allows no disruption now", "it is leaving"]);
        check(&["web unready budget"], "nothing", &["budget shop/pdb allows no disruption now"]);
        check(&["web unready tight"], "retire web", &["it is leaving"]);
    }

    #[test]
    fn what_cannot_go_says_why_and_lets_others_pass() {
        check(
            &["db bound", "web rollout", "full", "api"],
            "surge api",
            &[
                "the data of shop/db is on its disk, so it stays",
                "a rollout of shop/web is under way",
                "no other node can take a pod of shop/full: 0/2 nodes fit",
                "it is leaving",
            ],
        );
    }

    #[test]
    fn only_what_takes_long_or_needs_a_person_is_an_obstacle() {
        let obstacles = [DrainReason::Budget(key("b")), DrainReason::Rollout(key("a")), DrainReason::Bare(key("a"))];
        assert!(obstacles.iter().all(DrainReason::is_obstacle));
        assert!(
            ![DrainReason::Leaves, DrainReason::Turn, DrainReason::Replacement(key("a"))].iter().any(DrainReason::is_obstacle)
        );
    }
}
