//! A JSON web token: read, and verified by a key.

mod keys;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use serde::Deserialize;
use serde_json::{Map, Value};

pub use self::keys::Keys;

/// Google's old name of itself, and its URL.
const GOOGLE: (&str, &str) = ("accounts.google.com", "https://accounts.google.com");

/// A token as it was sent; nothing of it may be believed.
pub struct Token<'t> {
    /// The whole text.
    pub text: &'t str,
    pub header: Header,
    /// What is signed: header and claims.
    signed: &'t str,
    signature: Vec<u8>,
    claims: Map<String, Value>,
}

#[derive(Deserialize)]
pub struct Header {
    pub alg: String,
    #[serde(default)]
    pub kid: Option<String>,
    /// Extensions that must be understood; none is.
    #[serde(default)]
    crit: Option<Value>,
}

impl<'t> Token<'t> {
    /// `None`: it is no token of this form.
    pub fn parse(text: &'t str) -> Option<Token<'t>> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&BASE64.decode(header).ok()?).ok()?;
        if header.crit.is_some() {
            return None;
        }
        Some(Token {
            text,
            header,
            signed,
            signature: BASE64.decode(signature).ok()?,
            claims: serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()?,
        })
    }

    /// Who it says has issued it.
    pub fn issuer(&self) -> &str {
        match self.claims.get("iss").and_then(Value::as_str) {
            Some(issuer) if issuer == GOOGLE.0 => GOOGLE.1,
            issuer => issuer.unwrap_or_default(),
        }
    }

    /// The claims, once one of the keys has proved them.
    pub fn verified(&self, keys: &Keys) -> Option<&Map<String, Value>> {
        let proved = keys.verify(&self.header, self.signed.as_bytes(), &self.signature);
        proved.then_some(&self.claims)
    }
}

#[cfg(test)]
mod tests;
