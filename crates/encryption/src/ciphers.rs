//! Values encrypted by one key: what upstream's providers store behind their prefixes, byte for byte.

mod cbc;
mod gcm;
mod secretbox;

pub use gcm::Gcm;

use self::{cbc::Cbc, secretbox::Secretbox};

pub(crate) const TOO_SHORT: &str = "the stored data was shorter than the required size";

/// A way to encrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    AesGcm,
    AesCbc,
    Secretbox,
}

impl Kind {
    /// What stored values begin with; the key's name and a colon follow.
    pub fn prefix(self) -> &'static str {
        match self {
            Kind::AesGcm => "k8s:enc:aesgcm:v1:",
            Kind::AesCbc => "k8s:enc:aescbc:v1:",
            Kind::Secretbox => "k8s:enc:secretbox:v1:",
        }
    }

    /// As upstream's errors name it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::AesGcm | Kind::AesCbc => "AES",
            Kind::Secretbox => "Secretbox",
        }
    }
}

/// A key, ready for use.
pub enum Cipher {
    Gcm(Gcm),
    Cbc(Box<Cbc>),
    Secretbox(Secretbox),
}

impl Cipher {
    /// `None`: no such key has this length.
    pub fn new(kind: Kind, key: &[u8]) -> Option<Cipher> {
        Some(match kind {
            Kind::AesGcm => Cipher::Gcm(Gcm::new(key)?),
            Kind::AesCbc => Cipher::Cbc(Box::new(Cbc::new(key)?)),
            Kind::Secretbox => Cipher::Secretbox(Secretbox::new(key)?),
        })
    }

    /// The plaintext. `place`: where the value is stored, which AES-GCM has authenticated.
    pub fn open(&self, data: &[u8], place: &[u8]) -> Result<Vec<u8>, &'static str> {
        match self {
            Cipher::Gcm(gcm) => gcm.open(data, place),
            Cipher::Cbc(cbc) => cbc.open(data),
            Cipher::Secretbox(secretbox) => secretbox.open(data),
        }
    }

    /// Appends the encrypted form.
    pub fn seal(&self, out: &mut Vec<u8>, plain: &[u8], place: &[u8]) -> Result<(), &'static str> {
        match self {
            Cipher::Gcm(gcm) => gcm.seal(out, plain, place),
            Cipher::Cbc(cbc) => cbc.seal(out, plain),
            Cipher::Secretbox(secretbox) => secretbox.seal(out, plain),
        }
    }
}

/// Fresh random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], &'static str> {
    let made = ring::rand::generate::<[u8; N]>(&ring::rand::SystemRandom::new());
    made.map(ring::rand::Random::expose)
        .map_err(|_| "unable to read sufficient random bytes")
}

#[cfg(test)]
mod tests;
