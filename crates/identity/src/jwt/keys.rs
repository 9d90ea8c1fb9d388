//! A JSON web key set, and signatures that its keys prove.
//!
//! RS, PS and ES with SHA-256, -384 and -512, but for ES512: nothing here computes on the curve P-521.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;

use super::Header;

/// Keys of a set that are looked at; a token that names none is tried with all.
const MAX_KEYS: usize = 100;
/// What stands before the coordinates of a point.
const UNCOMPRESSED: u8 = 4;

/// The keys of an issuer.
#[derive(Debug, Default)]
pub struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: String,
    /// What it is for, where it says so.
    algorithm: Option<String>,
    public: Public,
}

#[derive(Debug)]
enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Jwk {
    kty: String,
    kid: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: String,
    n: String,
    e: String,
    x: String,
    y: String,
}

/// Why a document is no key set.
#[derive(Debug, thiserror::Error)]
#[error("the key set cannot be read: {0}")]
pub struct KeysError(#[from] serde_json::Error);

impl Keys {
    /// Reads a set. Keys that are for something else, or of a kind that is not known, are left out.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(document: &[u8]) -> Result<Keys, KeysError> {
        let set: Set = serde_json::from_slice(document)?;
        let keys = set.keys.into_iter().filter_map(Jwk::key);
        Ok(Keys(keys.take(MAX_KEYS).collect()))
    }

    /// Whether one of them proves a signature. A token that names a key is tried with keys of that name only.
    pub fn verify(&self, header: &Header, message: &[u8], signature: &[u8]) -> bool {
        let named = |key: &&Key| header.kid.as_ref().is_none_or(|kid| *kid == key.id);
        let mut keys = self.0.iter().filter(named);
        keys.any(|key| key.verify(&header.alg, message, signature))
    }
}

impl Jwk {
    fn key(self) -> Option<Key> {
        if self
            .purpose
            .as_deref()
            .is_some_and(|purpose| purpose != "sig")
        {
            return None;
        }
        let decode = |text: &str| BASE64.decode(text.trim_end_matches('=')).ok();
        let point = |bytes: usize| {
            let (x, y) = (decode(&self.x)?, decode(&self.y)?);
            let whole = x.len() == bytes && y.len() == bytes;
            whole.then(|| [&[UNCOMPRESSED][..], &x, &y].concat())
        };
        let public = match (&*self.kty, &*self.crv) {
            ("RSA", _) => Public::Rsa {
                n: decode(&self.n)?,
                e: decode(&self.e)?,
            },
            ("EC", "P-256") => Public::P256(point(32)?),
            ("EC", "P-384") => Public::P384(point(48)?),
            _ => return None,
        };
        Some(Key {
            id: self.kid,
            algorithm: self.alg,
            public,
        })
    }
}

impl Key {
    fn verify(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        if self
            .algorithm
            .as_deref()
            .is_some_and(|own| own != algorithm)
        {
            return false;
        }
        match &self.public {
            Public::Rsa { n, e } => rsa(algorithm).is_some_and(|parameters| {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(parameters, message, signature).is_ok()
            }),
            Public::P256(point) => {
                algorithm == "ES256" && ec(&ECDSA_P256_SHA256_FIXED, point, message, signature)
            }
            Public::P384(point) => {
                algorithm == "ES384" && ec(&ECDSA_P384_SHA384_FIXED, point, message, signature)
            }
        }
    }
}

fn ec(
    algorithm: &'static EcdsaVerificationAlgorithm,
    point: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    let key = UnparsedPublicKey::new(algorithm, point);
    key.verify(message, signature).is_ok()
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}
