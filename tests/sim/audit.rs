//! The audit branch as a value: what survives a controller.

use crate::repo::Repo;
use driftless::controller::Restored;
use driftless::model::{AuditRecord, ClusterNotes, CurrentObject, Epoch, Object, ObjectKey, Revision};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Default)]
pub struct Audit {
    pub records: Vec<AuditRecord>,
    pub files: BTreeMap<String, String>,
    pub epoch: u64,
}

impl Audit {
    /// A compare-and-swap in a world without races: the next epoch.
    pub fn claim(&mut self) -> Epoch {
        self.epoch += 1;
        Epoch(self.epoch)
    }

    pub fn append(&mut self, record: AuditRecord) {
        for (path, text) in &record.tree {
            match text {
                Some(text) => self.files.insert(path.clone(), text.clone()),
                None => self.files.remove(path),
            };
        }
        self.records.push(record);
    }

    pub fn last_revision(&self) -> Option<Revision> {
        self.notes().and_then(|notes| notes.revision)
    }

    fn notes(&self) -> Option<ClusterNotes> {
        let text = self.files.get("current/_cluster/memory.yaml")?;
        Some(serde_saphyr::from_str(text).expect("a readable memory"))
    }

    /// What a controller that starts is told: the memory, and the objects at the commits that it names.
    pub fn restore(&self, repo: &mut Repo) -> Restored {
        let current: BTreeMap<ObjectKey, CurrentObject> = self
            .files
            .iter()
            .filter(|(path, _)| path.as_str() != "current/_cluster/memory.yaml")
            .map(|(path, text)| {
                (
                    ObjectKey::of_audit_path(path).expect("a path of current/"),
                    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{path}: {error}\n{text}")),
                )
            })
            .collect();
        let mut restored = Restored { notes: self.notes(), current, ..Restored::default() };
        let mut read = BTreeMap::new();
        for (key, current) in &restored.current {
            let sets = current.pods.iter().flat_map(|pods| pods.sets.values().filter_map(|set| set.commit.as_ref()));
            for commit in sets.chain(&current.commit) {
                let Some(object) = find(repo, &mut read, commit, key, current) else { continue };
                if let Some(snapshot) = object.snapshot() {
                    restored.snapshots.insert(snapshot.hash.clone(), snapshot.clone());
                }
                if current.commit.as_ref() == Some(commit) {
                    restored.objects.insert(key.clone(), object);
                }
            }
        }
        restored
    }
}

/// An object of a revision, or a Job that a CronJob of it made. Each revision is read once.
fn find(
    repo: &mut Repo,
    read: &mut BTreeMap<Revision, BTreeMap<ObjectKey, Arc<Object>>>,
    commit: &Revision,
    key: &ObjectKey,
    current: &CurrentObject,
) -> Option<Arc<Object>> {
    let objects = read.entry(commit.clone()).or_insert_with(|| repo.load(commit, &BTreeMap::new()).desired.objects);
    match &current.made_by {
        Some(by) => objects.get(&by.owner(&key.namespace))?.made_job(by.due).map(Arc::new),
        None => objects.get(key).cloned(),
    }
}
