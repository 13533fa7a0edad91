//! Images: fetching what a launch needs, and what a tag stands for.

use super::engine::Session;
use super::wire::encode;
use super::{Shared, credentials};
use crate::agent::runtime::{ContainerLaunch, PullPolicy, Role, RuntimeError};
use bollard::auth::DockerCredentials;
use bollard::errors::Error as BollardError;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use serde::Deserialize;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::timeout;

/// A pull that says nothing for so long is given up; the next start tries again.
const SILENCE: Duration = Duration::from_secs(300);

/// `GET /images/ID/json`, as far as we read it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
}

impl Shared {
    /// Fetches an image that was found missing, if the policy allows. `message` is what the Engine said.
    pub(super) async fn fetch_missing(&self, launch: &ContainerLaunch, message: String) -> Result<(), RuntimeError> {
        if launch.labels.role == Role::Sandbox {
            return self.import_sandbox().await;
        }
        match launch.pull {
            PullPolicy::IfNotPresent => self.pull(launch).await,
            PullPolicy::Never => {
                let hint = "it is not on this host, and imagePullPolicy Never forbids to fetch it".to_owned();
                Err(image_error(launch, hint))
            }
            // It was fetched a moment ago, and has been removed since.
            PullPolicy::Always => Err(image_error(launch, message)),
        }
    }

    /// Fetches the image of a launch from its registry, with one login after the other: those of the pod, then the host's own. Without
    /// any that fits, without.
    pub(super) async fn pull(&self, launch: &ContainerLaunch) -> Result<(), RuntimeError> {
        let image = launch.image.clone().unwrap_or_default();
        let mut logins: Vec<_> =
            launch.logins.iter().filter_map(|secret| credentials::find_in(secret, &image)).map(Some).collect();
        let own = match &self.logins {
            Some(file) => credentials::find(file, &image).await,
            None => None,
        };
        if own.is_some() || logins.is_empty() {
            logins.push(own);
        }
        let mut outcome = Ok(());
        for login in logins {
            outcome = self.pull_with(launch, &image, login).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    async fn pull_with(
        &self,
        launch: &ContainerLaunch,
        image: &str,
        credentials: Option<DockerCredentials>,
    ) -> Result<(), RuntimeError> {
        let session = self.engine.session().await?;
        let (name, tag) = split(image);
        let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
        let mut progress = std::pin::pin!(session.client.create_image(Some(options), None, credentials));
        loop {
            match timeout(SILENCE, progress.next()).await {
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(self.pull_failed(launch, &error)),
                Ok(None) => return Ok(()),
                Err(_) => {
                    return Err(image_error(
                        launch,
                        format!("no progress for {} s; is its registry reachable?", SILENCE.as_secs()),
                    ));
                }
            }
        }
    }

    fn pull_failed(&self, launch: &ContainerLaunch, error: &BollardError) -> RuntimeError {
        if let BollardError::DockerResponseServerError { message, .. } | BollardError::DockerStreamError { error: message } =
            error
        {
            return image_error(launch, message.clone());
        }
        self.engine.failed(&format!("fetching image {}", launch.image.as_deref().unwrap_or("")), error)
    }

    /// The digest under which the image `id` is known to a registry. One that was built or imported here has none.
    pub(super) async fn image_digest(&self, session: &Session, id: &str) -> Option<String> {
        if let Some(known) = self.digests.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            return known.clone();
        }
        // Not knowing it is no reason to hold a container up.
        let image: Image = session.get(&format!("/images/{}/json", encode(id))).await.ok()?;
        let digest =
            image.repo_digests.iter().flatten().find_map(|name| name.split_once('@')).map(|(_, digest)| digest.to_owned());
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), digest.clone());
        digest
    }
}

fn image_error(launch: &ContainerLaunch, message: String) -> RuntimeError {
    RuntimeError::Image { image: launch.image.clone().unwrap_or_default(), message }
}

/// Name and tag of a reference. Without a tag the Engine would fetch all of them, so that it is `latest` then; a digest
/// stays with the name.
fn split(image: &str) -> (&str, &str) {
    if image.contains('@') {
        return (image, "");
    }
    match image.rsplit_once(':') {
        // A colon before a slash belongs to the registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_reference_is_split_at_its_tag() {
        assert_eq!(split("nginx"), ("nginx", "latest"));
        assert_eq!(split("nginx:1.27"), ("nginx", "1.27"));
        assert_eq!(split("localhost:5000/shop/web"), ("localhost:5000/shop/web", "latest"));
        assert_eq!(split("localhost:5000/shop/web:v2"), ("localhost:5000/shop/web", "v2"));
        assert_eq!(split("nginx@sha256:abc"), ("nginx@sha256:abc", ""));
    }
}
