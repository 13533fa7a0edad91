//! The commands that ask a running controller, as a user starts them.

use super::status_server::TestServer;
use std::process::{Command, Output};

fn run(server: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftless"));
    command.env_clear().env("DRIFTLESS_SERVER", server).args(arguments);
    command.output().expect("the binary of this build")
}

fn out(server: &TestServer, arguments: &[&str]) -> String {
    let output = run(&server.address.to_string(), arguments);
    assert!(output.status.success(), "driftless {arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn refused(server: &str, arguments: &[&str]) -> String {
    let output = run(server, arguments);
    assert_eq!(output.status.code(), Some(1), "driftless {arguments:?}");
    assert!(output.stdout.is_empty(), "data goes to stdout, and there is none");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn get_prints_one_object_as_it_is_and_several_as_a_list() {
    let server = TestServer::start();
    let parse = |text: String| serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
    let one = parse(out(&server, &["get", "deploy/web", "-n", "shop", "--output", "json"]));
    assert_eq!((&one["kind"], &one["metadata"]["name"]), (&"Deployment".into(), &"web".into()));
    assert!(one.get("items").is_none());
    let several = parse(out(&server, &["get", "svc,deploy", "-n", "shop", "--output", "json"]));
    assert_eq!((&several["apiVersion"], &several["kind"]), (&"v1".into(), &"List".into()));
    let kinds: Vec<_> = several["items"].as_array().expect("items").iter().map(|item| item["kind"].clone()).collect();
    assert_eq!(kinds, ["Service", "Service", "Deployment"]);
    let yaml = out(&server, &["get", "rollout", "api", "-n", "shop", "-o", "yaml"]);
    assert_has(&yaml, &["apiVersion: argoproj.io/v1alpha1\nkind: Rollout\n", "phase: Degraded"]);
}

#[test]
fn get_prints_tables() {
    let server = TestServer::start();
    assert_has(&out(&server, &["get", "po", "-A"]), &["NAMESPACE   NAME", "CrashLoopBackOff", "web-222222-zmqc6"]);
    assert_has(&out(&server, &["get", "all", "-n", "shop"]), &["pod/web-", "service/web", "deployment/web", "rollout/api"]);
    assert_has(&out(&server, &["get", "units"]), &["UNIT", "reports   Held", "shop      Loaded"]);
    assert_has(&out(&server, &["get", "reconciles"]), &["planned", "+0 ~1 -0", "shop/web: rolling out"]);
    assert_has(&out(&server, &["get", "problems"]), &["reports/nightly.yaml:14:11: unknown field", "hint did you mean"]);
    assert_has(&out(&server, &["events", "-A"]), &["ScalingReplicaSet", "(x5)", "pod/api-333333-tfxsc"]);
}

#[test]
fn logs_of_a_workload_choose_a_pod_that_is_ready() {
    let server = TestServer::start();
    let output = run(&server.address.to_string(), &["logs", "deploy/web", "-n", "shop", "--tail", "2"]);
    assert_has(&String::from_utf8_lossy(&output.stdout), &["log of shop/web-111111-6r8hn", "tail Some(2)"]);
    assert_has(&String::from_utf8_lossy(&output.stderr), &["Found 4 pods, using pod/web-111111-6r8hn"]);
}

#[test]
fn errors_say_what_to_do() {
    let server = TestServer::start();
    let address = server.address.to_string();
    assert_has(&refused(&address, &["get", "leases"]), &["there is no kind \"leases\"", "kinds are namespaces"]);
    assert_has(&refused(&address, &["get", "pod", "nope", "-n", "shop"]), &["pods \"nope\" not found"]);
    assert_has(&refused(&address, &["logs", "nope", "-n", "shop"]), &["pods \"nope\" not found"]);
    assert_has(&refused("127.0.0.1:1", &["get", "pods"]), &["no driftless answers at http://127.0.0.1:1", "driftless up --repo"]);
}

#[test]
fn kubeconfig_is_one_that_kubectl_accepts() {
    let server = TestServer::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("kubeconfig");
    std::fs::write(&file, out(&server, &["kubeconfig"])).expect("written");
    let mut kubectl = Command::new("kubectl");
    kubectl.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", folder.path());
    let output = kubectl.arg("--kubeconfig").arg(&file).args(["get", "ns", "-o", "name"]).output().expect("kubectl is installed");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "namespace/shop\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn completions_know_the_commands() {
    let output = run("", &["completions", "bash"]);
    assert_has(&String::from_utf8_lossy(&output.stdout), &["_driftless()", "kubeconfig"]);
}
