//! Pulling from a real registry: Debian's `docker-registry`, behind TLS by an authority that only this host knows, and a login.

use crate::docker::{commit, engine, settings};
use crate::stage::{Stage, until, within};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use bollard::models::ContainerConfig;
use bollard::query_parameters::{PushImageOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder};
use driftless::agent::runtime::docker::{Docker, GarbagePolicy};
use driftless::agent::runtime::{ContainerLaunch, PullPolicy, PullSecret, Runtime, RuntimeError, Started};
use driftless::model::SecretBytes;
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const USER: &str = "deploy";
const PASSWORD: &str = "hunter2-of-the-registry";

on_docker! {
    an_image_is_fetched_with_the_login_of_the_pod_of_the_host_or_of_its_helper,
    an_error_lists_what_was_tried_and_shows_no_password,
    a_tag_that_has_moved_is_fetched_by_what_it_stood_for,
    a_full_disk_takes_images_that_we_pulled_and_nobody_uses_and_no_others,
}

/// A registry on the host's address on the stage's network, which the Engine does not trust as it would loopback.
struct Registry {
    address: String,
    process: Child,
    certificates: PathBuf,
    _folder: tempfile::TempDir,
}

impl Registry {
    async fn start(stage: &Stage) -> Self {
        let host = stage.runtime.gateway().expect("the host's address");
        let port = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().port();
        let address = SocketAddr::new(host, port);
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let subject = ["-subj", "/CN=driftless-test", "-addext", &format!("subjectAltName=IP:{host}")];
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", &at("key.pem")];
        run("openssl", &[&["req", "-x509", "-days", "2", "-out", &at("ca.crt")][..], &key, &subject].concat());
        fs::write(folder.path().join("users"), run("htpasswd", &["-Bbn", USER, PASSWORD])).unwrap();
        let config = json!({
            "version": "0.1",
            "log": { "level": "error", "accesslog": { "disabled": true } },
            "storage": { "filesystem": { "rootdirectory": at("data") } },
            "http": { "addr": address, "tls": { "certificate": at("ca.crt"), "key": at("key.pem") } },
            "auth": { "htpasswd": { "realm": "test", "path": at("users") } },
        });
        // JSON is YAML.
        fs::write(folder.path().join("config.yml"), config.to_string()).unwrap();
        let certificates = PathBuf::from("/etc/docker/certs.d").join(address.to_string());
        fs::create_dir_all(&certificates).unwrap();
        fs::copy(folder.path().join("ca.crt"), certificates.join("ca.crt")).unwrap();
        let mut command = Command::new("docker-registry");
        command.args(["serve", &at("config.yml")]).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("Debian's docker-registry");
        let registry = Self { address: address.to_string(), process, certificates, _folder: folder };
        until("the registry listens", async || tokio::net::TcpStream::connect(address).await.map(drop)).await;
        registry
    }

    /// Uploads a local image as `NAME:1`, and takes the local name away again.
    async fn push(&self, image: &str, name: &str) -> String {
        let repository = format!("{}/{name}", self.address);
        engine().tag_image(image, Some(TagImageOptionsBuilder::new().repo(&repository).tag("1").build())).await.unwrap();
        let (username, password) = (Some(USER.to_owned()), Some(PASSWORD.to_owned()));
        let login = DockerCredentials { username, password, ..DockerCredentials::default() };
        let options = PushImageOptionsBuilder::new().tag("1").build();
        engine().push_image(&repository, Some(options), Some(login)).try_collect::<Vec<_>>().await.expect("it is uploaded");
        let pushed = format!("{repository}:1");
        forget(&pushed).await;
        pushed
    }

    fn auths(&self, password: &str) -> Value {
        json!({ &self.address: { "auth": STANDARD.encode(format!("{USER}:{password}")) } })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.certificates);
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Takes an image's name away, and the image if that was its last one.
async fn forget(image: &str) {
    let options = RemoveImageOptionsBuilder::new().force(true).build();
    engine().remove_image(image, Some(options), None).await.unwrap();
}

fn secret(name: &str, content: &Value) -> PullSecret {
    PullSecret { name: name.to_owned(), content: SecretBytes::new(content.to_string().into_bytes()) }
}

/// The client under test with a file of `docker login`.
fn client(stage: &Stage, config: Option<&Value>) -> Docker {
    let file = config.map(|config| {
        let file = stage.folder.path().join("config.json");
        fs::write(&file, config.to_string()).unwrap();
        file
    });
    Docker::with_logins(settings(&stage.cluster, &stage.node), file)
}

/// Starts a pod of an image, with these `imagePullSecrets`, and takes both away again.
async fn start(stage: &Stage, client: &Docker, image: &str, logins: Vec<PullSecret>) -> Result<Started, RuntimeError> {
    let launch = ContainerLaunch {
        image: Some(image.to_owned()),
        pull: PullPolicy::IfNotPresent,
        logins,
        ..stage.launch("web", "sleep 1000")
    };
    let started = within("the start", client.start(&launch)).await?;
    client.remove(&started.id).await?;
    forget(image).await;
    Ok(started)
}

async fn an_image_is_fetched_with_the_login_of_the_pod_of_the_host_or_of_its_helper(stage: &Stage) {
    let registry = Registry::start(stage).await;
    let image = registry.push(stage.image.as_deref().unwrap(), "shop/web").await;
    let (right, wrong) = (registry.auths(PASSWORD), registry.auths("wrong"));
    let of_pod = |auths: &Value| vec![secret("regcred", &json!({ "auths": auths }))];
    let by_host = client(stage, Some(&json!({ "auths": right })));
    start(stage, &by_host, &image, of_pod(&wrong)).await.expect("the host's login, after the pod's");
    start(stage, &client(stage, None), &image, vec![secret("old", &right)]).await.expect("a secret of the older form");
    let by_pod = start(stage, &client(stage, Some(&json!({ "auths": wrong }))), &image, of_pod(&right)).await;
    let digest = by_pod.expect("the pod's login").image_digest.expect("a digest");
    assert!(digest.starts_with("sha256:"), "{digest}");

    let name = format!("driftless-test-{}", std::process::id());
    let helper = Helper::install(&name, &registry.address);
    let config = json!({ "credHelpers": { &registry.address: name }, "auths": { &registry.address: {} } });
    start(stage, &client(stage, Some(&config)), &image, Vec::new()).await.expect("the helper's login");
    drop(helper);
}

/// A credential helper that knows one server.
struct Helper(PathBuf);

impl Helper {
    fn install(name: &str, server: &str) -> Self {
        let path = Path::new("/usr/local/bin").join(format!("docker-credential-{name}"));
        let answer = json!({ "ServerURL": server, "Username": USER, "Secret": PASSWORD });
        let script = format!("#!/bin/sh\nread -r server\n[ \"$1 $server\" = 'get {server}' ] && echo '{answer}'\n");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

async fn an_error_lists_what_was_tried_and_shows_no_password(stage: &Stage) {
    let registry = Registry::start(stage).await;
    let image = registry.push(stage.image.as_deref().unwrap(), "shop/web").await;
    let wrong = json!({ "auths": registry.auths("hunter3") });
    let client = client(stage, Some(&wrong));
    let logins = vec![secret("regcred", &wrong), secret("other", &json!({ "auths": {} }))];
    let error = start(stage, &client, &image, logins).await.unwrap_err();
    assert_eq!(error.reason(), "ErrImagePull");
    let told = format!("{error} {error:?}");
    let ways = ["with imagePullSecret regcred: ", "config.json: ", "without a login: ", "imagePullSecret other has no login"];
    assert!(ways.iter().all(|way| told.contains(way)), "{told}");
    assert!(!told.contains("hunter3"), "{told}");
    assert_eq!(stage.runtime.list().await.unwrap(), []);
}

async fn a_tag_that_has_moved_is_fetched_by_what_it_stood_for(stage: &Stage) {
    let registry = Registry::start(stage).await;
    let image = registry.push(stage.image.as_deref().unwrap(), "shop/web").await;
    let client = client(stage, Some(&json!({ "auths": registry.auths(PASSWORD) })));
    let before = start(stage, &client, &image, Vec::new()).await.unwrap().image_digest.unwrap();

    let made = stage.start(&stage.launch("another", "true")).await;
    let config = ContainerConfig { user: Some("1234".to_owned()), ..ContainerConfig::default() };
    let other = commit(&made.id, "driftless-test/whole", &stage.cluster, config).await;
    assert_eq!(registry.push(&other, "shop/web").await, image);
    let after = start(stage, &client, &image, Vec::new()).await.unwrap().image_digest.unwrap();
    assert_ne!(before, after);
    let pinned = format!("{}@{before}", image.trim_end_matches(":1"));
    let again = start(stage, &client, &pinned, Vec::new()).await.unwrap();
    assert_eq!(again.image_digest, Some(before));
}

/// The test image as another one.
async fn variant(stage: &Stage, user: &str) -> String {
    let made = stage.start(&stage.launch(&format!("as-{user}"), "true")).await;
    let config = ContainerConfig { user: Some(user.to_owned()), ..ContainerConfig::default() };
    commit(&made.id, "driftless-test/variant", &format!("{}-{user}", stage.cluster), config).await
}

async fn a_full_disk_takes_images_that_we_pulled_and_nobody_uses_and_no_others(stage: &Stage) {
    let registry = Registry::start(stage).await;
    let client = client(stage, Some(&json!({ "auths": registry.auths(PASSWORD) })));
    let mut images = Vec::new();
    for user in ["1", "2", "3"] {
        let local = variant(stage, user).await;
        images.push(registry.push(&local, &format!("shop/{user}")).await);
        // What is there under another name already is not ours, even if we pull it.
        if user != "3" {
            forget(&local).await;
        }
    }
    let local = format!("driftless-test/variant:{}-3", stage.cluster);
    let launch = |image: &String| ContainerLaunch {
        image: Some(image.clone()),
        pull: PullPolicy::IfNotPresent,
        ..stage.launch(image.trim_end_matches(":1").rsplit('/').next().unwrap(), "sleep 1000")
    };
    let mut started = Vec::new();
    for image in &images {
        started.push(within("the start", client.start(&launch(image))).await.unwrap());
    }
    let is_there = async |image: &str| engine().inspect_image(image).await.is_ok();
    // A disk is always this full.
    let full = GarbagePolicy { high_percent: 0, low_percent: 0, age_min: std::time::Duration::ZERO };
    assert_eq!(client.collect_garbage(full).await.unwrap(), Vec::<String>::new(), "all are in use");
    for started in &started[1..] {
        client.remove(&started.id).await.unwrap();
    }
    let never = GarbagePolicy { high_percent: 100, ..full };
    let young = GarbagePolicy { age_min: std::time::Duration::from_secs(3600), ..full };
    for policy in [never, young] {
        assert_eq!(client.collect_garbage(policy).await.unwrap(), Vec::<String>::new(), "{policy:?}");
    }
    // Another agent of this node, which has only the file.
    let next = self::client(stage, None);
    assert_eq!(next.collect_garbage(full).await.unwrap().len(), 1);
    assert!(is_there(&images[0]).await, "it is in use");
    assert!(!is_there(&images[1]).await, "it is not");
    assert!(is_there(&local).await && is_there(stage.image.as_ref().unwrap()).await, "they are not ours");
    client.remove(&started[0].id).await.unwrap();
    assert_eq!(next.collect_garbage(full).await.unwrap().len(), 1);
    forget(&images[2]).await;
    forget(&local).await;
}
