//! The answers of the status API on a made-up view.

use super::status_server::{Answer, TestServer};
use super::status_view::{LITERAL, SECRET};
use driftless::model::{Epoch, Health};
use serde_json::{Value, json};

const COLLECTIONS: [&str; 15] = [
    "/api/v1/namespaces",
    "/api/v1/nodes",
    "/api/v1/pods",
    "/api/v1/services",
    "/api/v1/endpoints",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/apis/networking.k8s.io/v1/ingresses",
    "/api/v1/configmaps",
    "/api/v1/secrets",
    "/api/v1/events",
    "/apis/apps/v1/deployments",
    "/apis/argoproj.io/v1alpha1/rollouts",
    "/apis/autoscaling/v2/horizontalpodautoscalers",
    "/apis/scheduling.k8s.io/v1/priorityclasses",
    "/apis/policy/v1/poddisruptionbudgets",
];

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

fn get_as(server: &TestServer, path: &str, accept: &str) -> Answer {
    server.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n", server.address))
}

fn send(server: &TestServer, first_line: &str, headers: &str) -> Answer {
    server.ask(&format!("{first_line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"))
}

/// A `Status` object with this code, reason and a message that says so.
#[track_caller]
fn assert_status(answer: &Answer, code: u16, reason: &str, part: &str) {
    assert_eq!(answer.status, code, "{answer:?}");
    let status = answer.json();
    assert_eq!((&status["kind"], &status["status"]), (&json!("Status"), &json!("Failure")));
    assert_eq!((&status["code"], &status["reason"]), (&json!(code), &json!(reason)));
    let message = status["message"].as_str().unwrap_or("");
    assert!(message.contains(part), "{message:?} does not say {part:?}");
}

#[test]
fn every_resource_has_the_shape_of_kubernetes() {
    let server = TestServer::start();
    for path in COLLECTIONS {
        let name = path.rsplit('/').next().unwrap_or(path);
        insta::assert_json_snapshot!(format!("api_{name}"), server.get(path).json());
    }
}

#[test]
fn discovery_lists_what_is_served() {
    let server = TestServer::start();
    for path in ["/apis", "/api/v1", "/apis/apps/v1", "/apis/argoproj.io/v1alpha1", "/apis/batch/v1", "/apis/autoscaling/v2"] {
        insta::assert_json_snapshot!(format!("discovery{}", path.replace('/', "_")), server.get(path).json());
    }
    assert_eq!(server.get("/api").json()["versions"], json!(["v1"]));
    assert_eq!(server.get("/apis/apps").json()["kind"], "APIGroup");
    assert_eq!(server.get("/version").json()["major"], "1");
}

#[test]
fn every_resource_has_a_table_with_as_many_cells_as_columns() {
    let server = TestServer::start();
    for path in COLLECTIONS {
        let table = get_as(&server, path, TABLE).json();
        assert_eq!(table["kind"], "Table", "{path}");
        let columns = table["columnDefinitions"].as_array().map_or(0, Vec::len);
        let rows = table["rows"].as_array().expect("rows");
        assert!(!rows.is_empty(), "{path}");
        for row in rows {
            assert_eq!(row["cells"].as_array().map(Vec::len), Some(columns), "{path}");
            assert_eq!(row["object"]["kind"], "PartialObjectMetadata", "{path}");
        }
    }
}

#[test]
fn an_object_is_the_same_alone_and_in_its_list() {
    let server = TestServer::start();
    let list = server.get("/apis/apps/v1/namespaces/shop/deployments").json();
    let alone = server.get("/apis/apps/v1/namespaces/shop/deployments/web").json();
    assert_eq!(list["items"], json!([alone]));
    assert_eq!(list["kind"], "DeploymentList");
    assert_eq!(server.get("/apis/apps/v1/namespaces/other/deployments").json()["items"], json!([]));
}

#[test]
fn own_documents_say_what_kubernetes_has_no_word_for() {
    let server = TestServer::start();
    for name in ["status", "units", "reconciles", "workloads", "problems"] {
        insta::assert_json_snapshot!(format!("own_{name}"), server.get(&format!("/driftless/v1/{name}")).json());
    }
    assert_eq!(server.get("/driftless/v1/plans").json(), server.get("/driftless/v1/reconciles").json());
}

#[test]
fn metrics_have_the_documented_names() {
    let server = TestServer::start();
    let answer = server.get("/metrics");
    assert!(answer.head.contains("application/openmetrics-text"), "{}", answer.head);
    assert!(answer.body.ends_with("# EOF\n"));
    let mut lines: Vec<&str> = answer.body.lines().collect();
    lines.sort_unstable();
    insta::assert_snapshot!("metrics", lines.join("\n"));
    let documented = include_str!("../../docs/http.md");
    for line in lines.iter().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or(line);
        assert!(documented.contains(&format!("| `{name}")), "docs/http.md does not say what {name} is");
    }
}

#[test]
fn no_answer_shows_a_secret_or_a_literal_environment_value() {
    let server = TestServer::start();
    let own = ["status", "units", "reconciles", "workloads", "problems"].map(|name| format!("/driftless/v1/{name}"));
    let mut bodies = vec![server.get("/").body, server.get("/metrics").body];
    bodies.extend(own.iter().map(|path| server.get(path).body));
    for path in COLLECTIONS {
        bodies.push(server.get(path).body);
        bodies.push(get_as(&server, &format!("{path}?includeObject=Object"), TABLE).body);
    }
    for body in bodies {
        for hidden in [SECRET, LITERAL, "aHVudGVyMi1uZXZlci1zaG93bg"] {
            assert!(!body.contains(hidden), "{hidden} is shown in {body}");
        }
    }
}

#[test]
fn selectors_narrow_a_list() {
    let server = TestServer::start();
    let names = |query: &str| {
        let list = server.get(&format!("/api/v1/pods?{query}")).json();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(names("labelSelector=app%3Dapi"), ["api-333333-tfxsc"]);
    assert_eq!(names("labelSelector=app+notin+(web)"), ["api-333333-tfxsc"]);
    assert_eq!(names("fieldSelector=metadata.name%3Dweb-222222-zmqc6"), ["web-222222-zmqc6"]);
    assert_eq!(names("fieldSelector=spec.nodeName%3Dtwo,status.phase%3DRunning"), ["web-111111-sgdmr"]);
    assert_eq!(names("labelSelector=app%3Dnone"), Vec::<String>::new());
    let refused = server.get("/api/v1/pods?fieldSelector=spec.secret%3Dx");
    assert_status(&refused, 400, "BadRequest", "field label not supported");
}

#[test]
fn what_is_not_served_is_a_status_that_says_so() {
    let server = TestServer::start();
    assert_status(&server.get("/api/v1/namespaces/shop/pods/nope"), 404, "NotFound", "pods \"nope\" not found");
    assert_status(&server.get("/apis/batch/v2/jobs"), 404, "NotFound", "/apis/batch/v2/jobs");
    assert_status(&server.get("/nope"), 404, "NotFound", "/nope");
    assert_status(&get_as(&server, "/api/v1/pods", "application/yaml"), 406, "NotAcceptable", "application/json");
}

#[test]
fn every_method_but_get_and_head_is_refused_with_the_way_to_go() {
    let server = TestServer::start();
    let host = format!("Host: {}\r\n", server.address);
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        for path in ["/api/v1/namespaces/shop/pods/web", "/", "/driftless/v1/status", "/metrics"] {
            let answer = send(&server, &format!("{method} {path}"), &format!("{host}Content-Length: 0\r\n"));
            assert_status(&answer, 405, "MethodNotAllowed", "push a commit");
            assert!(answer.head.to_ascii_lowercase().contains("allow: get, head"), "{}", answer.head);
        }
    }
    let head = send(&server, "HEAD /api/v1/pods", &host);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn a_host_that_is_not_ours_is_refused() {
    let server = TestServer::start();
    let port = server.address.port();
    for host in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        "127.0.0.1:1".into(),
        format!("localhost.evil.example:{port}"),
    ] {
        let answer = send(&server, "GET /api/v1/secrets", &format!("Host: {host}\r\n"));
        assert_status(&answer, 421, "MisdirectedRequest", "is not this server");
    }
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        assert_eq!(send(&server, "GET /healthz", &format!("Host: {host}\r\n")).status, 200, "{host}");
    }
}

#[test]
fn upgrades_and_ways_into_pods_are_refused_with_what_to_do_instead() {
    let server = TestServer::start();
    let upgrade = format!("Host: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", server.address);
    let pod = "/api/v1/namespaces/shop/pods/web-111111-6r8hn";
    for (path, instead) in [
        (format!("{pod}/exec?command=sh"), "docker exec"),
        (format!("{pod}/attach"), "driftless logs -f"),
        (format!("{pod}/portforward"), "Service"),
        ("/driftless/v1/stream".into(), "upgrades are refused"),
    ] {
        for method in ["GET", "POST"] {
            assert_status(&send(&server, &format!("{method} {path}"), &upgrade), 403, "Forbidden", instead);
        }
    }
}

#[test]
fn ready_says_why_it_is_not() {
    let server = TestServer::start();
    assert_eq!(server.get("/readyz").status, 200);
    for (health, part) in [
        (Health::Holding("node two has not said hello".into()), "node two has not said hello"),
        (Health::StoodDown(Epoch(9)), "epoch 9"),
        (Health::Starting, "until a revision is loaded"),
    ] {
        server.change(|view| view.health = health);
        let answer = server.get("/readyz");
        assert_eq!(answer.status, 503);
        assert!(answer.body.contains(part), "{}", answer.body);
        assert_eq!(server.get("/healthz").status, 200, "it lives all the same");
    }
}

#[test]
fn a_log_is_asked_of_its_node_as_the_query_says() {
    let server = TestServer::start();
    let log = "/api/v1/namespaces/shop/pods/api-333333-tfxsc/log";
    let answer = server.get(&format!("{log}?tailLines=3&follow=true&container=api"));
    assert_eq!(answer.body, "log of shop/api-333333-tfxsc container Some(\"api\") tail Some(3) follow true\n");
    assert!(answer.head.contains("text/plain"), "{}", answer.head);
    assert_status(&server.get(&format!("{log}?container=nope")), 400, "BadRequest", "it has api");
    assert_status(&server.get(&format!("{log}?tailLines=x")), 400, "BadRequest", "tailLines");
    assert_status(&server.get(&format!("{log}?previous=true")), 400, "BadRequest", "no run before");
}

#[test]
fn every_answer_has_the_security_headers() {
    let server = TestServer::start();
    for path in ["/", "/api/v1/pods", "/nope", "/metrics"] {
        let head = server.get(path).head.to_ascii_lowercase();
        for header in ["content-security-policy: default-src 'none'", "x-content-type-options: nosniff", "x-frame-options: deny"]
        {
            assert!(head.contains(header), "{path} has no {header}:\n{head}");
        }
    }
}

/// Cells that are no ages: ages grow while the test runs.
#[test]
fn the_table_of_pods_reads_well() {
    let server = TestServer::start();
    let table = get_as(&server, "/api/v1/pods?includeObject=None", TABLE).json();
    let names: Vec<&Value> =
        table["columnDefinitions"].as_array().expect("columns").iter().map(|column| &column["name"]).collect();
    let rows = table["rows"].as_array().expect("rows").iter();
    let rows: Vec<Vec<&Value>> = rows
        .map(|row| {
            let cells = row["cells"].as_array().expect("cells").iter();
            cells.zip(&names).filter(|(_, name)| **name != "Age").map(|(cell, _)| cell).collect()
        })
        .collect();
    insta::assert_json_snapshot!("table_pods", rows);
}
