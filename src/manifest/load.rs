//! A tree to desired: units are loaded or held, objects joined, templates hashed.
//!
//! A unit with an error keeps its last good files. Holding a unit can take away what another refers to, which holds that one as well,
//! so the decision is repeated until nothing changes; every round holds at least one more unit, so it ends.

use super::cross;
use super::document::{Document, ParsedFile};
use super::draft::Draft;
use super::hash::DigestKey;
use super::ignore::IgnoreSet;
use super::objects::{self, Placed};
use super::units::{POLICY_FILE, Units};
use super::verdict::Verdict;
use crate::model::{Desired, Location, ObjectKey, Policy, Problem, Revision, Scope, Severity, UnitName, UnitState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A tree as it was read.
#[derive(Debug, Clone)]
pub struct TreeInput {
    /// The commit.
    pub revision: Revision,
    /// Its candidate files, by path.
    pub files: BTreeMap<String, Arc<ParsedFile>>,
    /// Problems of files that could not be read (too large, a symlink, a pointer …); an error holds the unit of its file, one of
    /// `driftless.yaml` every unit.
    pub problems: Vec<Problem>,
    /// What `driftless.yaml` says.
    pub policy: Policy,
    /// The folders that are rendered, each a unit, with what kept them from it. What a folder rendered to is in `files` under the
    /// folder itself.
    pub rendered: BTreeMap<String, Vec<Problem>>,
}

/// A unit as it last loaded without an error.
#[derive(Debug, Clone)]
pub struct GoodUnit {
    /// The commit.
    pub revision: Revision,
    /// Its files.
    pub files: BTreeMap<String, Arc<ParsedFile>>,
}

/// What a tree means.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Everything that should run.
    pub desired: Desired,
    /// What to hand in as `last_good` the next time.
    pub good: BTreeMap<UnitName, Arc<GoodUnit>>,
}

/// Loads a tree. Without an error in it, the result does not depend on `last_good`.
#[must_use]
pub fn load(input: &TreeInput, last_good: &BTreeMap<UnitName, Arc<GoodUnit>>, key: &DigestKey) -> Loaded {
    let mut loading = Loading::new(input, last_good);
    loading.hold_broken();
    loop {
        let (held_before, findings) = (loading.held.len(), loading.cross_check());
        loading.hold_referrers(findings);
        if input.policy.atomic && !loading.held.is_empty() {
            loading.hold_all("atomic is set in driftless.yaml, and another unit has an error", POLICY_FILE);
        }
        if loading.held.len() == held_before {
            return loading.finish(key);
        }
    }
}

struct Loading<'a> {
    input: &'a TreeInput,
    /// The files of this revision, by unit.
    fresh: BTreeMap<UnitName, BTreeMap<String, Arc<ParsedFile>>>,
    /// The last good files, by the unit that they belong to now.
    good: BTreeMap<UnitName, Arc<GoodUnit>>,
    held: BTreeSet<UnitName>,
    /// Problems that hold units, and those that were found in documents.
    problems: BTreeMap<UnitName, Vec<Problem>>,
    /// Problems between objects, of the last round.
    crossed: BTreeMap<UnitName, Vec<Problem>>,
    of_policy: Vec<Problem>,
    units: Units,
    ignored: IgnoreSet,
}

impl<'a> Loading<'a> {
    fn new(input: &'a TreeInput, last_good: &BTreeMap<UnitName, Arc<GoodUnit>>) -> Self {
        let ignored = IgnoreSet::new(input.policy.ignore.iter().map(String::as_str));
        let files = || input.files.iter().filter(|(path, _)| !ignored.is_ignored(path));
        let units = Units::new(input.rendered.keys().map(String::as_str));
        let mut fresh: BTreeMap<UnitName, BTreeMap<String, Arc<ParsedFile>>> = BTreeMap::new();
        for (path, file) in files() {
            fresh.entry(units.of(path)).or_default().insert(path.clone(), Arc::clone(file));
        }
        Self {
            input,
            fresh,
            good: regroup(last_good, &units),
            held: BTreeSet::new(),
            problems: BTreeMap::new(),
            crossed: BTreeMap::new(),
            of_policy: Vec::new(),
            units,
            ignored,
        }
    }

    /// Holds the units that have errors of their own.
    fn hold_broken(&mut self) {
        for (unit, files) in self.fresh.clone() {
            let problems: Vec<Problem> = files.values().flat_map(|file| self.problems_of(file)).collect();
            if !problems.is_empty() {
                self.add(&unit, problems);
            }
        }
        for (folder, problems) in self.input.rendered.iter().filter(|(_, problems)| !problems.is_empty()) {
            self.add(&UnitName::new(folder.as_str()), problems.clone());
        }
        for problem in self.input.problems.clone() {
            if problem.at.file == POLICY_FILE {
                self.of_policy.push(problem);
            } else if !self.ignored.is_ignored(&problem.at.file) {
                let unit = self.units.of(&problem.at.file);
                self.add(&unit, vec![problem]);
            }
        }
        if self.of_policy.iter().any(Problem::is_error) {
            self.hold_all("driftless.yaml has an error, and it shapes every unit", POLICY_FILE);
        }
    }

    /// The problems of a file under this policy.
    fn problems_of(&self, file: &ParsedFile) -> Vec<Problem> {
        let documents = file.documents().iter().flat_map(|document| under_policy(document, &self.input.policy).1);
        file.problems().iter().cloned().chain(documents).collect()
    }

    fn add(&mut self, unit: &UnitName, problems: Vec<Problem>) {
        if problems.iter().any(Problem::is_error) {
            self.held.insert(unit.clone());
        }
        self.problems.entry(unit.clone()).or_default().extend(problems);
    }

    fn hold_all(&mut self, why: &str, file: &str) {
        let names: BTreeSet<UnitName> = self.fresh.keys().chain(self.good.keys()).cloned().collect();
        for unit in names.difference(&self.held.clone()) {
            self.add(unit, vec![unit_problem(file, why.to_owned())]);
        }
    }

    /// The drafts in force: those of held units from their last good files. Held ones come first, so that of two objects with one
    /// key the newcomer is at fault.
    fn placed(&self) -> Vec<Placed<'_>> {
        let held = self.held.iter().filter_map(|unit| Some((unit, self.good.get(unit)?)));
        let held = held.flat_map(|(unit, good)| placed_of(unit, &good.revision, &good.files));
        let fresh = self.fresh.iter().filter(|(unit, _)| !self.held.contains(unit));
        let fresh = fresh.flat_map(|(unit, files)| placed_of(unit, &self.input.revision, files));
        held.chain(fresh).collect()
    }

    fn cross_check(&self) -> Vec<(UnitName, ObjectKey, Option<ObjectKey>, Problem)> {
        let placed = self.placed();
        let drafts: Vec<&Arc<Draft>> = placed.iter().map(|placed| placed.draft).collect();
        let findings = cross::check(&drafts, &BTreeSet::new()).into_iter();
        findings
            .map(|finding| {
                let placed = &placed[finding.draft];
                (placed.unit.clone(), placed.draft.key.clone(), finding.missing, finding.problem)
            })
            .collect()
    }

    fn hold_referrers(&mut self, findings: Vec<(UnitName, ObjectKey, Option<ObjectKey>, Problem)>) {
        self.crossed.clear();
        let held_before = self.held.clone();
        for (unit, referrer, missing, problem) in findings {
            if held_before.contains(&unit) {
                if let Some(missing) = missing {
                    self.hold_provider(&unit, &referrer, &missing);
                }
            } else if problem.is_error() {
                self.add(&unit, vec![problem]);
            } else {
                self.crossed.entry(unit).or_default().push(problem);
            }
        }
    }

    /// A held unit still needs what another unit's new revision takes away: that one is held too.
    fn hold_provider(&mut self, unit: &UnitName, referrer: &ObjectKey, missing: &ObjectKey) {
        let provider = self.good.iter().filter(|(name, _)| !self.held.contains(*name)).find_map(|(name, good)| {
            let placed = placed_of(name, &good.revision, &good.files).find(|placed| placed.draft.key == *missing)?;
            Some((name.clone(), placed.draft.at.file.clone()))
        });
        if let Some((name, file)) = provider {
            let message = format!("{missing} is still used by {referrer} of the held unit {unit}");
            self.add(&name, vec![unit_problem(&file, message)]);
        }
    }

    fn finish(mut self, key: &DigestKey) -> Loaded {
        let mut desired = Desired {
            revision: Some(self.input.revision.clone()),
            policy: self.input.policy.clone(),
            objects: objects::build(&self.placed(), key),
            ..Desired::default()
        };
        let mut good = BTreeMap::new();
        let fresh = std::mem::take(&mut self.fresh);
        let names: BTreeSet<UnitName> = fresh.keys().chain(&self.held).cloned().collect();
        for name in names {
            let mut problems = self.problems.remove(&name).unwrap_or_default();
            problems.extend(self.crossed.remove(&name).unwrap_or_default());
            problems.sort();
            problems.dedup();
            let last = self.good.get(&name);
            let (state, kept) = if self.held.contains(&name) {
                let failed = self.input.revision.clone();
                (UnitState::Held { at: last.map(|good| good.revision.clone()), failed, problems }, last.cloned())
            } else {
                let revision = self.input.revision.clone();
                let files = fresh.get(&name).cloned().unwrap_or_default();
                let state = UnitState::Loaded { at: revision.clone(), problems };
                (state, Some(Arc::new(GoodUnit { revision, files })))
            };
            good.extend(kept.map(|kept| (name.clone(), kept)));
            desired.units.insert(name, state);
        }
        desired.problems = self.of_policy;
        Loaded { desired, good }
    }
}

/// The last good files by the unit that they belong to now. Where a kustomization appears in a folder, its files get a unit of their
/// own, and must not be lost with the old one.
fn regroup(last_good: &BTreeMap<UnitName, Arc<GoodUnit>>, units: &Units) -> BTreeMap<UnitName, Arc<GoodUnit>> {
    let mut regrouped: BTreeMap<UnitName, Arc<GoodUnit>> = BTreeMap::new();
    for (name, good) in last_good {
        if good.files.keys().all(|path| units.of(path) == *name) && !regrouped.contains_key(name) {
            regrouped.insert(name.clone(), Arc::clone(good));
            continue;
        }
        for (path, file) in &good.files {
            let unit = units.of(path);
            let fresh = || Arc::new(GoodUnit { revision: good.revision.clone(), files: BTreeMap::new() });
            let slot = regrouped.entry(unit).or_insert_with(fresh);
            Arc::make_mut(slot).files.insert(path.clone(), Arc::clone(file));
        }
    }
    regrouped
}

fn placed_of<'b>(
    unit: &'b UnitName,
    revision: &'b Revision,
    files: &'b BTreeMap<String, Arc<ParsedFile>>,
) -> impl Iterator<Item = Placed<'b>> {
    files.values().flat_map(move |file| {
        file.documents().iter().filter_map(move |document| match &document.verdict {
            Verdict::Accepted(draft) => Some(Placed { unit, revision, file: file.file(), blob: file.blob(), draft }),
            Verdict::Ignored | Verdict::Foreign(_) | Verdict::Rejected => None,
        })
    })
}

/// Whether a document is passed over, and its problems, when `ignoreKinds` has been asked.
pub(crate) fn under_policy(document: &Document, policy: &Policy) -> (bool, Vec<Problem>) {
    let Verdict::Foreign(kind) = &document.verdict else { return (false, document.problems.clone()) };
    if !policy.ignore_kinds.iter().any(|ignored| ignored == kind || *ignored == document.kind) {
        return (false, document.problems.clone());
    }
    let passed_over = document.problems.iter().cloned().map(|problem| Problem {
        severity: Severity::Warning,
        message: format!("{kind} is passed over, as ignoreKinds says"),
        hint: None,
        ..problem
    });
    (true, passed_over.collect())
}

/// A problem of a unit as a whole.
fn unit_problem(file: &str, message: String) -> Problem {
    Problem {
        at: Location { file: file.to_owned(), line: 0, column: 0 },
        path: String::new(),
        severity: Severity::Error,
        scope: Scope::Repository,
        message,
        hint: None,
    }
}
