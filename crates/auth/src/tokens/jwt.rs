//! JWTs in compact form: how they are signed, and how what they say is taken from them once a [key](super::keys) proves the signature.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use knarr_x509::SigningKey;
use ring::digest;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Longer tokens are refused unread.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
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

/// A token with these claims.
pub(super) fn sign<C: Serialize>(
    key: &SigningKey,
    algorithm: &str,
    id: &str,
    claims: &C,
) -> Result<String, String> {
    let header = json!({"alg": algorithm, "kid": id});
    let claims = serde_json::to_vec(claims).map_err(|error| error.to_string())?;
    let mut token = format!(
        "{}.{}",
        BASE64.encode(header.to_string()),
        BASE64.encode(claims)
    );
    let signature = key.sign(token.as_bytes());
    let signature = signature.map_err(|error| error.to_string())?;
    token.push('.');
    token.push_str(&BASE64.encode(signature));
    Ok(token)
}
