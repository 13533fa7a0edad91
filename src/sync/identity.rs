//! `identity/`: who this cluster is; to be backed up.
//!
//! It holds the cluster's id and the signing key. Everything else of a controller is rebuilt from git and from the agents; this is
//! not, so a folder that is unreadable or incomplete is an error to a person's face, and nothing in it is ever overwritten.

use crate::private_file::{self, FileError};
use hkdf::Hkdf;
use sha2::Sha256;
use ssh_key::private::KeypairData;
use ssh_key::rand_core::{OsRng, RngCore};
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use thiserror::Error;
use zeroize::Zeroizing;

/// The file with the cluster's id.
const CLUSTER_ID: &str = "cluster-id";
/// The file with the private key, in OpenSSH's format.
const SIGNING_KEY: &str = "signing_key";
/// The public key, for people.
const PUBLIC_KEY: &str = "signing_key.pub";
/// What `git verify-commit` wants as `gpg.ssh.allowedSignersFile`.
const ALLOWED_SIGNERS: &str = "allowed_signers";
/// What the digest key is derived for. A change of it rolls every pod that uses a Secret.
const DIGEST_INFO: &[u8] = b"driftless digest key v1";

/// What is wrong with `identity/`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Some of its files are there, and one is not.
    #[error("{} is incomplete: {missing} is missing", dir.display())]
    Incomplete {
        /// The folder.
        dir: PathBuf,
        /// The file.
        missing: &'static str,
    },
    /// A file cannot be read or made, or others may read the private key.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file does not hold what it should.
    #[error("{} is damaged: {detail}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never a part of the key.
        detail: String,
    },
}

impl IdentityError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            IdentityError::Incomplete { dir, .. } | IdentityError::Damaged { path: dir, .. } => format!(
                "restore it from your backup; only if there is none, move {} away, and a new identity is made",
                dir.display()
            ),
            IdentityError::File(error) => error.hint(),
        })
    }
}

/// Who this cluster is. Its `Debug` shows no key.
pub struct Identity {
    cluster_id: String,
    key: PrivateKey,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("cluster_id", &self.cluster_id).field("key", &self.fingerprint()).finish()
    }
}

impl Identity {
    /// Reads the folder, or makes it if it is absent or empty.
    ///
    /// # Errors
    /// See [`IdentityError`]; in every case nothing was changed.
    pub fn load_or_create(dir: &Path) -> Result<Self, IdentityError> {
        match fs::read_dir(dir) {
            Ok(mut entries) => match entries.next() {
                Some(_) => Self::load(dir),
                None => Self::create(dir),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Self::create(dir),
            Err(error) => Err(FileError::reading(dir)(error).into()),
        }
    }

    /// Reads the folder.
    ///
    /// # Errors
    /// It is absent, incomplete, exposed or damaged.
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        let incomplete = |missing| IdentityError::Incomplete { dir: dir.to_owned(), missing };
        let path = dir.join(CLUSTER_ID);
        let cluster_id = match fs::read_to_string(&path) {
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(incomplete(CLUSTER_ID)),
            Err(error) => return Err(FileError::reading(&path)(error).into()),
        };
        if cluster_id.is_empty() || cluster_id.contains(char::is_whitespace) {
            return Err(IdentityError::Damaged { path, detail: "it holds no id".into() });
        }
        let path = dir.join(SIGNING_KEY);
        let pem = private_file::read(&path)?.ok_or_else(|| incomplete(SIGNING_KEY))?;
        let key = PrivateKey::from_openssh(pem.as_bytes())
            .map_err(|error| IdentityError::Damaged { path: path.clone(), detail: error.to_string() })?;
        if key.algorithm() != Algorithm::Ed25519 || key.is_encrypted() {
            return Err(IdentityError::Damaged { path, detail: "it must be an Ed25519 key without a passphrase".into() });
        }
        Ok(Self { cluster_id, key })
    }

    /// Makes a fresh identity beside the folder and renames it into place, so that it is there whole or not at all. Where another process
    /// was faster, its identity is the one.
    fn create(dir: &Path) -> Result<Self, IdentityError> {
        let cluster_id = random_hex(16);
        let damaged = |error: ssh_key::Error| IdentityError::Damaged { path: dir.join(SIGNING_KEY), detail: error.to_string() };
        let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(damaged)?;
        key.set_comment(format!("driftless {cluster_id}"));
        let private = key.to_openssh(LineEnding::LF).map_err(damaged)?;
        let public = key.public_key().to_openssh().map_err(damaged)?;

        let files = [
            (CLUSTER_ID, format!("{cluster_id}\n")),
            (PUBLIC_KEY, format!("{public}\n")),
            (ALLOWED_SIGNERS, format!("{cluster_id} namespaces=\"git\" {public}\n")),
        ];
        let fresh = dir.with_extension(format!("new-{}", random_hex(4)));
        let write = || {
            private_file::make_folder(&fresh)?;
            private_file::write_new(&fresh.join(SIGNING_KEY), &private)?;
            files.iter().try_for_each(|(name, text)| private_file::write_new(&fresh.join(name), text).map(drop))
        };
        let placed = write().map(|()| fs::rename(&fresh, dir));
        if !matches!(placed, Ok(Ok(()))) {
            // A fresh identity elsewhere is of no use to anybody.
            let _ = fs::remove_dir_all(&fresh);
        }
        match placed? {
            Ok(()) => Ok(Self { cluster_id, key }),
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => Self::load(dir),
            Err(error) => Err(FileError::writing(dir)(error).into()),
        }
    }

    /// The cluster's id: 32 hexadecimal digits.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The key that audit commits are verified with.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The key for digests of Secrets: HKDF-SHA256 of the signing key's seed.
    #[must_use]
    pub fn digest_key(&self) -> [u8; 32] {
        let mut okm = [0; 32];
        if let KeypairData::Ed25519(pair) = self.key.key_data() {
            let seed = Zeroizing::new(pair.private.to_bytes());
            // 32 bytes are far below the limit of HKDF, the only thing that `expand` refuses.
            let _ = Hkdf::<Sha256>::new(None, seed.as_slice()).expand(DIGEST_INFO, &mut okm);
        }
        okm
    }

    /// A fresh id for one run of a controller.
    #[must_use]
    pub fn fresh_instance() -> String {
        random_hex(8)
    }

    /// An SSH signature as git wants it in `gpgsig`.
    pub(super) fn sign(&self, content: &[u8]) -> Result<String, ssh_key::Error> {
        let signature = self.key.sign("git", HashAlg::Sha512, content)?;
        Ok(signature.to_pem(LineEnding::LF)?.trim_end().to_owned())
    }
}

fn random_hex(bytes: usize) -> String {
    let mut buffer = vec![0; bytes];
    OsRng.fill_bytes(&mut buffer);
    buffer.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_identity_is_made_once_and_read_back_the_same() {
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().join("identity");
        let made = Identity::load_or_create(&dir).unwrap();
        let read = Identity::load_or_create(&dir).unwrap();
        assert_eq!(made.cluster_id(), read.cluster_id());
        assert_eq!(made.fingerprint(), read.fingerprint());
        assert_eq!(made.digest_key(), read.digest_key());
        assert_ne!(made.digest_key(), [0; 32]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join(SIGNING_KEY))), (0o700, 0o600));
    }

    #[test]
    fn of_two_that_make_one_at_the_same_moment_both_have_that_of_the_first() {
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().join("identity");
        let first = Identity::create(&dir).unwrap();
        let second = Identity::create(&dir).unwrap();
        assert_eq!((first.cluster_id(), first.fingerprint()), (second.cluster_id(), second.fingerprint()));
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 1, "nothing of the other one is left");
    }

    #[test]
    fn two_clusters_have_nothing_in_common() {
        let state = tempfile::tempdir().unwrap();
        let (a, b) = (state.path().join("a"), state.path().join("b"));
        let (a, b) = (Identity::load_or_create(&a).unwrap(), Identity::load_or_create(&b).unwrap());
        assert_ne!(a.cluster_id(), b.cluster_id());
        assert_ne!(a.digest_key(), b.digest_key());
    }

    #[test]
    fn a_half_present_identity_is_refused_and_left_alone() {
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().join("identity");
        Identity::load_or_create(&dir).unwrap();
        fs::remove_file(dir.join(CLUSTER_ID)).unwrap();
        let key = fs::read(dir.join(SIGNING_KEY)).unwrap();
        let error = Identity::load_or_create(&dir).unwrap_err();
        assert!(matches!(error, IdentityError::Incomplete { missing: CLUSTER_ID, .. }), "{error}");
        assert_eq!(fs::read(dir.join(SIGNING_KEY)).unwrap(), key);
    }

    #[test]
    fn a_damaged_or_exposed_key_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().join("identity");
        Identity::load_or_create(&dir).unwrap();
        let key = dir.join(SIGNING_KEY);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Identity::load(&dir), Err(IdentityError::File(FileError::Exposed { mode: 0o644, .. }))));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&key, "not a key").unwrap();
        assert!(matches!(Identity::load(&dir), Err(IdentityError::Damaged { .. })));
    }

    #[test]
    fn debug_shows_no_key() {
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().join("identity");
        let identity = Identity::load_or_create(&dir).unwrap();
        let shown = format!("{identity:?}");
        assert!(shown.contains(identity.cluster_id()) && shown.contains("SHA256:"), "{shown}");
        assert!(!shown.contains("PrivateKey"), "{shown}");
    }
}
