//! AES-GCM with a random nonce in front. ring has no keys of 192 bits, which upstream takes, too.

use aes_gcm::{
    AesGcm, KeyInit,
    aead::{Aead, Payload, consts::U12},
    aes::Aes192,
};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::{TOO_SHORT, random};

/// A key.
pub struct Gcm(Inner);

enum Inner {
    Ring(Box<LessSafeKey>),
    Aes192(Box<AesGcm<Aes192, U12>>),
}

const UNAUTHENTIC: &str = "cipher: message authentication failed";
const TOO_LARGE: &str = "the value is too large to encrypt";

impl Gcm {
    pub fn new(key: &[u8]) -> Option<Gcm> {
        let ring = |algorithm| {
            let key = UnboundKey::new(algorithm, key).ok()?;
            Some(Box::new(LessSafeKey::new(key)))
        };
        let inner = match key.len() {
            16 => Inner::Ring(ring(&AES_128_GCM)?),
            32 => Inner::Ring(ring(&AES_256_GCM)?),
            _ => Inner::Aes192(Box::new(AesGcm::new_from_slice(key).ok()?)),
        };
        Some(Gcm(inner))
    }

    pub fn open(&self, data: &[u8], place: &[u8]) -> Result<Vec<u8>, &'static str> {
        let (nonce, sealed) = data.split_first_chunk::<NONCE_LEN>().ok_or(TOO_SHORT)?;
        match &self.0 {
            Inner::Ring(key) => {
                let nonce = Nonce::assume_unique_for_key(*nonce);
                let mut buffer = sealed.to_vec();
                let opened = key.open_in_place(nonce, Aad::from(place), &mut buffer);
                let length = opened.map_err(|_| UNAUTHENTIC)?.len();
                buffer.truncate(length);
                Ok(buffer)
            }
            Inner::Aes192(key) => {
                let payload = Payload {
                    msg: sealed,
                    aad: place,
                };
                key.decrypt(&(*nonce).into(), payload)
                    .map_err(|_| UNAUTHENTIC)
            }
        }
    }

    pub fn seal(&self, out: &mut Vec<u8>, plain: &[u8], place: &[u8]) -> Result<(), &'static str> {
        let nonce: [u8; NONCE_LEN] = random()?;
        out.extend_from_slice(&nonce);
        match &self.0 {
            Inner::Ring(key) => {
                let body = out.len();
                out.extend_from_slice(plain);
                let nonce = Nonce::assume_unique_for_key(nonce);
                let sealed =
                    key.seal_in_place_separate_tag(nonce, Aad::from(place), &mut out[body..]);
                out.extend_from_slice(sealed.map_err(|_| TOO_LARGE)?.as_ref());
            }
            Inner::Aes192(key) => {
                let payload = Payload {
                    msg: plain,
                    aad: place,
                };
                let sealed = key.encrypt(&nonce.into(), payload);
                out.extend_from_slice(&sealed.map_err(|_| TOO_LARGE)?);
            }
        }
        Ok(())
    }
}
