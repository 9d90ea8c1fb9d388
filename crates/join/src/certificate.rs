//! A certificate with its key, as it lies on disk: one file for both, so that a crash leaves no pair that does not fit.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use knarr_auth::pki::files::{self, Durability};
use knarr_x509::{Certificate, Key, KeyType, pem};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::Error;

#[cfg(test)]
pub(crate) mod tests;

/// Certificates are rotated at a random moment between these shares of their life, as upstream's: nodes that were made together
/// do not all ask at once.
const ROTATION_PERMILLE: std::ops::Range<u32> = 700..900;

/// A certificate and its key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Certified {
    /// DER, the leaf first.
    chain: Vec<Vec<u8>>,
    /// DER, PKCS#8.
    key: Vec<u8>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

impl fmt::Debug for Certified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.debug_struct("Certified")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Certified {
    /// Reads what [`Certified::to_pem`] wrote, or a certificate and a key one after the other. `None` where one is missing or damaged,
    /// or they do not fit.
    pub(crate) fn from_pem(text: &str) -> Option<Self> {
        let (mut chain, mut key) = (Vec::new(), None);
        for block in pem::blocks(text.as_bytes()) {
            match block.label.as_str() {
                pem::CERTIFICATE => chain.push(block.der),
                pem::PRIVATE_KEY => key = Some(block.der),
                _ => {}
            }
        }
        let key = key?;
        let leaf = Certificate::from_der(chain.first()?).ok()?;
        let readable = Key::from_pem(&pem::encode(pem::PRIVATE_KEY, &key)).ok()?;
        (readable.public_key() == leaf.public_key).then_some(Self {
            chain,
            key,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
        })
    }

    pub(crate) fn to_pem(&self) -> String {
        let mut text: String = self
            .chain
            .iter()
            .map(|der| pem::encode(pem::CERTIFICATE, der))
            .collect();
        text.push_str(&pem::encode(pem::PRIVATE_KEY, &self.key));
        text
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        let chain = self.chain.iter().cloned();
        chain.map(CertificateDer::from).collect()
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }

    /// The leaf, read.
    pub(crate) fn leaf(&self) -> Option<Certificate> {
        Certificate::from_der(self.chain.first()?).ok()
    }

    pub(crate) fn is_valid(&self, now: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// When it is to be rotated; `share` is from 0 to 999, of the time in which that may be.
    pub(crate) fn rotation(&self, share: u32) -> Timestamp {
        let life = self.not_before.duration_until(self.not_after);
        let life = Duration::try_from(life).unwrap_or_default();
        let span = ROTATION_PERMILLE.end - ROTATION_PERMILLE.start;
        let permille = ROTATION_PERMILLE.start + span * share.min(999) / 1000;
        let part = SignedDuration::try_from(life / 1000 * permille).unwrap_or_default();
        self.not_before
            .saturating_add(part)
            .unwrap_or(self.not_after)
    }
}

/// Where a certificate lies, and beside it the key for which the next one is asked: a node that stops in between goes on with the same
/// request.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    certified: PathBuf,
    pending: PathBuf,
}

impl Place {
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        Self {
            certified: dir.join(format!("{name}.pem")),
            pending: dir.join(format!("{name}.next.key")),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.certified
    }

    /// `None` where there is none, or none that can be read: another one can be asked for.
    pub(crate) fn load(&self) -> Result<Option<Certified>, Error> {
        let bytes = files::read(&self.certified)?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(text.as_deref().and_then(Certified::from_pem))
    }

    /// Keeps a certificate; its key waits for none any more.
    pub(crate) fn store(&self, certified: &Certified) -> Result<(), Error> {
        write(&self.certified, &certified.to_pem())?;
        self.forget_pending();
        Ok(())
    }

    /// The key for the next certificate, on disk before anybody hears of it.
    pub(crate) fn pending(&self) -> Result<Key, Error> {
        let bytes = files::read(&self.pending)?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(key) = text.and_then(|text| Key::from_pem(&text).ok()) {
            return Ok(key);
        }
        let key = Key::generate(KeyType::EcdsaP256)?;
        write(&self.pending, &key.to_pem())?;
        Ok(key)
    }

    /// A request of this key will not be granted, or was.
    pub(crate) fn forget_pending(&self) {
        if let Err(error) = std::fs::remove_file(&self.pending)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.pending.display(), %error, "cannot remove a key that is of no more use");
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    files::write(path, text.as_bytes(), files::PRIVATE, Durability::Synced)?;
    if let Some(dir) = path.parent() {
        files::sync_dir(dir)?;
    }
    Ok(())
}
