//! Who may speak: the cluster's certificate authority, the identities of nodes, and the tokens that let new ones in.
//!
//! Role: everything that is secret or signed between hosts. Inputs: `identity/` and `tokens/` of the controller, `agent/identity/` of
//! a node, the time. Outputs: configurations for TLS, certificates, verdicts on tokens.
//!
//! A node's identity is its name and its key. The key is made on the node and never leaves it; a certificate says that the cluster's
//! authority gave this key this name, for a day. Whoever verifies a node asks both: does the certificate lead to the authority, and is
//! the key the one on record for the name ([`KnownKeys`], which change while connections are open)?
//!
//! Invariants:
//! - TLS 1.3 only, with ring; no session is resumed, so that every connection is verified anew.
//! - Keys are in files of mode 0600, in folders that only their owner may enter. None is in a log, an error or an argument.
//! - Nothing that exists is overwritten: a new authority stands beside the old one, a node's key stays.
//! - Of a token only a hash is kept. A use is on disk before it counts.
//!
//! Deliberately absent: who is let in (the controller's core decides), and sockets.

mod authority;
mod certificate;
mod membership;
mod node;
#[cfg(test)]
mod tests;
mod token;
mod token_store;
mod verify;

pub use authority::{Authorities, Credentials, NODE_LIFE, Request};
pub use certificate::{CONTROLLER_NAME, Described, peer_of, server_name};
pub use membership::Membership;
pub use node::{KnownKeys, NodeIdentity, controller_config, server_config};
pub use token::{Token, TokenSecret};
pub use token_store::{NewToken, StoredToken, TokenStore};
pub use verify::{WrongAuthority, pinned_config};

use crate::private_file::FileError;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

/// What can be wrong with keys, certificates and tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// A file with a key or a token cannot be read or made, or others may read it.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file does not hold what it should.
    #[error("{} is damaged: {detail}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong; never a part of a key.
        detail: String,
    },
    /// A rotation began a moment ago, and the last one is still on its way.
    #[error("the last rotation is not over: certificates of the authority before it are still accepted")]
    Rotating,
    /// The text is no token.
    #[error("this is no token of Driftless")]
    NoToken,
    /// A request for a certificate that was not signed by the key that it names, or cannot be read.
    #[error("the certificate request is not valid")]
    Request,
    /// A certificate or a key cannot be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// A certificate or a key cannot be used.
    #[error("a certificate cannot be used")]
    Tls(#[from] tokio_rustls::rustls::Error),
}

impl TrustError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            TrustError::File(error) => error.hint(),
            TrustError::Damaged { path, .. } => format!("restore it from your backup, or move {} away", path.display()),
            TrustError::Rotating => "rotate again after a day".to_owned(),
            TrustError::NoToken => {
                "copy the whole line that `driftless token create` printed on the controller's machine".to_owned()
            }
            TrustError::Request | TrustError::Make(_) | TrustError::Tls(_) => return None,
        })
    }
}

/// The one provider of cryptography.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Random bytes, of the same source as keys.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], TrustError> {
    let mut bytes = [0; N];
    let failed = |_| tokio_rustls::rustls::Error::FailedToGetRandomBytes;
    provider().secure_random.fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
