//! What agent and shim tell each other, versioned: a newer agent must understand shims that an older one left running.
//!
//! The spec goes to the shim's stdin and ends with the pipe; the reply comes as one line on its stdout; from then on the record
//! file speaks. A record of another major version is left alone and reported as running by nobody: see `store`.

use crate::agent::runtime::procfs::Proc;
use crate::agent::runtime::{Labels, LaunchLease, LaunchPort, Limits, LogRetention};
use crate::model::Exit;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::path::PathBuf;

/// The version of everything here. Fields are only ever added within one.
pub(super) const VERSION: u32 = 1;

/// What to run. It holds secrets: it exists in memory and in a pipe only.
#[derive(Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) version: u32,
    /// Where `record.json` goes.
    pub(super) folder: PathBuf,
    pub(super) labels: Labels,
    pub(super) ports: Vec<LaunchPort>,
    /// Program and arguments.
    pub(super) argv: Vec<String>,
    /// The whole environment.
    pub(super) env: Vec<(String, Hidden)>,
    pub(super) working_dir: PathBuf,
    pub(super) log: PathBuf,
    pub(super) retention: LogRetention,
    pub(super) limits: Limits,
    /// Whether no program may gain rights that its parent has not.
    #[serde(default)]
    pub(super) no_new_privileges: bool,
    /// What `/etc/resolv.conf` says to it, if not what it says to the host.
    #[serde(default)]
    pub(super) resolv_conf: Option<String>,
    /// How long it may run, unless the file beside the record says longer by then.
    #[serde(default)]
    pub(super) lease: Option<LaunchLease>,
}

/// Bytes that may be a secret, as base64.
pub(super) struct Hidden(pub(super) zeroize::Zeroizing<Vec<u8>>);

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine;
        serializer.serialize_str(&zeroize::Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(&*self.0)))
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine;
        let text = zeroize::Zeroizing::new(String::deserialize(deserializer)?);
        // The error must not quote the value.
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(text.as_bytes()).map_err(|_| de::Error::custom("not base64"))?;
        Ok(Self(zeroize::Zeroizing::new(bytes)))
    }
}

/// The shim's answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// It runs; the record is written.
    Running,
    /// It could not be started, and the shim is gone.
    Refused(String),
}

/// What is known of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) version: u32,
    pub(super) labels: Labels,
    pub(super) ports: Vec<LaunchPort>,
    pub(super) shim: Proc,
    pub(super) workload: Option<Proc>,
    pub(super) log: PathBuf,
    /// Its cgroups, one per hierarchy in which one could be made.
    pub(super) cgroups: Vec<PathBuf>,
    /// How it ended.
    pub(super) exit: Option<Exit>,
    /// Why it does not find the names of the cluster, though it should.
    #[serde(default)]
    pub(super) names_trouble: Option<String>,
}
