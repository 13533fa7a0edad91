//! The text of a token: `driftless1.ID.SECRET.AUTHORITY`.

use super::{TrustError, hex, random};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// The first part of every token: what it is, for people and for scanners that look for secrets.
const PREFIX: &str = "driftless1";

/// What proves that a node may join.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret {
    /// Names the token; not secret.
    pub id: String,
    secret: Zeroizing<Vec<u8>>,
}

impl TokenSecret {
    /// The two parts as they travel.
    #[must_use]
    pub fn new(id: String, secret: Vec<u8>) -> Self {
        Self { id, secret: Zeroizing::new(secret) }
    }

    /// A fresh one.
    ///
    /// # Errors
    /// There is no randomness.
    pub(super) fn fresh() -> Result<Self, TrustError> {
        Ok(Self::new(hex(&random::<4>()?), random::<32>()?.to_vec()))
    }

    /// The secret, for the wire only.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.secret
    }

    /// What is kept of it. The secret has 256 bits of chance, so a plain hash is enough.
    pub(super) fn digest(&self) -> String {
        hex(&Sha256::digest(self.secret.as_slice()))
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSecret").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A token, as `driftless token create` prints it. Its `Debug` shows no secret, and it has no `Display`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What proves that a node may join.
    pub secret: TokenSecret,
    /// The SHA-256 of the certificate of the cluster's authority, by which the node knows its controller.
    pub authority: [u8; 32],
}

impl Token {
    /// The text, for the one who asked for the token only.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.secret.secret.as_slice()));
        let authority = URL_SAFE_NO_PAD.encode(self.authority);
        Zeroizing::new(format!("{PREFIX}.{}.{}.{authority}", self.secret.id, secret.as_str()))
    }
}

impl FromStr for Token {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let mut parts = text.trim().split('.');
        let mut next = || parts.next().ok_or(TrustError::NoToken);
        let (prefix, id, secret, authority) = (next()?, next()?, next()?, next()?);
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| TrustError::NoToken);
        let authority = <[u8; 32]>::try_from(bytes(authority)?).map_err(|_| TrustError::NoToken)?;
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if prefix != PREFIX || parts.next().is_some() || !is_id {
            return Err(TrustError::NoToken);
        }
        Ok(Self { secret: TokenSecret::new(id.to_owned(), bytes(secret)?), authority })
    }
}
