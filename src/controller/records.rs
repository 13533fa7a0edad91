//! Audit records: what is told to the audit branch, and when.
//!
//! A reconcile is opened by a revision that changes something, told as `planned` if it takes time, and told again when it is
//! over. Corrections of drift, autoscaling and lost nodes are gathered for ten seconds. A record carries the files of
//! `current/` that changed since the last one, so that the branch's tree is the memory at that commit.

use super::core::Controller;
use super::event::Effect;
use super::timers::Timer;
use super::{tree, words};
use crate::diff;
use crate::model::{
    AuditRecord, ChangeCounts, ClusterNotes, Desired, Moment, NodeName, NodeNotes, Object, ObjectKey, Outcome, Plan, Problem,
    Progress, PruneBlock, ReconcileView, Trigger, UnitName, UnitState, WaitingOn, millis,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Corrections are gathered for so long.
const BATCH_AFTER: Duration = Duration::from_secs(10);

/// A batch waits so long for its corrections to be done.
const BATCH_MAX: Duration = Duration::from_secs(120);

/// Reconciles that status shows.
const KEPT_MAX: usize = 50;

/// One plan on its way.
#[derive(Debug)]
pub(super) struct Reconcile {
    plan: Plan,
    words: words::Subject,
    trigger: Trigger,
    actor: String,
    started: Moment,
    /// Workloads that are not as wanted yet.
    pending: BTreeSet<ObjectKey>,
    /// Workloads whose rollout failed, and why.
    failed: BTreeMap<ObjectKey, String>,
    /// What became of the others.
    done: BTreeMap<ObjectKey, String>,
    announced: bool,
}

impl Reconcile {
    pub(super) fn new(
        plan: Plan,
        old: &BTreeMap<ObjectKey, Arc<Object>>,
        new: &Desired,
        trigger: Trigger,
        actor: String,
        pending: BTreeSet<ObjectKey>,
        now: Moment,
    ) -> Self {
        let words = words::Subject::of(&plan, old, &new.objects);
        Self {
            plan,
            words,
            trigger,
            actor,
            started: now,
            pending,
            failed: BTreeMap::new(),
            done: BTreeMap::new(),
            announced: false,
        }
    }

    /// A reconcile that an earlier controller began and told: only its end is told.
    pub(super) fn resumed(plan: Plan, trigger: Trigger, actor: String, pending: BTreeSet<ObjectKey>, now: Moment) -> Self {
        let words = words::Subject::resumed(&pending);
        let (failed, done) = (BTreeMap::new(), BTreeMap::new());
        Self { plan, words, trigger, actor, started: now, pending, failed, done, announced: true }
    }
}

/// What happens without a commit and is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Occasion {
    /// Pods vanished.
    Drift,
    /// A node was lost.
    Node,
    /// An autoscaler has decided.
    Scale,
    /// A Job ended, or its CronJob was due.
    Run,
    /// The data of a deleted claim is gone.
    Erasure,
}

impl Occasion {
    /// As the trailer has it. Runs and erasures have no word of their own there: the world moved, and the revision did not.
    pub(super) fn trigger(self) -> Trigger {
        match self {
            Occasion::Drift | Occasion::Run | Occasion::Erasure => Trigger::Drift,
            Occasion::Node => Trigger::Node,
            Occasion::Scale => Trigger::Scale,
        }
    }
}

/// A unit's trouble, as far as it makes a record: its last good revision and what is wrong.
type Held = BTreeMap<UnitName, (Option<String>, Vec<Problem>)>;

/// What was told, and what is to be told.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Objects whose file may have changed.
    touched: BTreeSet<ObjectKey>,
    /// The files as they were last recorded.
    texts: BTreeMap<ObjectKey, String>,
    notes: String,
    /// The nodes that the notes name.
    nodes: BTreeMap<NodeName, NodeNotes>,
    open: Option<Reconcile>,
    /// Workloads that this pass looked at.
    looked_at: BTreeSet<ObjectKey>,
    batch: BTreeMap<Occasion, Vec<(ObjectKey, String)>>,
    /// Jobs that have ended in this pass.
    pub(super) ended_jobs: BTreeSet<ObjectKey>,
    batch_since: Option<Moment>,
    held: Held,
    told_block: Option<Vec<ObjectKey>>,
    pub(super) ring: VecDeque<ReconcileView>,
}

impl Records {
    pub(super) fn touch(&mut self, key: &ObjectKey) {
        self.touched.insert(key.clone());
    }

    pub(super) fn look_at(&mut self, key: &ObjectKey) {
        self.looked_at.insert(key.clone());
    }

    /// A file as the audit branch has it.
    pub(super) fn remember(&mut self, key: &ObjectKey, text: String) {
        self.texts.insert(key.clone(), text);
    }

    /// The notes as the audit branch has them.
    pub(super) fn remember_notes(&mut self, notes: &ClusterNotes) {
        self.notes = tree::notes_text(notes);
        self.nodes.clone_from(&notes.nodes);
    }

    pub(super) fn remember_block(&mut self, block: &PruneBlock) {
        self.told_block = Some(block.objects.clone());
    }

    /// True if the memory says this of a node.
    pub(super) fn is_noted(&self, name: &NodeName, notes: &NodeNotes) -> bool {
        self.nodes.get(name) == Some(notes)
    }

    /// True if an object's file may differ from what was last recorded.
    pub(super) fn is_touched(&self, key: &ObjectKey) -> bool {
        self.touched.contains(key)
    }
}

/// The parts of a record that differ between its kinds.
struct Draft {
    subject: String,
    body: String,
    trigger: Trigger,
    actor: String,
    outcome: Outcome,
    counts: ChangeCounts,
    digest: String,
    started: Moment,
}

impl Controller {
    /// Begins a reconcile. It is told once the pass has shown whether it takes time.
    pub(super) fn open(&mut self, reconcile: Reconcile) {
        self.records.looked_at.extend(reconcile.pending.iter().cloned());
        self.records.open = Some(reconcile);
    }

    /// A newer revision came first.
    pub(super) fn supersede(&mut self) {
        if let Some(open) = self.records.open.take().filter(|open| open.announced) {
            self.tell(&open, Outcome::Superseded);
        }
    }

    /// After a pass: tells how far the open reconcile is.
    pub(super) fn settle(&mut self) {
        let looked_at = std::mem::take(&mut self.records.looked_at);
        let Some(mut open) = self.records.open.take() else { return };
        for key in looked_at {
            let was_pending = open.pending.contains(&key);
            self.sort(&mut open, key.clone());
            if was_pending && !open.pending.contains(&key) {
                self.records.touch(&key);
            }
        }
        if !open.pending.is_empty() {
            if !open.announced {
                open.announced = true;
                self.tell(&open, Outcome::Planned);
            }
            self.records.open = Some(open);
            return;
        }
        let outcome = if open.failed.is_empty() { Outcome::Converged } else { Outcome::Failed };
        self.tell(&open, outcome);
    }

    /// Puts a workload of a reconcile where it belongs.
    fn sort(&self, open: &mut Reconcile, key: ObjectKey) {
        if !open.pending.contains(&key) && !open.failed.contains_key(&key) {
            return;
        }
        let Some(work) = self.works.get(&key) else {
            open.pending.remove(&key);
            open.done.insert(key, "deleted".to_owned());
            return;
        };
        let ending = match &work.progress {
            _ if self.inputs.pruning.contains_key(&key) => return,
            Progress::Done if Self::is_job(&key) => {
                Ok(format!("completed, {} succeeded", words::pods(work.memory.job.run.succeeded)))
            }
            Progress::Done => Ok(format!("{} available", words::pods(work.replicas))),
            Progress::Waiting(WaitingOn::Unpause) => Ok("paused".to_owned()),
            Progress::Stalled(stalled) => Err(words::stalled(stalled)),
            Progress::Progressing(_) | Progress::Waiting(_) => return,
        };
        open.pending.remove(&key);
        open.failed.remove(&key);
        match ending {
            Ok(done) => drop(open.done.insert(key, done)),
            Err(failed) => drop(open.failed.insert(key, failed)),
        }
    }

    fn tell(&mut self, open: &Reconcile, outcome: Outcome) {
        let mut body = diff::render::text(&open.plan, false);
        body.push_str(&words::endings(outcome, &open.pending, &open.done, &open.failed));
        let draft = Draft {
            subject: open.words.subject(outcome),
            body,
            trigger: open.trigger,
            actor: open.actor.clone(),
            outcome,
            counts: open.plan.counts(),
            digest: open.plan.digest.clone(),
            started: open.started,
        };
        self.record(draft, None);
    }

    /// Appends a record with the files that changed; `only` narrows them down.
    fn record(&mut self, draft: Draft, only: Option<&[ObjectKey]>) {
        let tree = self.changed_files(only);
        let duration_ms = millis(self.now.since(draft.started));
        let record = AuditRecord {
            subject: draft.subject,
            body: draft.body,
            revision: self.inputs.effective.revision.clone(),
            trigger: draft.trigger,
            plan: draft.digest,
            outcome: draft.outcome,
            changes: draft.counts,
            actor: draft.actor,
            epoch: self.epoch,
            duration_ms,
            tree,
        };
        self.keep(&record, draft.started);
        self.counters.records += 1;
        self.out.push(Effect::Record(Box::new(record)));
    }

    /// Status shows a reconcile once: its end takes the place of its beginning.
    fn keep(&mut self, record: &AuditRecord, started: Moment) {
        let view = ReconcileView {
            subject: record.subject.clone(),
            body: record.body.clone(),
            revision: record.revision.clone(),
            trigger: record.trigger,
            outcome: record.outcome,
            changes: record.changes,
            plan: record.plan.clone(),
            started,
            duration_ms: record.duration_ms,
        };
        let ring = &mut self.records.ring;
        let begun = |kept: &ReconcileView| kept.outcome == Outcome::Planned && kept.started == started && kept.plan == view.plan;
        if let Some(at) = ring.iter().position(begun) {
            ring.remove(at);
        }
        ring.push_front(view);
        ring.truncate(KEPT_MAX);
    }

    fn changed_files(&mut self, only: Option<&[ObjectKey]>) -> BTreeMap<String, Option<String>> {
        let touched = std::mem::take(&mut self.records.touched);
        let (now, later): (BTreeSet<ObjectKey>, BTreeSet<ObjectKey>) =
            touched.into_iter().partition(|key| only.is_none_or(|only| only.contains(key)));
        self.records.touched = later;
        let mut files = BTreeMap::new();
        for key in now {
            let text = self.current(&key).map(|current| tree::text(&current));
            if self.records.texts.get(&key) == text.as_ref() {
                continue;
            }
            files.insert(key.audit_path(), text.clone());
            match text {
                Some(text) => drop(self.records.texts.insert(key, text)),
                None => drop(self.records.texts.remove(&key)),
            }
        }
        let notes = self.notes();
        let text = tree::notes_text(&notes);
        if text != self.records.notes {
            files.insert(ClusterNotes::PATH.to_owned(), Some(text));
            self.records.remember_notes(&notes);
        }
        files
    }

    /// A node is told nothing before the memory names it: the next controller waits for it, and runs nothing elsewhere that may run
    /// there.
    pub(super) fn note_joined(&mut self, nodes: &BTreeSet<NodeName>) {
        let is_new = |name: &&NodeName| {
            let notes = self.node_notes(name);
            let counts = notes != NodeNotes::default() || self.placements.count_of_node(name) > 0;
            counts && !self.records.is_noted(name, &notes)
        };
        let joined: Vec<&str> = nodes.iter().filter(is_new).map(NodeName::as_str).collect();
        if joined.is_empty() {
            return;
        }
        let draft = Draft {
            subject: words::joined_subject(&joined),
            body: String::new(),
            trigger: Trigger::Node,
            actor: words::JOINED_RULE.to_owned(),
            outcome: Outcome::Converged,
            counts: ChangeCounts::default(),
            digest: empty_digest(),
            started: self.now,
        };
        self.record(draft, Some(&[]));
    }

    /// A host that joins is on record before it hears that it may.
    pub(super) fn note_admitted(&mut self, name: &NodeName, token: &str) {
        let draft = Draft {
            subject: words::joined_subject(&[name.as_str()]),
            body: words::admitted_body(name, self.members.key(name)),
            trigger: Trigger::Node,
            actor: words::admitted_rule(token),
            outcome: Outcome::Converged,
            counts: ChangeCounts::default(),
            digest: empty_digest(),
            started: self.now,
        };
        self.record(draft, Some(&[]));
    }

    /// Units that began or ceased to be held, or are held for something else, make a record; but not if an earlier controller
    /// made it (`told`).
    pub(super) fn note_held(&mut self, trigger: Trigger, actor: &str, told: bool) {
        let mut held = Held::new();
        for (unit, state) in &self.inputs.effective.units {
            if let UnitState::Held { at, problems, .. } = state {
                let at = at.as_ref().map(|at| at.as_str().to_owned());
                held.insert(unit.clone(), (at, problems.iter().filter(|problem| problem.is_error()).cloned().collect()));
            }
        }
        if held == self.records.held || told {
            self.records.held = held;
            return;
        }
        let released = held.is_empty();
        let draft = Draft {
            subject: words::held_subject(&held.keys().map(ToString::to_string).collect::<Vec<_>>()),
            body: words::held_body(held.values().flat_map(|(_, problems)| problems)),
            trigger,
            actor: actor.to_owned(),
            outcome: if released { Outcome::Converged } else { Outcome::Held },
            counts: ChangeCounts::default(),
            digest: empty_digest(),
            started: self.now,
        };
        self.records.held = held;
        self.record(draft, Some(&[]));
    }

    /// Deletions that began to be held back make a record.
    pub(super) fn note_block(&mut self, trigger: Trigger, actor: &str, plan: &Plan) {
        let block = self.inputs.block.clone();
        let objects = block.as_ref().map(|block| block.objects.clone());
        if objects == self.records.told_block {
            return;
        }
        self.records.told_block = objects;
        let Some(block) = block else { return };
        let draft = Draft {
            subject: words::blocked_subject(&block.objects),
            body: words::blocked_body(&block),
            trigger,
            actor: actor.to_owned(),
            outcome: Outcome::Blocked,
            counts: ChangeCounts { delete: block.objects.len(), ..ChangeCounts::default() },
            digest: plan.digest.clone(),
            started: self.now,
        };
        self.record(draft, Some(&block.objects));
    }

    /// Something to be told with the next batch.
    pub(super) fn batch(&mut self, occasion: Occasion, about: &ObjectKey, message: String) {
        self.records.batch.entry(occasion).or_default().push((about.clone(), message));
        self.records.batch_since.get_or_insert(self.now);
        self.timers.set_if_none(Timer::Batch, self.now + BATCH_AFTER);
    }

    /// Tells the corrections that were gathered, once they are done or have taken too long.
    pub(super) fn flush_batch(&mut self) {
        let since = self.records.batch_since.unwrap_or(self.now);
        let waits = self
            .records
            .batch
            .values()
            .flatten()
            .any(|(key, _)| self.works.get(key).is_some_and(|work| !is_settled(&work.progress)));
        if waits && self.now.since(since) < BATCH_MAX {
            return self.timers.set(Timer::Batch, self.now + BATCH_AFTER);
        }
        self.records.batch_since = None;
        for (occasion, notes) in std::mem::take(&mut self.records.batch) {
            let failed = |key: &ObjectKey| self.works.get(key).is_some_and(|work| matches!(work.progress, Progress::Stalled(_)));
            let failed = waits || (occasion == Occasion::Run && notes.iter().any(|(key, _)| failed(key)));
            let draft = Draft {
                subject: words::batch_subject(occasion, &notes),
                body: words::batch_body(&notes),
                trigger: occasion.trigger(),
                actor: words::rule(occasion).to_owned(),
                outcome: if failed { Outcome::Failed } else { Outcome::Converged },
                counts: ChangeCounts::default(),
                digest: empty_digest(),
                started: since,
            };
            self.record(draft, None);
        }
    }
}

/// True if nothing more is to be expected of a correction. What waits for a person or a node is as whole as it can be, and a Job that
/// runs is told of when it ends.
fn is_settled(progress: &Progress) -> bool {
    use WaitingOn::{Completion, Node, Promotion, Unpause};
    let is_as_whole = |on: &WaitingOn| matches!(on, Promotion(_) | Unpause | Node(_) | Completion { .. });
    match progress {
        Progress::Done | Progress::Stalled(_) => true,
        Progress::Waiting(on) => is_as_whole(on),
        Progress::Progressing(_) => false,
    }
}

/// The digest of an intent that changes nothing.
fn empty_digest() -> String {
    diff::intent(&Desired::default(), &Desired::default()).digest
}
