//! Which of many logins is for an image. Pure.
//!
//! In: what `docker login` and Secrets of type `kubernetes.io/dockerconfigjson` and `kubernetes.io/dockercfg` hold. Out: the logins whose
//! entry names the image's registry, by Kubernetes' rules: an entry may have `*` in its host name and a path that the
//! image's name begins with, and the more exact entry goes first.
//! <https://kubernetes.io/docs/concepts/containers/images/#config-json>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What `docker login` calls Docker Hub, and what its host is called in entries.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
const HUB_HOST: &str = "index.docker.io";

/// `config.json`, as far as we read it.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Config {
    auths: BTreeMap<String, Auth>,
    /// The program that keeps all logins.
    creds_store: String,
    /// The programs that keep the logins of some registries.
    cred_helpers: BTreeMap<String, String>,
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
    /// `None` for an entry whose password a helper has.
    fn credentials(&self, server: &str) -> Option<DockerCredentials> {
        let (username, password) = self.pair()?;
        Some(DockerCredentials {
            username: Some(username),
            password: Some(password),
            identitytoken: self.identitytoken.clone(),
            serveraddress: Some(server.to_owned()),
            ..DockerCredentials::default()
        })
    }

    fn pair(&self) -> Option<(String, String)> {
        if let (Some(username), Some(password)) = (&self.username, &self.password) {
            return Some((username.clone(), password.clone()));
        }
        let plain = String::from_utf8(STANDARD.decode(&self.auth).ok()?).ok()?;
        let (username, password) = plain.split_once(':')?;
        Some((username.to_owned(), password.trim_end_matches('\0').to_owned()))
    }
}

impl Config {
    /// Reads the file of `docker login`. The error tells where it is, and would quote what is there: only its place may be shown.
    pub(super) fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// Reads a Secret, of either form.
    pub(super) fn read_secret(json: &[u8]) -> Result<Self, serde_json::Error> {
        match serde_json::from_slice::<Self>(json) {
            Ok(config) if !config.auths.is_empty() => Ok(config),
            _ => serde_json::from_slice(json).map(|auths| Self { auths, ..Self::default() }),
        }
    }

    /// The logins for an image, the most exact entry first.
    pub(super) fn logins(&self, image: &str) -> Vec<DockerCredentials> {
        let target = Target::of(image);
        let mut fitting: Vec<_> = self.auths.iter().filter(|(entry, _)| target.is_meant_by(entry)).collect();
        fitting.sort_by_key(|(entry, _)| (Reverse(entry.len()), *entry));
        fitting.into_iter().filter_map(|(entry, auth)| auth.credentials(entry)).collect()
    }

    /// The program that knows the login for an image, and what it calls the registry. As with `docker pull`, one for this registry goes
    /// before the one for all.
    pub(super) fn helper(&self, image: &str) -> Option<(&str, String)> {
        let target = Target::of(image);
        let own = self.cred_helpers.iter().find(|(entry, _)| target.is_meant_by(entry)).map(|(_, name)| name.as_str());
        let name = own.or(Some(self.creds_store.as_str())).filter(|name| !name.is_empty())?;
        let server = if target.host == HUB_HOST { DOCKER_HUB.to_owned() } else { target.host };
        Some((name, server))
    }
}

/// Where an image is: the registry's host, with its port, and the path there.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    host: String,
    path: String,
}

impl Target {
    /// The first part of a name is the registry if it can only be a host.
    fn of(image: &str) -> Self {
        let (host, path) = match image.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
            _ => (HUB_HOST, image),
        };
        Self { host: if host == "docker.io" { HUB_HOST } else { host }.to_owned(), path: path.to_owned() }
    }

    /// Old entries are URLs, new ones are hosts.
    fn is_meant_by(&self, entry: &str) -> bool {
        let bare = entry.trim_start_matches("https://").trim_start_matches("http://");
        let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
        let path = path.trim_end_matches('/');
        let path = if matches!(path, "v1" | "v2") { "" } else { path };
        let host = if host == "docker.io" { HUB_HOST } else { host };
        fits_host(host, &self.host) && self.path.starts_with(path)
    }
}

/// Label by label; a port must be the same.
fn fits_host(pattern: &str, host: &str) -> bool {
    let (pattern, pattern_port) = pattern.split_once(':').unwrap_or((pattern, ""));
    let (host, port) = host.split_once(':').unwrap_or((host, ""));
    let (patterns, labels): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), host.split('.').collect());
    pattern_port == port && patterns.len() == labels.len() && patterns.iter().zip(labels).all(|(p, label)| fits_label(p, label))
}

/// `*` stands for any characters.
fn fits_label(pattern: &str, label: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == label };
    let Some(rest) = label.strip_prefix(before) else { return false };
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| fits_label(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn users(config: &Value, image: &str) -> Vec<String> {
        let config = Config::read(config.to_string().as_bytes()).unwrap();
        config.logins(image).into_iter().filter_map(|login| login.username).collect()
    }

    fn auth(pair: &str) -> Value {
        json!({ "auth": STANDARD.encode(pair) })
    }

    #[test]
    fn an_image_gets_the_logins_of_its_registry_only() {
        let config = json!({ "auths": {
            "https://index.docker.io/v1/": auth("hub:1"),
            "ghcr.io": auth("cat:2"),
            "http://localhost:5000/v2/": auth("local:3"),
            "helper.example": {},
        }});
        let user = |image: &str| users(&config, image).join(" ");
        assert_eq!(user("nginx:1.27"), "hub");
        assert_eq!(user("shop/web"), "hub");
        assert_eq!(user("docker.io/shop/web"), "hub");
        assert_eq!(user("ghcr.io/shop/web@sha256:abc"), "cat");
        assert_eq!(user("localhost:5000/web"), "local");
        assert_eq!(user("quay.io/shop/web"), "");
        assert_eq!(user("helper.example/web"), "", "an entry without a password is a helper's");
    }

    #[test]
    fn entries_may_have_patterns_and_paths_and_the_more_exact_goes_first() {
        let config = json!({ "auths": {
            "*.example": auth("any:1"),
            "a.example/shop": auth("shop:2"),
            "a.example": auth("all:3"),
            "*.b*.example": auth("deep:4"),
            "c.example:5000": auth("port:5"),
        }});
        let user = |image: &str| users(&config, image).join(" ");
        assert_eq!(user("a.example/shop/web:1"), "shop any all");
        assert_eq!(user("a.example/other"), "any all");
        assert_eq!(user("x.bc.example/web"), "deep", "a star is one label, or a part of it");
        assert_eq!(user("c.example:5000/web"), "port");
        assert_eq!(user("c.example:5001/web"), "");
    }

    #[test]
    fn logins_of_a_secret_are_read_in_both_forms() {
        let pair = |secret: Value| {
            let logins = Config::read_secret(secret.to_string().as_bytes()).unwrap_or_default().logins("ghcr.io/shop/web:1");
            logins.into_iter().next().and_then(|found| found.username.zip(found.password))
        };
        let expected = Some(("bot".to_owned(), "s3cr3t".to_owned()));
        let entry = json!({ "ghcr.io": auth("bot:s3cr3t") });
        assert_eq!(pair(json!({ "auths": entry })), expected);
        assert_eq!(pair(entry), expected, "the form of .dockercfg");
        let plain = json!({ "auths": { "https://ghcr.io": { "username": "bot", "password": "s3cr3t" } } });
        assert_eq!(pair(plain), expected);
        assert_eq!(pair(json!(["no", "logins"])), None);
    }

    #[test]
    fn a_helper_of_the_registry_goes_before_that_of_all() {
        let config = json!({ "credsStore": "desktop", "credHelpers": { "gcr.io": "gcloud", "none.example": "" } });
        let config = Config::read(config.to_string().as_bytes()).unwrap();
        assert_eq!(config.helper("gcr.io/shop/web"), Some(("gcloud", "gcr.io".to_owned())));
        assert_eq!(config.helper("ghcr.io/shop/web"), Some(("desktop", "ghcr.io".to_owned())));
        assert_eq!(config.helper("nginx"), Some(("desktop", DOCKER_HUB.to_owned())));
        assert_eq!(config.helper("none.example/web"), None, "an empty name means none");
        assert_eq!(Config::default().helper("nginx"), None);
    }

    #[test]
    fn a_broken_file_is_an_error_and_not_a_guess() {
        assert!(Config::read(b"{").is_err());
    }
}
