//! Where the values of secrets are kept on a node, and the key of the host's administrator.

use super::StateDir;
use crate::agent::shell::{SealKey, SealKeyError, SecretsAtRest, sealed_folder};
use crate::cli::{CliError, CliResult};
use crate::private_file::{self, FileError};
use clap::{Args, ValueEnum};
use std::fs;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The name under which systemd hands the key over.
const CREDENTIAL: &str = "driftless-secrets-key";

/// What makes a key.
const MAKE: &str = "make one with `(umask 077 && openssl rand -base64 32 >FILE)`, and keep FILE where this host's disks and their backups are not";

/// Where secrets are kept.
#[derive(Debug, Clone, Args)]
pub(crate) struct SecretsArgs {
    /// Where the Secrets of this node's pods are kept beside memory: on tmpfs, from where they go with a reboot, or also in the state
    /// directory, sealed with the key of --secrets-key-file
    #[arg(long, env = "DRIFTLESS_SECRETS_AT_REST", value_enum, default_value_t)]
    secrets_at_rest: AtRest,
    /// The file with the key that seals: 32 random bytes as base64 or hexadecimal (`openssl rand -base64 32`), which only its owner may
    /// read [default: driftless-secrets-key in $CREDENTIALS_DIRECTORY, where systemd hands it over]
    #[arg(long, env = "DRIFTLESS_SECRETS_KEY_FILE", value_name = "FILE")]
    secrets_key_file: Option<PathBuf>,
}

/// As the option has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum AtRest {
    /// Nothing of them is on a disk; after a reboot pods with Secrets wait for the controller
    #[default]
    Tmpfs,
    /// Encrypted on disk; after a reboot pods with Secrets start while the controller is away
    Sealed,
}

/// What an agent is told, and what people are.
#[derive(Debug)]
pub(crate) struct SecretsChoice {
    pub(crate) at_rest: SecretsAtRest,
    pub(crate) told: String,
}

impl SecretsArgs {
    /// What the agent with this state directory is told.
    ///
    /// # Errors
    /// There is no key, or it is none, or it lies where it protects nothing. Nothing of it is in the error.
    pub(crate) fn open(&self, state: &StateDir) -> CliResult<SecretsChoice> {
        self.choose(state, credentials())
    }

    fn choose(&self, state: &StateDir, credentials: Option<PathBuf>) -> CliResult<SecretsChoice> {
        let Some((file, key)) = self.key(state.root(), credentials)? else {
            let told = "on tmpfs only: after a reboot, pods with Secrets wait for the controller".to_owned();
            return Ok(SecretsChoice { at_rest: SecretsAtRest::Tmpfs, told });
        };
        let told = format!("sealed in {}, with the key of {}", sealed_folder(&state.agent()).display(), file.display());
        Ok(SecretsChoice { at_rest: SecretsAtRest::Sealed(key), told })
    }

    /// The file that an agent with this state directory, which need not be there, would seal with; `None` if it would not.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn key_file(&self, state: &Path) -> CliResult<Option<PathBuf>> {
        Ok(self.key(state, credentials())?.map(|(file, _)| file))
    }

    fn key(&self, state: &Path, credentials: Option<PathBuf>) -> CliResult<Option<(PathBuf, SealKey)>> {
        if self.secrets_at_rest == AtRest::Tmpfs {
            return Ok(None);
        }
        let (file, text) = match (&self.secrets_key_file, credentials) {
            (Some(file), _) => (file.clone(), private_file::read(file)),
            (None, Some(folder)) => {
                let file = folder.join(CREDENTIAL);
                let text = private_file::read_credential(&file);
                (file, text)
            }
            (None, None) => {
                return Err(CliError::new("secrets cannot be sealed without a key")
                    .hint(format!("name a file with --secrets-key-file, or let systemd hand it over as {CREDENTIAL}; {MAKE}")));
            }
        };
        let text = readable(&file, text)?;
        refuse_beside_secrets(&file, state)?;
        let key: SealKey = text.parse().map_err(|error: SealKeyError| {
            CliError::with_source(format!("{} has no key to seal secrets with", file.display()), error).hint(MAKE)
        })?;
        Ok(Some((file, key)))
    }
}

/// Where systemd puts what it hands over.
fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// The text of a key's file.
fn readable(file: &Path, text: Result<Option<Zeroizing<String>>, FileError>) -> CliResult<Zeroizing<String>> {
    match text {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(CliError::new(format!("there is no key to seal secrets with at {}", file.display())).hint(MAKE)),
        Err(error) => {
            let hint = match &error {
                FileError::Exposed { .. } => error.hint(),
                FileError::Io { .. } => format!("the user of the agent must be able to read it, and it must be text: {MAKE}"),
            };
            Err(CliError::with_source("the key to seal secrets with cannot be used", error).hint(hint))
        }
    }
}

/// A key beside what it seals protects nothing.
fn refuse_beside_secrets(file: &Path, state: &Path) -> CliResult<()> {
    let resolved = |path: &Path| fs::canonicalize(path).map_err(FileError::reading(path));
    let unusable = |error| CliError::with_source("the key to seal secrets with cannot be used", error);
    let file = resolved(file).map_err(unusable)?;
    // One that is not there has nothing in it.
    if state.exists() && file.starts_with(resolved(state).map_err(unusable)?) {
        return Err(CliError::new(format!(
            "the key {} lies in the state directory, with the secrets that it seals",
            file.display()
        ))
        .hint(
            "whoever has a copy of that directory could open them: keep the key elsewhere, best in the TPM (docs/security.md)",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options::StateArgs;
    use std::os::unix::fs::PermissionsExt;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    struct Host {
        folder: tempfile::TempDir,
    }

    impl Host {
        fn new() -> Self {
            let host = Self { folder: tempfile::tempdir().expect("a folder") };
            fs::create_dir(host.path("state")).expect("made");
            host
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
            let path = self.path(name);
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            path
        }

        fn choose(&self, at_rest: AtRest, file: Option<PathBuf>, credentials: Option<PathBuf>) -> Result<String, String> {
            let state = StateArgs { state_dir: Some(self.path("state")) }.open().expect("made");
            let args = SecretsArgs { secrets_at_rest: at_rest, secrets_key_file: file };
            args.choose(&state, credentials).map(|choice| choice.told).map_err(|error| error.render())
        }

        fn refused(&self, file: Option<PathBuf>, because: &str) {
            let said = self.choose(AtRest::Sealed, file, None).expect_err(because);
            assert!(said.contains(because) && said.contains("hint: "), "{said}");
            assert!(!said.contains(KEY) && !said.contains(&KEY[..8]), "{said}");
        }
    }

    #[test]
    fn a_key_that_only_its_owner_may_read_seals_and_tmpfs_needs_none() {
        let host = Host::new();
        let key = host.file("key", &format!("{KEY}\n"), 0o600);
        let told = host.choose(AtRest::Sealed, Some(key), None).expect("a key");
        assert!(told.starts_with("sealed in ") && told.contains("state/agent/sealed"), "{told}");
        assert!(host.choose(AtRest::Tmpfs, None, None).expect("no key").starts_with("on tmpfs only"));
    }

    #[test]
    fn the_key_is_the_credential_of_systemd_unless_a_file_is_named() {
        let host = Host::new();
        fs::create_dir(host.path("credentials")).expect("made");
        // An access list that names the service's user shows as the group's bits.
        host.file("credentials/driftless-secrets-key", KEY, 0o440);
        let told = host.choose(AtRest::Sealed, None, Some(host.path("credentials"))).expect("a key");
        assert!(told.ends_with("credentials/driftless-secrets-key"), "{told}");
        let own = host.file("own", KEY, 0o400);
        let told = host.choose(AtRest::Sealed, Some(own), Some(host.path("credentials"))).expect("a key");
        assert!(told.ends_with("own"), "{told}");
    }

    #[test]
    fn what_is_no_safe_key_is_refused_and_nothing_of_it_is_said() {
        let host = Host::new();
        host.refused(None, "cannot be sealed without a key");
        host.refused(Some(host.path("missing")), "there is no key");
        host.refused(Some(host.file("loose", KEY, 0o640)), "may be read by others (mode 0640)");
        host.refused(Some(host.file("short", &KEY[..20], 0o600)), "it has 15 bytes, and a key has 32");
        host.refused(Some(host.file("words", &format!("{KEY}!"), 0o600)), "neither base64 nor hexadecimal");
        host.refused(Some(host.file("empty", "", 0o600)), "it has 0 bytes");
    }

    #[test]
    fn a_key_can_be_looked_at_before_there_is_a_state_directory() {
        let host = Host::new();
        let look = |at_rest, file: PathBuf| {
            let args = SecretsArgs { secrets_at_rest: at_rest, secrets_key_file: Some(file) };
            args.key_file(&host.path("not-yet")).map_err(|error| error.render())
        };
        let (good, loose) = (host.file("good", KEY, 0o600), host.file("loose", KEY, 0o644));
        assert_eq!(look(AtRest::Sealed, good.clone()), Ok(Some(good.clone())));
        assert_eq!(look(AtRest::Tmpfs, good), Ok(None));
        assert!(look(AtRest::Sealed, loose).expect_err("too open").contains("may be read by others"));
        assert!(!host.path("not-yet").exists());
    }

    #[test]
    fn a_key_in_the_state_directory_is_refused_by_whatever_path() {
        let host = Host::new();
        let inside = host.file("state/key", KEY, 0o600);
        host.refused(Some(inside.clone()), "lies in the state directory");
        std::os::unix::fs::symlink(inside, host.path("link")).expect("linked");
        host.refused(Some(host.path("link")), "lies in the state directory");
    }
}
