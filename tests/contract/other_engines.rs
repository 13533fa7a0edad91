//! Engines that are not here: played by a small server on a socket, to see what we say to them and make of their answers.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use driftless::agent::launch::Folders;
use driftless::agent::runtime::docker::{Docker, DockerSettings};
use driftless::agent::runtime::{ContainerId, PullPolicy, RunState, Runtime, RuntimeError};
use driftless::model::NodeName;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

type Answer = Arc<dyn Fn(&str, &str) -> (u16, Value) + Send + Sync>;

/// An Engine that answers as a function says, and remembers what it was asked.
struct Played {
    folder: TempDir,
    asked: Arc<Mutex<Vec<String>>>,
    _server: tokio::task::JoinSet<()>,
}

fn play_engine(answer: impl Fn(&str, &str) -> (u16, Value) + Send + Sync + 'static) -> Played {
    let answer: Answer = Arc::new(answer);
    let folder = tempfile::tempdir().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let listener = tokio::net::UnixListener::bind(folder.path().join("docker.sock")).unwrap();
    let router = Router::new().fallback(respond).with_state((Arc::clone(&asked), answer));
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    Played { folder, asked, _server: server }
}

async fn respond(
    State((asked, answer)): State<(Arc<Mutex<Vec<String>>>, Answer)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> (StatusCode, [(&'static str, &'static str); 1], String) {
    asked.lock().unwrap().push(format!("{method} {}", uri.path()));
    if let Some(login) = headers.get("x-registry-auth") {
        let login = URL_SAFE.decode(login.as_bytes()).unwrap();
        asked.lock().unwrap().push(format!("GET /v1.44/ login {}", String::from_utf8(login).unwrap()));
    }
    let (status, body) = answer(method.as_str(), uri.path());
    let body = if body.is_null() { String::new() } else { body.to_string() };
    (StatusCode::from_u16(status).unwrap(), [("content-type", "application/json")], body)
}

impl Played {
    fn runtime(&self) -> Docker {
        let socket = self.folder.path().join("docker.sock");
        let folders = Folders { run: self.folder.path().join("run"), state: self.folder.path().join("state") };
        let (cluster, node) = ("prod".to_owned(), NodeName::new("host-1"));
        let settings = DockerSettings { socket, cluster, node, program: "/nowhere".into(), folders };
        Docker::with_logins(settings, Some(self.folder.path().join("config.json")))
    }
}

fn labels() -> Value {
    json!({
        "driftless.dev/cluster": "prod",
        "driftless.dev/node": "host-1",
        "driftless.dev/pod-uid": "11111111-2222-5333-8444-555555555555",
        "driftless.dev/pod": "web-7d4b9c-x2k9f",
        "driftless.dev/namespace": "shop",
        "driftless.dev/container": "web",
        "driftless.dev/template-hash": "7d4b9c",
        "driftless.dev/revision": "abc",
        "driftless.dev/workload": "Deployment/web",
        "driftless.dev/slot": "0",
        "driftless.dev/attempt": "0",
        "driftless.dev/ports": "[]",
    })
}

/// Engine 29: refuses what is not versioned as 1.44 or later, and has words that nobody knew in time.
fn engine_29(method: &str, path: &str) -> (u16, Value) {
    if path == "/version" {
        return (200, json!({ "Version": "29.1.0", "ApiVersion": "1.52", "MinAPIVersion": "1.44" }));
    }
    let Some(path) = path.strip_prefix("/v1.44") else {
        return (
            400,
            json!({ "message": format!("client version for {path} is too old. Minimum supported API version is 1.44") }),
        );
    };
    match (method, path) {
        ("GET", "/networks/driftless-prod") => {
            let labels = json!({ "driftless.dev/cluster": "prod" });
            (200, json!({ "Id": "n1", "Labels": labels, "IPAM": { "Config": [{ "Gateway": "172.30.0.1/16" }] } }))
        }
        ("GET", "/containers/json") => (200, json!([{ "Id": "c1", "State": "hibernating", "Mounts": [{ "Type": "dream" }] }])),
        ("GET", "/containers/c1/json") => {
            let state = json!({ "Status": "hibernating", "Running": true, "StartedAt": "2026-01-01T00:00:00.123456789Z" });
            let networks = json!({ "driftless-prod": { "IPAddress": "172.30.0.7" } });
            let config = json!({ "Labels": labels(), "Image": "registry.example/web:1" });
            (
                200,
                json!({ "Id": "c1", "Image": "sha256:1", "State": state, "Config": config, "NetworkSettings": { "Networks": networks } }),
            )
        }
        ("GET", "/images/sha256%3A1/json" | "/images/sha256:1/json") => {
            (200, json!({ "RepoDigests": ["registry.example/web@sha256:feed"] }))
        }
        ("POST", "/containers/c1/stop") => (204, Value::Null),
        _ => (404, json!({ "message": "no such thing" })),
    }
}

#[tokio::test]
async fn engine_29_is_spoken_to_in_its_version_and_understood_beyond_our_vocabulary() {
    let engine = play_engine(engine_29);
    let runtime = engine.runtime();
    let listed = runtime.list().await.expect("a list");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].state, RunState::Running);
    assert_eq!(listed[0].address, Some([172, 30, 0, 7].into()));
    assert_eq!(listed[0].image_digest.as_deref(), Some("sha256:feed"));
    assert_eq!(listed[0].labels.pod, "web-7d4b9c-x2k9f");
    assert_eq!(runtime.gateway(), Some([172, 30, 0, 1].into()));
    assert_eq!(runtime.engine().as_deref(), Some("docker://29.1.0"));
    runtime.stop(&ContainerId("c1".to_owned()), Duration::from_secs(1)).await.expect("a stop through bollard");
    let asked = engine.asked.lock().unwrap().clone();
    assert!(asked.contains(&"POST /v1.44/containers/c1/stop".to_owned()), "{asked:#?}");
    let unversioned: Vec<&String> = asked.iter().filter(|line| !line.contains(" /v1.44/") && *line != "GET /version").collect();
    assert!(unversioned.is_empty(), "{unversioned:#?}");
}

#[tokio::test]
async fn an_engine_that_is_too_old_is_named() {
    let engine = play_engine(|_, _| (200, json!({ "Version": "18.09.1", "ApiVersion": "1.39", "MinAPIVersion": "1.12" })));
    let error = engine.runtime().list().await.unwrap_err();
    assert!(matches!(&error, RuntimeError::Unavailable { message, .. } if message.contains("18.09.1 is too old")), "{error:?}");
}

#[tokio::test]
async fn a_full_disk_of_the_engine_is_told_as_that() {
    let engine = play_engine(|method, path| match (method, path) {
        ("POST", _) => (500, json!({ "message": "mkdir /var/lib/docker/overlay2/x: no space left on device" })),
        _ => engine_29(method, path),
    });
    let error = engine.runtime().stop(&ContainerId("c1".to_owned()), Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(error.reason(), "NoSpace");
}

#[tokio::test]
async fn a_container_of_which_nothing_is_known_is_not_found() {
    let engine = play_engine(engine_29);
    let id = ContainerId("c2".to_owned());
    assert_eq!(engine.runtime().stop(&id, Duration::ZERO).await, Err(RuntimeError::NotFound(id.clone())));
    assert_eq!(engine.runtime().remove(&id).await, Ok(()), "what is gone is gone");
}

#[tokio::test]
async fn an_image_is_fetched_with_the_login_of_its_registry() {
    let engine = play_engine(|method, path| match (method, path) {
        ("POST", "/v1.44/containers/create") => (404, json!({ "message": "No such image: registry.example/web:1" })),
        ("POST", "/v1.44/images/create") => (500, json!({ "message": "denied, whoever asks" })),
        _ => engine_29(method, path),
    });
    let auth = STANDARD.encode("deploy:hunter2");
    let config = json!({ "auths": { "registry.example": { "auth": auth } } }).to_string();
    std::fs::write(engine.folder.path().join("config.json"), config).unwrap();
    let stage = crate::fake::stage().await;
    let mut launch = stage.launch("web", "true");
    launch.image = Some("registry.example/web:1".to_owned());
    launch.pull = PullPolicy::IfNotPresent;
    let error = engine.runtime().start(&launch).await.unwrap_err();
    assert!(
        matches!(&error, RuntimeError::Image { message, .. } if message.ends_with("without a login: denied, whoever asks")),
        "{error:?}"
    );
    let asked = engine.asked.lock().unwrap().join("\n");
    assert!(asked.contains(r#""username":"deploy","password":"hunter2""#), "{asked}");
}

/// An Engine on which the removal of container `d1` was begun: it answers to removals with `refusal`, if there is one, and then the removal
/// has ended when it was waited for; else with the first removal.
fn engine_with_the_dead(status: &'static str, refusal: Option<&'static str>) -> Played {
    let gone = AtomicBool::new(false);
    play_engine(move |method, path| {
        let is_gone = gone.load(Ordering::Relaxed);
        let container = |id: &str, state: Value| {
            let config = json!({ "Labels": labels(), "Image": "web:1" });
            (200, json!({ "Id": id, "Image": "sha256:1", "State": state, "Config": config }))
        };
        let started = "2026-01-01T00:00:00Z";
        match (method, path.strip_prefix("/v1.44").unwrap_or_default()) {
            ("GET", "/containers/json") => (200, json!([{ "Id": "d1" }])),
            ("GET", "/containers/c2/json") => {
                container("c2", json!({ "Status": "running", "Running": true, "StartedAt": started }))
            }
            ("GET", path) if path.starts_with("/containers/") && !is_gone => {
                container("d1", json!({ "Status": status, "Dead": status == "dead", "StartedAt": started }))
            }
            ("POST", "/containers/create") if !is_gone => {
                (409, json!({ "message": "Conflict. The container name \"/shop_web_main\" is already in use by container d1." }))
            }
            ("POST", "/containers/create") => (201, json!({ "Id": "c2", "Warnings": [] })),
            ("POST", "/containers/c2/start") => (204, Value::Null),
            ("DELETE", "/containers/d1") => {
                gone.store(refusal.is_none(), Ordering::Relaxed);
                refusal.map_or((204, Value::Null), |message| (409, json!({ "message": message })))
            }
            ("POST", "/containers/d1/wait") if is_gone => (404, json!({ "message": "No such container: d1" })),
            ("POST", "/containers/d1/wait") => {
                gone.store(true, Ordering::Relaxed);
                (200, json!({ "StatusCode": 137 }))
            }
            _ => engine_29(method, path),
        }
    })
}

#[tokio::test]
async fn what_is_left_of_a_removal_is_listed_as_dead_and_never_started_or_renamed() {
    let in_progress = "removal of container d1 is already in progress";
    for (status, refusal) in [("dead", None), ("removing", Some(in_progress))] {
        let engine = engine_with_the_dead(status, refusal);
        let runtime = engine.runtime();
        let listed = runtime.list().await.unwrap();
        assert_eq!(listed.iter().map(|one| &one.state).collect::<Vec<_>>(), [&RunState::Dead], "{status}");
        let mut launch = crate::fake::stage().await.launch("web", "true");
        launch.image = Some("web:1".to_owned());
        (launch.labels.uid, launch.labels.attempt) = (listed[0].labels.uid, 0);
        let started = runtime.start(&launch).await.unwrap_or_else(|error| panic!("{status}: {error}"));
        assert_eq!(started.id, ContainerId("c2".to_owned()));
        let asked = engine.asked.lock().unwrap().join("\n");
        assert!(!asked.contains("/rename") && !asked.contains("/d1/start"), "{status}: {asked}");
        let waited = asked.find("/d1/wait").expect("waited for");
        assert!(asked.find("DELETE /v1.44/containers/d1").is_some_and(|removed| removed < waited), "{status}: {asked}");
    }
}
