//! The stored object: an encrypted seed beside what was encrypted with a key that follows from it.

use std::collections::BTreeMap;

use knarr_meta::names;
use prost::Message;

use super::{
    client::{Encrypted, v2::EncryptedObject},
    seed::{SEED_BYTES, Seed},
};
use crate::{
    ciphers::{Gcm, random},
    seal::digest,
};

const MAX_KEY_ID_BYTES: usize = 1 << 10;
const MAX_SOURCE_BYTES: usize = 1 << 10;
const MAX_ANNOTATIONS_BYTES: usize = 32 << 10;

/// The plugin's plaintext is the key itself: of servers before v1.29.
const AES_GCM_KEY: i32 = 0;
/// Or a seed, of which each value has a key.
const SEED: i32 = 1;

/// What values are encrypted with.
pub enum Dek {
    Key(Gcm),
    Seed(Seed),
}

impl Dek {
    pub fn new(kind: i32, plain: &[u8]) -> Result<Dek, &'static str> {
        match kind {
            SEED => Seed::new(plain).map(Dek::Seed),
            _ => {
                let key = Gcm::new(plain).map(Dek::Key);
                key.ok_or("the KMS plugin's plaintext has no length of an AES key")
            }
        }
    }

    /// A new seed, and what it is made of.
    pub fn generate() -> Result<(Dek, [u8; SEED_BYTES]), &'static str> {
        let seed = random()?;
        Ok((Dek::Seed(Seed::new(&seed)?), seed))
    }

    pub fn open(&self, data: &[u8], place: &[u8]) -> Result<Vec<u8>, &'static str> {
        match self {
            Dek::Key(key) => key.open(data, place),
            Dek::Seed(seed) => seed.open(data, place),
        }
    }

    pub fn seal(&self, plain: &[u8], place: &[u8]) -> Result<Vec<u8>, &'static str> {
        let mut out = Vec::new();
        match self {
            Dek::Key(key) => key.seal(&mut out, plain, place)?,
            Dek::Seed(seed) => seed.seal(&mut out, plain, place)?,
        }
        Ok(out)
    }
}

/// What the plugin needs to give a seed back.
#[derive(Clone)]
pub struct Source {
    pub kind: i32,
    pub key_id: String,
    pub encrypted: Vec<u8>,
    pub annotations: BTreeMap<String, Vec<u8>>,
}

impl Source {
    pub fn of(object: &EncryptedObject) -> Source {
        Source {
            kind: object.encrypted_dek_source_type,
            key_id: object.key_id.clone(),
            encrypted: object.encrypted_dek_source.clone(),
            annotations: object.annotations.clone(),
        }
    }

    /// Of a new seed.
    pub fn from_plugin(encrypted: Encrypted) -> Result<Source, String> {
        let source = Source {
            kind: SEED,
            key_id: encrypted.key_id,
            encrypted: encrypted.ciphertext,
            annotations: encrypted.annotations,
        };
        check(&source).map(|()| source)
    }

    /// As the plugin has made it.
    pub fn to_plugin(&self) -> Encrypted {
        Encrypted {
            ciphertext: self.encrypted.clone(),
            key_id: self.key_id.clone(),
            annotations: self.annotations.clone(),
        }
    }

    /// Of all that makes it this one.
    pub fn digest(&self) -> [u8; 32] {
        let kind = self.kind.to_be_bytes();
        let mut parts: Vec<&[u8]> = vec![&kind, &self.encrypted, self.key_id.as_bytes()];
        for (name, value) in &self.annotations {
            parts.push(name.as_bytes());
            parts.push(value);
        }
        digest(&parts)
    }
}

/// From what is stored.
pub fn decode(data: &[u8]) -> Result<EncryptedObject, String> {
    let object = EncryptedObject::decode(data).map_err(|error| error.to_string())?;
    if object.encrypted_data.is_empty() {
        return Err("encrypted data is empty".to_owned());
    }
    check(&Source::of(&object))?;
    Ok(object)
}

/// Appends what is stored.
pub fn encode(out: &mut Vec<u8>, source: &Source, sealed: Vec<u8>) {
    let object = EncryptedObject {
        encrypted_data: sealed,
        key_id: source.key_id.clone(),
        encrypted_dek_source: source.encrypted.clone(),
        annotations: source.annotations.clone(),
        encrypted_dek_source_type: source.kind,
    };
    out.reserve_exact(object.encoded_len());
    object
        .encode(out)
        .expect("a vector has room for any message");
}

/// Whether a plugin's key has a name that can be stored; else upstream's code for metrics, and why.
pub fn check_key_id(key_id: &str) -> Result<(), (&'static str, String)> {
    match key_id.len() {
        0 => Err(("empty", "keyID is empty".to_owned())),
        1..=MAX_KEY_ID_BYTES => Ok(()),
        length => Err((
            "too_long",
            format!("keyID is {length} bytes, which exceeds the max size of {MAX_KEY_ID_BYTES}"),
        )),
    }
}

fn check(source: &Source) -> Result<(), String> {
    if !matches!(source.kind, AES_GCM_KEY | SEED) {
        return Err(format!("unknown encryptedDEKSourceType: {}", source.kind));
    }
    let why = match source.encrypted.len() {
        0 => Some("encrypted DEK source is empty".to_owned()),
        1..=MAX_SOURCE_BYTES => None,
        length => Some(format!(
            "encrypted DEK source is {length} bytes, which exceeds the max size of {MAX_SOURCE_BYTES}"
        )),
    };
    if let Some(why) = why {
        return Err(format!("failed to validate encrypted DEK source: {why}"));
    }
    check_key_id(&source.key_id).map_err(|(_, why)| format!("failed to validate key id: {why}"))?;
    check_annotations(&source.annotations)
        .map_err(|why| format!("failed to validate annotations: {why}"))
}

fn check_annotations(annotations: &BTreeMap<String, Vec<u8>>) -> Result<(), String> {
    for name in annotations.keys() {
        let domain = name.strip_suffix('.').unwrap_or(name);
        let problems = names::dns1123_subdomain(domain);
        if !problems.is_empty() {
            return Err(format!(
                "annotations: Invalid value: {name:?}: {}",
                problems.join(",")
            ));
        }
        if !domain.contains('.') {
            return Err(format!(
                "annotations: Invalid value: {name:?}: should be a domain with at least two segments separated by dots"
            ));
        }
    }
    let sizes = annotations
        .iter()
        .map(|(name, value)| name.len().saturating_add(value.len()));
    let total = sizes.fold(0usize, usize::saturating_add);
    match total <= MAX_ANNOTATIONS_BYTES {
        true => Ok(()),
        false => Err(format!(
            "total size of annotations is {total}, which exceeds the max size of {MAX_ANNOTATIONS_BYTES}"
        )),
    }
}

#[cfg(test)]
mod tests;
