//! Leases: pods that run only while the controller is heard (`driftless.dev/lease`).
//!
//! The core starts nothing without a valid lease, and passes each renewal on to whatever stands beside the containers. That stops them
//! when the lease runs out; the core, which may be dead by then, only says so.

use super::agent::Agent;
use super::event::Effect;
use super::pod::{Member, Pod, State};
use crate::agent::runtime::{ContainerId, LaunchLease, Role};
use crate::model::{BootMoment, Lease, Moment, PodSnapshot, PodUid, Renewal, RuntimeKind};
use std::collections::BTreeMap;

impl Agent {
    /// What the boot clock shows.
    pub(super) fn boot(&self, now: Moment) -> BootMoment {
        BootMoment(now.0.saturating_add_signed(self.boot_ahead_ms))
    }

    /// When the boot clock shows this, if nothing puts the host to sleep.
    fn until(&self, boot: BootMoment) -> Moment {
        Moment(boot.0.saturating_add_signed(self.boot_ahead_ms.saturating_neg()))
    }

    /// The lease that pods of a template have.
    fn lease_of(&self, pod: &Pod) -> Option<Lease> {
        Lease::of(&self.templates.get(&pod.run.hash)?.template)
    }

    /// The controller has answered a heartbeat.
    pub(super) fn renewed(&mut self, renewal: &Renewal, now: Moment) {
        let boot = self.boot(now);
        let mut renewed = BTreeMap::new();
        for uid in renewal.extended.union(&renewal.granted) {
            let Some(lease) = self.pods.get(uid).and_then(|pod| self.lease_of(pod)) else { continue };
            let Some(pod) = self.pods.get_mut(uid) else { continue };
            let is_valid = pod.lease_until.is_some_and(|until| boot < until);
            let until = renewal.sent + lease.term;
            if until <= boot || !(is_valid || renewal.granted.contains(uid)) {
                continue;
            }
            pod.lease_until = pod.lease_until.max(Some(until));
            pod.lease_noted = false;
            self.dirty.insert(*uid);
            renewed.extend(leased(pod));
        }
        self.pass_on(renewed);
    }

    /// A container runs that was started with an earlier end of the lease than is known by now.
    pub(super) fn renew_started(&mut self, uid: PodUid) {
        let renewed = self.pods.get(&uid).into_iter().flat_map(leased).collect();
        self.pass_on(renewed);
    }

    fn pass_on(&mut self, renewed: BTreeMap<(RuntimeKind, ContainerId), BootMoment>) {
        if !renewed.is_empty() {
            self.effects.push(Effect::Renew(renewed));
        }
    }

    /// A pod has just come: if it has a lease, the controller is asked for it at once.
    pub(super) fn ask_for_lease(&mut self, uid: PodUid) {
        if self.pods.get(&uid).and_then(|pod| self.lease_of(pod)).is_some() {
            self.effects.push(Effect::Beat);
        }
    }

    /// Why nothing of the pod is started for want of a lease.
    pub(super) fn lacks_lease(&mut self, pod: &mut Pod, snapshot: &PodSnapshot, now: Moment) -> Option<String> {
        let lease = Lease::of(&snapshot.template)?;
        if pod.lease_until.is_some_and(|until| self.boot(now) < until) {
            return None;
        }
        if pod.lease_until.is_some() && !pod.lease_noted {
            pod.lease_noted = true;
            let seconds = lease.term.as_secs();
            let message = format!("Its lease of {seconds} s ran out: the controller was not heard, and the pod stops itself");
            self.note(pod.run.uid, true, "LeaseExpired", message);
        }
        Some("it has no lease: waiting for the controller to renew it".to_owned())
    }

    /// When the lease of a pod runs out.
    pub(super) fn lease_end(&self, pod: &Pod) -> Option<Moment> {
        pod.lease_until.filter(|_| !pod.lease_noted).map(|until| self.until(until))
    }

    /// What a container of the pod is started with.
    pub(super) fn launch_lease(pod: &Pod, snapshot: &PodSnapshot) -> Option<LaunchLease> {
        let lease = Lease::of(&snapshot.template)?;
        Some(LaunchLease { until: pod.lease_until?, grace: lease.grace })
    }
}

/// The containers of a pod that something beside them stops, and when.
fn leased(pod: &Pod) -> impl Iterator<Item = ((RuntimeKind, ContainerId), BootMoment)> {
    let runs = |member: &&Member| matches!(member.state, State::Running { .. } | State::Stopping { .. });
    let members = pod.members.iter().filter(|member| member.role != Role::Sandbox).filter(runs);
    let lease = pod.runtime.zip(pod.lease_until);
    members.filter_map(move |member| {
        let (kind, until) = lease?;
        Some(((kind, member.id.clone()?), until))
    })
}
