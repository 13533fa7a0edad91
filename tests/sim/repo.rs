//! A git repo as a value: commits with whole trees. Reading a commit uses the real manifest code.

use driftless::controller::{Commit, LoadedRevision};
use driftless::manifest::{self, DigestKey, GoodUnit, Loaded, ParsedFile, TreeInput};
use driftless::model::{Policy, Revision, Trigger, UnitName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Clone)]
pub struct FakeCommit {
    pub revision: Revision,
    pub message: String,
    pub files: BTreeMap<String, String>,
}

#[derive(Default)]
pub struct Repo {
    commits: Vec<FakeCommit>,
    parsed: BTreeMap<(String, String), Arc<ParsedFile>>,
}

impl Repo {
    /// Commits these changes on top of the head: `None` removes a file.
    pub fn commit(&mut self, message: &str, changes: &[(&str, Option<String>)]) -> Revision {
        let mut files = self.commits.last().map(|commit| commit.files.clone()).unwrap_or_default();
        for (path, text) in changes {
            match text {
                Some(text) => files.insert((*path).to_owned(), text.clone()),
                None => files.remove(*path),
            };
        }
        let revision = Revision::new(format!("{:0<40}", format!("c{:07x}", self.commits.len() + 1)));
        self.commits.push(FakeCommit { revision: revision.clone(), message: message.to_owned(), files });
        revision
    }

    pub fn head(&self) -> Option<&FakeCommit> {
        self.commits.last()
    }

    pub fn get(&self, revision: &Revision) -> Option<FakeCommit> {
        self.commits.iter().find(|commit| &commit.revision == revision).cloned()
    }

    /// Reads a commit with the units that were last good.
    pub fn load(&mut self, revision: &Revision, good: &BTreeMap<UnitName, Arc<GoodUnit>>) -> Loaded {
        let commit = self.get(revision).expect("a known commit");
        let mut files = BTreeMap::new();
        for (path, text) in &commit.files {
            let blob = blake3_hex(text);
            let key = (path.clone(), blob.clone());
            let parsed = self.parsed.entry(key).or_insert_with(|| Arc::new(manifest::parse(path, &blob, text.as_bytes())));
            files.insert(path.clone(), parsed.clone());
        }
        let input = TreeInput {
            revision: revision.clone(),
            files,
            problems: Vec::new(),
            policy: Policy::default(),
            rendered: BTreeMap::new(),
        };
        manifest::load(&input, good, &DigestKey::unkeyed())
    }

    /// The head as the controller is told of it, with the commits since `from`.
    pub fn loaded(
        &mut self,
        from: Option<&Revision>,
        good: &BTreeMap<UnitName, Arc<GoodUnit>>,
        trigger: Trigger,
    ) -> Option<(LoadedRevision, BTreeMap<UnitName, Arc<GoodUnit>>)> {
        let head = self.head()?.revision.clone();
        let loaded = self.load(&head, good);
        let start =
            from.and_then(|from| self.commits.iter().position(|commit| &commit.revision == from)).map_or(0, |index| index + 1);
        let commits = self.commits[start..].to_vec().iter().map(|commit| self.as_commit(commit)).collect();
        let revision =
            LoadedRevision { desired: loaded.desired, trigger, actor: "Sim <sim@example.org> unsigned".to_owned(), commits };
        Some((revision, loaded.good))
    }

    fn as_commit(&mut self, commit: &FakeCommit) -> Commit {
        let lines = commit.message.lines().skip(1).filter_map(|line| line.split_once(": "));
        let known = Commit {
            revision: commit.revision.clone(),
            subject: commit.message.lines().next().unwrap_or("").to_owned(),
            trailers: lines.map(|(key, value)| (key.trim().to_owned(), value.to_owned())).collect(),
            objects: BTreeSet::new(),
        };
        let older = self.head().is_some_and(|head| head.revision != commit.revision);
        if !(older && known.approves_deletions()) {
            return known;
        }
        let objects = self.load(&commit.revision, &BTreeMap::new()).desired.objects.into_keys().collect();
        Commit { objects, ..known }
    }
}

fn blake3_hex(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..40].to_owned()
}
