//! Values of secrets in files: on tmpfs always, and sealed on disk too where the host's administrator asks for it.
//!
//! What is on tmpfs goes with a reboot. What is sealed outlives it, and is of use only with the key. A sealed file that does not open
//! stays as it is for as long as it is needed: the right key may come back.

use super::seal::{Seal, SealKey};
use crate::agent::core::SecretLoss;
use crate::agent::launch::Folders;
use crate::model::NodeName;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where the values of secrets are kept beside memory.
#[derive(Debug, Clone, Default)]
pub enum SecretsAtRest {
    /// On tmpfs only.
    #[default]
    Tmpfs,
    /// And on disk, sealed with this key.
    Sealed(SealKey),
}

/// Whose secrets a file has. A file's name is its own within one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shelf {
    /// Those of a pod template.
    Templates,
    /// The keys of Ingress' certificates.
    Ingress,
}

impl Shelf {
    const ALL: [Shelf; 2] = [Shelf::Templates, Shelf::Ingress];

    /// Its folder.
    fn folder(self) -> &'static str {
        match self {
            Shelf::Templates => "secrets",
            Shelf::Ingress => "ingress",
        }
    }
}

/// The files of one agent.
#[derive(Debug)]
pub(super) struct SecretFiles {
    folders: Folders,
    seal: Option<Seal>,
}

impl SecretFiles {
    /// # Errors
    /// The key cannot be used.
    pub(super) fn new(folders: Folders, at_rest: &SecretsAtRest, cluster: &str, node: &NodeName) -> io::Result<Self> {
        let seal = match at_rest {
            SecretsAtRest::Tmpfs => None,
            SecretsAtRest::Sealed(key) => Some(Seal::new(key, cluster, node)?),
        };
        Ok(Self { folders, seal })
    }

    pub(super) fn folders(&self) -> &Folders {
        &self.folders
    }

    fn on_tmpfs(&self, shelf: Shelf) -> PathBuf {
        self.folders.run.join(shelf.folder())
    }

    fn on_disk(&self, shelf: Shelf) -> PathBuf {
        sealed_folder(&self.folders.state).join(shelf.folder())
    }

    /// What `read` makes of a file, from tmpfs or else from what is sealed.
    pub(super) fn find<T>(&self, shelf: Shelf, name: &str, read: impl Fn(&[u8]) -> Option<T>) -> Result<T, SecretLoss> {
        let plain = fs::read(self.on_tmpfs(shelf).join(name)).ok().map(Zeroizing::new);
        if let Some(found) = plain.and_then(|bytes| read(&bytes)) {
            return Ok(found);
        }
        let Some(seal) = &self.seal else { return Err(SecretLoss::Rebooted) };
        let unreadable = |error: io::Error| match error.kind() == io::ErrorKind::NotFound {
            true => SecretLoss::Rebooted,
            false => SecretLoss::Unreadable,
        };
        let sealed = fs::read(self.on_disk(shelf).join(name)).map_err(unreadable)?;
        read(&seal.open(&place(shelf, name), &sealed)?).ok_or(SecretLoss::Damaged)
    }

    /// Writes a file wherever it is missing. What a file of this name holds never changes; one that is sealed with another key, or is
    /// damaged, is sealed anew.
    pub(super) fn put(&self, shelf: Shelf, name: &str, bytes: impl Fn() -> io::Result<Zeroizing<Vec<u8>>>) -> io::Result<()> {
        let plain = self.on_tmpfs(shelf).join(name);
        if !plain.exists() {
            write_atomically(&plain, &bytes()?)?;
        }
        let Some(seal) = &self.seal else { return Ok(()) };
        let (path, place) = (self.on_disk(shelf).join(name), place(shelf, name));
        let opens = fs::read(&path).is_ok_and(|sealed| seal.open(&place, &sealed).is_ok());
        if !opens {
            write_atomically(&path, &seal.seal(&place, &bytes()?)?)?;
        }
        Ok(())
    }

    /// Deletes all files but these, wherever they are.
    pub(super) fn keep_only(&self, shelf: Shelf, kept: &BTreeSet<String>) -> io::Result<()> {
        for folder in [self.on_tmpfs(shelf), self.on_disk(shelf)] {
            for entry in entries(&folder)? {
                if entry.file_name().to_str().is_none_or(|name| !kept.contains(name)) {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// Makes the folders, and deletes what is sealed where nothing is to be any more.
    pub(super) fn prepare(&self) -> io::Result<()> {
        let make = |folder: PathBuf| fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        for shelf in Shelf::ALL {
            make(self.on_tmpfs(shelf))?;
            if self.seal.is_some() {
                make(self.on_disk(shelf))?;
            }
        }
        match &self.seal {
            Some(_) => Ok(()),
            None => absent_is_fine(fs::remove_dir_all(sealed_folder(&self.folders.state))),
        }
    }
}

/// The folder of all that is sealed, in the agent's part of the state directory.
#[must_use]
pub fn sealed_folder(state: &Path) -> PathBuf {
    state.join("sealed")
}

/// Where a sealed file is among the others: what it is sealed for.
fn place(shelf: Shelf, name: &str) -> String {
    format!("{}/{name}", shelf.folder())
}

fn entries(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

pub(super) fn absent_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Writes a file of mode 0600 as a whole, or not at all.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}
