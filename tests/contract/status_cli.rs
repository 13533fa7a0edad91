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
fn logs_of_several_pods_are_told_apart_and_cut_as_asked_for() {
    let server = TestServer::start();
    let text = out(&server, &["logs", "-n", "shop", "-l", "app=api", "--prefix", "--since", "10m", "--timestamps"]);
    assert_has(
        &text,
        &["[pod/api-333333-tfxsc/api] log of shop/api-333333-tfxsc", "tail Some(10)", "since Some(Ago(600s)) timestamps true"],
    );
    let address = server.address.to_string();
    let many = refused(&address, &["logs", "-n", "shop", "deploy/web", "--all-pods", "-f", "--max-log-requests", "1"]);
    assert_has(&many, &["4 logs would be followed, and --max-log-requests allows 1"]);
    assert_has(
        &refused(&address, &["logs", "-n", "shop", "-l", "app=nope"]),
        &["no pods in namespace shop have the labels app=nope"],
    );
}

#[test]
fn a_log_that_breaks_off_is_an_error_and_says_why() {
    let server = TestServer::start();
    let output = run(&server.address.to_string(), &["logs", "web-222222-47ss2", "-n", "shop"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1, "words go to stderr");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_has(&words, &["web-222222-47ss2: the log breaks off: the connection to the node was lost"]);
    let all = run(&server.address.to_string(), &["logs", "deploy/web", "--all-pods", "-n", "shop", "-f"]);
    assert_has(&String::from_utf8_lossy(&all.stdout), &["web-111111-6r8hn", "web-111111-sgdmr"]);
    assert_has(&String::from_utf8_lossy(&all.stderr), &["of 4 logs could not be read to their end"]);
}

#[test]
fn top_shows_the_largest_first_and_what_is_not_known() {
    let server = TestServer::start();
    let pods = out(&server, &["top", "pods", "-A", "--sort-by", "cpu"]);
    let lines: Vec<Vec<&str>> = pods.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAMESPACE", "NAME", "CPU(CORES)", "MEMORY(BYTES)"]);
    assert_eq!(lines[1], ["shop", "web-111111-6r8hn", "300m", "64Mi"]);
    assert_has(&out(&server, &["top", "pods", "-n", "shop", "--containers"]), &["web-111111-sgdmr   web    200m"]);
    let nodes = out(&server, &["top", "no"]);
    assert_has(&nodes, &["one     950m         25%         3072Mi          42%", "three   <unknown>"]);
    let json = out(&server, &["top", "nodes", "-o", "json"]);
    assert_has(&json, &["\"kind\": \"NodeMetrics\"", "\"cpu\": \"950m\""]);
    let refusal = refused(&server.address.to_string(), &["top", "pods", "nope", "-n", "shop"]);
    assert_has(&refusal, &["pods.metrics.k8s.io \"nope\" not found", "is not measured"]);
}

#[test]
fn events_are_chosen_by_what_they_are_about_and_by_type() {
    let server = TestServer::start();
    let about = out(&server, &["events", "-n", "shop", "--for", "po/api-333333-tfxsc"]);
    assert!(about.contains("BackOff") && !about.contains("ScalingReplicaSet"), "{about}");
    let normal = out(&server, &["events", "-A", "--types", "normal"]);
    assert!(!normal.contains("BackOff") && normal.contains("ScalingReplicaSet"), "{normal}");
    let json = out(&server, &["events", "-A", "--types", "Warning", "-o", "json"]);
    assert_has(&json, &["\"host\": \"one\"", "\"count\": 5"]);
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
