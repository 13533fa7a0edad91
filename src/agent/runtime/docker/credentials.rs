//! Credentials of registries, from the file that `docker login` writes.
//!
//! Read anew for every pull, so that a login takes effect at once and nothing is kept in memory. Credential helpers
//! (`credsStore`, `credHelpers`) are other programs; they are not run, and a pull without credentials is tried instead.

use crate::model::SecretBytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What `docker login` calls Docker Hub.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// `config.json`, as far as we read it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Config {
    auths: BTreeMap<String, Auth>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    /// `user:password` in base64.
    auth: String,
    /// What Secrets may have instead.
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl Auth {
    fn pair(&self) -> Option<(String, String)> {
        if let (Some(username), Some(password)) = (&self.username, &self.password) {
            return Some((username.clone(), password.clone()));
        }
        let plain = String::from_utf8(STANDARD.decode(&self.auth).ok()?).ok()?;
        let (username, password) = plain.split_once(':')?;
        Some((username.to_owned(), password.trim_end_matches('\0').to_owned()))
    }
}

/// The credentials for the registry of `image`, if the file has any. A file that is absent or unreadable has none.
pub(super) async fn find(config: &Path, image: &str) -> Option<DockerCredentials> {
    let bytes = tokio::fs::read(config).await.ok()?;
    parse(&bytes, image).unwrap_or_else(|error| {
        // serde's message would quote what it found; where it found it is enough.
        tracing::warn!("{}, line {}: not a Docker config file; pulling without credentials", config.display(), error.line());
        None
    })
}

/// The credentials for the registry of `image` in a Secret of `imagePullSecrets`, of either form. One that cannot be read has none.
pub(super) fn find_in(secret: &SecretBytes, image: &str) -> Option<DockerCredentials> {
    let json = secret.expose();
    let old_form = || serde_json::from_slice::<BTreeMap<String, Auth>>(json).map(|auths| of_registry(&auths, image));
    let found = match serde_json::from_slice::<Config>(json) {
        Ok(config) if !config.auths.is_empty() => Ok(of_registry(&config.auths, image)),
        _ => old_form(),
    };
    found.unwrap_or_else(|error| {
        tracing::warn!("an imagePullSecret holds no logins (line {}); it is passed over", error.line());
        None
    })
}

fn parse(config: &[u8], image: &str) -> Result<Option<DockerCredentials>, serde_json::Error> {
    let config: Config = serde_json::from_slice(config)?;
    Ok(of_registry(&config.auths, image))
}

fn of_registry(auths: &BTreeMap<String, Auth>, image: &str) -> Option<DockerCredentials> {
    let registry = registry(image);
    let (name, auth) = auths.iter().find(|(name, _)| bare(name) == bare(registry))?;
    let (username, password) = auth.pair()?;
    Some(DockerCredentials {
        username: Some(username),
        password: Some(password),
        identitytoken: auth.identitytoken.clone(),
        serveraddress: Some(name.clone()),
        ..DockerCredentials::default()
    })
}

/// The registry of a reference: its first part, if that can only be a host.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => DOCKER_HUB,
    }
}

/// Old entries are URLs, new ones are hosts.
fn bare(registry: &str) -> &str {
    let host = registry.trim_start_matches("https://").trim_start_matches("http://").split('/').next().unwrap_or("");
    if host == "docker.io" { "index.docker.io" } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(image: &str) -> Option<String> {
        let auth = |pair: &str| serde_json::json!({ "auth": STANDARD.encode(pair) });
        let auths = serde_json::json!({
            "https://index.docker.io/v1/": auth("hub:1"),
            "ghcr.io": auth("cat:2"),
            "http://localhost:5000/v2/": auth("local:3"),
            "helper.example": {},
        });
        let config = serde_json::json!({ "auths": auths, "credsStore": "desktop" }).to_string();
        parse(config.as_bytes(), image).unwrap().and_then(|credentials| credentials.username)
    }

    #[test]
    fn an_image_gets_the_credentials_of_its_registry_only() {
        assert_eq!(user("nginx:1.27").as_deref(), Some("hub"));
        assert_eq!(user("shop/web").as_deref(), Some("hub"));
        assert_eq!(user("docker.io/shop/web").as_deref(), Some("hub"));
        assert_eq!(user("ghcr.io/shop/web@sha256:abc").as_deref(), Some("cat"));
        assert_eq!(user("localhost:5000/web").as_deref(), Some("local"));
        assert_eq!(user("quay.io/shop/web"), None);
        assert_eq!(user("helper.example/web"), None, "an entry without a password is a helper's");
    }

    #[test]
    fn logins_of_a_secret_are_read_in_both_forms() {
        let user = |json: serde_json::Value| {
            let secret = SecretBytes::new(json.to_string().into_bytes());
            find_in(&secret, "ghcr.io/shop/web:1").and_then(|found| found.username.zip(found.password))
        };
        let pair = Some(("bot".to_owned(), "s3cr3t".to_owned()));
        let entry = serde_json::json!({ "ghcr.io": { "auth": STANDARD.encode("bot:s3cr3t") } });
        assert_eq!(user(serde_json::json!({ "auths": entry })), pair);
        assert_eq!(user(entry), pair, "the form of .dockercfg");
        let plain = serde_json::json!({ "auths": { "https://ghcr.io": { "username": "bot", "password": "s3cr3t" } } });
        assert_eq!(user(plain), pair);
        assert_eq!(user(serde_json::json!(["no", "logins"])), None);
    }

    #[test]
    fn a_broken_file_is_an_error_and_not_a_guess() {
        assert!(parse(b"{", "nginx").is_err());
    }
}
