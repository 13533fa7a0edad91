//! Images: fetching what a launch needs, and what a tag stands for.

use super::engine::Session;
use super::inspect::Container;
use super::wire::encode;
use super::{Shared, logins};
use crate::agent::runtime::{ContainerLaunch, PullPolicy, Role, RuntimeError};
use crate::clock;
use bollard::auth::DockerCredentials;
use bollard::errors::Error as BollardError;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use serde::Deserialize;
use std::collections::BTreeSet;
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
    id: String,
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
}

/// Why a pull failed.
enum PullError {
    /// The Engine is at fault, whatever the login.
    Engine(RuntimeError),
    /// What it says of the registry.
    Registry(String),
}

/// What is said of a registry that does not answer in time.
const NO_PROGRESS: &str = "no progress";

/// Whether no login would help, since the registry was not even asked.
fn is_out_of_reach(message: &str) -> bool {
    [NO_PROGRESS, "dial tcp", "no such host", "i/o timeout", "x509: ", "server gave HTTP response to HTTPS client"]
        .iter()
        .any(|sign| message.contains(sign))
}

impl Shared {
    /// Fetches an image that was found missing, if the policy allows. `message` is what the Engine said.
    pub(super) async fn fetch_missing(&self, launch: &ContainerLaunch, message: String) -> Result<(), RuntimeError> {
        if launch.labels.role == Role::Sandbox {
            return self.import_sandbox().await;
        }
        match launch.pull {
            PullPolicy::IfNotPresent => self.pull(launch).await,
            PullPolicy::Never => Err(RuntimeError::ImageAbsent { image: launch.image.clone().unwrap_or_default() }),
            // It was fetched a moment ago, and has been removed since.
            PullPolicy::Always => Err(image_error(launch, message)),
        }
    }

    /// Fetches the image of a launch from its registry, with one login after the other. The error tells what was tried.
    pub(super) async fn pull(&self, launch: &ContainerLaunch) -> Result<(), RuntimeError> {
        let image = launch.image.clone().unwrap_or_default();
        let logins = logins::find(&launch.logins, self.logins.as_deref(), &image).await;
        // What is there already, somebody else brought.
        let before = self.image_ids().await.ok();
        let mut tried = Vec::new();
        for login in logins.usable {
            match self.pull_with(&image, login.credentials).await {
                Ok(()) => {
                    if let Some(before) = before {
                        self.remember_pulled(&image, &before).await;
                    }
                    return Ok(());
                }
                Err(PullError::Engine(error)) => return Err(error),
                Err(PullError::Registry(message)) => {
                    let is_reached = !is_out_of_reach(&message);
                    tried.push(format!("{}: {message}", login.origin));
                    if !is_reached {
                        break;
                    }
                }
            }
        }
        tried.extend(logins.passed_over);
        Err(image_error(launch, format!("tried {}", tried.join("; "))))
    }

    /// An image that is not remembered is never taken away, which is no reason to hold a container up.
    async fn remember_pulled(&self, image: &str, before: &BTreeSet<String>) {
        let Ok(session) = self.engine.session().await else { return };
        let Ok(Image { id, .. }) = session.get(&format!("/images/{}/json", encode(image))).await else { return };
        if !id.is_empty() && !before.contains(&id) {
            self.pulled.add(&id, clock::now());
        }
    }

    async fn pull_with(&self, image: &str, credentials: Option<DockerCredentials>) -> Result<(), PullError> {
        let session = self.engine.session().await.map_err(PullError::Engine)?;
        let (name, tag) = split(image);
        let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
        let mut progress = std::pin::pin!(session.client.create_image(Some(options), None, credentials));
        loop {
            match timeout(SILENCE, progress.next()).await {
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(self.pull_failed(image, &error)),
                Ok(None) => return Ok(()),
                Err(_) => return Err(PullError::Registry(format!("{NO_PROGRESS} for {} s", SILENCE.as_secs()))),
            }
        }
    }

    fn pull_failed(&self, image: &str, error: &BollardError) -> PullError {
        if let BollardError::DockerResponseServerError { message, .. } | BollardError::DockerStreamError { error: message } =
            error
        {
            return PullError::Registry(message.clone());
        }
        PullError::Engine(self.engine.failed(&format!("fetching image {image}"), error))
    }

    /// The digest under which a container's image is known to the registry that its name says. One that was built or imported here has
    /// none.
    pub(super) async fn image_digest(&self, session: &Session, container: &Container) -> Option<String> {
        let name = container.image_name();
        if let Some((_, digest)) = name.split_once('@') {
            return Some(digest.to_owned());
        }
        let key = (container.image.clone(), name.to_owned());
        if let Some(known) = self.digests.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return known.clone();
        }
        // Not knowing it is no reason to hold a container up.
        let image: Image = session.get(&format!("/images/{}/json", encode(&container.image))).await.ok()?;
        let digest = digest_of(name, image.repo_digests.unwrap_or_default());
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).insert(key, digest.clone());
        digest
    }
}

/// Of what an image is known as, the digest at the registry of `name`: another one may have packed the same image otherwise.
fn digest_of(name: &str, known: Vec<String>) -> Option<String> {
    let repository = bare(split(name).0);
    let mut pairs = known.iter().filter_map(|known| known.split_once('@'));
    pairs.find(|(known, _)| bare(known) == repository).map(|(_, digest)| digest.to_owned())
}

/// Docker Hub's names, as short as they may be written.
fn bare(repository: &str) -> &str {
    let short = repository.trim_start_matches("docker.io/");
    short.strip_prefix("library/").unwrap_or(short)
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
    use super::{digest_of, split};

    #[test]
    fn a_digest_is_that_of_the_registry_that_the_name_says() {
        let known = || ["nginx@sha256:1", "mirror.example/nginx@sha256:2", "localhost:5000/nginx@sha256:3"].map(str::to_owned);
        let digest = |name| digest_of(name, known().into());
        assert_eq!(digest("nginx:1.27").as_deref(), Some("sha256:1"));
        assert_eq!(digest("docker.io/library/nginx").as_deref(), Some("sha256:1"));
        assert_eq!(digest("mirror.example/nginx:1.27").as_deref(), Some("sha256:2"));
        assert_eq!(digest("localhost:5000/nginx").as_deref(), Some("sha256:3"));
        assert_eq!(digest("shop/nginx:1"), None, "tagged here, and known nowhere");
    }

    #[test]
    fn a_reference_is_split_at_its_tag() {
        assert_eq!(split("nginx"), ("nginx", "latest"));
        assert_eq!(split("nginx:1.27"), ("nginx", "1.27"));
        assert_eq!(split("localhost:5000/shop/web"), ("localhost:5000/shop/web", "latest"));
        assert_eq!(split("localhost:5000/shop/web:v2"), ("localhost:5000/shop/web", "v2"));
        assert_eq!(split("nginx@sha256:abc"), ("nginx@sha256:abc", ""));
    }
}
