//! What ran, read back from git when a controller starts: the audit branch names the commits, the mirror has them.
//!
//! Every object and every template that still has pods is loaded again from the commit that it was applied from, so that the first
//! comparison is against what really was applied, not against what the branch says by now.

use super::audit::AuditState;
use super::{Loader, SyncError};
use crate::manifest::{DigestKey, GoodUnit, Loaded};
use crate::model::{ClusterNotes, CurrentObject, Object, ObjectKey, PodSnapshot, Revision, TemplateHash, UnitName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How far back the last good revision of a held unit is looked for.
const WALK_MAX: usize = 200;

/// What a starting controller needs of the past.
#[derive(Debug, Default)]
pub struct Restoration {
    /// `current/_cluster/memory.yaml`; `None` for a new cluster.
    pub notes: Option<ClusterNotes>,
    /// The other files of `current/`.
    pub current: BTreeMap<ObjectKey, CurrentObject>,
    /// The objects as they were applied. One that can no longer be read is absent.
    pub objects: BTreeMap<ObjectKey, Arc<Object>>,
    /// The templates that have pods, by hash. One that can no longer be read is absent.
    pub snapshots: BTreeMap<TemplateHash, Arc<PodSnapshot>>,
    /// The last good files of every unit, for the first [`Loader::load`].
    pub good: BTreeMap<UnitName, Arc<GoodUnit>>,
    /// What could not be read back, a sentence each, for the log and for status.
    pub missing: Vec<String>,
}

/// What is wanted of one commit.
#[derive(Default)]
struct Wanted {
    objects: BTreeSet<ObjectKey>,
    snapshots: BTreeSet<(ObjectKey, TemplateHash)>,
}

impl Loader {
    /// Reads the past back. Each commit is loaded once, and only files that differ between them are parsed.
    ///
    /// # Errors
    /// The mirror itself cannot be read; what is merely gone is listed in `missing`.
    pub fn restore(&mut self, state: &AuditState, key: &DigestKey) -> Result<Restoration, SyncError> {
        let mut past = Restoration { notes: state.notes.clone(), ..Restoration::default() };
        (past.current, past.missing) = read_current(&state.files);
        for (commit, wanted) in wanted_by_commit(&past.current) {
            match self.past(&commit, key)? {
                Some(loaded) => past.pick(&commit, &wanted, &loaded),
                None => past.miss(&commit, &wanted),
            }
        }
        if let Some(revision) = past.notes.as_ref().and_then(|notes| notes.revision.clone()) {
            past.good = self.good_units(&revision, key)?;
        }
        self.evict();
        Ok(past)
    }

    /// A commit of the past, on its own; `None` if it, or the watched path in it, is gone.
    fn past(&mut self, commit: &Revision, key: &DigestKey) -> Result<Option<Loaded>, SyncError> {
        // Only a commit that a forced push took away has to be asked for; that the remote is away now means that it is gone.
        if !self.mirror().has(commit) && !self.mirror().fetch_commit(commit).unwrap_or(false) {
            return Ok(None);
        }
        match self.load_keeping(commit, &BTreeMap::new(), key) {
            Ok(loaded) => Ok(Some(loaded)),
            Err(SyncError::MissingPath { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every unit at the newest revision, from `last` back, at which it had no error.
    ///
    /// # Errors
    /// The mirror itself cannot be read.
    pub fn good_units(&mut self, last: &Revision, key: &DigestKey) -> Result<BTreeMap<UnitName, Arc<GoodUnit>>, SyncError> {
        let Some(loaded) = self.past(last, key)? else { return Ok(BTreeMap::new()) };
        let mut held: BTreeSet<UnitName> =
            loaded.desired.units.iter().filter(|(_, state)| state.is_held()).map(|(unit, _)| unit.clone()).collect();
        let mut good = loaded.good;
        let mut commit = last.clone();
        for _ in 0..WALK_MAX {
            let Some(parent) = self.mirror().first_parent(&commit) else { break };
            if held.is_empty() {
                break;
            }
            commit = parent;
            let Some(earlier) = self.past(&commit, key)? else { break };
            for (unit, files) in earlier.good {
                if held.remove(&unit) {
                    good.insert(unit, files);
                }
            }
        }
        Ok(good)
    }
}

/// The objects that the files of `current/` (path to text) are about, and a sentence for each file that cannot be read. Other files
/// are passed over.
#[must_use]
pub fn read_current(files: &BTreeMap<String, String>) -> (BTreeMap<ObjectKey, CurrentObject>, Vec<String>) {
    let (mut current, mut unreadable) = (BTreeMap::new(), Vec::new());
    for (path, text) in files {
        let Some(key) = ObjectKey::of_audit_path(path) else { continue };
        match serde_saphyr::from_str::<CurrentObject>(text) {
            Ok(object) => drop(current.insert(key, object)),
            Err(error) => unreadable.push(format!("{path} on the audit branch cannot be read: {error}")),
        }
    }
    (current, unreadable)
}

fn wanted_by_commit(current: &BTreeMap<ObjectKey, CurrentObject>) -> BTreeMap<Revision, Wanted> {
    let mut wanted: BTreeMap<Revision, Wanted> = BTreeMap::new();
    for (key, object) in current {
        // What a StatefulSet made of its templates is in no file, and whole in `current/`.
        let is_made = object.volume.as_ref().is_some_and(|volume| volume.made_by.is_some());
        if let Some(commit) = object.commit.as_ref().filter(|_| !is_made) {
            wanted.entry(commit.clone()).or_default().objects.insert(key.clone());
        }
        let sets = object.pods.iter().flat_map(|pods| &pods.sets);
        for (hash, commit) in sets.filter_map(|(hash, set)| Some((hash, set.commit.as_ref()?))) {
            wanted.entry(commit.clone()).or_default().snapshots.insert((key.clone(), TemplateHash::new(hash.as_str())));
        }
    }
    wanted
}

impl Restoration {
    fn pick(&mut self, commit: &Revision, wanted: &Wanted, loaded: &Loaded) {
        let objects = &loaded.desired.objects;
        for key in &wanted.objects {
            match self.find(key, objects) {
                Some(object) => drop(self.objects.insert(key.clone(), object)),
                None => self.missing.push(format!("{key} is not in revision {} any more", commit.short())),
            }
        }
        for (key, hash) in &wanted.snapshots {
            let snapshot = self.find(key, objects).and_then(|object| object.snapshot().cloned());
            match snapshot.filter(|snapshot| snapshot.hash == *hash) {
                Some(snapshot) => drop(self.snapshots.insert(hash.clone(), snapshot)),
                None => self.missing.push(format!("template {} of {key} is not in revision {}", hash.short(), commit.short())),
            }
        }
    }

    /// An object of a revision, or one that its CronJob made.
    fn find(&self, key: &ObjectKey, objects: &BTreeMap<ObjectKey, Arc<Object>>) -> Option<Arc<Object>> {
        match self.current.get(key).and_then(|current| current.made_by.as_ref()) {
            Some(by) => objects.get(&by.owner(&key.namespace))?.made_job(by.due).map(Arc::new),
            None => objects.get(key).cloned(),
        }
    }

    fn miss(&mut self, commit: &Revision, wanted: &Wanted) {
        let (objects, templates) = (wanted.objects.len(), wanted.snapshots.len());
        let what = format!("{objects} objects and {templates} templates came from it");
        self.missing.push(format!("revision {} is gone from the repository; {what}", commit.short()));
    }
}
