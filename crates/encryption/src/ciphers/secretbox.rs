//! NaCl's secretbox (XSalsa20 and Poly1305) with a random nonce in front. The crate crypto_secretbox has no release of today's
//! versions of both; what it adds to them is this file.

use poly1305::{Poly1305, universal_hash::KeyInit};
use salsa20::{
    XSalsa20,
    cipher::{KeyIvInit, StreamCipher},
};
use subtle::ConstantTimeEq;

use super::{TOO_SHORT, random};

const NONCE: usize = 24;
const TAG: usize = 16;
const KEY: usize = 32;

/// A key.
pub struct Secretbox([u8; KEY]);

impl Secretbox {
    pub fn new(key: &[u8]) -> Option<Secretbox> {
        key.try_into().ok().map(Secretbox)
    }

    /// The stream after its first bytes, which are the one-time key of the tag.
    fn stream(&self, nonce: [u8; NONCE]) -> (XSalsa20, Poly1305) {
        let mut stream = XSalsa20::new(&self.0.into(), &nonce.into());
        let mut key = [0; KEY];
        stream.apply_keystream(&mut key);
        (stream, Poly1305::new(&key.into()))
    }

    pub fn open(&self, data: &[u8]) -> Result<Vec<u8>, &'static str> {
        let (nonce, rest) = data.split_first_chunk::<NONCE>().ok_or(TOO_SHORT)?;
        let (tag, sealed) = rest.split_first_chunk::<TAG>().ok_or(TOO_SHORT)?;
        let (mut stream, authenticator) = self.stream(*nonce);
        let computed = authenticator.compute_unpadded(sealed);
        if !bool::from(computed.as_slice().ct_eq(tag)) {
            return Err("the stored data was not sealed with this key");
        }
        let mut plain = sealed.to_vec();
        stream.apply_keystream(&mut plain);
        Ok(plain)
    }

    pub fn seal(&self, out: &mut Vec<u8>, plain: &[u8]) -> Result<(), &'static str> {
        let nonce: [u8; NONCE] = random()?;
        let (mut stream, authenticator) = self.stream(nonce);
        let mut sealed = plain.to_vec();
        stream.apply_keystream(&mut sealed);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&authenticator.compute_unpadded(&sealed));
        out.extend_from_slice(&sealed);
        Ok(())
    }
}
