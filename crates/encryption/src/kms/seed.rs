//! A seed, of which each value has a key of its own (HKDF over random bytes that are stored before it): no number of values wears a key
//! out, as one key with random nonces is worn out.

use ring::hkdf::{HKDF_SHA256, KeyType, Prk};

use crate::ciphers::{Gcm, TOO_SHORT, random};

pub const SEED_BYTES: usize = 32;
const INFO_BYTES: usize = 32;
const KEY_BYTES: usize = 32;

/// What keys follow from.
pub struct Seed(Prk);

struct KeyLength;

impl KeyType for KeyLength {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

impl Seed {
    pub fn new(seed: &[u8]) -> Result<Seed, &'static str> {
        if seed.len() < SEED_BYTES {
            return Err("invalid seed length used for key generation");
        }
        Ok(Seed(Prk::new_less_safe(HKDF_SHA256, seed)))
    }

    fn key(&self, info: &[u8]) -> Result<Gcm, &'static str> {
        const FAILED: &str = "failed to KDF expand seed with info";
        let info = [info];
        let expanded = self.0.expand(&info, KeyLength).map_err(|_| FAILED)?;
        let mut key = [0; KEY_BYTES];
        expanded.fill(&mut key).map_err(|_| FAILED)?;
        Gcm::new(&key).ok_or(FAILED)
    }

    pub fn open(&self, data: &[u8], place: &[u8]) -> Result<Vec<u8>, &'static str> {
        let (info, sealed) = data.split_at_checked(INFO_BYTES).ok_or(TOO_SHORT)?;
        self.key(info)?.open(sealed, place)
    }

    pub fn seal(&self, out: &mut Vec<u8>, plain: &[u8], place: &[u8]) -> Result<(), &'static str> {
        let info: [u8; INFO_BYTES] = random()?;
        out.extend_from_slice(&info);
        self.key(&info)?.seal(out, plain, place)
    }
}
