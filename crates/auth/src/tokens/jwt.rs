//! JWTs in compact form: those that are signed here, with ES256 and one key, and those that [other keys](super::keys) have signed.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use ring::{
    digest,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
        UnparsedPublicKey,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// The signature algorithm, as headers name it.
pub(super) const ALGORITHM: &str = "ES256";
/// Longer tokens are refused unread.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// DER of a P-256 SubjectPublicKeyInfo up to the point.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The signing key with what derives from it.
pub(super) struct Key {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    id: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// Extensions that must be understood; none are.
    #[serde(default)]
    crit: Option<Value>,
}

/// The token is not ours, or not a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotValid;

/// The claims of a token that a key of an algorithm has signed.
pub(super) fn verify<C: DeserializeOwned>(
    token: &str,
    algorithm: &str,
    id: &str,
    holds: impl FnOnce(&[u8], &[u8]) -> bool,
) -> Result<C, NotValid> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(NotValid);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(NotValid)?;
    let (header, claims) = signed.split_once('.').ok_or(NotValid)?;
    let decode = |part: &str| BASE64.decode(part).map_err(|_| NotValid);
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| NotValid)?;
    let ours =
        header.alg == algorithm && header.crit.is_none() && header.kid.is_none_or(|kid| kid == id);
    if !ours || !holds(signed.as_bytes(), &decode(signature)?) {
        return Err(NotValid);
    }
    serde_json::from_slice(&decode(claims)?).map_err(|_| NotValid)
}

/// Upstream's key id: the hash of the public key's DER.
pub(super) fn key_id(spki: &[u8]) -> String {
    BASE64.encode(digest::digest(&digest::SHA256, spki))
}

impl Key {
    pub(super) fn new(pkcs8: &[u8]) -> Result<Key, String> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random)
            .map_err(|error| error.to_string())?;
        let id = key_id(&[&SPKI_PREFIX[..], pair.public_key().as_ref()].concat());
        Ok(Key { pair, random, id })
    }

    pub(super) fn sign<C: Serialize>(&self, claims: &C) -> Result<String, String> {
        let header = json!({"alg": ALGORITHM, "kid": self.id});
        let claims = serde_json::to_vec(claims).map_err(|error| error.to_string())?;
        let mut token = format!(
            "{}.{}",
            BASE64.encode(header.to_string()),
            BASE64.encode(claims)
        );
        let signature = self
            .pair
            .sign(&self.random, token.as_bytes())
            .map_err(|error| error.to_string())?;
        token.push('.');
        token.push_str(&BASE64.encode(signature));
        Ok(token)
    }

    pub(super) fn verify<C: DeserializeOwned>(&self, token: &str) -> Result<C, NotValid> {
        let point = self.pair.public_key().as_ref();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        verify(token, ALGORITHM, &self.id, |signed, signature| {
            key.verify(signed, signature).is_ok()
        })
    }

    /// The public key as a member of a JWK set.
    pub(super) fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        // An uncompressed point: 4, x, y.
        let (x, y) = point.get(1..).unwrap_or_default().split_at(32);
        json!({"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": ALGORITHM, "x": BASE64.encode(x), "y": BASE64.encode(y)})
    }
}
