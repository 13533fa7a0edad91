//! What a behaviour is played on: a runtime, and launches that suit it.

use driftless::agent::runtime::{
    ContainerId, ContainerLaunch, ContainerStatus, Labels, LogOptions, PodNetwork, Role, Runtime, Started,
};
use driftless::model::{Kind, NodeName, ObjectKey, PodUid, Revision, RuntimeKind, TemplateHash};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use std::fmt::Debug;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use uuid::Uuid;

/// Until something that should happen must have happened.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Makes a client for a node of the stage's cluster.
pub(crate) type Connect = Box<dyn Fn(&NodeName) -> Arc<dyn Runtime> + Send + Sync>;

/// The place of one test.
pub(crate) struct Stage {
    /// The client under test, for [`Stage::node`].
    pub(crate) runtime: Arc<dyn Runtime>,
    /// Another client.
    pub(crate) connect: Connect,
    pub(crate) cluster: String,
    pub(crate) node: NodeName,
    /// What containers run; `None` for host processes.
    pub(crate) image: Option<String>,
    /// A folder of the host.
    pub(crate) folder: TempDir,
    /// False for the fake, which has no logs.
    pub(crate) runs_programs: bool,
    /// Takes away what is left of the cluster.
    pub(crate) take_down: Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>,
}

/// A name that no other test uses, now or in another process.
pub(crate) fn own_cluster() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("contract-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Stage {
    pub(crate) async fn take_down(self) {
        (self.take_down)().await;
    }

    /// A launch of `sh -c script` in a pod of its own.
    pub(crate) fn launch(&self, pod: &str, script: &str) -> ContainerLaunch {
        self.launch_on(&self.node, pod, script)
    }

    pub(crate) fn launch_on(&self, node: &NodeName, pod: &str, script: &str) -> ContainerLaunch {
        let uid = PodUid(Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{}/{node}/{pod}", self.cluster).as_bytes()));
        let labels = Labels {
            cluster: self.cluster.clone(),
            node: node.clone(),
            uid,
            pod: format!("{pod}-{}", &uid.to_string()[..8]),
            workload: ObjectKey::new(Kind::Deployment, "shop", pod),
            slot: 3,
            container: "main".to_owned(),
            hash: TemplateHash::new("7d4b9c00"),
            revision: Revision::new("0123456789abcdef"),
            attempt: 0,
            role: Role::Main,
        };
        ContainerLaunch {
            image: self.image.clone(),
            command: ["sh", "-c", script].map(str::to_owned).into(),
            network: PodNetwork { hostname: labels.pod.clone(), ..PodNetwork::default() },
            ..ContainerLaunch::bare(self.runtime.kind(), labels)
        }
    }

    pub(crate) async fn start(&self, launch: &ContainerLaunch) -> Started {
        self.runtime.start(launch).await.unwrap_or_else(|error| panic!("{} did not start: {error}", launch.labels.pod))
    }

    /// The container as it is listed.
    pub(crate) async fn listed(&self, id: &ContainerId) -> Option<ContainerStatus> {
        let all = self.runtime.list().await.expect("a list");
        all.into_iter().find(|status| status.id == *id)
    }

    /// The whole log so far.
    pub(crate) async fn log(&self, id: &ContainerId, tail: Option<usize>) -> String {
        let chunks = self.runtime.logs(id, LogOptions { tail, ..LogOptions::default() }).await.expect("a log");
        read_all(chunks).await
    }

    /// Waits until the log has a text: for programs that say when they are ready.
    pub(crate) async fn says(&self, id: &ContainerId, text: &str) {
        if !self.runs_programs {
            return;
        }
        until(&format!("{text:?} in the log"), async || {
            let log = self.log(id, None).await;
            if log.contains(text) { Ok(()) } else { Err(log) }
        })
        .await;
    }

    pub(crate) fn is_docker(&self) -> bool {
        self.runtime.kind() == RuntimeKind::Docker
    }
}

/// A stream of chunks as one text.
pub(crate) async fn read_all<S, E>(mut chunks: S) -> String
where
    S: futures_util::Stream<Item = Result<bytes::Bytes, E>> + Unpin,
    E: Debug,
{
    let mut text = String::new();
    while let Some(chunk) = chunks.next().await {
        text.push_str(&String::from_utf8_lossy(&chunk.expect("a chunk")));
    }
    text
}

/// Reads all that a server says.
pub(crate) async fn hear(address: SocketAddr) -> Result<String, String> {
    let mut text = String::new();
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    stream.read_to_string(&mut text).await.map_err(|error| error.to_string())?;
    if text.is_empty() { Err("nothing was said".to_owned()) } else { Ok(text) }
}

/// Asks again and again until the answer is `Ok`; fails with the last `Err` otherwise.
pub(crate) async fn until<T, E: Debug>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let asking = async {
        let mut last = None;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(state) => last = Some(state),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(last)
    };
    asking.await.unwrap_or_else(|last| panic!("not within {PATIENCE:?}: {what}; last seen: {last:?}"))
}

/// Waits for a future; a hang is a failure.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
