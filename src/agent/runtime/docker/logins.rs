//! The ways to ask a registry for an image, in the order in which they are tried: with the logins of the pod, with the host's own, without.
//!
//! The host's are read anew for every pull, so that a `docker login` takes effect at once and nothing is kept in memory. Those that a
//! credential helper keeps are asked of it as `docker pull` does: `docker-credential-NAME get`, the server on its stdin.
//! <https://github.com/docker/docker-credential-helpers#development>

use super::credentials::Config;
use crate::agent::runtime::PullSecret;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// A helper that has not answered by then is given up.
const HELPER_MAX: Duration = Duration::from_secs(30);

/// What a helper says as the user's name if the secret is a token.
const TOKEN: &str = "<token>";

/// One way to ask.
pub(super) struct Login {
    /// What it is, for people: where the login is from, and never what it is.
    pub(super) origin: String,
    /// `None` to ask as nobody.
    pub(super) credentials: Option<DockerCredentials>,
}

/// What there is to try, in this order, and why some of it cannot be tried.
#[derive(Default)]
pub(super) struct Logins {
    pub(super) usable: Vec<Login>,
    pub(super) passed_over: Vec<String>,
}

/// All ways to ask for an image. `config` is the file of the host's `docker login`.
pub(super) async fn find(secrets: &[PullSecret], config: Option<&Path>, image: &str) -> Logins {
    let mut logins = Logins::default();
    for secret in secrets {
        logins.add_secret(secret, image);
    }
    if let Some(config) = config {
        logins.add_own(config, image).await;
    }
    logins.usable.push(Login { origin: "without a login".to_owned(), credentials: None });
    logins
}

impl Logins {
    fn add_secret(&mut self, secret: &PullSecret, image: &str) {
        let name = &secret.name;
        match Config::read_secret(secret.content.expose()) {
            // serde's message would quote what it found; where it found it is enough.
            Err(error) => self.pass_over(format!("imagePullSecret {name} holds no logins (line {})", error.line())),
            Ok(config) => {
                let before = self.usable.len();
                self.add(&format!("imagePullSecret {name}"), config.logins(image));
                if self.usable.len() == before {
                    self.pass_over(format!("imagePullSecret {name} has no login of this registry"));
                }
            }
        }
    }

    /// A file that is absent has no logins.
    async fn add_own(&mut self, file: &Path, image: &str) {
        let Ok(bytes) = tokio::fs::read(file).await.map(Zeroizing::new) else { return };
        let config = match Config::read(&bytes) {
            Ok(config) => config,
            Err(error) => {
                return self.pass_over(format!("{}, line {}, is not a Docker config file", file.display(), error.line()));
            }
        };
        if let Some((name, server)) = config.helper(image) {
            match ask_helper(name, &server).await {
                Ok(found) => self.add(&format!("this host's docker-credential-{name}"), found.into_iter().collect()),
                Err(why) => self.pass_over(format!("this host's docker-credential-{name} {why}")),
            }
        }
        self.add(&format!("this host's {}", file.display()), config.logins(image));
    }

    fn add(&mut self, origin: &str, found: Vec<DockerCredentials>) {
        let login = |credentials| Login { origin: format!("with {origin}"), credentials: Some(credentials) };
        self.usable.extend(found.into_iter().map(login));
    }

    fn pass_over(&mut self, why: String) {
        self.passed_over.push(why);
    }
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// What a helper knows of a server; `None` if nothing. The error never has any of what it said.
async fn ask_helper(name: &str, server: &str) -> Result<Option<DockerCredentials>, String> {
    // It is a program's name and no path: whoever may write the file could name any program, but no one else's should run by accident.
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err("is not the name of a program".to_owned());
    }
    let output = timeout(HELPER_MAX, run_helper(name, server)).await;
    let output = output.map_err(|_| format!("has not answered within {} s", HELPER_MAX.as_secs()))?;
    let (succeeded, said) = output.map_err(|error| format!("cannot be run: {error}"))?;
    if !succeeded {
        // Its protocol says this on stdout.
        let unknown = said.starts_with(b"credentials not found");
        return if unknown { Ok(None) } else { Err("failed".to_owned()) };
    }
    let answer: Answer = serde_json::from_slice(&said).map_err(|_| "answered something that is no login".to_owned())?;
    let server = Some(server.to_owned());
    Ok(Some(if answer.username == TOKEN {
        DockerCredentials { identitytoken: Some(answer.secret), serveraddress: server, ..DockerCredentials::default() }
    } else {
        let (username, password) = (Some(answer.username), Some(answer.secret));
        DockerCredentials { username, password, serveraddress: server, ..DockerCredentials::default() }
    }))
}

async fn run_helper(name: &str, server: &str) -> std::io::Result<(bool, Zeroizing<Vec<u8>>)> {
    let mut helper = Command::new(format!("docker-credential-{name}"));
    helper.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = helper.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that knows without asking may have gone.
        let _ = stdin.write_all(server.as_bytes()).await;
    }
    let output = child.wait_with_output().await?;
    Ok((output.status.success(), Zeroizing::new(output.stdout)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SecretBytes;
    use serde_json::json;

    fn secret(name: &str, content: &str) -> PullSecret {
        PullSecret { name: name.to_owned(), content: SecretBytes::new(content.as_bytes().to_vec()) }
    }

    #[tokio::test]
    async fn the_pods_go_first_then_the_hosts_then_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        let login = |user: &str| json!({ "auths": { "a.example": { "username": user, "password": "hunter2" } } }).to_string();
        std::fs::write(&file, login("host")).unwrap();
        let secrets = [secret("first", &login("pod")), secret("other", r#"{"auths":{}}"#), secret("broken", "[hunter2")];
        let logins = find(&secrets, Some(&file), "a.example/web:1").await;
        let users = |logins: &Logins| {
            let user = |login: &Login| login.credentials.as_ref().and_then(|found| found.username.clone());
            logins.usable.iter().map(user).collect::<Vec<_>>()
        };
        assert_eq!(users(&logins), [Some("pod".to_owned()), Some("host".to_owned()), None]);
        let told = logins.usable.iter().map(|login| &login.origin).chain(&logins.passed_over).cloned().collect::<Vec<_>>();
        assert!(!told.concat().contains("hunter2"), "{told:?}");
        assert_eq!(logins.passed_over.len(), 2, "{told:?}");
        std::fs::write(&file, "{hunter2").unwrap();
        let broken = find(&[], Some(&file), "a.example/web:1").await;
        assert_eq!((users(&broken), broken.passed_over.len()), (vec![None], 1));
        assert!(!broken.passed_over[0].contains("hunter2"), "{:?}", broken.passed_over);
    }

    #[tokio::test]
    async fn a_helper_that_cannot_be_asked_is_named_and_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        for (name, said) in [("../../bin/sh", "not the name of a program"), ("no-such-helper", "cannot be run")] {
            std::fs::write(&file, json!({ "credsStore": name }).to_string()).unwrap();
            let logins = find(&[], Some(&file), "nginx").await;
            assert!(logins.passed_over[0].contains(said), "{:?}", logins.passed_over);
            assert_eq!(logins.usable.len(), 1, "it is asked without a login");
        }
    }
}
