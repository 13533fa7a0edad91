//! Writing the audit branch: claims, records, pushes.

use super::commit::{self, MEMORY_PATH, failed};
use super::refusal::{Refusal, refusal};
use super::{AuditError, HistoryEntry, audit_branch, message, read_history};
use crate::model::{AuditRecord, ChangeCounts, ClusterNotes, Epoch, Moment, Outcome, Revision, Trigger};
use crate::sync::git::{Git, Remote, classify, last_words};
use crate::sync::mirror::{check_local, open_repo, repack};
use crate::sync::{Identity, SyncError};
use git2::{Oid, Repository, Sort};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long one exchange with the remote may take.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(60);
/// How often a lost race is run again.
const TRIES: u32 = 8;
/// After so many records the mirror is repacked if that is worth it.
const RECORDS_PER_REPACK: u32 = 256;
/// With less room than this on its disk, a write that failed did so because the disk is full.
const ROOM_MIN_BYTES: u64 = 256 << 10;

/// Where the audit branch lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSpec {
    /// The remote: that of the watched branch, or `--audit-remote`.
    pub url: String,
    /// The cluster's name, empty or `default` if it has none.
    pub cluster: String,
}

/// The audit branch as one controller writes it. It may be sent to another thread and belongs to one at a time; its calls block.
pub struct AuditLog {
    repo: Repository,
    git: Git,
    dir: PathBuf,
    remote: Remote,
    branch: String,
    identity: Arc<Identity>,
    reign: Option<(Epoch, String)>,
    records_since_repack: u32,
}

/// The tip of the branch, read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AuditState {
    /// The commit; `None` if the branch does not exist yet.
    pub tip: Option<Revision>,
    /// The epoch recorded there.
    pub epoch: Epoch,
    /// The instance that claimed it.
    pub instance: String,
    /// `current/_cluster/memory.yaml`.
    pub notes: Option<ClusterNotes>,
    /// Every file below `current/`, by its full path.
    pub files: BTreeMap<String, String>,
}

/// A claimed epoch.
#[derive(Debug)]
pub struct Claim {
    /// The epoch.
    pub epoch: Epoch,
    /// Why the claim could not be pushed, if so: it holds locally, and is pushed or lost when the remote is back.
    pub away: Option<SyncError>,
    /// How many records of an earlier reign of ours could not be pushed before somebody else reigned. They are kept in the mirror
    /// under `refs/driftless/set-aside/`.
    pub set_aside: usize,
}

/// What the remote lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushState {
    /// Commits that are not pushed.
    pub queued: usize,
}

/// How a push ended, if not in an error.
#[derive(Debug, PartialEq, Eq)]
enum Pushed {
    Done,
    Raced,
}

impl AuditLog {
    /// Opens the branch in the mirror at `dir` (the folder that [`super::super::Mirror::open`] was given). Nothing is fetched.
    ///
    /// # Errors
    /// The mirror cannot be opened.
    pub fn open(dir: &Path, spec: &AuditSpec, identity: Arc<Identity>) -> Result<Self, AuditError> {
        let remote = Remote::new("audit", &spec.url);
        let (repo, git) = open_repo(dir, &remote)?;
        let branch = audit_branch(&spec.cluster);
        Ok(Self { repo, git, dir: dir.to_owned(), remote, branch, identity, reign: None, records_since_repack: 0 })
    }

    /// The branch's name.
    #[must_use]
    pub fn branch(&self) -> &str {
        &self.branch
    }

    /// Reads the local tip. After [`AuditLog::claim_epoch`] that is the remote's, with what is queued on top.
    ///
    /// # Errors
    /// The mirror or the memory cannot be read.
    pub fn read(&self) -> Result<AuditState, AuditError> {
        let Some(tip) = self.local() else { return Ok(AuditState::default()) };
        let files = commit::files(&self.repo, tip)?;
        let notes = files.get(MEMORY_PATH).map(|text| commit::read_notes(text)).transpose()?;
        let (epoch, instance) = notes.as_ref().map(|notes| (Epoch(notes.epoch), notes.instance.clone())).unwrap_or_default();
        Ok(AuditState { tip: Some(Revision::new(tip.to_string())), epoch, instance, notes, files })
    }

    /// Claims the next epoch: one above the branch's and `at_least` (the highest that an agent has told of). The push of the claim
    /// is the compare-and-swap: if somebody else was faster, it reads again and claims a higher one. If the remote is away the claim
    /// holds locally; [`AuditLog::push`] settles it later.
    ///
    /// # Errors
    /// The mirror cannot be written, or the race was lost too often. That the remote is away is no error.
    pub fn claim_epoch(&mut self, instance: &str, at_least: Epoch, now: Moment) -> Result<Claim, AuditError> {
        let mut set_aside = 0;
        for _ in 0..TRIES {
            let away = self.look().err();
            if away.is_none() {
                set_aside += self.adopt_remote()?;
            }
            let before = self.local();
            let epoch = self.write_claim(instance, at_least, now, before)?;
            self.reign = Some((epoch, instance.to_owned()));
            let away = match away {
                Some(away) => Some(away),
                None => match self.push_tip() {
                    Ok(Pushed::Done) => None,
                    Ok(Pushed::Raced) => {
                        self.set_local(before)?;
                        continue;
                    }
                    Err(error) => Some(error),
                },
            };
            return Ok(Claim { epoch, away, set_aside });
        }
        Err(AuditError::Contended { tries: TRIES })
    }

    fn write_claim(&self, instance: &str, at_least: Epoch, now: Moment, parent: Option<Oid>) -> Result<Epoch, AuditError> {
        let notes = parent.map(|tip| commit::notes_at(&self.repo, tip)).transpose()?.flatten().unwrap_or_default();
        let epoch = Epoch(notes.epoch.max(at_least.0) + 1);
        let cluster_id = self.identity.cluster_id().to_owned();
        let claimed = ClusterNotes { cluster_id, epoch: epoch.0, instance: instance.to_owned(), ..notes };
        let record = AuditRecord {
            subject: format!("cluster: epoch {} begins", epoch.0),
            body: format!("Controller {instance} starts, and claims the epoch after {}.", epoch.0 - 1),
            revision: claimed.revision.clone(),
            trigger: Trigger::Startup,
            plan: String::new(),
            outcome: Outcome::Planned,
            changes: ChangeCounts::default(),
            actor: format!("controller {instance}"),
            epoch,
            duration_ms: 0,
            tree: BTreeMap::from([(MEMORY_PATH.to_owned(), Some(commit::write_notes(&claimed)?))]),
        };
        self.commit(&record, now, parent)?;
        Ok(epoch)
    }

    /// Commits a record to the local mirror, on top of what is there. It reaches the remote with the next [`AuditLog::push`].
    ///
    /// # Errors
    /// No epoch is claimed, or the mirror cannot be written; then the record is not there, and may be appended again.
    pub fn append(&mut self, record: &AuditRecord, now: Moment) -> Result<Revision, AuditError> {
        let (epoch, instance) = self.reign.clone().ok_or(AuditError::Unclaimed)?;
        let mut record = record.clone();
        if let Some(Some(text)) = record.tree.get_mut(MEMORY_PATH) {
            // Whoever wrote the memory, the reign in it is the one that was claimed.
            let notes = commit::read_notes(text)?;
            let cluster_id = self.identity.cluster_id().to_owned();
            *text = commit::write_notes(&ClusterNotes { cluster_id, epoch: epoch.0, instance, ..notes })?;
        }
        let id = self.commit(&record, now, self.local())?;
        self.records_since_repack += 1;
        Ok(Revision::new(id.to_string()))
    }

    fn commit(&self, record: &AuditRecord, now: Moment, parent: Option<Oid>) -> Result<Oid, AuditError> {
        self.try_commit(record, now, parent).map_err(|error| {
            // libgit2 does not say so itself, but repeats what it said last.
            let full = matches!(error, AuditError::Mirror(SyncError::Objects { .. })) && is_full(&self.dir);
            if full { SyncError::DiskFull { at: self.dir.clone() }.into() } else { error }
        })
    }

    fn try_commit(&self, record: &AuditRecord, now: Moment, parent: Option<Oid>) -> Result<Oid, AuditError> {
        let changes = commit::write_blobs(&self.repo, &record.tree)?;
        let parent = parent.map(|id| self.repo.find_commit(id)).transpose().map_err(failed("cannot read the audit branch"))?;
        let tree = commit::change_tree(&self.repo, parent.as_ref(), &changes)?;
        let id = commit::write(&self.repo, &self.identity, parent.as_ref(), tree, &message::write(record), now)?;
        self.set_local(Some(id))?;
        Ok(id)
    }

    /// Pushes what is queued; with nothing queued, looks whether somebody else reigns by now. To be called after every record and
    /// at every poll.
    ///
    /// # Errors
    /// [`AuditError::StoodDown`] if another controller reigns; otherwise the records stay queued, and it may be tried again.
    pub fn push(&mut self) -> Result<PushState, AuditError> {
        if self.queued()? == 0 {
            self.look()?;
            self.reconcile()?;
        }
        for _ in 0..TRIES {
            if self.queued()? == 0 || self.push_tip()? == Pushed::Done {
                self.repack_in_time();
                return Ok(PushState { queued: 0 });
            }
            self.look()?;
            self.reconcile()?;
        }
        Err(AuditError::Contended { tries: TRIES })
    }

    /// How many commits the remote is known to lack.
    ///
    /// # Errors
    /// The mirror cannot be read.
    pub fn queued(&self) -> Result<usize, AuditError> {
        match self.local() {
            Some(local) => Ok(self.between(self.tracked(), local)?.len()),
            None => Ok(0),
        }
    }

    /// The newest records first, at most `limit`.
    ///
    /// # Errors
    /// The mirror cannot be read.
    pub fn history(&self, limit: usize) -> Result<Vec<HistoryEntry>, AuditError> {
        match self.local() {
            Some(tip) => read_history(&self.repo, tip, limit, Some(self.identity.public_key())),
            None => Ok(Vec::new()),
        }
    }

    /// Squares our branch with the remote's while we reign.
    fn reconcile(&self) -> Result<(), AuditError> {
        let (Some(local), Some(remote)) = (self.local(), self.tracked()) else { return Ok(()) };
        if self.contains(local, remote) {
            return Ok(());
        }
        self.refuse_foreign_reign(remote)?;
        if self.contains(remote, local) { self.set_local(Some(remote)) } else { self.replay(local, remote) }
    }

    fn refuse_foreign_reign(&self, remote: Oid) -> Result<(), AuditError> {
        let Some((ours, own_instance)) = &self.reign else { return Ok(()) };
        let (theirs, instance) = commit::reign_at(&self.repo, Some(remote))?;
        if theirs > *ours || (theirs == *ours && instance != *own_instance) {
            return Err(AuditError::StoodDown { ours: *ours, theirs, instance });
        }
        Ok(())
    }

    /// Before a claim: makes the local branch contain the remote's. Returns how many queued records had to be set aside.
    fn adopt_remote(&self) -> Result<usize, AuditError> {
        let Some(remote) = self.tracked() else { return Ok(0) };
        let Some(local) = self.local() else { return self.set_local(Some(remote)).map(|()| 0) };
        if self.contains(local, remote) {
            return Ok(0);
        }
        if self.contains(remote, local) {
            return self.set_local(Some(remote)).map(|()| 0);
        }
        let (ours, _) = commit::reign_at(&self.repo, Some(local))?;
        let (theirs, _) = commit::reign_at(&self.repo, Some(remote))?;
        if theirs < ours {
            return self.replay(local, remote).map(|()| 0);
        }
        let count = self.between(Some(remote), local)?.len();
        let name = format!("refs/driftless/set-aside/{local}");
        self.repo.reference(&name, local, true, "set aside").map_err(failed("cannot keep unpushed records"))?;
        self.set_local(Some(remote))?;
        Ok(count)
    }

    /// Puts the records that the remote lacks on top of it: same words, same time, same changes, signed again.
    fn replay(&self, local: Oid, remote: Oid) -> Result<(), AuditError> {
        let what = "cannot put a queued record on top of the remote";
        let mut tip = remote;
        for id in self.between(Some(remote), local)? {
            let queued = self.repo.find_commit(id).map_err(failed(what))?;
            let parent = self.repo.find_commit(tip).map_err(failed(what))?;
            let tree = commit::change_tree(&self.repo, Some(&parent), &commit::changes_of(&self.repo, &queued)?)?;
            let at = Moment(u64::try_from(queued.time().seconds()).unwrap_or(0).saturating_mul(1000));
            let text = queued.message().map_err(failed(what))?;
            tip = commit::write(&self.repo, &self.identity, Some(&parent), tree, text, at)?;
        }
        self.set_local(Some(tip))
    }

    /// Fetches the remote's branch into our tracking ref; a branch that is not there removes it.
    fn look(&self) -> Result<(), SyncError> {
        check_local(&self.remote)?;
        let refspec = format!("+refs/heads/{}:{}", self.branch, self.tracking_ref());
        let what = format!("fetching {} from {}", self.branch, self.remote.shown);
        let args = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", self.remote.name, &refspec];
        let output = self.git.run(&what, &args, EXCHANGE_LIMIT)?;
        if output.stderr.contains("couldn't find remote ref") {
            if let Ok(mut gone) = self.repo.find_reference(&self.tracking_ref()) {
                gone.delete().map_err(SyncError::objects("cannot forget the remote's audit branch"))?;
            }
            return Ok(());
        }
        if output.ok { Ok(()) } else { Err(classify(&what, &self.remote, &output.stderr, &self.dir)) }
    }

    /// Pushes the local tip as a fast-forward.
    fn push_tip(&self) -> Result<Pushed, SyncError> {
        let Some(tip) = self.local() else { return Ok(Pushed::Done) };
        check_local(&self.remote)?;
        let refspec = format!("{tip}:refs/heads/{}", self.branch);
        let what = format!("pushing {} to {}", self.branch, self.remote.shown);
        let args = ["push", "--porcelain", "--no-verify", "--no-signed", "--no-follow-tags", self.remote.name, &refspec];
        let output = self.git.run(&what, &args, EXCHANGE_LIMIT)?;
        if output.ok {
            let track = self.repo.reference(&self.tracking_ref(), tip, true, "pushed");
            return track.map(|_| Pushed::Done).map_err(SyncError::objects("cannot note what was pushed"));
        }
        match refusal(&output.stdout) {
            Some(Refusal::Race) => Ok(Pushed::Raced),
            Some(Refusal::Other(reason)) => {
                let said = output.stderr.lines().find_map(|line| line.strip_prefix("remote: ")).unwrap_or("").trim();
                let detail = if said.is_empty() { reason } else { format!("{reason}: {said}") };
                Err(SyncError::PushRefused { repo: self.remote.shown.clone(), detail })
            }
            None => Err(classify(&what, &self.remote, &last_words_or_all(&output.stderr), &self.dir)),
        }
    }

    fn repack_in_time(&mut self) {
        if self.records_since_repack >= RECORDS_PER_REPACK {
            self.records_since_repack = 0;
            if let Err(error) = repack(&self.git) {
                tracing::warn!(%error, "the mirror could not be repacked; it is tried again later");
            }
        }
    }

    fn local_ref(&self) -> String {
        format!("refs/heads/{}", self.branch)
    }

    fn tracking_ref(&self) -> String {
        format!("refs/remotes/{}/{}", self.remote.name, self.branch)
    }

    fn local(&self) -> Option<Oid> {
        self.repo.refname_to_id(&self.local_ref()).ok()
    }

    fn tracked(&self) -> Option<Oid> {
        self.repo.refname_to_id(&self.tracking_ref()).ok()
    }

    fn set_local(&self, tip: Option<Oid>) -> Result<(), AuditError> {
        let what = "cannot move the local audit branch";
        match tip {
            Some(tip) => self.repo.reference(&self.local_ref(), tip, true, "audit").map(|_| ()).map_err(failed(what)),
            None => self.repo.find_reference(&self.local_ref()).and_then(|mut found| found.delete()).map_err(failed(what)),
        }
    }

    /// Whether `tip` is `ancestor` or has it among its ancestors.
    fn contains(&self, tip: Oid, ancestor: Oid) -> bool {
        tip == ancestor || self.repo.graph_descendant_of(tip, ancestor).unwrap_or(false)
    }

    /// The commits of `tip` that `base` does not lead to, oldest first.
    fn between(&self, base: Option<Oid>, tip: Oid) -> Result<Vec<Oid>, AuditError> {
        let walk = || -> Result<Vec<Oid>, git2::Error> {
            let mut walk = self.repo.revwalk()?;
            walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE)?;
            walk.push(tip)?;
            if let Some(base) = base {
                walk.hide(base)?;
            }
            walk.collect()
        };
        walk().map_err(failed("cannot list the audit branch"))
    }
}

/// Whether the disk under a folder has no room left to speak of.
fn is_full(dir: &Path) -> bool {
    rustix::fs::statvfs(dir).is_ok_and(|disk| {
        // A file system without a fixed number of inodes says 0 of 0.
        let no_inodes = disk.f_files > 0 && disk.f_favail == 0;
        no_inodes || disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM_MIN_BYTES
    })
}

/// Git's own words, or a placeholder where it said nothing.
fn last_words_or_all(stderr: &str) -> String {
    if stderr.is_empty() { last_words(stderr) } else { stderr.to_owned() }
}
