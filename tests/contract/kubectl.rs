//! The real kubectl against the status API, on a made-up view.

use super::status_server::TestServer;
use super::status_view::{LITERAL, SECRET};
use std::process::{Command, Output};

const MISSING: &str = "kubectl must be installed to test the contract with it (Debian: apt-get install kubernetes-client)";

fn run(server: &TestServer, arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("kubectl");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", home.path());
    command.arg("--server").arg(format!("http://{}", server.address)).args(arguments);
    command.output().expect(MISSING)
}

/// What kubectl prints, runs of spaces as one.
fn out(server: &TestServer, arguments: &[&str]) -> String {
    let output = run(server, arguments);
    assert!(output.status.success(), "kubectl {arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<String> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    lines.join("\n")
}

/// The minor version of kubectl itself: 32 for 1.32.
fn client_minor(server: &TestServer) -> u32 {
    let version: serde_json::Value = serde_json::from_str(&out(server, &["version", "--client", "--output=json"])).expect("JSON");
    let minor = version["clientVersion"]["minor"].as_str().unwrap_or("");
    minor.trim_end_matches('+').parse().expect("a minor version")
}

/// What kubectl complains of.
fn refused(server: &TestServer, arguments: &[&str]) -> String {
    let output = run(server, arguments);
    assert!(!output.status.success(), "kubectl {arguments:?} should fail");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn get_prints_tables_with_the_columns_of_kubernetes() {
    let server = TestServer::start();
    assert_has(
        &out(&server, &["get", "pods", "-A"]),
        &[
            "NAMESPACE NAME READY STATUS RESTARTS AGE",
            "shop api-333333-tfxsc 0/1 CrashLoopBackOff 5 ",
            "shop web-111111-sgdmr 1/1 Terminating 0 ",
            "shop web-222222-47ss2 0/1 ContainerCreating 0 ",
        ],
    );
    assert_has(
        &out(&server, &["get", "deploy,rollouts,hpa,svc", "-n", "shop"]),
        &[
            "deployment.apps/web 3/3 2 3 ",
            "rollout.argoproj.io/api 1 1 1 0 Degraded",
            "horizontalpodautoscaler.autoscaling/web Deployment/web cpu: 30%/60%, memory: <unknown>/64Mi 2 6 4",
            "service/web ClusterIP 127.64.0.10 <none> 80/TCP",
        ],
    );
    assert_has(
        &out(&server, &["get", "ns,nodes,cm,secrets,endpoints,events", "-A"]),
        &[
            "namespace/shop Active",
            "node/one Ready",
            "node/three NotReady",
            "node/two Ready,SchedulingDisabled",
            "configmap/web-config 2",
            "secret/web-secret Opaque 1",
            "endpoints/web 127.0.0.1:20003,127.0.0.1:20000",
            "Warning BackOff pod/api-333333-tfxsc Back-off restarting",
        ],
    );
}

#[test]
fn priorities_and_disruption_budgets_have_kubernetes_columns() {
    let server = TestServer::start();
    let text = out(&server, &["get", "priorityclasses,pdb", "-n", "shop"]);
    let rows = ["high 1000 false", "system-node-critical 2000001000 false", "web 2 N/A 1"];
    assert_has(&text, &rows);
}

#[test]
fn get_all_finds_everything_that_runs() {
    let server = TestServer::start();
    let text = out(&server, &["get", "all", "-n", "shop"]);
    assert_has(&text, &["pod/web-", "service/web", "deployment.apps/web", "rollout.argoproj.io/api", "horizontalpodautoscaler"]);
}

#[test]
fn selectors_and_output_formats_are_understood() {
    let server = TestServer::start();
    let names = |arguments: &[&str]| out(&server, &[&["get", "pods", "-n", "shop", "-o", "name"], arguments].concat());
    assert_eq!(names(&["-l", "app=api"]), "pod/api-333333-tfxsc");
    assert_eq!(names(&["--field-selector", "spec.nodeName=two"]), "pod/web-111111-sgdmr");
    assert_eq!(names(&["--field-selector", "status.phase=Pending"]), "pod/web-222222-47ss2");
    let image = out(&server, &["get", "deploy", "web", "-n", "shop", "-o", "jsonpath={.spec.template.spec.containers[0].image}"]);
    assert_eq!(image, "nginx:1.27");
    let old = out(&server, &["get", "pod", "web-111111-6r8hn", "-n", "shop", "-o", "jsonpath={.spec.containers[0].image}"]);
    assert_eq!(old, "nginx:1.26", "an old pod shows the image that it runs");
}

#[test]
fn describe_reads_every_kind() {
    let server = TestServer::start();
    assert_has(&out(&server, &["describe", "deploy/web", "-n", "shop"]), &["StrategyType: RollingUpdate", "TOKEN: <redacted>"]);
    assert_has(
        &out(&server, &["describe", "pod", "api-333333-tfxsc", "-n", "shop"]),
        &["Controlled By: Rollout/api", "Exit Code: 3", "Restart Count: 5", "Back-off restarting"],
    );
    assert_has(&out(&server, &["describe", "node", "one"]), &["Ready True", "Container Runtime Version: docker://20.10.24"]);
    assert_has(&out(&server, &["describe", "svc/web", "-n", "shop"]), &["IP: 127.64.0.10", "Endpoints: 127.0.0.1:20003"]);
    // Older ones, as Debian 12 has, describe autoscalers by API versions that Kubernetes has removed.
    if client_minor(&server) >= 23 {
        let expected = [
            "Min replicas: 2",
            "resource cpu on pods (as a percentage of request): 30% (30m) / 60%",
            "resource memory of container \"main\" on pods: <unknown> / 64Mi",
            "Select Policy: Min",
            "- Type: Pods Value: 4 Period: 15 seconds",
            "ScalingActive False FailedGetContainerResourceMetric",
        ];
        assert_has(&out(&server, &["describe", "hpa/web", "-n", "shop"]), &expected);
    }
    assert_has(&out(&server, &["describe", "secret/web-secret", "-n", "shop"]), &["password: 10 bytes"]);
}

#[test]
fn nothing_that_kubectl_can_ask_shows_a_secret() {
    let server = TestServer::start();
    let everything = "pods,svc,cm,secrets,deploy,rollouts,hpa,events,ep";
    for form in ["yaml", "json", "wide"] {
        let text = out(&server, &["get", everything, "-A", "-o", form]);
        for secret in [SECRET, LITERAL, "aHVudGVyMi1uZXZlci1zaG93bg"] {
            assert!(!text.contains(secret), "{secret} is shown as {form}");
        }
    }
}

#[test]
fn rollout_status_waits_and_ends_with_the_rollout() {
    let server = TestServer::start();
    let waiting = refused(&server, &["rollout", "status", "deploy/web", "-n", "shop", "--timeout=1s"]);
    assert_has(&waiting, &["timed out"]);
    server.change(|view| {
        let web = view.workloads.iter_mut().find(|(key, _)| key.name == "web").expect("web").1;
        (web.updated, web.current, web.progress) = (3, 3, driftless::model::Progress::Done);
    });
    let text = out(&server, &["rollout", "status", "deploy/web", "-n", "shop", "--timeout=10s"]);
    assert_has(&text, &["successfully rolled out"]);
}

#[test]
fn logs_come_from_the_pod_that_was_asked_for() {
    let server = TestServer::start();
    let text = out(&server, &["logs", "-n", "shop", "api-333333-tfxsc", "--tail", "7"]);
    assert_eq!(text, "log of shop/api-333333-tfxsc container Some(\"api\") tail Some(7) follow false");
    assert_has(
        &refused(&server, &["logs", "-n", "shop", "api-333333-tfxsc", "--previous"]),
        &["there was no run before this one"],
    );
    assert_has(&refused(&server, &["logs", "-n", "shop", "nope"]), &["pods \"nope\" not found"]);
}

#[test]
fn logs_are_cut_by_time_lines_and_bytes_as_kubectl_asks_for_it() {
    let server = TestServer::start();
    let logs = |arguments: &[&str]| out(&server, &[&["logs", "-n", "shop"], arguments].concat());
    assert_has(&logs(&["api-333333-tfxsc", "--since", "10m", "--timestamps"]), &["since Some(Ago(600s)) timestamps true"]);
    assert_has(&logs(&["api-333333-tfxsc", "--since-time", "2026-01-31T09:30:00Z"]), &["since Some(At(Moment(1769851800000)))"]);
    assert_eq!(logs(&["api-333333-tfxsc", "--limit-bytes", "11"]), "log of shop");
    let all = logs(&["-l", "app=web", "--prefix", "--ignore-errors"]);
    assert_has(&all, &["[pod/web-111111-6r8hn/web] log of shop/web-111111-6r8hn", "[pod/web-111111-sgdmr/web]", "tail Some(10)"]);
}

#[test]
fn a_log_that_breaks_off_says_why_and_is_not_taken_for_whole() {
    let server = TestServer::start();
    let output = run(&server, &["logs", "-n", "shop", "web-222222-47ss2"]);
    assert!(!output.status.success());
    assert_has(&String::from_utf8_lossy(&output.stdout), &["driftless: the log breaks off: the connection to the node was lost"]);
}

#[test]
fn top_shows_what_pods_and_nodes_use() {
    let server = TestServer::start();
    let pods = out(&server, &["top", "pods", "-n", "shop"]);
    assert_has(&pods, &["NAME CPU(cores) MEMORY(bytes)", "web-111111-sgdmr 200m 64Mi"]);
    assert!(!pods.contains("web-222222-zmqc6"), "a pod that was measured once has no cpu yet:\n{pods}");
    assert_has(
        &out(&server, &["top", "pods", "-A", "--containers", "--sort-by", "cpu"]),
        &["shop web-111111-6r8hn web 300m 64Mi"],
    );
    let nodes = out(&server, &["top", "nodes"]);
    assert_has(&nodes, &["one 950m 25% 3072Mi 42%"]);
    let raw = out(&server, &["get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes"]);
    let metrics: serde_json::Value = serde_json::from_str(&raw).expect("JSON");
    assert_eq!((&metrics["kind"], &metrics["items"][0]["window"]), (&"NodeMetricsList".into(), &"10s".into()));
}

#[test]
fn events_say_how_often_and_by_whom() {
    let server = TestServer::start();
    assert_has(&out(&server, &["get", "events", "-n", "shop", "-o", "wide"]), &["driftless-agent, one", "5 api-333333-tfxsc."]);
    assert_has(&out(&server, &["get", "events.events.k8s.io", "-n", "shop"]), &["Warning BackOff pod/api-333333-tfxsc Back-off"]);
    assert_has(
        &out(&server, &["describe", "pod", "api-333333-tfxsc", "-n", "shop"]),
        &["(x5 over ", "driftless-agent Back-off restarting api"],
    );
    let series = out(&server, &["get", "--raw", "/apis/events.k8s.io/v1/namespaces/shop/events"]);
    assert_has(
        &series,
        &["\"deprecatedCount\":5", "\"reportingController\":\"driftless-agent\"", "\"reportingInstance\":\"one\""],
    );
    if client_minor(&server) >= 28 {
        assert_has(&out(&server, &["events", "-n", "shop", "--for", "pod/api-333333-tfxsc"]), &["(x5 over", "BackOff"]);
        assert_has(&out(&server, &["events", "-n", "shop", "--types", "Normal"]), &["ScalingReplicaSet"]);
    }
}

#[test]
fn whatever_changes_something_is_refused_and_told_to_go_through_git() {
    let server = TestServer::start();
    for arguments in [
        &["delete", "pod", "web-111111-6r8hn", "-n", "shop"][..],
        &["scale", "deploy/web", "-n", "shop", "--replicas=9"],
        &["label", "pod", "web-111111-6r8hn", "-n", "shop", "a=b"],
        &["rollout", "restart", "deploy/web", "-n", "shop"],
        &["create", "configmap", "new", "-n", "shop"],
    ] {
        assert_has(&refused(&server, arguments), &["push a commit"]);
    }
}

#[test]
fn the_ways_into_a_pod_are_refused_and_say_what_to_do_instead() {
    let server = TestServer::start();
    let pod = "web-111111-6r8hn";
    assert_has(&refused(&server, &["exec", "-n", "shop", pod, "--", "ls"]), &["docker exec"]);
    assert_has(&refused(&server, &["attach", "-n", "shop", pod]), &["driftless logs -f"]);
}

#[test]
fn what_is_not_there_is_not_found() {
    let server = TestServer::start();
    assert_has(&refused(&server, &["get", "pod", "nope", "-n", "shop"]), &["(NotFound): pods \"nope\" not found"]);
    assert_has(&refused(&server, &["get", "leases"]), &["doesn't have a resource type \"leases\""]);
    assert_has(&refused(&server, &["get", "deploy", "nope", "-n", "shop"]), &["deployments.apps \"nope\" not found"]);
}
