//! The stage with Docker: a real Engine, and an image made of busybox.

use crate::stage::{Stage, own_cluster};
use driftless::agent::runtime::docker::{Docker, DockerSettings, socket_of};
use driftless::agent::runtime::rootfs::RootFs;
use driftless::agent::runtime::{Runtime, RuntimeError};
use driftless::model::NodeName;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// Debian's `busybox-static`.
const BUSYBOX: &str = "/bin/busybox";

const REPOSITORY: &str = "driftless-test/busybox";
const TAG: &str = "1";

const APPLETS: [&str; 16] = [
    "sh", "cat", "echo", "env", "false", "hostname", "kill", "ls", "mount", "nc", "printf", "sleep", "stat", "touch", "true",
    "wget",
];

#[expect(clippy::disallowed_methods, reason = "there is no command line that clap could read it for")]
pub(crate) fn socket() -> PathBuf {
    socket_of(std::env::var("DOCKER_HOST").ok().as_deref()).expect("a unix socket in DOCKER_HOST, or none")
}

pub(crate) fn docker(cluster: &str, node: &NodeName) -> Docker {
    Docker::new(DockerSettings { socket: socket(), cluster: cluster.to_owned(), node: node.clone() })
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
        take_down: Box::new(move || Box::pin(async move { take_down(&taken_down).await.expect("nothing left behind") })),
    }
}

/// Removes the containers of all nodes that tests use, and the network.
async fn take_down(cluster: &str) -> Result<(), RuntimeError> {
    for node in ["node-1", "node-2"] {
        let docker = docker(cluster, &NodeName::new(node));
        for container in docker.list().await? {
            docker.remove(&container.id).await?;
        }
    }
    docker(cluster, &NodeName::new("node-1")).remove_network().await
}

/// Imports the test image once, whoever comes first.
pub(crate) async fn import_busybox(docker: &Docker) {
    let busybox = std::fs::read(BUSYBOX)
        .unwrap_or_else(|error| panic!("the contract tests need {BUSYBOX} (Debian: `apt-get install busybox-static`): {error}"));
    let mut root = RootFs::default().folder("/tmp", 0o1777).file("/bin/busybox", 0o755, busybox);
    for applet in APPLETS {
        root = root.link(&format!("/bin/{applet}"), "busybox");
    }
    // Another test process may be at it; the lock ends with the file.
    let lock = File::create(std::env::temp_dir().join("driftless-test-busybox.lock")).expect("a lock file");
    lock.lock().expect("the lock");
    docker.import_image(REPOSITORY, TAG, &root).await.expect("the test image");
}
