//! Drains: pods leave nodes that a commit drains (`driftless.dev/drain` on a Node), as [`crate::apply::drain`] decides.
//!
//! A pod that waits for its replacement makes its workload want one more (*moving*), so that its rollout's own rules make that pod and
//! keep every limit. A node that is silent is left alone: nobody would hear it.

use super::core::Controller;
use super::happenings::Happening;
use super::placements::Placement;
use super::records::Occasion;
use super::timers::Timer;
use super::work::Moving;
use crate::apply::drain::{self, Move, Stage, Tenant, Way};
use crate::apply::schedule::place;
use crate::model::{DrainReason, DrainView, Kind, NodeName, ObjectKey, PodUid, Progress, StopReason, Strategy};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Others do not wait longer than this for a replacement that does not become ready.
const LATE_AFTER: Duration = Duration::from_secs(120);

impl Controller {
    /// Takes the next moves on every node that is being drained. Returns whether any was taken.
    pub(super) fn drain(&mut self) -> bool {
        self.dirty.drains = false;
        self.stop_moving();
        let mut moved = false;
        for name in self.nodes.draining.clone() {
            let next = self.next_move(&name);
            match next {
                Some(Move::Surge(uid)) => self.begin_move(uid),
                Some(Move::Retire(uid)) => self.finish_move(&name, uid),
                None => continue,
            }
            moved = true;
        }
        moved
    }

    /// What is to be done next on a node; notes why the others are still there.
    fn next_move(&mut self, name: &NodeName) -> Option<Move> {
        if !self.nodes.get(name).is_some_and(|node| node.ready && node.connected) {
            return None;
        }
        let uids = self.to_leave(name);
        let mut capacity = std::mem::take(&mut self.capacity);
        let tenants: Vec<Tenant<'_>> = uids.iter().filter_map(|uid| self.tenant(self.placements.get(uid)?)).collect();
        let mut room = |tenant: &Tenant<'_>| {
            let Some(placement) = self.placements.get(&tenant.uid) else { return Ok(()) };
            place(&placement.request, &mut capacity).map(|_| ()).map_err(|refusals| refusals.to_string())
        };
        let (next, reasons) = drain::next(&tenants, &|workload| self.moves_elsewhere(workload, name), &mut room);
        let names = tenants.iter().filter_map(|tenant| Some(self.placements.get(&tenant.uid)?.run.name.clone()));
        let view = DrainView { left: names.zip(reasons).collect() };
        self.capacity = capacity;
        self.note_drain(name, view);
        next
    }

    /// The pods that are to leave a node, in the order of their workloads and slots.
    fn to_leave(&self, name: &NodeName) -> Vec<PodUid> {
        let stays = |placement: &&Placement| placement.run.workload.kind == Kind::DaemonSet || !placement.holds_capacity();
        let mut leaving: Vec<&Placement> = self.placements.of_node(name).filter(|placement| !stays(placement)).collect();
        leaving.sort_by_key(|placement| (&placement.run.workload, placement.run.slot, placement.run.uid));
        leaving.into_iter().map(|placement| placement.run.uid).collect()
    }

    fn tenant<'a>(&'a self, placement: &'a Placement) -> Option<Tenant<'a>> {
        let workload = &placement.run.workload;
        let budgets = self.inputs.protectors(placement).into_iter();
        let work = self.works.get(workload)?;
        Some(Tenant {
            uid: placement.run.uid,
            workload,
            way: self.way(placement),
            stage: self.stage(placement),
            serving: placement.is_serving(),
            rollout: self.is_rolling_out(workload),
            whole: matches!(work.progress, Progress::Done | Progress::Stalled(_)),
            budgets: budgets.filter_map(|key| Some((key.clone(), self.budget(&key)?))).collect(),
        })
    }

    /// How a pod moves, if it does.
    fn way(&self, placement: &Placement) -> Result<Way, DrainReason> {
        let workload = &placement.run.workload;
        let strategy = self.inputs.object(workload).and_then(|object| object.workload()).map(|workload| &workload.strategy);
        match (workload.kind, strategy) {
            (Kind::Job, _) => Err(DrainReason::Job(workload.clone())),
            (Kind::Pod, _) => Err(DrainReason::Bare(workload.clone())),
            _ if placement.request.assigned => Err(DrainReason::Assigned(workload.clone())),
            _ if self.claims.uses_any(&placement.run.uid) => Err(DrainReason::Volumes(workload.clone())),
            (_, Some(Strategy::Recreate | Strategy::Stateful(_))) => Ok(Way::Stop),
            _ => Ok(Way::Surge),
        }
    }

    fn stage(&self, placement: &Placement) -> Stage {
        if placement.retired.is_some() {
            return Stage::Leaving;
        }
        let work = self.works.get(&placement.run.workload);
        match work.and_then(|work| work.moving.as_ref()).filter(|moving| moving.uid == placement.run.uid) {
            Some(moving) => Stage::Surging {
                ready: self.is_replaced(&placement.run.workload, moving),
                late: self.now.since(moving.since) >= LATE_AFTER,
            },
            None => Stage::Here,
        }
    }

    /// True if a pod that came since is available, on a node that is not being drained.
    fn is_replaced(&self, workload: &ObjectKey, moving: &Moving) -> bool {
        let object = self.inputs.object(workload).and_then(|object| object.workload());
        let min_ready = Duration::from_secs(object.map_or(0, |workload| u64::from(workload.min_ready_seconds)));
        let replaces = |placement: &Placement| {
            let heard = self.nodes.get(&placement.node).is_some_and(|node| node.ready);
            let lasts = placement.ready_since.is_some_and(|since| self.now >= since + min_ready);
            placement.since >= moving.since && placement.is_serving() && lasts && heard && !self.is_draining(&placement.node)
        };
        self.placements.of_workload(workload).any(replaces)
    }

    /// A rollout moves pods by itself. One that has failed does not go on, and is not waited for.
    fn is_rolling_out(&self, workload: &ObjectKey) -> bool {
        let (Some(work), Some(object)) = (self.works.get(workload), self.inputs.object(workload)) else { return true };
        let wanted = object.snapshot().map(|snapshot| &snapshot.hash);
        let has_ended = matches!(work.progress, Progress::Done | Progress::Stalled(_));
        !has_ended && work.memory.completed.as_ref() != wanted
    }

    pub(super) fn is_draining(&self, name: &NodeName) -> bool {
        self.nodes.draining.contains(name)
    }

    /// True if a pod of a workload is on its way from another node that is being drained.
    fn moves_elsewhere(&self, workload: &ObjectKey, name: &NodeName) -> bool {
        let moving = self.works.get(workload).and_then(|work| work.moving.as_ref()).map(|moving| moving.uid);
        let elsewhere = |placement: &Placement| {
            let drained = placement.retired.as_ref().is_some_and(|retired| retired.reason == StopReason::Drained);
            placement.node != *name && (drained || moving == Some(placement.run.uid))
        };
        self.placements.of_workload(workload).any(elsewhere)
    }

    fn begin_move(&mut self, uid: PodUid) {
        let Some(workload) = self.placements.get(&uid).map(|placement| placement.run.workload.clone()) else { return };
        let now = self.now;
        if let Some(work) = self.works.get_mut(&workload) {
            work.moving = Some(Moving { uid, since: now });
        }
        self.timers.set(Timer::Drain(uid), now + LATE_AFTER);
        self.touch_workload(&workload);
    }

    /// A pod leaves: it is out of its Services first, then it is told to stop.
    fn finish_move(&mut self, name: &NodeName, uid: PodUid) {
        let Some(placement) = self.placements.get(&uid) else { return };
        let (workload, pod) = (placement.run.workload.clone(), placement.run.name.clone());
        let message = format!("{pod} leaves {name}, which is being drained");
        let happening =
            Happening { about: &workload, pod: Some(&pod), warning: false, reason: "Drained", message: message.clone() };
        self.happenings.note(happening, self.now);
        self.batch(Occasion::Node, &workload, message);
        self.retire(&uid, StopReason::Drained, self.commit_for(StopReason::Drained));
        self.forget_move(&workload);
    }

    fn forget_move(&mut self, workload: &ObjectKey) {
        if let Some(moving) = self.works.get_mut(workload).and_then(|work| work.moving.take()) {
            self.timers.clear(&Timer::Drain(moving.uid));
        }
        self.touch_workload(workload);
    }

    /// Whether a pod of a workload moves, so that one more is wanted. Not any more if the drain was called off, the pod is gone or goes for
    /// another reason, or a rollout began: in the step that begins it, too.
    pub(super) fn is_moving(&self, key: &ObjectKey) -> bool {
        let Some((work, moving)) = self.works.get(key).and_then(|work| Some((work, work.moving.as_ref()?))) else { return false };
        let wanted = self.inputs.object(key).and_then(|object| object.snapshot()).map(|snapshot| &snapshot.hash);
        let targets = &work.memory.targets;
        let begins = !targets.is_empty() && wanted.is_some_and(|hash| !targets.contains_key(hash));
        let pod = self.placements.get(&moving.uid);
        let leaves = pod.is_some_and(|pod| pod.retired.is_none() && self.is_draining(&pod.node));
        leaves && !begins && !self.is_rolling_out(key)
    }

    /// Moves end that nobody wants any more.
    fn stop_moving(&mut self) {
        let moving = self.works.iter().filter(|(_, work)| work.moving.is_some()).map(|(key, _)| key);
        let void: BTreeSet<ObjectKey> = moving.filter(|key| !self.is_moving(key)).cloned().collect();
        for workload in void {
            self.forget_move(&workload);
        }
    }

    /// Keeps how far a drain is, and tells what it waits for when that is new.
    fn note_drain(&mut self, name: &NodeName, view: DrainView) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let before = node.drain.replace(view.clone());
        if before.as_ref() == Some(&view) {
            return;
        }
        let told: BTreeSet<DrainReason> = before.iter().flat_map(|view| view.left.iter().map(|(_, why)| why.clone())).collect();
        let new: BTreeMap<&DrainReason, &str> = view
            .left
            .iter()
            .filter(|(_, why)| why.is_obstacle() && !told.contains(why))
            .map(|(pod, why)| (why, pod.as_str()))
            .collect();
        let about = super::agents::about_node(name);
        let mut notes: Vec<(&str, String)> =
            new.into_keys().map(|why| ("DrainWaiting", format!("drain of {name} waits: {why}"))).collect();
        if view.left.is_empty() {
            notes.push(("Drained", format!("{name} is drained: only pods of DaemonSets are left")));
        } else if before.is_none() {
            notes.push(("Draining", format!("{name} is being drained: {} pods leave it or are waited for", view.left.len())));
        }
        for (reason, message) in notes {
            let warning = reason == "DrainWaiting";
            self.happenings.note(Happening { about: &about, pod: None, warning, reason, message }, self.now);
        }
    }

    /// A pod that should be on its way off a node by now and is not. Whether other nodes have room is not asked again.
    pub(super) fn lingers(&self, name: &NodeName) -> Option<Move> {
        if !self.is_draining(name) || !self.nodes.get(name).is_some_and(|node| node.ready && node.connected) {
            return None;
        }
        let uids = self.to_leave(name);
        let tenants: Vec<Tenant<'_>> = uids.iter().filter_map(|uid| self.tenant(self.placements.get(uid)?)).collect();
        let moves = |workload: &ObjectKey| self.moves_elsewhere(workload, name);
        drain::next(&tenants, &moves, &mut |_| Err(String::new())).0
    }
}
