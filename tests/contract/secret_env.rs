//! Secrets as environment: the program has them, and the Engine does not.

use crate::docker::{engine, whole_image};
use crate::stage::{Stage, until, within};
use driftless::agent::runtime::{ContainerId, ContainerLaunch, EnvValue, RunState, Started};
use driftless::model::SecretBytes;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

const LONG: Duration = Duration::from_secs(30);

on_docker! {
    a_secret_in_the_environment_is_nowhere_on_the_engines_disk,
    the_images_own_program_runs_as_without_secrets,
    commands_inside_have_the_secrets_too,
    whoever_the_container_runs_as_may_read_them_and_nobody_else,
    a_container_without_any_right_has_its_secrets,
    process_1_its_signals_and_its_exit_code_are_the_programs,
    a_program_that_is_not_there_ends_as_in_a_shell,
    a_restart_has_the_value_of_its_own_launch,
}

fn secret(value: &[u8]) -> EnvValue {
    EnvValue::Secret(SecretBytes::new(value.to_vec()))
}

/// A pod whose environment has a secret, beside a variable that is none.
fn launch(stage: &Stage, script: &str, value: &[u8]) -> ContainerLaunch {
    let env = vec![("TOKEN".to_owned(), secret(value)), ("COLOUR".to_owned(), EnvValue::Plain("blue".to_owned()))];
    ContainerLaunch { env, ..stage.launch("web", script) }
}

async fn ended(stage: &Stage, started: &Started) -> i32 {
    let exit = until("it has ended", async || match stage.listed(&started.id).await.map(|status| status.state) {
        Some(RunState::Exited(exit)) => Ok(exit),
        other => Err(other),
    });
    exit.await.code
}

async fn a_secret_in_the_environment_is_nowhere_on_the_engines_disk(stage: &Stage) {
    // Unlike anything else on this machine. The program shows that it has it without saying it.
    let value = format!("hunter2-{}-{}", stage.cluster, stage.launch("web", "").labels.uid);
    let launch = launch(stage, "test ${#TOKEN} -gt 30 && echo has it; sleep 1000", value.as_bytes());
    assert!(!format!("{launch:?}").contains(&value), "a launch can be logged");
    let started = stage.start(&launch).await;
    stage.says(&started.id, "has it").await;
    let command = ["sh", "-c", "test ${#TOKEN} -gt 30"].map(str::to_owned);
    assert_eq!(stage.runtime.exec(&started.id, &command, LONG).await.unwrap().code, Some(0));
    let known = engine().inspect_container(&started.id.0, None).await.unwrap();
    assert!(!serde_json::to_string(&known).unwrap().contains(&value), "docker inspect");

    let root = engine().info().await.unwrap().docker_root_dir.expect("a data folder");
    let folders = [root.as_str(), "/var/lib/containerd", "/run/docker", "/run/containerd"];
    let there = folders.iter().filter(|folder| Path::new(folder).exists());
    // 0 would be found, 2 an error other than a file that went meanwhile.
    let found = Command::new("grep").args(["-r", "-l", "-a", "-s", "-F", &value]).args(there).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    let containers = Path::new(&root).join("containers").join(&started.id.0).join("config.v2.json");
    let config = std::fs::read_to_string(containers).expect("this test may read the Engine's data folder");
    assert!(config.contains("COLOUR=blue"), "it was looked for where the environment is");
}

async fn the_images_own_program_runs_as_without_secrets(stage: &Stage) {
    let image = whole_image(stage).await;
    let check = async |command: &[&str], args: &[&str], expected: &str| {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let pod = format!("p{}", command.len() * 2 + args.len());
        let plain =
            ContainerLaunch { image: Some(image.clone()), command: words(command), args: words(args), ..stage.launch(&pod, "") };
        let mut with_secret = ContainerLaunch { env: vec![("TOKEN".to_owned(), secret(b"s3cr3t"))], ..plain.clone() };
        with_secret.labels.pod = format!("{pod}-with-secret");
        with_secret.labels.uid = stage.launch(&with_secret.labels.pod, "").labels.uid;
        for launch in [plain, with_secret] {
            let started = stage.start(&launch).await;
            assert_eq!(ended(stage, &started).await, 0);
            assert_eq!(stage.log(&started.id, None).await, expected, "{command:?} {args:?}");
        }
    };
    check(&[], &[], "the entry point, the arguments\n").await;
    check(&[], &["others"], "the entry point, others\n").await;
    check(&["sh", "-c", "pwd; echo $(id -u) $0"], &["name"], "/tmp\n1234 name\n").await;
}

async fn commands_inside_have_the_secrets_too(stage: &Stage) {
    let started = stage.start(&launch(stage, "echo ready; sleep 1000", b"a = 'b' $c\xff")).await;
    stage.says(&started.id, "ready").await;
    let run = async |command: &[&str]| {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        stage.runtime.exec(&started.id, &command, LONG).await.unwrap()
    };
    let result = run(&["sh", "-c", "printf '%s %s' \"$COLOUR\" \"$TOKEN\"; exit 4"]).await;
    assert_eq!((result.code, result.output.as_str()), (Some(4), "blue a = 'b' $c\u{fffd}"));
    assert_eq!(run(&["/no/such/program"]).await.code, Some(127));
    assert_eq!(run(&["/etc"]).await.code, Some(126));
}

async fn whoever_the_container_runs_as_may_read_them_and_nobody_else(stage: &Stage) {
    let script = "stat -c '%a %u' /.driftless/env; echo $TOKEN; echo end";
    let whole = whole_image(stage).await;
    // The image's own user is app by number there, and by name here.
    let named = named_user(stage).await;
    let cases = [("root", stage.image.clone(), None, "0"), ("number", stage.image.clone(), Some(4321), "4321")];
    let of_image = [("image", Some(whole), None, "1234"), ("name", Some(named), None, "1234")];
    for (pod, image, user, expected) in cases.into_iter().chain(of_image) {
        let mut launch =
            ContainerLaunch { image, env: vec![("TOKEN".to_owned(), secret(b"s3cr3t"))], ..stage.launch(pod, script) };
        launch.security.user = user;
        let started = stage.start(&launch).await;
        stage.says(&started.id, "end").await;
        assert_eq!(stage.log(&started.id, None).await, format!("400 {expected}\ns3cr3t\nend\n"), "{pod}");
    }
}

/// The test image with a user that only it knows the number of.
async fn named_user(stage: &Stage) -> String {
    let made = stage.start(&stage.launch("named-image", "true")).await;
    let config = bollard::models::ContainerConfig { user: Some("app:extra".to_owned()), ..Default::default() };
    crate::docker::commit(&made.id, "driftless-test/named", &stage.cluster, config).await
}

async fn a_container_without_any_right_has_its_secrets(stage: &Stage) {
    let mut launch = launch(stage, "echo $TOKEN; echo end", b"s3cr3t");
    launch.security.drop = vec!["ALL".to_owned()];
    launch.security.read_only_root = true;
    launch.security.no_new_privileges = true;
    let started = stage.start(&launch).await;
    stage.says(&started.id, "end").await;
    assert_eq!(stage.log(&started.id, None).await, "s3cr3t\nend\n");
}

async fn process_1_its_signals_and_its_exit_code_are_the_programs(stage: &Stage) {
    // `SigQ` counts what waits for any process of this user.
    let script = "echo $$; ls /proc | busybox grep -c '^[0-9]*$'; trap 'exit 3' TERM; busybox grep Sig[PBIC] /proc/self/status; echo ready; while true; do sleep 0.05; done";
    let mut logs = Vec::new();
    for (pod, value) in [("plain", EnvValue::Plain("x".to_owned())), ("secret", secret(b"x"))] {
        let launch = ContainerLaunch { env: vec![("TOKEN".to_owned(), value)], ..stage.launch(pod, script) };
        let started = stage.start(&launch).await;
        stage.says(&started.id, "ready").await;
        logs.push(stage.log(&started.id, None).await);
        assert_eq!(within("the stop", stage.runtime.stop(&started.id, LONG)).await.unwrap().code, 3, "{pod}");
    }
    assert!(logs[0].starts_with("1\n"), "{}", logs[0]);
    assert_eq!(logs[0], logs[1], "no more processes, and the same signals are blocked and ignored");
}

async fn a_program_that_is_not_there_ends_as_in_a_shell(stage: &Stage) {
    let mut launch = launch(stage, "", b"s3cr3t");
    launch.command = vec!["no-such-program".to_owned()];
    let started = stage.start(&launch).await;
    assert_eq!(ended(stage, &started).await, 127);
    let log = stage.log(&started.id, None).await;
    assert!(log.starts_with("no-such-program: No such file") && !log.contains("s3cr3t"), "{log}");
}

async fn a_restart_has_the_value_of_its_own_launch(stage: &Stage) {
    let script = "until test -e /tmp/go; do sleep 0.05; done; echo $TOKEN";
    let mut launch = launch(stage, script, b"old");
    let first = stage.start(&launch).await;
    launch.env = vec![("TOKEN".to_owned(), secret(b"new"))];
    // A start of what runs, as of an agent that has a new value and finds the old container.
    assert_eq!(stage.start(&launch).await.id, first.id);
    let go = async |id: &ContainerId| {
        let said = stage.runtime.exec(id, &["sh", "-c", "touch /tmp/go; echo $TOKEN"].map(str::to_owned), LONG).await.unwrap();
        said.output
    };
    assert_eq!(go(&first.id).await, "old");
    assert_eq!(ended(stage, &first).await, 0);
    launch.labels.attempt = 1;
    let second = stage.start(&launch).await;
    assert_eq!(go(&second.id).await, "new");
    assert_eq!(ended(stage, &second).await, 0);
    assert_eq!(stage.log(&second.id, None).await, "new\n");
}
