//! `tokens/` of a controller's state directory: one file for each token, with a hash of its secret.
//!
//! The command that makes tokens and the controller that redeems them share the folder, under a lock. A use is written before it
//! counts, so a token cannot be used once more after a crash.

use super::TrustError;
use super::token::{Token, TokenSecret};
use crate::model::{JoinRefusal, Moment, NodeName, rfc3339_always};
use crate::private_file::{self, FileError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A token that has expired is kept for so long, so that whoever uses it is told so.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// More tokens than this are not looked at.
const TOKENS_MAX: usize = 10_000;

/// What a new token may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// How long it may be used.
    pub ttl: Duration,
    /// How many nodes may join with it.
    pub uses: u32,
    /// The labels that those get.
    pub labels: BTreeMap<String, String>,
    /// The one node that it is for, if any.
    pub node: Option<NodeName>,
}

/// A token, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredToken {
    /// Its name.
    pub id: String,
    /// The SHA-256 of its secret.
    pub(super) digest: String,
    /// When it ceases to be valid.
    #[serde(with = "rfc3339_always")]
    pub expires: Moment,
    /// How many more nodes may join with it.
    pub uses_left: u32,
    /// The labels that those get.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The one node that it is for, if any.
    #[serde(default)]
    pub node: Option<NodeName>,
}

/// The folder.
#[derive(Debug, Clone)]
pub struct TokenStore(PathBuf);

impl TokenStore {
    /// The store in this folder, which is made when it is first needed.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    /// Makes a token. It is in force at once, for a controller that runs as well.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn create(&self, new: NewToken, authority: [u8; 32], now: Moment) -> Result<Token, TrustError> {
        let _lock = self.lock()?;
        self.sweep(now)?;
        let secret = TokenSecret::fresh()?;
        let NewToken { ttl, uses, labels, node } = new;
        let stored =
            StoredToken { id: secret.id.clone(), digest: secret.digest(), expires: now + ttl, uses_left: uses, labels, node };
        if !private_file::write_new(&self.path(&stored.id), &text(&stored))? {
            return Err(FileError::writing(&self.path(&stored.id))(io::ErrorKind::AlreadyExists.into()).into());
        }
        Ok(Token { secret, authority })
    }

    /// Every token that can still be told of, by its id.
    ///
    /// # Errors
    /// The disk refuses, or a file is exposed or damaged.
    pub fn list(&self) -> Result<Vec<StoredToken>, TrustError> {
        let mut ids: Vec<String> = self.ids()?;
        ids.sort();
        let read = ids.iter().map(|id| self.read(id));
        Ok(read.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// Makes a token useless. False if there is none of this id.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn revoke(&self, id: &str) -> Result<bool, TrustError> {
        let _lock = self.lock()?;
        if !self.ids()?.iter().any(|known| known == id) {
            return Ok(false);
        }
        let path = self.path(id);
        fs::remove_file(&path).map_err(FileError::writing(&path))?;
        Ok(true)
    }

    /// Uses a token once, for this node: the labels that it gives. The use is on disk when this returns.
    ///
    /// # Errors
    /// Why it is not valid.
    pub fn redeem(&self, secret: &TokenSecret, node: &NodeName, now: Moment) -> Result<BTreeMap<String, String>, JoinRefusal> {
        let unusable = |error: TrustError| {
            tracing::error!(error = %error, "tokens cannot be looked up");
            JoinRefusal::NotNow("the controller cannot look tokens up".to_owned())
        };
        let _lock = self.lock().map_err(unusable)?;
        let is_known = self.ids().map_err(unusable)?.contains(&secret.id);
        let stored = if is_known { self.read(&secret.id).map_err(unusable)? } else { None };
        // Digests of 256 random bits are compared: how long that takes tells nothing that helps.
        let stored = stored.filter(|stored| stored.digest == secret.digest()).ok_or(JoinRefusal::TokenUnknown)?;
        judge(&stored, node, now)?;
        let used = StoredToken { uses_left: stored.uses_left - 1, ..stored };
        private_file::replace(&self.path(&used.id), &text(&used)).map_err(TrustError::from).map_err(unusable)?;
        Ok(used.labels)
    }

    fn path(&self, id: &str) -> PathBuf {
        self.0.join(format!("{id}.json"))
    }

    /// The ids of all files: what a stranger says is compared with these, and never made into a path.
    fn ids(&self) -> Result<Vec<String>, TrustError> {
        let failed = FileError::reading(&self.0);
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error).into()),
        };
        let names = entries.take(TOKENS_MAX).map(|entry| entry.map(|entry| entry.file_name()));
        let names = names.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let id = |name: std::ffi::OsString| Some(name.to_str()?.strip_suffix(".json")?.to_owned());
        Ok(names.into_iter().filter_map(id).collect())
    }

    fn read(&self, id: &str) -> Result<Option<StoredToken>, TrustError> {
        let path = self.path(id);
        let Some(text) = private_file::read(&path)? else { return Ok(None) };
        let damaged = |error: serde_json::Error| TrustError::Damaged { path, detail: error.to_string() };
        serde_json::from_str(&text).map(Some).map_err(damaged)
    }

    /// Forgets what has been useless for long.
    fn sweep(&self, now: Moment) -> Result<(), TrustError> {
        for stored in self.list()?.iter().filter(|stored| now.since(stored.expires) > KEPT) {
            let path = self.path(&stored.id);
            fs::remove_file(&path).map_err(FileError::writing(&path))?;
        }
        Ok(())
    }

    fn lock(&self) -> Result<File, TrustError> {
        private_file::make_folder(&self.0)?;
        let path = self.0.join("lock");
        let lock = |path: &Path| {
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
            file.lock().map(|()| file)
        };
        Ok(lock(&path).map_err(FileError::writing(&path))?)
    }
}

/// Whether a token may be used now, for this node.
fn judge(stored: &StoredToken, node: &NodeName, now: Moment) -> Result<(), JoinRefusal> {
    if let Some(other) = stored.node.as_ref().filter(|other| *other != node) {
        return Err(JoinRefusal::TokenForOther(other.clone()));
    }
    if stored.uses_left == 0 {
        return Err(JoinRefusal::TokenUsedUp);
    }
    if now >= stored.expires {
        return Err(JoinRefusal::TokenExpired(now.since(stored.expires)));
    }
    Ok(())
}

fn text(stored: &StoredToken) -> String {
    serde_json::to_string_pretty(stored).unwrap_or_default()
}
