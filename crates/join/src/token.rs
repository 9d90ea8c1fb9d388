//! What is handed to a machine that is to join: one word with a bootstrap token and the hash of the cluster's authority.

use std::{fmt, str::FromStr};

use knarr_auth::bootstrap_token::BootstrapToken;
use knarr_x509::{Certificate, pem};
use sha2::{Digest, Sha256};

#[cfg(test)]
mod tests;

/// Between the token and the hash.
const SEPARATOR: char = '@';
const ALGORITHM: &str = "sha256:";
const HASH_BYTES: usize = 32;

/// Why a word is no join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("a join token begins with six lower-case letters or digits, a dot, and sixteen more")]
    Token,
    #[error("after the @ of a join token stands sha256: and 64 hexadecimal digits")]
    Hash,
}

/// SHA-256 of the public key of an authority (its SubjectPublicKeyInfo), as kubeadm's `--discovery-token-ca-cert-hash` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaHash([u8; HASH_BYTES]);

impl CaHash {
    /// The hash of the first certificate of a PEM text. `None` where there is none.
    #[must_use]
    pub fn of_pem(text: &str) -> Option<CaHash> {
        let mut blocks = pem::blocks(text.as_bytes());
        let block = blocks.find(|block| block.label == pem::CERTIFICATE)?;
        let certificate = Certificate::from_der(&block.der).ok()?;
        Some(CaHash(Sha256::digest(&certificate.public_key).into()))
    }

    /// The hash of the last certificate of a PEM text.
    #[must_use]
    pub fn of_last(text: &str) -> Option<CaHash> {
        let blocks = pem::blocks(text.as_bytes());
        let block = blocks
            .filter(|block| block.label == pem::CERTIFICATE)
            .last()?;
        Self::of_pem(&pem::encode(pem::CERTIFICATE, &block.der))
    }

    /// Whether it is the hash of one of the certificates of a PEM text: while an authority is replaced there are two.
    #[must_use]
    pub fn is_of_one(&self, text: &str) -> bool {
        let blocks = pem::blocks(text.as_bytes());
        let mut certificates = blocks.filter(|block| block.label == pem::CERTIFICATE);
        certificates.any(|block| {
            let one = pem::encode(pem::CERTIFICATE, &block.der);
            CaHash::of_pem(&one).as_ref() == Some(self)
        })
    }
}

impl fmt::Display for CaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALGORITHM)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for CaHash {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let digits = text.strip_prefix(ALGORITHM).ok_or(TokenError::Hash)?;
        let mut nibbles = digits.chars().map(|digit| digit.to_digit(16));
        let mut hash = [0; HASH_BYTES];
        for byte in &mut hash {
            let (Some(Some(high)), Some(Some(low))) = (nibbles.next(), nibbles.next()) else {
                return Err(TokenError::Hash);
            };
            *byte = u8::try_from(high << 4 | low).map_err(|_| TokenError::Hash)?;
        }
        match nibbles.next() {
            None => Ok(CaHash(hash)),
            Some(_) => Err(TokenError::Hash),
        }
    }
}

/// `id.secret@sha256:hash`. Neither form shows the secret by accident: `Debug` hides it, [`JoinToken::reveal`] does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    pub token: BootstrapToken,
    /// A token without it needs the authority's certificate beside it.
    pub ca: Option<CaHash>,
}

impl JoinToken {
    /// One shell word, for who prints it.
    #[must_use]
    pub fn reveal(&self) -> String {
        let token = self.token.reveal();
        match &self.ca {
            Some(hash) => format!("{token}{SEPARATOR}{hash}"),
            None => token,
        }
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (token, ca) = match text.split_once(SEPARATOR) {
            Some((token, hash)) => (token, Some(hash.parse()?)),
            None => (text, None),
        };
        let token = BootstrapToken::parse(token).map_err(|_| TokenError::Token)?;
        Ok(JoinToken { token, ca })
    }
}
