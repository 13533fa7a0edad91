//! What happened, for `driftless events`: the same thing said again is counted, and after an hour it is forgotten.

use crate::model::{EventView, Moment, NodeName, ObjectKey};
use std::collections::BTreeMap;
use std::time::Duration;

/// The most events that are kept.
const KEPT_MAX: usize = 1_000;

/// An event that did not happen again for so long is forgotten (`--event-ttl` of Kubernetes' API server).
const KEPT_FOR: Duration = Duration::from_secs(3_600);

/// Events, by when they last happened.
#[derive(Debug, Default)]
pub(super) struct Happenings {
    /// By number: the latest has the highest.
    kept: BTreeMap<u64, EventView>,
    /// The number of the event that says the same.
    numbers: BTreeMap<Sameness, u64>,
    last: u64,
}

/// What makes two events the same: everything but the time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Sameness {
    about: ObjectKey,
    pod: Option<String>,
    node: Option<NodeName>,
    reason: String,
    message: String,
}

/// One thing that happened.
pub(super) struct Happening<'a> {
    pub(super) about: &'a ObjectKey,
    pub(super) pod: Option<&'a str>,
    pub(super) warning: bool,
    pub(super) reason: &'a str,
    pub(super) message: String,
}

impl Happenings {
    /// The controller did or saw something.
    pub(super) fn note(&mut self, happening: Happening<'_>, now: Moment) {
        self.add(happening, None, now);
    }

    /// The agent of a node says that something happened there.
    pub(super) fn note_from(&mut self, node: &NodeName, happening: Happening<'_>, now: Moment) {
        self.add(happening, Some(node.clone()), now);
    }

    fn add(&mut self, happening: Happening<'_>, node: Option<NodeName>, now: Moment) {
        let Happening { about, pod, warning, reason, message } = happening;
        self.forget(now);
        let pod = pod.map(str::to_owned);
        let sameness = Sameness {
            about: about.clone(),
            pod: pod.clone(),
            node: node.clone(),
            reason: reason.to_owned(),
            message: message.clone(),
        };
        let event = match self.numbers.remove(&sameness).and_then(|number| self.kept.remove(&number)) {
            Some(event) => EventView { count: event.count.saturating_add(1), last: now, ..event },
            None => EventView {
                about: about.clone(),
                pod,
                node,
                warning,
                reason: reason.to_owned(),
                message,
                count: 1,
                first: now,
                last: now,
            },
        };
        self.last += 1;
        self.kept.insert(self.last, event);
        self.numbers.insert(sameness, self.last);
    }

    /// Makes room for one, and lets go of what is too old.
    fn forget(&mut self, now: Moment) {
        while let Some(oldest) = self.kept.first_entry() {
            if self.numbers.len() < KEPT_MAX && now.since(oldest.get().last) < KEPT_FOR {
                break;
            }
            let EventView { about, pod, node, reason, message, .. } = oldest.remove();
            self.numbers.remove(&Sameness { about, pod, node, reason, message });
        }
    }

    /// What happened within the hour, the latest last.
    pub(super) fn all(&self, now: Moment) -> Vec<EventView> {
        self.kept.values().filter(|event| now.since(event.last) < KEPT_FOR).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    fn note(happenings: &mut Happenings, name: &str, message: &str, seconds: u64) {
        let about = ObjectKey::new(Kind::Deployment, "shop", name);
        let happening =
            Happening { about: &about, pod: None, warning: false, reason: "ScalingReplicaSet", message: message.to_owned() };
        happenings.note(happening, Moment(seconds * 1000));
    }

    fn told(happenings: &Happenings, seconds: u64) -> Vec<String> {
        let line = |event: EventView| {
            format!("{} {} x{} {}-{}", event.about.name, event.message, event.count, event.first.0 / 1000, event.last.0 / 1000)
        };
        happenings.all(Moment(seconds * 1000)).into_iter().map(line).collect()
    }

    #[test]
    fn what_happens_again_is_counted_and_the_latest_stands_last() {
        let mut happenings = Happenings::default();
        for (name, message, at) in [("web", "up", 1), ("api", "up", 2), ("web", "up", 9), ("web", "down", 10)] {
            note(&mut happenings, name, message, at);
        }
        assert_eq!(told(&happenings, 10), ["api up x1 2-2", "web up x2 1-9", "web down x1 10-10"]);
    }

    #[test]
    fn the_same_on_two_nodes_is_two_things() {
        let mut happenings = Happenings::default();
        let about = ObjectKey::new(Kind::Deployment, "shop", "web");
        for node in ["one", "two", "two"] {
            let happening = Happening { about: &about, pod: None, warning: true, reason: "BackOff", message: "again".to_owned() };
            happenings.note_from(&NodeName::new(node), happening, Moment(0));
        }
        let all = happenings.all(Moment(0));
        assert_eq!(all.iter().map(|event| event.count).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(all[1].node, Some(NodeName::new("two")));
    }

    #[test]
    fn what_did_not_happen_for_an_hour_is_forgotten() {
        let mut happenings = Happenings::default();
        note(&mut happenings, "web", "up", 0);
        note(&mut happenings, "api", "up", 0);
        note(&mut happenings, "api", "up", 1_800);
        assert_eq!(told(&happenings, 3_600), ["api up x2 0-1800"], "also if nothing happens any more");
        note(&mut happenings, "web", "up", 3_600);
        assert_eq!(told(&happenings, 3_600), ["api up x2 0-1800", "web up x1 3600-3600"], "and is counted anew");
        assert_eq!(happenings.kept.len(), 2);
    }

    #[test]
    fn their_number_is_bounded_and_the_oldest_go_first() {
        let mut happenings = Happenings::default();
        for number in 0..KEPT_MAX + 5 {
            note(&mut happenings, "web", &number.to_string(), 1);
        }
        let all = told(&happenings, 1);
        assert_eq!((all.len(), all[0].as_str()), (KEPT_MAX, "web 5 x1 1-1"));
        assert_eq!(happenings.numbers.len(), KEPT_MAX);
    }
}
