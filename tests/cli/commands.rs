//! One test per thing that a person does.

use crate::hermetic::{Program, Workspace};
use insta::assert_snapshot;

const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: nginx:1.26
        envFrom: [{secretRef: {name: token}}]
---
apiVersion: v1
kind: Secret
metadata: {name: token, namespace: shop}
stringData: {TOKEN: hunter2}
";

#[test]
fn the_help_lists_the_commands() {
    assert_snapshot!(Workspace::new().run(&["--help"]));
}

#[test]
fn validate_says_nothing_on_stdout_when_all_is_well() {
    let workspace = Workspace::new();
    workspace.write("shop/web.yaml", WEB);
    assert_snapshot!(workspace.run(&["validate", "."]));
}

#[test]
fn validate_names_every_problem_with_its_place_and_never_a_secret() {
    let workspace = Workspace::new();
    let text = WEB
        .replace("replicas: 3", "replcas: 3")
        .replace("image: nginx:1.26", "image: nginx:1.26\n        ports: [{containerPort: http}]")
        .replace("hunter2", "[hunter2");
    workspace.write("shop/web.yaml", &text);
    workspace.write(
        "shop/service.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: Web_1}\nspec: {ports: [{port: 80, protocol: SCTP}]}\n",
    );
    workspace.write("net/policy.yaml", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: none}\n");
    let output = workspace.run(&["validate", "."]);
    assert!(!output.contains("hunter2"), "a secret is echoed: {output}");
    assert_snapshot!(output);
}

#[test]
fn validate_answers_in_json_as_the_contract_has_it() {
    let workspace = Workspace::new();
    workspace.write("web.yaml", &WEB.replace("replicas: 3", "replcas: 3"));
    assert_snapshot!(workspace.run(&["validate", "--output", "json", "."]));
}

#[test]
fn validate_names_a_path_that_is_not_there() {
    assert_snapshot!(Workspace::new().run(&["validate", "nowhere"]));
}

#[test]
fn plan_shows_what_a_commit_changes_and_exits_with_2_when_asked() {
    let workspace = Workspace::new();
    workspace.write("shop/web.yaml", WEB);
    workspace.commit("the web");
    workspace.write("shop/web.yaml", &WEB.replace("1.26", "1.27").replace("hunter2", "hunter3"));
    workspace.commit("a new nginx");
    let output = workspace.run(&["plan", "--from", "HEAD~1", "--detailed-exitcode"]);
    assert!(!output.contains("hunter"), "a secret is shown: {output}");
    assert_snapshot!(output);
    assert_snapshot!(workspace.run(&["plan", "--from", "HEAD", "--detailed-exitcode"]));
}

#[test]
fn plan_outside_of_a_repo_says_what_to_do() {
    let workspace = Workspace::new();
    assert_snapshot!(workspace.run(&["plan", "--repo", "/"]));
    assert_snapshot!(workspace.run(&["plan", "--from", "nowhere"]));
}

#[test]
fn get_without_a_controller_says_how_to_start_one() {
    assert_snapshot!(Workspace::new().run(&["get", "pods", "--server", "127.0.0.1:1"]));
}

#[test]
fn history_without_an_audit_branch_says_so() {
    let workspace = Workspace::new();
    workspace.write("README.md", "words\n");
    workspace.commit("words");
    assert_snapshot!(workspace.run(&["history"]));
}

#[test]
fn schema_lists_its_kinds() {
    assert_snapshot!(Workspace::new().run(&["schema"]));
}

#[test]
fn doctor_says_what_is_there_what_is_missing_and_what_to_do() {
    let programs = [("git", Program::Prints("git version 2.30.2")), ("kubectl", Program::Prints("Client Version: v1.32.3"))];
    assert_snapshot!(Workspace::new().run_beside(&programs, &["doctor", "--check", "git,kustomize,helm"]));
}

#[test]
fn doctor_looks_at_a_repository_as_the_controller_reads_it() {
    let workspace = Workspace::new();
    workspace.write("shop/web.yaml", WEB);
    workspace.write("other/kustomization.yaml", "resources: []\n");
    workspace.write("broken/web.yaml", &WEB.replace("replicas: 3", "replcas: 3"));
    workspace.commit("the web");
    let checks = "kustomize,helm,repository,push,manifests";
    let arguments = ["doctor", "--repo", ".", "--check", checks];
    assert_snapshot!(workspace.run_beside(&[("git", Program::Real)], &arguments));
    let json = [&arguments[..], &["--output", "json", "--path", "shop"]].concat();
    assert_snapshot!(workspace.run_beside(&[], &json));
}

#[test]
fn doctor_says_why_a_repository_cannot_be_had() {
    let workspace = Workspace::new();
    let git = [("git", Program::Real)];
    assert_snapshot!(workspace.run_beside(&git, &["doctor", "--check", "repository,push,manifests", "--repo", "nowhere"]));
    assert_snapshot!(workspace.run_beside(&[], &["doctor", "--check", "manifests"]));
}
