//! Values at rest: Secrets are encrypted, everything else is stored as it is.
//!
//! An encrypted value is `k8s:enc:aesgcm:v1:NAME:` (upstream's prefix of its AES-GCM provider), a nonce and the sealed bytes;
//! the store key is authenticated with it, so that a value cannot be moved to another key.
//!
//! Upstream's servers store protobuf. It is read, as they read our JSON, and written as JSON when the object changes.

use bytes::Bytes;
use knarr_api::Kind;
use knarr_auth::pki::ENCRYPTION_KEY_BYTES;
use knarr_meta::object;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use serde_json::Value;

/// What upstream's servers begin a stored protobuf message with.
const PROTOBUF: &[u8] = b"k8s\0";
const PREFIX: &[u8] = b"k8s:enc:aesgcm:v1:local:";

/// Why a value cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot decrypt the value of {key}: it was written with another encryption key or is damaged"
    )]
    Decrypt { key: String },
    #[error("cannot encrypt a value")]
    Encrypt,
    #[error("cannot read the protobuf message of {key}: {why}")]
    Protobuf { key: String, why: String },
}

/// An object from a message as upstream's servers store it.
pub type ReadProtobuf = fn(&[u8]) -> Result<Value, String>;

/// Chooses by kind: sealed for Secrets, else the identity.
#[derive(Debug)]
pub struct Transformer {
    key: LessSafeKey,
    random: SystemRandom,
    protobuf: Option<ReadProtobuf>,
}

impl Transformer {
    /// With the key of the data directory.
    pub fn new(key: &[u8; ENCRYPTION_KEY_BYTES]) -> Transformer {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("the key has AES-256's length");
        Transformer {
            key: LessSafeKey::new(key),
            random: SystemRandom::new(),
            protobuf: None,
        }
    }

    /// One that reads what upstream's servers have stored, too.
    #[must_use]
    pub fn reading_protobuf(self, read: ReadProtobuf) -> Transformer {
        Transformer {
            protobuf: Some(read),
            ..self
        }
    }

    /// JSON of a stored value. Values without the prefix are plain already.
    pub fn decode(&self, kind: &Kind, key: &str, value: Bytes) -> Result<Bytes, Error> {
        let plain = self.unseal(kind, key, value)?;
        let Some(read) = self.protobuf.filter(|_| plain.starts_with(PROTOBUF)) else {
            return Ok(plain);
        };
        let failed = |why| Error::Protobuf {
            key: key.to_owned(),
            why,
        };
        let tree = read(&plain).map_err(failed)?;
        let (stored, wanted) = (object::str_at(&tree, &["apiVersion"]), kind.api_version());
        if stored != &*wanted {
            return Err(failed(format!("it is of {stored}, not of {wanted}")));
        }
        let json = serde_json::to_vec(&tree).map_err(|error| failed(error.to_string()))?;
        Ok(Bytes::from(json))
    }

    fn unseal(&self, kind: &Kind, key: &str, value: Bytes) -> Result<Bytes, Error> {
        if !sealed(kind) || !value.starts_with(PREFIX) {
            return Ok(value);
        }
        let failed = || Error::Decrypt {
            key: key.to_owned(),
        };
        let rest = &value[PREFIX.len()..];
        if rest.len() < NONCE_LEN {
            return Err(failed());
        }
        let (nonce, rest) = rest.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| failed())?;
        let mut buffer = rest.to_vec();
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(key.as_bytes()), &mut buffer)
            .map_err(|_| failed())?;
        let length = plain.len();
        buffer.truncate(length);
        Ok(Bytes::from(buffer))
    }

    /// Whether a stored value has not the form that it would be written in: plain though its kind is encrypted now, or protobuf.
    pub fn is_stale(&self, kind: &Kind, value: &[u8]) -> bool {
        value.starts_with(PROTOBUF) || (sealed(kind) && !value.starts_with(PREFIX))
    }

    /// What is stored for a plaintext.
    pub fn encode(&self, kind: &Kind, key: &str, plain: Bytes) -> Result<Bytes, Error> {
        if !sealed(kind) {
            return Ok(plain);
        }
        let mut nonce = [0u8; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| Error::Encrypt)?;
        let mut buffer =
            Vec::with_capacity(PREFIX.len() + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        buffer.extend_from_slice(PREFIX);
        buffer.extend_from_slice(&nonce);
        let body = buffer.len();
        buffer.extend_from_slice(&plain);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(key.as_bytes()),
                &mut buffer[body..],
            )
            .map_err(|_| Error::Encrypt)?;
        buffer.extend_from_slice(tag.as_ref());
        Ok(Bytes::from(buffer))
    }
}

fn sealed(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.resource == "secrets"
}

#[cfg(test)]
mod tests;
