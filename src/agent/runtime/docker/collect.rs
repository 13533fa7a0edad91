//! Taking images away when the disk fills up. What goes is decided in `garbage`; dead containers are the core's, which keeps the one before
//! the current one for its log and removes the others.

use super::garbage::{self, Candidate, Disk, GarbagePolicy};
use super::{Docker, Shared};
use crate::agent::runtime::{RuntimeError, RuntimeEvent};
use crate::clock;
use bollard::errors::Error as BollardError;
use bollard::query_parameters::RemoveImageOptions;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the disk is looked at, as by the kubelet.
const PERIOD: Duration = Duration::from_secs(300);

/// One row of `GET /images/json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageRow {
    id: String,
}

/// One row of `GET /containers/json`, as far as it says what it uses.
#[derive(Debug, Deserialize)]
struct UserRow {
    #[serde(rename = "ImageID", default)]
    image: String,
}

/// `GET /info`, as far as we read it here.
#[derive(Debug, Deserialize)]
struct Info {
    #[serde(rename = "DockerRootDir", default)]
    root: String,
}

impl Docker {
    /// Looks at the disk every five minutes, and takes images away as the policy says, until `shutdown`.
    pub async fn keep_room(&self, policy: GarbagePolicy, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
            match self.collect_garbage(policy).await {
                // An Engine that is away is said elsewhere, and cannot run out of room.
                Ok(_) | Err(RuntimeError::Unavailable { .. }) => {}
                Err(error) => self.shared.warn("ImageGCFailed", error.to_string()),
            }
        }
    }

    /// Takes images away, if the disk is as full as the policy says: ours, that no container of anyone uses. Returns their ids.
    ///
    /// # Errors
    /// What the Engine says, or that its disk cannot be looked at.
    pub async fn collect_garbage(&self, policy: GarbagePolicy) -> Result<Vec<String>, RuntimeError> {
        self.shared.collect(policy).await
    }
}

impl Shared {
    async fn collect(&self, policy: GarbagePolicy) -> Result<Vec<String>, RuntimeError> {
        let candidates = self.candidates().await?;
        let root = self.read::<Info>("/info", "asking where its data is").await?.root;
        let Some(goal) = garbage::goal(disk_of(&root)?, policy) else { return Ok(Vec::new()) };
        let mut removed = Vec::new();
        for image in garbage::order(candidates, policy, clock::now()) {
            if disk_of(&root)?.available >= goal {
                return Ok(removed);
            }
            if self.remove_image(&image).await? {
                removed.push(image.id);
            }
        }
        let available = disk_of(&root)?.available;
        if available < goal {
            let lacking = (goal - available) >> 20;
            let message =
                format!("the disk of {root} is too full: {lacking} MiB more should be free, and no image of ours is left to go");
            self.warn("FreeDiskSpaceFailed", message);
        }
        Ok(removed)
    }

    /// The images that we pulled and that are there. What containers use now is remembered.
    async fn candidates(&self) -> Result<Vec<Candidate>, RuntimeError> {
        let there = self.image_ids().await?;
        let users: Vec<UserRow> = self.read("/containers/json?all=true", "listing containers").await?;
        let in_use: BTreeSet<String> = users.into_iter().map(|user| user.image).collect();
        self.pulled.see(&there, &in_use, clock::now());
        let candidate = |(id, image): (String, super::pulled::PulledImage)| Candidate {
            in_use: in_use.contains(&id),
            id,
            pulled: image.at,
            used: image.used,
        };
        Ok(self.pulled.all().into_iter().map(candidate).collect())
    }

    /// Every image that is there.
    pub(super) async fn image_ids(&self) -> Result<BTreeSet<String>, RuntimeError> {
        let rows: Vec<ImageRow> = self.read("/images/json", "listing images").await?;
        Ok(rows.into_iter().map(|row| row.id).collect())
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, path: &str, action: &str) -> Result<T, RuntimeError> {
        let session = self.engine.session().await?;
        session.get(path).await.map_err(|error| self.engine.read_failed(action, error))
    }

    /// False if it stays: a container has come in between, or somebody gave it a name of their own.
    async fn remove_image(&self, image: &Candidate) -> Result<bool, RuntimeError> {
        let session = self.engine.session().await?;
        match session.client.remove_image(&image.id, None::<RemoveImageOptions>, None).await {
            Ok(_) => {
                tracing::info!(image = image.id, "took an image away, since the disk fills up");
                Ok(true)
            }
            Err(BollardError::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(false),
            Err(error) => Err(self.engine.failed(&format!("removing image {}", image.id), &error)),
        }
    }

    /// Something that people should know of this node.
    fn warn(&self, reason: &'static str, message: String) {
        tracing::warn!("{message}");
        // Nobody listens where there is no agent.
        let _ = self.warnings.send(RuntimeEvent::Warning { reason, message });
    }
}

fn disk_of(root: &str) -> Result<Disk, RuntimeError> {
    let found = rustix::fs::statvfs(Path::new(root))
        .map_err(|error| RuntimeError::Failed { action: format!("looking at the disk of {root}"), message: error.to_string() })?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Disk { capacity: bytes(found.f_blocks), available: bytes(found.f_bavail) })
}
