//! The loader against real git: what is parsed again, what is held, what is read back after a restart.

use crate::git_lab::Lab;
use driftless::manifest::{DigestKey, FILE_BYTES_MAX, GoodUnit, Loaded};
use driftless::model::{
    ClusterNotes, CurrentObject, CurrentPods, CurrentSet, CurrentVolume, Kind, ObjectKey, Revision, TemplateHash, UnitName,
    UnitState,
};
use driftless::sync::{AuditState, Loader, Mirror, RenderSettings, RepoSpec};
use std::collections::BTreeMap;
use std::sync::Arc;

type Good = BTreeMap<UnitName, Arc<GoodUnit>>;

fn loader(lab: &Lab) -> Loader {
    let spec = RepoSpec { url: lab.remote().display().to_string(), ..RepoSpec::default() };
    Loader::new(Mirror::open(&lab.path("mirror"), &spec).unwrap(), RenderSettings::default())
}

/// Fetches and loads the head.
fn load(loader: &mut Loader, good: &Good) -> Loaded {
    let mut head = loader.mirror_mut().fetch().unwrap();
    if head.suspect.is_some() {
        head = loader.mirror_mut().fetch().unwrap();
    }
    loader.load(&head.revision, good, &DigestKey::unkeyed()).unwrap()
}

fn deployment(name: &str, image: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{containers: [{{name: main, image: \"{image}\"}}]}}
"
    )
}

fn web() -> ObjectKey {
    ObjectKey::new(Kind::Deployment, "default", "web")
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.desired.objects.keys().map(|key| key.name.as_str()).collect()
}

fn hash_of(loaded: &Loaded, key: &ObjectKey) -> TemplateHash {
    loaded.desired.objects[key].snapshot().unwrap().hash.clone()
}

fn held(loaded: &Loaded, unit: &str) -> bool {
    loaded.desired.units.get(&UnitName::new(unit)).is_some_and(UnitState::is_held)
}

#[test]
fn only_what_a_push_changes_is_parsed_again_and_the_rest_is_forgotten() {
    let lab = Lab::new();
    lab.write("a/web.yaml", &deployment("web", "nginx:1"));
    lab.push_file("b/api.yaml", &deployment("api", "api:1"));
    let mut loader = loader(&lab);
    let first = load(&mut loader, &Good::new());
    assert_eq!(names(&first), ["api", "web"]);
    lab.push_file("a/web.yaml", &deployment("web", "nginx:2"));
    let second = load(&mut loader, &first.good);
    let file = |loaded: &Loaded, unit: &str, path: &str| Arc::clone(&loaded.good[&UnitName::new(unit)].files[path]);
    assert!(Arc::ptr_eq(&file(&first, "b", "b/api.yaml"), &file(&second, "b", "b/api.yaml")));
    assert!(!Arc::ptr_eq(&file(&first, "a", "a/web.yaml"), &file(&second, "a", "a/web.yaml")));
    drop(first);
    lab.push_file("README.md", "nothing of ours");
    load(&mut loader, &second.good);
    assert_eq!(loader.cached(), 2);
}

#[test]
fn many_files_are_parsed_in_parallel_and_none_is_mistaken_for_another() {
    let lab = Lab::new();
    for number in 0..100 {
        lab.write(&format!("unit-{}/web-{number}.yaml", number % 7), &deployment(&format!("web-{number}"), "nginx:1"));
    }
    lab.commit("Many");
    lab.push();
    let loaded = load(&mut loader(&lab), &Good::new());
    assert_eq!(loaded.desired.objects.len(), 100);
    for (key, object) in &loaded.desired.objects {
        assert!(object.source.file.ends_with(&format!("/{}.yaml", key.name)), "{key} is in {}", object.source.file);
    }
}

#[test]
fn a_unit_whose_files_cannot_be_read_is_held_and_the_others_go_on() {
    let lab = Lab::new();
    lab.write("a/web.yaml", &deployment("web", "nginx:1"));
    lab.push_file("b/api.yaml", &deployment("api", "api:1"));
    let mut loader = loader(&lab);
    let mut loaded = load(&mut loader, &Good::new());
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
    let large = " ".repeat(FILE_BYTES_MAX + 1);
    for (broken, says) in [(lfs, "LFS"), (large.as_str(), "bytes"), ("a: [", "")] {
        lab.write("b/api.yaml", &deployment("api", &format!("api:{}", broken.len())));
        lab.push_file("a/web.yaml", broken);
        let good = loaded.good.clone();
        loaded = load(&mut loader, &good);
        assert_eq!(names(&loaded), ["api", "web"], "{says}");
        assert!(held(&loaded, "a") && !held(&loaded, "b"), "{says}: {:?}", loaded.desired.units);
        let problems = loaded.desired.units[&UnitName::new("a")].problems();
        assert!(problems.iter().any(|problem| problem.message.contains(says)), "{problems:?}");
    }
}

#[test]
fn a_folder_that_becomes_a_link_or_a_submodule_takes_nothing_away() {
    let lab = Lab::new();
    lab.write("a/web.yaml", &deployment("web", "nginx:1"));
    let first = lab.push_file("b/api.yaml", &deployment("api", "api:1"));
    let mut loader = loader(&lab);
    let before = load(&mut loader, &Good::new());
    lab.git(&lab.work(), &["rm", "--quiet", "-r", "a"]);
    std::os::unix::fs::symlink("/srv/a", lab.work().join("a")).unwrap();
    lab.commit("A link");
    lab.push();
    let linked = load(&mut loader, &before.good);
    assert!(held(&linked, "a"), "{:?}", linked.desired.units);
    assert_eq!(names(&linked), ["api", "web"]);

    std::fs::remove_file(lab.work().join("a")).unwrap();
    lab.commit("No link");
    lab.git(&lab.work(), &["update-index", "--add", "--cacheinfo", &format!("160000,{first},a")]);
    lab.git(&lab.work(), &["commit", "--quiet", "--message", "A submodule"]);
    lab.push();
    let submodule = load(&mut loader, &linked.good);
    assert!(held(&submodule, "a"), "{:?}", submodule.desired.units);
    assert_eq!(names(&submodule), ["api", "web"]);
}

#[test]
fn what_is_ignored_is_not_looked_at() {
    let lab = Lab::new();
    lab.write("a/web.yaml", &deployment("web", "nginx:1"));
    lab.write("charts/broken.yaml", "a: [");
    lab.push_file(".driftlessignore", "# ours\ncharts/\n");
    let loaded = load(&mut loader(&lab), &Good::new());
    assert_eq!(names(&loaded), ["web"]);
    assert!(loaded.desired.units.values().all(|unit| !unit.is_held()), "{:?}", loaded.desired.units);
}

#[test]
fn a_broken_policy_holds_everything() {
    let lab = Lab::new();
    lab.push_file("a/web.yaml", &deployment("web", "nginx:1"));
    let mut loader = loader(&lab);
    let before = load(&mut loader, &Good::new());
    lab.write("a/web.yaml", &deployment("web", "nginx:2"));
    lab.push_file("driftless.yaml", "prune: [");
    let after = load(&mut loader, &before.good);
    assert!(held(&after, "a"), "{:?}", after.desired.units);
    assert_eq!(hash_of(&after, &web()), hash_of(&before, &web()));
}

/// `current/` with the web Deployment applied from `commit`, and pods of every set.
fn audit_state(revision: &str, commit: &str, sets: &[(&TemplateHash, &str)]) -> AuditState {
    let set = |commit: &str| CurrentSet { commit: Some(Revision::new(commit)), ..CurrentSet::default() };
    let sets = sets.iter().map(|(hash, commit)| (hash.to_string(), set(commit))).collect();
    let object = CurrentObject {
        commit: Some(Revision::new(commit)),
        pods: Some(CurrentPods { sets, ..CurrentPods::default() }),
        ..CurrentObject::default()
    };
    AuditState {
        notes: Some(ClusterNotes { revision: Some(Revision::new(revision)), ..ClusterNotes::default() }),
        files: BTreeMap::from([(web().audit_path(), serde_saphyr::to_string(&object).unwrap())]),
        ..AuditState::default()
    }
}

#[test]
fn a_restart_reads_back_what_was_applied_and_every_template_that_has_pods() {
    let lab = Lab::new();
    let old_commit = lab.push_file("a/web.yaml", &deployment("web", "nginx:1"));
    let old_hash = hash_of(&load(&mut loader(&lab), &Good::new()), &web());
    let new_commit = lab.push_file("a/web.yaml", &deployment("web", "nginx:2"));
    let new_hash = hash_of(&load(&mut loader(&lab), &Good::new()), &web());
    lab.push_file("a/web.yaml", "a: [");
    let broken = lab.push_file("a/web.yaml", "b: [");

    let state = audit_state(&broken, &new_commit, &[(&old_hash, &old_commit), (&new_hash, &new_commit)]);
    let mut loader = loader(&lab);
    loader.mirror_mut().fetch().unwrap();
    let past = loader.restore(&state, &DigestKey::unkeyed()).unwrap();
    assert_eq!(past.missing, Vec::<String>::new());
    assert_eq!(past.objects[&web()].snapshot().unwrap().hash, new_hash);
    assert_eq!(past.snapshots.keys().collect::<Vec<_>>(), {
        let mut all = vec![&old_hash, &new_hash];
        all.sort();
        all
    });
    assert_eq!(past.good[&UnitName::new("a")].revision, Revision::new(new_commit), "the held unit's last good revision");
    let now = load(&mut loader, &past.good);
    assert!(held(&now, "a"));
    assert_eq!(hash_of(&now, &web()), new_hash);
}

#[test]
fn a_claim_that_a_set_made_is_not_looked_for_in_any_revision() {
    let lab = Lab::new();
    let commit = lab.push_file("a/web.yaml", &deployment("web", "nginx:1"));
    let mut state = audit_state(&commit, &commit, &[]);
    let volume = CurrentVolume { made_by: Some(web()), ..CurrentVolume::default() };
    let claim = CurrentObject { commit: Some(Revision::new(&commit)), volume: Some(volume), ..CurrentObject::default() };
    let key = ObjectKey::new(Kind::PersistentVolumeClaim, "shop", "data-web-0");
    state.files.insert(key.audit_path(), serde_saphyr::to_string(&claim).unwrap());
    let mut loader = loader(&lab);
    loader.mirror_mut().fetch().unwrap();
    let past = loader.restore(&state, &DigestKey::unkeyed()).unwrap();
    assert_eq!(past.missing, Vec::<String>::new());
    assert!(past.current.contains_key(&key));
}

#[test]
fn what_a_forced_push_took_away_is_listed_as_missing() {
    let lab = Lab::new();
    let commit = lab.push_file("a/web.yaml", &deployment("web", "nginx:1"));
    let hash = hash_of(&load(&mut loader(&lab), &Good::new()), &web());
    let gone = "0123456789abcdef0123456789abcdef01234567";
    let mut loader = loader(&lab);
    loader.mirror_mut().fetch().unwrap();
    let past = loader.restore(&audit_state(gone, &commit, &[(&hash, gone)]), &DigestKey::unkeyed()).unwrap();
    assert!(past.objects.contains_key(&web()) && past.snapshots.is_empty() && past.good.is_empty());
    assert_eq!(past.missing, ["revision 01234567 is gone from the repository; 0 objects and 1 templates came from it"]);
}
