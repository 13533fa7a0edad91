//! The program of a container: what is run of its image, where, within which limits, and with which input.

use super::{launch, run};
use crate::docker::{engine, whole_image};
use crate::play;
use crate::stage::{Stage, within};
use bollard::query_parameters::AttachContainerOptionsBuilder;
use driftless::agent::runtime::docker::Docker;
use driftless::agent::runtime::{PullSecret, Runtime, RuntimeError};
use driftless::model::SecretBytes;
use serde_json::json;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

on_docker! {
    command_replaces_the_entry_point_and_args_the_arguments_of_an_image,
    a_program_starts_in_its_folder,
    shares_of_cpu_are_those_of_request_and_limit,
    a_terminal_is_a_terminal,
    input_is_open_for_one_visitor_or_for_ever,
}

/// <https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/>.
async fn command_replaces_the_entry_point_and_args_the_arguments_of_an_image(stage: &Stage) {
    let image = whole_image(stage).await;
    let cases = [
        ("neither", json!([]), json!([]), "the entry point, the arguments\n"),
        ("args", json!([]), json!(["own arguments"]), "the entry point, own arguments\n"),
        ("command", json!(["echo", "own command"]), json!([]), "own command\n"),
        ("both", json!(["echo", "own command"]), json!(["own arguments"]), "own command own arguments\n"),
    ];
    for (name, command, args, expected) in cases {
        let container = json!({ "name": name, "image": image, "command": command, "args": args });
        let started = stage.start(&launch(stage, &[], json!({}), container, "")).await;
        stage.says(&started.id, "\n").await;
        assert_eq!(stage.log(&started.id, None).await, expected, "{name}");
    }
}

async fn a_program_starts_in_its_folder(stage: &Stage) {
    let image = whole_image(stage).await;
    assert_eq!(run(stage, &[], json!({}), json!({ "name": "of-image", "image": image }), "pwd").await, ["/tmp"]);
    let own = json!({ "name": "own", "image": image, "workingDir": "/bin" });
    assert_eq!(run(stage, &[], json!({}), own, "pwd").await, ["/bin"]);
}

/// As the program finds them in its cgroup, of either version.
async fn shares_of_cpu_are_those_of_request_and_limit(stage: &Stage) {
    let container = json!({ "resources": { "requests": { "cpu": "0.25" }, "limits": { "cpu": "500m" } } });
    let of = |new: &str, old: &str| format!("cat /sys/fs/cgroup/{new} 2>/dev/null || cat /sys/fs/cgroup/cpu/{old}");
    let script = format!("{}; {}", of("cpu.max", "cpu.cfs_quota_us"), of("cpu.weight", "cpu.shares"));
    let seen = run(stage, &[], json!({}), container, &script).await;
    let version_1 = ["50000", "256"];
    // What runc makes of 256 shares.
    let version_2 = ["50000 100000", "10"];
    assert!(seen == version_1 || seen == version_2, "{seen:?}");
}

async fn a_terminal_is_a_terminal(stage: &Stage) {
    let script = "[ -t 1 ] && echo terminal; read -t 1 line; echo $?";
    assert_eq!(run(stage, &[], json!({}), json!({ "stdin": true, "tty": true }), script).await[0], "terminal");
    let without = run(stage, &[], json!({}), json!({ "name": "plain" }), script).await;
    assert_eq!(without, ["1"], "the end of input, at once");
}

async fn input_is_open_for_one_visitor_or_for_ever(stage: &Stage) {
    for (once, expected) in [(true, "hello\nthe end\n"), (false, "hello\n")] {
        let container = json!({ "name": format!("once-{once}"), "stdin": true, "stdinOnce": once });
        let started = stage.start(&launch(stage, &[], json!({}), container, "cat; echo the end; sleep 1000")).await;
        let options = AttachContainerOptionsBuilder::new().stdin(true).stream(true).build();
        let mut visitor = engine().attach_container(&started.id.0, Some(options)).await.unwrap();
        visitor.input.write_all(b"hello\n").await.unwrap();
        visitor.input.shutdown().await.unwrap();
        drop(visitor);
        stage.says(&started.id, expected).await;
        assert_eq!(stage.log(&started.id, None).await, expected, "stdinOnce {once}");
    }
}

/// A registry that wants a login, and tells which it was given.
async fn registry() -> (u16, tokio::task::JoinHandle<()>, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let given: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&given);
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 8192];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..length]).into_owned();
            let login = text.lines().find_map(|line| line.strip_prefix("Authorization: Basic ")).map(str::to_owned);
            if let Some(login) = login {
                let mut noted = noted.lock().unwrap();
                if noted.last() != Some(&login) {
                    noted.push(login);
                }
            }
            let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, task, given)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_of_the_pod_are_tried_before_those_of_the_host() {
    play(crate::docker::stage().await, |stage| {
        Box::pin(async move {
            let (port, task, given) = registry().await;
            let auths = |pair: &str| {
                use base64::Engine;
                let auth = base64::engine::general_purpose::STANDARD.encode(pair);
                (auth.clone(), json!({ "auths": { format!("localhost:{port}"): { "auth": auth } } }).to_string())
            };
            let (first, second, host) = (auths("pod:1"), auths("pod:2"), auths("host:3"));
            let file = stage.folder.path().join("config.json");
            std::fs::write(&file, &host.1).unwrap();
            let settings = crate::docker::settings(&stage.cluster, &stage.node);
            let runtime = Docker::with_logins(settings, Some(file));
            let mut launch = stage.launch("web", "true");
            launch.image = Some(format!("localhost:{port}/shop/web:1"));
            launch.pull = driftless::agent::runtime::PullPolicy::Always;
            let secret =
                |name: &str, text: String| PullSecret { name: name.to_owned(), content: SecretBytes::new(text.into_bytes()) };
            launch.logins = vec![secret("first", first.1), secret("second", second.1)];
            let error = within("the refusal", runtime.start(&launch)).await.unwrap_err();
            task.abort();
            let told = error.to_string();
            let tried =
                ["tried with imagePullSecret first: ", "; with imagePullSecret second: ", "config.json: ", "; without a login: "];
            assert!(matches!(error, RuntimeError::Image { .. }) && tried.iter().all(|way| told.contains(way)), "{told}");
            assert_eq!(*given.lock().unwrap(), [first.0, second.0, host.0]);
        })
    })
    .await;
}
