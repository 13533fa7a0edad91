//! Secrets sealed for the disk: encrypted and authenticated under a key that the host's administrator keeps elsewhere.
//!
//! A sealed file is a line that says so with the version of the format, eight bytes that name the key, a nonce, and what AES-256-GCM makes
//! of the secret. The line, the name of the key, the cluster, the node and the file's own place are authenticated with it, so that
//! no file can be put in the place of another. Nonces are random: at 96 bits, 2³² files under one key are fine (NIST SP 800-38D, 8.3),
//! and a file is written once for each version of the secrets of a template. Keys for the cipher and for the name are derived by HKDF.

use crate::agent::core::SecretLoss;
use crate::model::NodeName;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;
use std::io;
use std::str::FromStr;
use zeroize::Zeroizing;

/// How long a key is, in bytes.
const KEY_LEN: usize = 32;

/// How long the name of a key is, in bytes.
const KEY_ID_LEN: usize = 8;

/// The first line of a sealed file.
const MAGIC: &[u8] = b"driftless sealed secrets, version 1\n";

/// Names what is derived.
const FOR_CIPHER: &[u8] = b"driftless sealed secrets: cipher";
const FOR_ID: &[u8] = b"driftless sealed secrets: id";

/// The key of the host's administrator. It has no `Display`, and its `Debug` is redacted.
#[derive(Clone)]
pub struct SealKey(Zeroizing<[u8; KEY_LEN]>);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(redacted)")
    }
}

/// Why a text is no key. Nothing of the text is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealKeyError {
    /// It is in neither form.
    #[error("it is neither base64 nor hexadecimal")]
    Form,
    /// It has another length.
    #[error("it has {0} bytes, and a key has {KEY_LEN}")]
    Length(usize),
}

impl FromStr for SealKey {
    type Err = SealKeyError;

    /// Reads 32 bytes as base64 or as 64 hexadecimal digits; space around them does not matter.
    fn from_str(text: &str) -> Result<Self, SealKeyError> {
        let text = text.trim();
        let bytes = hexadecimal(text).or_else(|| STANDARD.decode(text).ok().map(Zeroizing::new)).ok_or(SealKeyError::Form)?;
        let key = <[u8; KEY_LEN]>::try_from(bytes.as_slice()).map_err(|_| SealKeyError::Length(bytes.len()))?;
        Ok(Self(Zeroizing::new(key)))
    }
}

/// The bytes of a key's hexadecimal digits. Other lengths are base64's: its alphabet has these digits too.
fn hexadecimal(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits = text.chars().map(|c| c.to_digit(16)?.try_into().ok()).collect::<Option<Vec<u8>>>().map(Zeroizing::new)?;
    let (pairs, _) = digits.as_chunks::<2>();
    (digits.len() == 2 * KEY_LEN).then(|| Zeroizing::new(pairs.iter().map(|[high, low]| high << 4 | low).collect()))
}

/// What seals the files of one node, and opens them again.
pub(super) struct Seal {
    cipher: LessSafeKey,
    id: [u8; KEY_ID_LEN],
    cluster: String,
    node: NodeName,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("cluster", &self.cluster).field("node", &self.node).finish_non_exhaustive()
    }
}

/// The length of a key's name, for HKDF.
struct IdLength;

impl KeyType for IdLength {
    fn len(&self) -> usize {
        KEY_ID_LEN
    }
}

impl Seal {
    /// # Errors
    /// The lengths within do not fit, which they do.
    pub(super) fn new(key: &SealKey, cluster: &str, node: &NodeName) -> io::Result<Self> {
        let prk = Salt::new(HKDF_SHA256, &[]).extract(key.0.as_slice());
        let cipher = LessSafeKey::new(UnboundKey::from(prk.expand(&[FOR_CIPHER], &AES_256_GCM).map_err(failed)?));
        Ok(Self { cipher, id: id_of(&prk).map_err(failed)?, cluster: cluster.to_owned(), node: node.clone() })
    }

    /// What is to be written at a place in the folder of sealed files.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(super) fn seal(&self, place: &str, secret: &[u8]) -> io::Result<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(failed)?;
        // It is encrypted where it lies, so that nothing of it is left in memory.
        let mut text = secret.to_vec();
        let sealed = self.cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), self.context(place), &mut text);
        sealed.map_err(failed)?;
        Ok([MAGIC, &self.id, &nonce, &text].concat())
    }

    /// What was sealed for this place.
    pub(super) fn open(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SecretLoss> {
        let rest = sealed.strip_prefix(MAGIC).ok_or(SecretLoss::Damaged)?;
        let (id, rest) = rest.split_first_chunk::<KEY_ID_LEN>().ok_or(SecretLoss::Damaged)?;
        if *id != self.id {
            return Err(SecretLoss::OtherKey);
        }
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SecretLoss::Damaged)?;
        let mut text = Zeroizing::new(text.to_vec());
        let opened = self.cipher.open_in_place(Nonce::assume_unique_for_key(*nonce), self.context(place), &mut text);
        let length = opened.map_err(|Unspecified| SecretLoss::Damaged)?.len();
        text.truncate(length);
        Ok(text)
    }

    /// What is authenticated beside the secret: each part with its length, so that no two contexts are one.
    fn context(&self, place: &str) -> Aad<Vec<u8>> {
        let mut context = [MAGIC, &self.id].concat();
        for part in [&self.cluster, self.node.as_str(), place] {
            context.extend((part.len() as u64).to_be_bytes());
            context.extend(part.as_bytes());
        }
        Aad::from(context)
    }
}

/// The library says no more, on purpose.
fn failed(_: Unspecified) -> io::Error {
    io::Error::other("it could not be encrypted")
}

/// Names a key and says nothing about it.
fn id_of(prk: &Prk) -> Result<[u8; KEY_ID_LEN], Unspecified> {
    let mut id = [0; KEY_ID_LEN];
    prk.expand(&[FOR_ID], IdLength)?.fill(&mut id)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::{KEY_ID_LEN, MAGIC, Seal, SealKey, SealKeyError};
    use crate::agent::core::SecretLoss;
    use crate::model::NodeName;

    fn key(byte: u8) -> SealKey {
        format!("{byte:02x}").repeat(32).parse().expect("a key")
    }

    fn seal(byte: u8, cluster: &str, node: &str) -> Seal {
        Seal::new(&key(byte), cluster, &NodeName::new(node)).expect("a seal")
    }

    #[test]
    fn a_key_is_32_bytes_as_base64_or_hexadecimal_and_no_error_has_any_of_it() {
        let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
        let bytes: Vec<u8> = (0..32).collect();
        for text in [base64, hex, &format!(" {base64}\n"), &format!("{hex}\r\n")] {
            assert_eq!(text.parse::<SealKey>().expect("a key").0.as_slice(), bytes, "{text:?}");
        }
        assert_eq!(format!("{:?}", key(7)), "SealKey(redacted)");
        for (text, expected) in [
            ("", SealKeyError::Length(0)),
            ("correct horse battery staple", SealKeyError::Form),
            ("c2hvcnQ=", SealKeyError::Length(5)),
            (&hex[2..], SealKeyError::Form),
            (&format!("{hex}00"), SealKeyError::Form),
            (&base64.repeat(2), SealKeyError::Form),
            (&hex[..32], SealKeyError::Length(24)),
        ] {
            assert_eq!(text.parse::<SealKey>().expect_err(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_was_sealed_is_opened_and_no_two_sealed_files_are_alike() {
        let seal = seal(1, "prod", "n1");
        let (one, other) =
            (seal.seal("secrets/a", b"hunter2").expect("sealed"), seal.seal("secrets/a", b"hunter2").expect("sealed"));
        assert_ne!(one, other);
        for sealed in [one, other] {
            assert!(!sealed.windows(7).any(|bytes| bytes == b"hunter2"));
            assert_eq!(seal.open("secrets/a", &sealed).expect("opened").as_slice(), b"hunter2");
        }
        assert!(!format!("{seal:?}").contains("cipher"));
    }

    #[test]
    fn nothing_opens_for_another_place_node_or_cluster() {
        let sealed = seal(1, "prod", "n1").seal("secrets/a", b"hunter2").expect("sealed");
        for (cluster, node, place) in [
            ("prod", "n1", "secrets/b"),
            ("prod", "n1", "ingress/a"),
            ("prod", "n2", "secrets/a"),
            ("test", "n1", "secrets/a"),
            ("prodn", "1", "secrets/a"),
        ] {
            assert_eq!(seal(1, cluster, node).open(place, &sealed), Err(SecretLoss::Damaged), "{cluster} {node} {place}");
        }
    }

    #[test]
    fn another_key_is_told_from_damage_and_neither_opens() {
        let seal_of = |byte| seal(byte, "prod", "n1");
        let sealed = seal_of(1).seal("secrets/a", b"hunter2").expect("sealed");
        assert_eq!(seal_of(2).open("secrets/a", &sealed), Err(SecretLoss::OtherKey));
        for length in 0..sealed.len() {
            assert_eq!(seal_of(1).open("secrets/a", &sealed[..length]), Err(SecretLoss::Damaged), "cut to {length}");
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            let in_id = (MAGIC.len()..MAGIC.len() + KEY_ID_LEN).contains(&at);
            let expected = if in_id { SecretLoss::OtherKey } else { SecretLoss::Damaged };
            assert_eq!(seal_of(1).open("secrets/a", &changed), Err(expected), "changed at {at}");
        }
    }
}
