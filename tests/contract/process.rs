//! The stage with host processes.

use crate::stage::{Stage, own_cluster};
use driftless::agent::launch::Folders;
use driftless::agent::runtime::Runtime;
use driftless::agent::runtime::process::{ProcessRuntime, ProcessSettings};
use driftless::model::NodeName;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

pub(crate) fn runtime(cluster: &str, node: &NodeName, folder: &Path) -> ProcessRuntime {
    ProcessRuntime::new(ProcessSettings {
        cluster: cluster.to_owned(),
        node: node.clone(),
        folders: Folders { run: folder.join("run"), state: folder.join("state") },
        program: env!("CARGO_BIN_EXE_driftless").into(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
    })
}

pub(crate) async fn stage() -> Stage {
    let (cluster, node) = (own_cluster(), NodeName::new("node-1"));
    let folder = tempfile::tempdir().expect("a folder");
    let (named, path) = (cluster.clone(), folder.path().to_owned());
    let (left, below) = (cluster.clone(), folder.path().to_owned());
    Stage {
        runtime: Arc::new(runtime(&cluster, &node, folder.path())),
        connect: Box::new(move |node| Arc::new(runtime(&named, node, &path))),
        cluster,
        node,
        image: None,
        folder,
        runs_programs: true,
        take_down: Box::new(move || Box::pin(async move { take_down(&left, &below).await })),
    }
}

/// Removes the processes of all nodes that tests use: all that can be, before it complains of any.
async fn take_down(cluster: &str, folder: &Path) {
    let mut left = Vec::new();
    for node in ["node-1", "node-2"] {
        let runtime = runtime(cluster, &NodeName::new(node), folder);
        for process in runtime.list().await.expect("a list") {
            left.extend(runtime.remove(&process.id).await.err());
        }
    }
    assert!(left.is_empty(), "left behind: {left:?}");
}
