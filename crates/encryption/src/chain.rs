//! The providers of a resource: the first one writes, and each reads what has its prefix.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;

use crate::{
    Error, Place,
    ciphers::{Cipher, Kind},
    kms::Kms,
    metrics::Metrics,
    seal::{Seal, Seals},
};

/// What no value begins with that is stored as it is.
const ENCRYPTED: &[u8] = b"k8s:enc:";

/// In their order.
#[derive(Clone, Default)]
pub struct Chain(Vec<Arc<Provider>>);

/// A way to store values.
pub enum Provider {
    /// As they are.
    Identity,
    Keys(Keys),
    Kms(Arc<Kms>),
}

/// Keys of one kind; the first one writes.
pub struct Keys {
    kind: Kind,
    keys: Vec<Key>,
}

struct Key {
    /// With the key's name, and a colon at its end.
    prefix: String,
    cipher: Cipher,
    seal: Seal,
}

impl Keys {
    /// `None`: a key has a length that it cannot have.
    pub fn new<'k>(
        kind: Kind,
        keys: impl IntoIterator<Item = (&'k str, &'k [u8])>,
        seals: &Seals,
    ) -> Option<Keys> {
        let keys = keys.into_iter().map(|(name, secret)| {
            Some(Key {
                prefix: format!("{}{name}:", kind.prefix()),
                cipher: Cipher::new(kind, secret)?,
                seal: seals.of(&[kind.prefix().as_bytes(), name.as_bytes(), secret]),
            })
        });
        let keys: Vec<Key> = keys.collect::<Option<_>>()?;
        (!keys.is_empty()).then_some(Keys { kind, keys })
    }

    fn open(&self, value: &[u8], place: &[u8]) -> Result<(Vec<u8>, Seal), String> {
        let mut errors: Vec<&str> = Vec::new();
        // Several keys may have one name while one takes the place of another.
        for key in &self.keys {
            if let Some(data) = value.strip_prefix(key.prefix.as_bytes()) {
                match key.cipher.open(data, place) {
                    Ok(plain) => return Ok((plain, key.seal)),
                    Err(why) => errors.push(why),
                }
            }
        }
        errors.dedup();
        Err(match errors.as_slice() {
            [] => format!(
                "no matching key was found for the provided {} transformer",
                self.kind.name()
            ),
            errors => errors.join(", "),
        })
    }

    fn seal(&self, plain: &[u8], place: &[u8]) -> Result<Vec<u8>, String> {
        let key = self.keys.first().ok_or("there are no keys")?;
        // A nonce and a tag, or padding.
        let mut out = Vec::with_capacity(
            key.prefix
                .len()
                .saturating_add(plain.len())
                .saturating_add(40),
        );
        out.extend_from_slice(key.prefix.as_bytes());
        key.cipher.seal(&mut out, plain, place)?;
        Ok(out)
    }
}

impl Chain {
    pub fn push(&mut self, provider: Arc<Provider>) {
        self.0.push(provider);
    }

    pub fn extend(&mut self, more: &Chain) {
        self.0.extend(more.0.iter().cloned());
    }

    /// What values are sealed with now; `None` where nothing can be written.
    pub fn seal_of_now(&self) -> Option<Seal> {
        match &**self.0.first()? {
            Provider::Identity => Some(Seal::PLAIN),
            Provider::Keys(keys) => keys.keys.first().map(|key| key.seal),
            Provider::Kms(kms) => kms.seal_of_now(),
        }
    }

    /// The plaintext of a stored value, and what it was sealed with.
    pub async fn open(
        &self,
        place: Place<'_>,
        value: Bytes,
        metrics: &Metrics,
    ) -> Result<(Bytes, Seal), Error> {
        let began = Instant::now();
        let (mut errors, mut unavailable) = (Vec::new(), false);
        let note = |prefix: &str, good| {
            metrics.transformed(&place.group_resource(), "from_storage", prefix, began, good);
        };
        for provider in &self.0 {
            let (prefix, opened) = match &**provider {
                Provider::Identity if value.starts_with(ENCRYPTED) => continue,
                Provider::Identity => {
                    note("identity", true);
                    return Ok((value, Seal::PLAIN));
                }
                Provider::Keys(keys) => {
                    let prefix = keys.kind.prefix();
                    if !value.starts_with(prefix.as_bytes()) {
                        continue;
                    }
                    let opened = keys.open(&value, place.key.as_bytes());
                    (prefix, opened.map_err(Error::Unreadable))
                }
                Provider::Kms(kms) => {
                    let Some(data) = value.strip_prefix(kms.prefix().as_bytes()) else {
                        continue;
                    };
                    (kms.prefix(), kms.open(data, place.key.as_bytes()).await)
                }
            };
            note(prefix, opened.is_ok());
            match opened {
                Ok((plain, seal)) => return Ok((Bytes::from(plain), seal)),
                // Another provider with this prefix may have the key.
                Err(error) => {
                    unavailable |= error.is_unavailable();
                    errors.push(error.to_string());
                }
            }
        }
        let why = match errors.as_slice() {
            [] => {
                note("unknown", false);
                "no matching prefix found".to_owned()
            }
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        Err(match unavailable {
            true => Error::Unavailable(why),
            false => Error::Unreadable(why),
        })
    }

    /// What is stored for a plaintext.
    pub fn seal(&self, place: Place<'_>, plain: Bytes, metrics: &Metrics) -> Result<Bytes, Error> {
        let began = Instant::now();
        let key = place.key.as_bytes();
        let (prefix, sealed) = match self.0.first().map(|first| &**first) {
            None | Some(Provider::Identity) => ("", Ok(plain)),
            Some(Provider::Keys(keys)) => {
                let sealed = keys.seal(&plain, key).map(Bytes::from);
                (keys.kind.prefix(), sealed.map_err(Error::Unreadable))
            }
            Some(Provider::Kms(kms)) => {
                let mut out = Vec::new();
                let sealed = kms.encrypt(&mut out, &plain, key);
                (kms.prefix(), sealed.map(|()| Bytes::from(out)))
            }
        };
        let good = sealed.is_ok();
        metrics.transformed(&place.group_resource(), "to_storage", prefix, began, good);
        sealed
    }

    /// What is stored as it is may not look encrypted.
    pub fn open_plain(value: &[u8]) -> Result<(), Error> {
        match value.starts_with(ENCRYPTED) {
            true => Err(Error::Unreadable(
                "identity transformer tried to read encrypted data".to_owned(),
            )),
            false => Ok(()),
        }
    }
}
