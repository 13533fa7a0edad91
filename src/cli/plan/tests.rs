//! The command on real repositories.

use super::*;
use crate::model::{Kind, ObjectKey};
use crate::sync::RenderSettings;
use git2::{Oid, Repository, Signature};
use std::path::Path;
use tempfile::TempDir;

/// A repository that tests commit to. `None` as a file's text removes it.
struct Repo {
    folder: TempDir,
    repo: Repository,
}

type File<'a> = (&'a str, Option<&'a str>);

impl Repo {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = git2::RepositoryInitOptions::new();
        options.bare(true).initial_head("main");
        let repo = Repository::init_opts(folder.path(), &options).expect("a repository");
        Self { folder, repo }
    }

    /// Commits to a branch, on top of what it has; a new branch starts at `parent`.
    fn commit_on(&self, branch: &str, parent: Option<Oid>, files: &[File<'_>], message: &str) -> Oid {
        let name = format!("refs/heads/{branch}");
        let parent = self.repo.refname_to_id(&name).ok().or(parent).map(|id| self.repo.find_commit(id).expect("a commit"));
        let mut index = git2::Index::new().expect("an index");
        if let Some(parent) = &parent {
            index.read_tree(&parent.tree().expect("a tree")).expect("an index");
        }
        for (path, text) in files {
            match text {
                Some(text) => {
                    let id = self.repo.blob(text.as_bytes()).expect("a blob");
                    index.add(&entry(path, id)).expect("an entry");
                }
                None => index.remove(Path::new(path), 0).expect("an entry"),
            }
        }
        let tree = self.repo.find_tree(index.write_tree_to(&self.repo).expect("a tree")).expect("a tree");
        let who = Signature::new("Ada", "ada@example.org", &git2::Time::new(1_700_000_000, 0)).expect("a signature");
        let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
        self.repo.commit(Some(&name), &who, &who, message, &tree, &parents).expect("a commit")
    }

    fn commit(&self, files: &[File<'_>], message: &str) -> Oid {
        self.commit_on("main", None, files, message)
    }

    fn args(&self, from: Option<Oid>, to: &str) -> PlanArgs {
        PlanArgs {
            repo: self.folder.path().to_owned(),
            path: String::new(),
            from: from.map(|id| id.to_string()),
            to: to.to_owned(),
            observed: None,
            cluster: String::new(),
            output: Output::Text,
            detailed_exitcode: true,
            render: RenderArgs { render_unconfined: false },
        }
    }

    fn plan(&self, from: Option<Oid>, to: &str) -> Answer {
        answer(&self.args(from, to)).unwrap_or_else(|error| panic!("{}", error.render()))
    }
}

fn entry(path: &str, id: Oid) -> git2::IndexEntry {
    let zero = git2::IndexTime::new(0, 0);
    git2::IndexEntry {
        ctime: zero,
        mtime: zero,
        dev: 0,
        ino: 0,
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path: path.as_bytes().to_vec(),
    }
}

fn web(image: &str, replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: shop}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
      - name: web
        image: {image}
        envFrom:
        - secretRef: {{name: token}}
"
    )
}

fn secret(value: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: token, namespace: shop}}\nstringData: {{password: {value}}}\n")
}

fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: shop}}\ndata: {{A: {value:?}}}\n")
}

/// A repository with a Deployment and its Secret.
fn shop() -> (Repo, Oid) {
    let repo = Repo::new();
    let first = repo.commit(&[("shop/web.yaml", Some(&web("web:1", 3))), ("shop/token.yaml", Some(&secret("hunter1")))], "Shop");
    (repo, first)
}

fn digest(text: &str) -> &str {
    text.rsplit("digest ").next().map_or("", str::trim)
}

#[test]
fn a_changed_image_is_a_rolling_replacement() {
    let (repo, first) = shop();
    repo.commit(&[("shop/web.yaml", Some(&web("web:2", 3)))], "web 2");
    let answer = repo.plan(Some(first), "HEAD");
    let plan = anstream::adapter::strip_str(&answer.plan).to_string();
    assert!(plan.contains("-/+ replace Deployment shop/web  (shop/web.yaml:1)"), "{plan}");
    assert!(plan.contains(r#"~ spec.template.spec.containers[web].image: "web:1" → "web:2""#), "{plan}");
    assert!(plan.contains("Plan: 0 to create, 1 to update (3 pods replaced), 0 to delete, 1 unchanged."), "{plan}");
    assert_eq!((answer.code, answer.problems.as_str()), (2, ""));
}

#[test]
fn a_commit_that_changes_no_object_is_an_empty_plan() {
    let (repo, first) = shop();
    repo.commit(&[("README.md", Some("hello")), ("shop/notes.txt", Some("x"))], "Docs");
    let answer = repo.plan(Some(first), "HEAD");
    assert!(answer.plan.starts_with("Nothing changes."), "{}", answer.plan);
    assert_eq!(answer.code, 0);
}

#[test]
fn a_changed_secret_rolls_its_users_and_is_never_shown() {
    let (repo, first) = shop();
    repo.commit(&[("shop/token.yaml", Some(&secret("hunter2")))], "Rotate");
    for output in [Output::Text, Output::Markdown, Output::Json] {
        let answer = answer(&PlanArgs { output, ..repo.args(Some(first), "HEAD") }).expect("a plan");
        let whole = format!("{}{}{}", answer.plan, answer.note, answer.problems);
        assert!(!whole.contains("hunter"), "{whole}");
        assert!(whole.contains("data.password") && whole.contains("Secret token changed; 3 pods replaced"), "{whole}");
    }
}

#[test]
fn the_digest_of_a_range_does_not_depend_on_how_it_was_committed() {
    let (repo, first) = shop();
    repo.commit_on(
        "squashed",
        Some(first),
        &[("shop/web.yaml", Some(&web("web:2", 3))), ("shop/c.yaml", Some(&config("c", "1")))],
        "both",
    );
    repo.commit_on("single", Some(first), &[("shop/c.yaml", Some(&config("c", "1")))], "one");
    repo.commit_on("single", None, &[("shop/web.yaml", Some(&web("web:2", 3)))], "two");
    let (squashed, single) = (repo.plan(Some(first), "squashed"), repo.plan(Some(first), "single"));
    let plain = |answer: &Answer| anstream::adapter::strip_str(&answer.plan).to_string();
    assert!(digest(&plain(&squashed)).starts_with("blake3:"));
    assert_eq!(digest(&plain(&squashed)), digest(&plain(&single)));
}

#[test]
fn the_digest_is_that_of_a_controller_which_has_a_key() {
    let (repo, first) = shop();
    let second = repo.commit(&[("shop/web.yaml", Some(&web("web:2", 3))), ("shop/token.yaml", Some(&secret("hunter2")))], "Both");
    let clone = LocalClone::open(repo.folder.path()).expect("a clone");
    let borrowed = clone.borrow_objects("").expect("a mirror");
    let mut loader = Loader::new(borrowed.mirror, RenderSettings::default());
    let key = DigestKey::new([7; 32]);
    let mut load = |id: Oid| loader.load(&Revision::new(id.to_string()), &BTreeMap::new(), &key).expect("a tree").desired;
    let (old, new) = (load(first), load(second));
    let shown = anstream::adapter::strip_str(&repo.plan(Some(first), "HEAD").plan).to_string();
    assert_eq!(digest(&shown), diff::intent(&old, &new).digest);
}

#[test]
fn a_broken_unit_is_held_and_the_others_are_planned() {
    let (repo, first) = shop();
    let files =
        [("shop/web.yaml", Some("kind: [")), ("other/c.yaml", Some("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"))];
    let second = repo.commit(&files, "Break the shop");
    let answer = repo.plan(Some(first), "HEAD");
    assert!(answer.plan.contains("1 to create, 0 to update, 0 to delete, 2 unchanged"), "{}", answer.plan);
    assert!(answer.problems.contains("error: shop/web.yaml:"), "{}", answer.problems);
    assert!(
        answer.problems.contains(&format!("held: unit shop has errors; it stays at {}", &first.to_string()[..8])),
        "{}",
        answer.problems
    );
    assert_eq!(answer.code, 1);
    // From the broken revision on, the unit's last good files are what is compared with.
    repo.commit(&[("shop/web.yaml", Some(&web("web:2", 3)))], "Mend it");
    let mended = repo.plan(Some(second), "HEAD");
    assert!(mended.plan.contains("0 to create, 1 to update (3 pods replaced), 0 to delete, 2 unchanged"), "{}", mended.plan);
    assert_eq!(mended.code, 2);
}

#[test]
fn deleting_everything_is_held_back_until_a_commit_approves_it() {
    let (repo, first) = shop();
    repo.commit(&[("shop/web.yaml", None), ("shop/token.yaml", None), ("README.md", Some("gone"))], "Empty");
    let blocked = repo.plan(Some(first), "HEAD");
    assert!(blocked.plan.contains("deletions held back: the revision would delete everything (2 objects)"), "{}", blocked.plan);
    repo.commit(&[], "Mean it\n\nDriftless-Allow-Prune: all\n");
    let approved = repo.plan(Some(first), "HEAD");
    assert!(!approved.plan.contains("held back") && approved.plan.contains("2 to delete"), "{}", approved.plan);
}

#[test]
fn a_deletion_that_is_held_back_is_in_the_plan_of_the_commit_that_approves_it() {
    let (repo, first) = shop();
    let files = [("shop/web.yaml", None), ("shop/token.yaml", None), ("README.md", Some("gone"))];
    let emptied = repo.commit(&files, "Empty");
    let current = format!("commit: {first}\ndeletionBlocked: true\n");
    let web = ObjectKey::new(Kind::Deployment, "shop", "web").audit_path();
    let record = format!("blocked\n\nDriftless-Revision: {emptied}\nDriftless-Outcome: blocked\n");
    repo.commit_on("driftless/audit", None, &[(&web, Some(&current))], &record);
    repo.commit(&[], "Nothing yet");
    let waiting = repo.plan(None, "HEAD");
    assert!(waiting.plan.contains("1 to delete") && waiting.plan.contains("deletions held back"), "{}", waiting.plan);
    repo.commit(&[], "Mean it\n\nDriftless-Allow-Prune: all\n");
    let approved = repo.plan(None, "HEAD");
    assert!(approved.plan.contains("1 to delete") && !approved.plan.contains("held back"), "{}", approved.plan);
}

#[test]
fn an_approval_does_not_cover_what_a_later_commit_deletes() {
    let (repo, first) = shop();
    repo.commit(&[("shop/c.yaml", Some(&config("c", "1")))], "Mean something else\n\nDriftless-Allow-Prune: all\n");
    repo.commit(&[("shop/web.yaml", None), ("shop/token.yaml", None), ("shop/c.yaml", None)], "Empty");
    let plan = repo.plan(Some(first), "HEAD").plan;
    assert!(plan.contains("deletions held back"), "{plan}");
}

#[test]
fn it_starts_from_the_last_applied_revision_then_the_merge_base_then_nothing() {
    let (repo, first) = shop();
    assert!(repo.plan(None, "HEAD").note.starts_with("comparing nothing with"));
    repo.commit(&[("shop/c.yaml", Some(&config("c", "1")))], "On main");
    repo.commit_on("feature", Some(first), &[("shop/c.yaml", Some(&config("c", "2")))], "On a branch");
    let base = repo.plan(None, "feature");
    assert!(base.note.starts_with(&format!("comparing {}, where it left main,", &first.to_string()[..8])), "{}", base.note);
    let message = format!("shop: applied\n\nDriftless-Revision: {first}\nDriftless-Outcome: converged\n");
    repo.commit_on("driftless/audit", None, &[("current/_cluster/memory.yaml", Some("revision: x"))], &message);
    let applied = repo.plan(None, "HEAD");
    assert!(applied.note.contains("the last applied on driftless/audit"), "{}", applied.note);
    assert!(applied.plan.contains("1 to create, 0 to update, 0 to delete, 2 unchanged"), "{}", applied.plan);
}

#[test]
fn observed_state_turns_effects_into_estimates() {
    let (repo, first) = shop();
    repo.commit(&[("shop/web.yaml", Some(&web("web:2", 3)))], "web 2");
    let key = ObjectKey::new(Kind::Deployment, "shop", "web");
    let text = "pods:\n  replicas: 3\n  sets:\n    abc:\n      nodes:\n        left: 2\n        right: 2\n";
    repo.commit_on("driftless/audit", None, &[(key.audit_path().as_str(), Some(text))], "x");
    let args = PlanArgs { observed: Some("driftless/audit".into()), ..repo.args(Some(first), "HEAD") };
    let plan = answer(&args).expect("a plan").plan;
    assert!(plan.contains("effect (estimate): 4 pods replaced by 3"), "{plan}");
    assert!(plan.contains("(now 2 on left, 2 on right)"), "{plan}");
    let checkout = repo.folder.path().join("checkout");
    std::fs::create_dir_all(checkout.join("current/shop/Deployment")).expect("a folder");
    std::fs::write(checkout.join(key.audit_path()), text).expect("a file");
    let args = PlanArgs { observed: Some(checkout.display().to_string()), ..args };
    assert_eq!(answer(&args).expect("a plan").plan, plan);
}

#[test]
fn it_works_from_a_subfolder_of_a_clone_and_below_a_path() {
    let (repo, _) = shop();
    let moved = repo.commit(&[("deploy/prod/shop/c.yaml", Some(&config("c", "1")))], "A path");
    let clone = tempfile::tempdir().expect("a folder");
    Repository::clone(&repo.folder.path().display().to_string(), clone.path()).expect("a clone");
    let args = PlanArgs {
        repo: clone.path().join("deploy/prod"),
        path: "deploy/prod".into(),
        ..repo.args(Some(repo.repo.find_commit(moved).expect("a commit").parent_id(0).expect("a parent")), "HEAD")
    };
    let plan = answer(&args).expect("a plan").plan;
    assert!(plan.contains("1 to create") && plan.contains("(shop/c.yaml:1)"), "{plan}");
}

#[test]
fn what_is_not_there_is_named_with_what_to_do() {
    let (repo, first) = shop();
    let check = |args: PlanArgs, expected: &str| {
        let error = answer(&args).err().map(|error| error.render()).unwrap_or_default();
        assert!(error.contains(expected) && error.contains("hint:"), "{error}");
    };
    check(repo.args(Some(first), "nowhere"), "there is no revision \"nowhere\" in this clone");
    check(PlanArgs { path: "shp".into(), ..repo.args(None, "HEAD") }, "shp");
    check(PlanArgs { observed: Some("nothing".into()), ..repo.args(Some(first), "HEAD") }, "neither a revision");
    let folder = tempfile::tempdir().expect("a folder");
    check(PlanArgs { repo: folder.path().to_owned(), ..repo.args(None, "HEAD") }, "is not in a git repository");
    check(Repo::new().args(None, "HEAD"), "there is no revision \"HEAD\"");
}

#[test]
fn json_and_markdown_say_which_units_are_held() {
    let (repo, first) = shop();
    repo.commit(&[("shop/web.yaml", Some("kind: ["))], "Break");
    let json = answer(&PlanArgs { output: Output::Json, ..repo.args(Some(first), "HEAD") }).expect("a plan").plan;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["held"][0]["unit"], &json["held"][0]["at"]), (&"shop".into(), &first.to_string().into()));
    let markdown = answer(&PlanArgs { output: Output::Markdown, ..repo.args(Some(first), "HEAD") }).expect("a plan").plan;
    assert!(markdown.contains("Unit `shop` has errors and stays as it is"), "{markdown}");
}

#[test]
fn an_audit_path_leads_back_to_its_object() {
    for kind in Kind::ALL {
        let key = ObjectKey::new(kind, if kind.is_namespaced() { "shop" } else { "" }, "web.v1");
        assert_eq!(ObjectKey::of_audit_path(&key.audit_path()), Some(key));
    }
    assert_eq!(ObjectKey::of_audit_path("current/_cluster/memory.yaml"), None);
}
