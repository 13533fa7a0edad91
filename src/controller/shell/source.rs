//! The actor that owns the mirror: it begins the reign, fetches, and reads revisions.

use super::input::{Alarm, Begun, Input};
use super::{ShellError, ShellSettings};
use crate::causes::in_full;
use crate::clock;
use crate::controller::{Commit, Event, LoadedRevision, Restored, Settings};
use crate::manifest::{DigestKey, GoodUnit, Loaded};
use crate::model::{Epoch, Revision, Trigger, UnitName};
use crate::sync::{
    AuditError, AuditLog, AuditSpec, AuditState, Claim, CommitInfo, Head, Identity, Loader, Mirror, RepoWatch, SyncError,
    watch_repo,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc;

/// The first pause after a failure; it doubles up to the poll interval.
const RETRY: Duration = Duration::from_secs(1);

/// When a head that does not descend from the last one is looked at again.
const SUSPECT_PAUSE: Duration = Duration::from_secs(2);

/// What the source is asked for.
enum Order {
    /// Something changed in the repository.
    Look,
    /// The controller is ending.
    End,
}

/// The way to the source, which ends when this is dropped.
pub(super) struct Source(Sender<Order>);

impl Drop for Source {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.0.send(Order::End);
    }
}

/// Starts the actor. Trouble that does not heal is known at once; everything else is retried by it.
pub(super) fn start(settings: &ShellSettings, inputs: mpsc::Sender<Input>) -> Result<Source, ShellError> {
    let identity = Identity::load_or_create(&settings.identity_dir)?;
    let mirror = Mirror::open(&settings.mirror_dir, &settings.repo).map_err(ShellError::Mirror)?;
    tracing::info!(repo = mirror.shown(), cluster = settings.cluster, key = identity.fingerprint(), "watching");
    let (orders, receiver) = channel();
    let alarm = Alarm { actor: "source", inputs: inputs.clone() };
    let desk = Desk {
        key: DigestKey::new(identity.digest_key()),
        identity: Arc::new(identity),
        instance: Identity::fresh_instance(),
        settings: settings.clone(),
        loader: Loader::new(mirror, settings.render.clone()),
        good: BTreeMap::new(),
        applied: None,
        has_given: false,
        has_begun: false,
        watch: None,
        orders: orders.clone(),
        inputs,
        failures: 0,
    };
    let run = move || {
        let _alarm = alarm;
        desk.run(&receiver);
    };
    thread::Builder::new().name("source".to_owned()).spawn(run).map_err(ShellError::Thread)?;
    Ok(Source(orders))
}

struct Desk {
    settings: ShellSettings,
    identity: Arc<Identity>,
    instance: String,
    key: DigestKey,
    loader: Loader,
    /// The last good state of every unit.
    good: BTreeMap<UnitName, Arc<GoodUnit>>,
    /// The revision that was last applied: by this reign, or by the one before it.
    applied: Option<Revision>,
    /// Whether this reign was given a revision.
    has_given: bool,
    /// Whether the reign has begun.
    has_begun: bool,
    watch: Option<RepoWatch>,
    orders: Sender<Order>,
    inputs: mpsc::Sender<Input>,
    failures: u32,
}

/// What went wrong, as the core is told it.
struct Trouble {
    message: String,
    hint: Option<String>,
}

impl From<SyncError> for Trouble {
    fn from(error: SyncError) -> Self {
        Self { message: in_full(&error), hint: error.hint() }
    }
}

impl From<AuditError> for Trouble {
    fn from(error: AuditError) -> Self {
        Self { message: in_full(&error), hint: error.hint() }
    }
}

/// Whether and when to look at the repository again.
enum Next {
    After(Duration),
    /// The controller has ended.
    End,
}

impl Desk {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut trigger = Trigger::Startup;
        loop {
            self.watch_local();
            let outcome = if self.has_begun { self.look(trigger) } else { self.begin() };
            let Next::After(pause) = self.settle(outcome) else { return };
            trigger = match orders.recv_timeout(pause) {
                Ok(Order::Look) => Trigger::Push,
                Err(RecvTimeoutError::Timeout) => Trigger::Poll,
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => return,
            };
        }
    }

    /// Tells the core how it went, and says when to look again.
    fn settle(&mut self, outcome: Result<Duration, Trouble>) -> Next {
        let (event, pause) = match outcome {
            Ok(pause) if self.failures == 0 => return Next::After(pause),
            Ok(pause) => {
                tracing::info!("the repository can be read again");
                self.failures = 0;
                (Event::SyncRecovered, pause)
            }
            Err(Trouble { message, hint }) => {
                if self.failures == 0 {
                    tracing::warn!(hint, "{message}; what runs stays as it is, trying again");
                }
                let pause = RETRY.saturating_mul(1 << self.failures.min(10)).min(self.settings.poll_interval.max(RETRY));
                self.failures += 1;
                (Event::SyncFailed { message, hint }, pause)
            }
        };
        if self.send(Input::Core(Box::new(event))) { Next::After(pause) } else { Next::End }
    }

    /// False if the controller has ended.
    fn send(&self, input: Input) -> bool {
        self.inputs.blocking_send(input).is_ok()
    }

    /// A local repository tells of pushes by itself. One that cannot be watched (yet) is polled.
    fn watch_local(&mut self) {
        let Some(path) = self.loader.mirror().local_source().filter(|_| self.watch.is_none()) else { return };
        let orders = self.orders.clone();
        // The watch outlives nobody: without a receiver the source has ended.
        let told = watch_repo(path, move || drop(orders.send(Order::Look)));
        match told {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => tracing::debug!(error = in_full(&error), "the repository cannot be watched; it is polled"),
        }
    }

    /// Claims an epoch, and gives the core the memory and the first revision.
    ///
    /// With the remote away a reign begins from what the mirror holds; a mirror that knows nothing waits for the remote, because an
    /// empty memory must not be taken for an empty cluster.
    fn begin(&mut self) -> Result<Duration, Trouble> {
        let fetched = self.loader.mirror_mut().fetch();
        let spec = AuditSpec {
            url: self.settings.audit_remote.clone().unwrap_or_else(|| self.settings.repo.url.clone()),
            cluster: self.settings.cluster.clone(),
        };
        let mut audit = AuditLog::open(&self.settings.mirror_dir, &spec, Arc::clone(&self.identity))?;
        let known = audit.read()?;
        let is_readable = last_revision(&known).is_some_and(|last| self.loader.mirror().has(&last));
        let fetched = match fetched {
            Err(error) if !is_readable => return Err(error.into()),
            fetched => fetched,
        };
        let claim = audit.claim_epoch(&self.instance, Epoch::default(), clock::now())?;
        check_claim(&claim, &known)?;
        let state = audit.read()?;
        let past = self.loader.restore(&state, &self.key)?;
        for missing in &past.missing {
            tracing::warn!("of what was applied before, {missing}");
        }
        self.good = past.good;
        let restored = Restored { notes: past.notes, current: past.current, objects: past.objects, snapshots: past.snapshots };
        self.applied = last_revision(&state);
        self.has_begun = true;
        let begun = Begun { epoch: claim.epoch, settings: self.core_settings(), restored, audit };
        self.send(Input::Begun(Box::new(begun)));
        match fetched {
            Ok(head) => self.load_head(head),
            Err(away) => self.load_without_remote(away),
        }
    }

    /// The head of the branch, if it descends from what was applied last; otherwise it counts when it is seen again.
    fn load_head(&mut self, head: Head) -> Result<Duration, Trouble> {
        let jumped = self.applied.as_ref().is_some_and(|last| !self.loader.mirror().descends(last, &head.revision));
        if !jumped {
            return self.give(head, Trigger::Startup);
        }
        let mirror = self.loader.mirror_mut();
        mirror.resume_from(self.applied.clone());
        let head = mirror.fetch()?;
        self.give(head, Trigger::Startup)
    }

    /// What was applied last, so that what runs is looked after while the remote is away.
    fn load_without_remote(&mut self, away: SyncError) -> Result<Duration, Trouble> {
        self.loader.mirror_mut().resume_from(self.applied.clone());
        if let Some(last) = self.applied.clone() {
            self.load(&last, Trigger::Startup)?;
        }
        Err(away.into())
    }

    fn core_settings(&self) -> Settings {
        let mirror = self.loader.mirror();
        Settings {
            network: self.settings.network.clone(),
            cluster: self.settings.cluster.clone(),
            cluster_id: self.identity.cluster_id().to_owned(),
            instance: self.instance.clone(),
            repo: mirror.shown().to_owned(),
            branch: mirror.branch().unwrap_or_default().to_owned(),
        }
    }

    /// Fetches, and loads what is new. Says when to look again.
    fn look(&mut self, trigger: Trigger) -> Result<Duration, Trouble> {
        let head = self.loader.mirror_mut().fetch()?;
        self.give(head, trigger)
    }

    fn give(&mut self, head: Head, trigger: Trigger) -> Result<Duration, Trouble> {
        if let Some(suspect) = &head.suspect {
            tracing::warn!(
                head = suspect.short(),
                counted = head.revision.short(),
                "the branch jumped; it counts if it is still there"
            );
        }
        if !self.has_given {
            self.load(&head.revision, Trigger::Startup)?;
        } else if self.applied.as_ref() != Some(&head.revision) {
            self.load(&head.revision, trigger)?;
        }
        Ok(if head.suspect.is_some() { SUSPECT_PAUSE } else { self.settings.poll_interval })
    }

    fn load(&mut self, revision: &Revision, trigger: Trigger) -> Result<(), Trouble> {
        let start = clock::now();
        let Loaded { desired, good } = self.loader.load(revision, &self.good, &self.key)?;
        let mirror = self.loader.mirror();
        let head = mirror.commit(revision)?;
        let commits = mirror.commits_between(self.applied.as_ref(), revision)?;
        let commits = commits.into_iter().map(|info| self.commit(info)).collect::<Result<Vec<Commit>, SyncError>>()?;
        let took = clock::now().since(start);
        tracing::info!(
            revision = revision.short(),
            subject = head.subject,
            %trigger,
            objects = desired.objects.len(),
            held = desired.units.values().filter(|unit| unit.is_held()).count(),
            ms = took.as_millis(),
            "revision read"
        );
        report_problems(&desired);
        let event = LoadedRevision { desired, trigger, actor: head.committer, commits };
        self.good = good;
        self.applied = Some(revision.clone());
        self.has_given = true;
        self.send(Input::Core(Box::new(Event::Loaded(Box::new(event)))));
        Ok(())
    }

    /// A commit for the core. One that approves deletions says which objects its own tree has; none, if the watched path was not there.
    fn commit(&mut self, info: CommitInfo) -> Result<Commit, SyncError> {
        let CommitInfo { revision, subject, trailers, .. } = info;
        let mut commit = Commit { revision, subject, trailers, objects: BTreeSet::new() };
        if commit.approves_deletions() {
            commit.objects = match self.loader.load(&commit.revision, &self.good, &self.key) {
                Ok(loaded) => loaded.desired.objects.into_keys().collect(),
                Err(SyncError::MissingPath { .. }) => BTreeSet::new(),
                Err(error) => return Err(error),
            };
        }
        Ok(commit)
    }
}

/// A claim without the remote is as good as the memory that it rests on.
fn check_claim(claim: &Claim, known: &AuditState) -> Result<(), Trouble> {
    if claim.set_aside > 0 {
        tracing::warn!(
            records = claim.set_aside,
            "another controller reigned meanwhile: unpushed records were set aside in the mirror"
        );
    }
    match &claim.away {
        None => Ok(()),
        // The branch was read; it is only the push that is not allowed. Records queue.
        Some(SyncError::PushRefused { .. } | SyncError::Denied { .. }) => Ok(()),
        Some(_) if last_revision(known).is_some() => Ok(()),
        Some(error) => Err(Trouble {
            message: format!("the audit branch cannot be read, and there is no copy of it here: {}", in_full(error)),
            hint: error.hint(),
        }),
    }
}

fn last_revision(state: &AuditState) -> Option<Revision> {
    state.notes.as_ref().and_then(|notes| notes.revision.clone())
}

/// Errors of a revision in the log, so that whoever follows it sees why a unit is held.
fn report_problems(desired: &crate::model::Desired) {
    let all = desired.units.values().flat_map(|unit| unit.problems()).chain(&desired.problems);
    for problem in all.filter(|problem| problem.is_error()) {
        let at = &problem.at;
        tracing::error!(hint = problem.hint, "{}:{}:{}: {}", at.file, at.line, at.column, problem.message);
    }
}
