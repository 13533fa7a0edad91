//! The stage with Docker: a real Engine, and an image made of busybox.

use crate::stage::{Stage, own_cluster};
use bollard::Docker as Engine;
use bollard::models::ContainerConfig;
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptions,
};
use driftless::agent::launch::Folders;
use driftless::agent::runtime::docker::{Docker, DockerSettings, socket_of};
use driftless::agent::runtime::rootfs::RootFs;
use driftless::agent::runtime::{ContainerId, Runtime};
use driftless::model::NodeName;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// Debian's `busybox-static`.
const BUSYBOX: &str = "/bin/busybox";

const REPOSITORY: &str = "driftless-test/busybox";
const TAG: &str = "1";

/// A user of the image, with a group that the image gives it.
pub(crate) const USER: &str = "1234";

const APPLETS: [&str; 16] = [
    "sh", "cat", "echo", "env", "false", "hostname", "kill", "ls", "mount", "nc", "printf", "sleep", "stat", "touch", "true",
    "wget",
];

#[expect(clippy::disallowed_methods, reason = "there is no command line that clap could read it for")]
pub(crate) fn socket() -> PathBuf {
    socket_of(std::env::var("DOCKER_HOST").ok().as_deref()).expect("a unix socket in DOCKER_HOST, or none")
}

pub(crate) fn docker(cluster: &str, node: &NodeName) -> Docker {
    Docker::new(settings(cluster, node))
}

pub(crate) fn settings(cluster: &str, node: &NodeName) -> DockerSettings {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_driftless"));
    DockerSettings { socket: socket(), cluster: cluster.to_owned(), node: node.clone(), program, folders: folders(cluster) }
}

/// Where a cluster's files are, secrets on tmpfs.
pub(crate) fn folders(cluster: &str) -> Folders {
    let state = std::env::temp_dir().join("driftless-test").join(cluster);
    Folders { run: PathBuf::from("/dev/shm/driftless-test").join(cluster), state }
}

/// A stage with an Engine behind it; fails where there is none.
pub(crate) async fn stage() -> Stage {
    let cluster = own_cluster();
    let node = NodeName::new("node-1");
    let docker = docker(&cluster, &node);
    if let Err(error) = docker.connect().await {
        panic!(
            "the contract tests need a Docker Engine 20.10 or newer (Debian: `apt-get install docker.io`, then `dockerd`): {error}"
        );
    }
    import_busybox(&docker).await;
    let named = cluster.clone();
    let taken_down = cluster.clone();
    Stage {
        runtime: Arc::new(docker),
        connect: Box::new(move |node| Arc::new(self::docker(&named, node))),
        cluster,
        node,
        image: Some(format!("{REPOSITORY}:{TAG}")),
        folder: tempfile::tempdir().expect("a folder"),
        runs_programs: true,
        take_down: Box::new(move || Box::pin(async move { take_down(&taken_down).await })),
    }
}

/// Removes the containers of all nodes that tests use, those that a test made past the runtime, and the network: all that can be,
/// before it complains of any.
async fn take_down(cluster: &str) {
    let mut left: Vec<String> = Vec::new();
    for node in ["node-1", "node-2"] {
        let docker = docker(cluster, &NodeName::new(node));
        for container in docker.list().await.expect("a list") {
            left.extend(docker.remove(&container.id).await.err().map(|error| error.to_string()));
        }
    }
    left.extend(remove_foreign(cluster).await.err().map(|error| error.to_string()));
    for image in ["whole", "named"] {
        left.extend(remove_image(&format!("driftless-test/{image}:{cluster}")).await.err().map(|error| error.to_string()));
    }
    let removed = docker(cluster, &NodeName::new("node-1")).remove_network().await;
    left.extend(removed.err().map(|error| error.to_string()));
    let folders = folders(cluster);
    for folder in [folders.run, folders.state] {
        // Most tests have none.
        let _ = std::fs::remove_dir_all(folder);
    }
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// The label of a test's containers that are not of its cluster.
pub(crate) const FOREIGN: &str = "driftless-test/foreign-to";

async fn remove_foreign(cluster: &str) -> Result<(), bollard::errors::Error> {
    let engine = engine();
    let of_cluster = std::iter::once(("label".to_owned(), vec![format!("{FOREIGN}={cluster}")])).collect();
    let options = ListContainersOptionsBuilder::new().all(true).filters(&of_cluster).build();
    for container in engine.list_containers(Some(options)).await? {
        let force = RemoveContainerOptionsBuilder::new().force(true).build();
        engine.remove_container(&container.id.unwrap_or_default(), Some(force)).await?;
    }
    Ok(())
}

/// A second opinion: bollard itself, on the same Engine.
pub(crate) fn engine() -> Engine {
    Engine::connect_with_unix(&socket().to_string_lossy(), 60, bollard::API_DEFAULT_VERSION).unwrap()
}

/// The test image with an entry point, arguments, a folder and a user of its own.
pub(crate) async fn whole_image(stage: &Stage) -> String {
    let (repository, tag) = ("driftless-test/whole", &stage.cluster);
    let made = stage.start(&stage.launch("whole-image", "true")).await;
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    let config = ContainerConfig {
        entrypoint: words(&["echo", "the entry point,"]),
        cmd: words(&["the arguments"]),
        working_dir: Some("/tmp".to_owned()),
        user: Some(USER.to_owned()),
        ..ContainerConfig::default()
    };
    commit(&made.id, repository, tag, config).await
}

/// Makes an image of a container, with a configuration of its own.
pub(crate) async fn commit(container: &ContainerId, repository: &str, tag: &str, config: ContainerConfig) -> String {
    let options = CommitContainerOptionsBuilder::new().container(&container.0).repo(repository).tag(tag).build();
    engine().commit_container(options, config).await.unwrap();
    format!("{repository}:{tag}")
}

/// Removes an image, if it is there.
async fn remove_image(name: &str) -> Result<(), bollard::errors::Error> {
    match engine().remove_image(name, None::<RemoveImageOptions>, None).await {
        Ok(_) | Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Imports the test image once, whoever comes first.
pub(crate) async fn import_busybox(docker: &Docker) {
    let busybox = std::fs::read(BUSYBOX)
        .unwrap_or_else(|error| panic!("the contract tests need {BUSYBOX} (Debian: `apt-get install busybox-static`): {error}"));
    let users = format!("root:x:0:0::/:/bin/sh\napp:x:{USER}:{USER}::/:/bin/sh\n");
    let groups = format!("root:x:0:\napp:x:{USER}:\nextra:x:5000:app\n");
    let files = RootFs::default().file("/etc/passwd", 0o644, users).file("/etc/group", 0o644, groups);
    let mut root = files.folder("/tmp", 0o1777).file("/bin/busybox", 0o755, busybox);
    for applet in APPLETS {
        root = root.link(&format!("/bin/{applet}"), "busybox");
    }
    // Another test process may be at it; the lock ends with the file.
    let lock = File::create(std::env::temp_dir().join("driftless-test-busybox.lock")).expect("a lock file");
    lock.lock().expect("the lock");
    docker.import_image(REPOSITORY, TAG, &root).await.expect("the test image");
}
