//! Values at rest: what is encrypted is the business of [`knarr_encryption`]; what was stored in another form is read here.
//!
//! Upstream's servers store protobuf. It is read, as they read our JSON, and written as JSON when the object changes. So are
//! CustomResourceDefinitions, which they store in another version.

mod definitions;

use std::sync::Arc;

use bytes::Bytes;
use knarr_api::Kind;
use knarr_encryption::{Encryption, Place, Seal};
use knarr_meta::object;
use serde_json::Value;

/// What upstream's servers begin a stored protobuf message with.
const PROTOBUF: &[u8] = b"k8s\0";

/// Why a value cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot decrypt the value of {key}: {why}")]
    Decrypt {
        key: String,
        why: knarr_encryption::Error,
    },
    #[error("cannot encrypt a value: {0}")]
    Encrypt(knarr_encryption::Error),
    #[error("cannot read the protobuf message of {key}: {why}")]
    Protobuf { key: String, why: String },
}

impl Error {
    /// Whether it may be different soon: who has the key does not answer now.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Error::Decrypt { why, .. } | Error::Encrypt(why) => why.is_unavailable(),
            Error::Protobuf { .. } => false,
        }
    }
}

/// An object from a message as upstream's servers store it.
pub type ReadProtobuf = fn(&[u8]) -> Result<Value, String>;

/// Between what is stored and JSON.
pub struct Transformer {
    encryption: Arc<Encryption>,
    protobuf: Option<ReadProtobuf>,
}

/// What was stored.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    pub json: Bytes,
    pub seal: Seal,
    /// It would be stored in another form now, whatever it is encrypted with.
    pub stale: bool,
}

impl Transformer {
    pub fn new(encryption: Arc<Encryption>) -> Transformer {
        Transformer {
            encryption,
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

    pub fn encryption(&self) -> &Arc<Encryption> {
        &self.encryption
    }

    /// JSON of a stored value.
    pub async fn decode(&self, kind: &Kind, key: &str, value: Bytes) -> Result<Decoded, Error> {
        let opened = self.encryption.open_value(place(kind, key), value).await;
        let (plain, seal) = opened.map_err(|why| Error::Decrypt {
            key: key.to_owned(),
            why,
        })?;
        let Some(read) = self.protobuf.filter(|_| plain.starts_with(PROTOBUF)) else {
            let renewed = definitions::renewed(kind, &plain).map(Bytes::from);
            return Ok(Decoded {
                stale: renewed.is_some(),
                json: renewed.unwrap_or(plain),
                seal,
            });
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
        Ok(Decoded {
            json: Bytes::from(json),
            seal,
            stale: true,
        })
    }

    /// Whether a value would be encrypted so now.
    pub fn is_current(&self, kind: &Kind, seal: Seal) -> bool {
        self.encryption
            .is_current(&kind.group, &kind.resource, seal)
    }

    /// What is stored for a plaintext.
    pub fn encode(&self, kind: &Kind, key: &str, plain: Bytes) -> Result<Bytes, Error> {
        let sealed = self.encryption.seal_value(place(kind, key), plain);
        sealed.map_err(Error::Encrypt)
    }
}

fn place<'a>(kind: &'a Kind, key: &'a str) -> Place<'a> {
    Place {
        group: &kind.group,
        resource: &kind.resource,
        key,
    }
}

/// With a key of the cluster's own alone.
#[cfg(test)]
pub(crate) fn for_tests() -> Arc<Transformer> {
    let own = knarr_encryption::OwnKey::new([7; 32]);
    let encryption = Encryption::of_own(vec![own]);
    Arc::new(Transformer::new(Arc::new(encryption)))
}

#[cfg(test)]
mod tests;
