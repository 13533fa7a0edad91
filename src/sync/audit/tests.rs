//! The trees and texts of audit commits. What needs a remote is in `tests/contract/git_audit.rs`.

use super::commit::{self, Changes};
use super::*;
use crate::model::{ClusterNotes, CurrentObject, Moment, NodeName, NodeNotes, Revision};
use crate::sync::Identity;
use git2::{Oid, Repository};
use std::collections::BTreeMap;

struct Bench {
    _dir: tempfile::TempDir,
    repo: Repository,
    identity: Identity,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repository::init_bare(dir.path().join("repo.git")).unwrap();
    let identity = Identity::load_or_create(&dir.path().join("identity")).unwrap();
    Bench { _dir: dir, repo, identity }
}

impl Bench {
    fn commit(&self, parent: Option<Oid>, texts: &[(&str, Option<&str>)]) -> Oid {
        let texts = texts.iter().map(|(path, text)| ((*path).to_owned(), text.map(str::to_owned))).collect();
        let changes: Changes = commit::write_blobs(&self.repo, &texts).unwrap();
        let parent = parent.map(|id| self.repo.find_commit(id).unwrap());
        let tree = commit::change_tree(&self.repo, parent.as_ref(), &changes).unwrap();
        commit::write(&self.repo, &self.identity, parent.as_ref(), tree, "a record\n", Moment(1_000)).unwrap()
    }

    fn files(&self, commit: Oid) -> BTreeMap<String, String> {
        commit::files(&self.repo, commit).unwrap()
    }
}

#[test]
fn a_record_changes_only_the_files_that_it_names() {
    let bench = bench();
    let first = bench.commit(None, &[("current/shop/Deployment/web.yaml", Some("a")), ("current/shop-eu/Pod/x.yaml", Some("b"))]);
    let second = bench
        .commit(Some(first), &[("current/shop/Deployment/web.yaml", Some("c")), ("current/shop/Service/web.yaml", Some("d"))]);
    let files = bench.files(second);
    let expected =
        [("current/shop-eu/Pod/x.yaml", "b"), ("current/shop/Deployment/web.yaml", "c"), ("current/shop/Service/web.yaml", "d")];
    assert_eq!(files, expected.map(|(path, text)| (path.to_owned(), text.to_owned())).into());
}

#[test]
fn a_removed_file_takes_its_empty_folders_with_it() {
    let bench = bench();
    let first = bench.commit(None, &[("current/shop/Deployment/web.yaml", Some("a")), ("current/blog/Pod/x.yaml", Some("b"))]);
    let second = bench.commit(Some(first), &[("current/shop/Deployment/web.yaml", None), ("current/none/Pod/y.yaml", None)]);
    assert_eq!(bench.files(second).into_keys().collect::<Vec<_>>(), ["current/blog/Pod/x.yaml"]);
    let tree = bench.repo.find_commit(second).unwrap().tree().unwrap();
    assert!(tree.get_path("current/shop".as_ref()).is_err());
}

#[test]
fn a_record_writes_nowhere_but_in_current() {
    let bench = bench();
    for path in ["README.md", "current", "current/../x", "current//x", "/current/x", "current/.git/x"] {
        let texts = BTreeMap::from([(path.to_owned(), Some(String::new()))]);
        assert!(matches!(commit::write_blobs(&bench.repo, &texts), Err(AuditError::OutsideCurrent { .. })), "{path}");
    }
}

#[test]
fn the_changes_of_a_commit_are_found_again() {
    let bench = bench();
    let first = bench.commit(None, &[("current/a/Pod/x.yaml", Some("1")), ("current/a/Pod/y.yaml", Some("2"))]);
    let second = bench.commit(Some(first), &[("current/a/Pod/x.yaml", None), ("current/a/Pod/z.yaml", Some("3"))]);
    let second = bench.repo.find_commit(second).unwrap();
    let changes = commit::changes_of(&bench.repo, &second).unwrap();
    let shape: Vec<(&str, bool)> = changes.iter().map(|(path, blob)| (path.as_str(), blob.is_some())).collect();
    assert_eq!(shape, [("current/a/Pod/x.yaml", false), ("current/a/Pod/z.yaml", true)]);
}

#[test]
fn notes_survive_yaml_even_if_an_id_looks_like_a_number() {
    let notes = ClusterNotes {
        members: BTreeMap::new(),
        cluster_id: "12345678901234567890123456789012".into(),
        revision: Some(Revision::new("1234567890e123456789012345678901234567890")),
        epoch: 7,
        instance: "0644".into(),
        nodes: ["no", "1e3"]
            .map(|name| (NodeName::new(name), NodeNotes { pods: "10.244.7.0/24".parse().ok(), created: None }))
            .into(),
    };
    let text = commit::write_notes(&notes).unwrap();
    assert_eq!(commit::read_notes(&text).unwrap(), notes, "{text}");
}

#[test]
fn notes_of_the_first_versions_name_their_nodes_alone() {
    let notes = commit::read_notes("clusterId: abc\nnodes: [n1, \"1e3\"]\n").unwrap();
    let names: Vec<&str> = notes.nodes.keys().map(NodeName::as_str).collect();
    assert_eq!(names, ["1e3", "n1"]);
    assert!(notes.nodes.values().all(|node| *node == NodeNotes::default()));
}

#[test]
fn an_object_of_current_survives_yaml_with_the_types_of_its_values() {
    let object = CurrentObject {
        applied: serde_json::json!({"data": {"a": "0644", "b": "yes", "c": "1e3", "d": 1, "e": true, "f": "x: y\n  z", "g": "", "h": null}}),
        path: "web.yaml".into(),
        ..CurrentObject::default()
    };
    let text = serde_saphyr::to_string(&object).unwrap();
    assert_eq!(serde_saphyr::from_str::<CurrentObject>(&text).unwrap(), object, "{text}");
}

#[test]
fn a_named_cluster_has_a_branch_of_its_own() {
    assert_eq!(audit_branch(""), "driftless/audit");
    assert_eq!(audit_branch("default"), "driftless/audit");
    assert_eq!(audit_branch("prod"), "driftless/audit-prod");
}
