//! Bootstrap tokens: what a machine that is not a node yet proves itself with.
//!
//! A token is `id.secret`, kept in the Secret `kube-system/bootstrap-token-<id>` in the form that upstream's tools read and write. Its
//! user may ask for a node's certificate and nothing else.

use std::fmt;

use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};

mod authenticate;
mod secret;
mod signature;
#[cfg(test)]
mod tests;

pub(crate) use authenticate::authenticate;
pub use secret::{GROUPS_PREFIX, TokenSecret, Usage, expiry};
pub use signature::{sign, verify};

/// Where the Secrets are.
pub const NAMESPACE: &str = "kube-system";
/// Type of the Secrets.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// Names of the Secrets are this and the token's id.
pub const SECRET_PREFIX: &str = "bootstrap-token-";
/// Users' names are this and the token's id.
pub const USER_PREFIX: &str = "system:bootstrap:";
/// Group of every bootstrap token.
pub const GROUP: &str = "system:bootstrappers";

const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Not `id.secret` with six and sixteen lower-case letters or digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bootstrap token is six lower-case letters or digits, a dot, and sixteen more")]
pub struct Malformed;

/// A token, `id.secret`. Shown without its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapToken {
    id: String,
    secret: String,
}

impl BootstrapToken {
    /// # Errors
    /// [`Malformed`]; told from the text's form alone.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (id, secret) = text.split_once('.').ok_or(Malformed)?;
        Self::new(id, secret)
    }

    /// # Errors
    /// [`Malformed`].
    pub fn new(id: &str, secret: &str) -> Result<Self, Malformed> {
        let fits = |text: &str, length| text.len() == length && text.bytes().all(is_of_alphabet);
        if !fits(id, ID_LENGTH) || !fits(secret, SECRET_LENGTH) {
            return Err(Malformed);
        }
        Ok(Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
        })
    }

    /// A new one: 31 bits of name, 82 of secret.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn generate() -> Result<Self, ring::error::Unspecified> {
        let random = SystemRandom::new();
        Ok(Self {
            id: letters(&random, ID_LENGTH)?,
            secret: letters(&random, SECRET_LENGTH)?,
        })
    }

    /// What names the token; no secret.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Name of the token's Secret.
    #[must_use]
    pub fn secret_name(&self) -> String {
        format!("{SECRET_PREFIX}{}", self.id)
    }

    /// The whole token, for who sends or prints it.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }

    /// Whether both are the same token, in a time that does not tell where they differ.
    #[must_use]
    pub fn is(&self, other: &BootstrapToken) -> bool {
        // Both are of one length.
        self.id == other.id && same_bytes(self.secret.as_bytes(), other.secret.as_bytes())
    }
}

impl fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.(hidden)", self.id)
    }
}

/// The id in the name of a token's Secret.
#[must_use]
pub fn id_of_secret(name: &str) -> Option<&str> {
    let id = name.strip_prefix(SECRET_PREFIX)?;
    (id.len() == ID_LENGTH && id.bytes().all(is_of_alphabet)).then_some(id)
}

fn is_of_alphabet(byte: u8) -> bool {
    byte.is_ascii_digit() || byte.is_ascii_lowercase()
}

/// Compares in a time that depends on the lengths only.
fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    // Tags of a key that nobody knows are equal where the messages are; `ring` compares them in constant time.
    let Ok(key) = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()) else {
        return false;
    };
    hmac::verify(&key, a, hmac::sign(&key, b).as_ref()).is_ok()
}

/// Random letters of the alphabet, each as likely as any other.
fn letters(random: &SystemRandom, count: usize) -> Result<String, ring::error::Unspecified> {
    // The largest multiple of the alphabet's length that a byte holds: what is above it would favour the first letters.
    const LIMIT: u8 = u8::MAX - u8::MAX % 36;
    let mut text = String::with_capacity(count);
    let mut bytes = [0; 32];
    while text.len() < count {
        random.fill(&mut bytes)?;
        let picked = bytes.iter().filter(|byte| **byte < LIMIT);
        let picked = picked.filter_map(|byte| ALPHABET.get(usize::from(byte % 36)));
        text.extend(
            picked
                .take(count - text.len())
                .map(|byte| char::from(*byte)),
        );
    }
    Ok(text)
}
