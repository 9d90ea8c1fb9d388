//! Certificates as the API carries them: PEM blocks, certificate requests, trust anchors, and an authority that signs requests.
//!
//! ```text
//! text -> pem: blocks -> request: who asks for what --+
//!                     -> certificate: an anchor       +--> authority: a certificate
//!                     usage: what it may be used for -+
//!                     trust: who is believed by a TLS client
//! ```
//!
//! Validation of the kinds of `certificates.k8s.io`, admission, the signers and the kubelet read the same bytes through this crate,
//! so that what one of them judged is what the next one signs. Reading is as strict as Go's `crypto/x509` where that decides who
//! somebody is: a subject that cannot be read is refused, not skipped.
//!
//! `rcgen` signs requests as well, but keeps one value for each type of attribute in a subject: somebody in two groups would come
//! out in one. What is signed is therefore written here, from the request's own bytes ([`der`]).
//!
//! Signatures that are verified are those that `ring` verifies: Ed25519, ECDSA on P-256 and P-384, RSA of 2048 to 8192 bits. TLS in this workspace
//! takes no others, so that a certificate for another key would be of no use.

// Everything here comes from outside.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod authority;
mod certificate;
mod der;
mod key;
pub mod pem;
mod public_key;
mod request;
pub mod signing;
#[cfg(test)]
mod tests;
pub mod trust;
pub mod usage;

pub use authority::{Authority, Policy};
pub use certificate::Certificate;
pub use key::{Key, KeyType, Subject};
pub use public_key::{Curve, PublicKey, is_signed_by};
pub use request::Request;
pub use signing::SigningKey;

/// Why bytes are not what they should be, or cannot be made.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum Error {
    #[error("PEM block type must be {0}")]
    BlockType(&'static str),
    #[error("x509: malformed {0}")]
    Malformed(&'static str),
    /// The signature's algorithm, or the curve or size of its key.
    #[error("x509: cannot verify signature: algorithm unimplemented")]
    UnsupportedAlgorithm,
    #[error("x509: {0} verification failure")]
    Signature(&'static str),
    #[error("unrecognized usage values: {0}")]
    Usages(String),
    #[error("the signer has expired: NotAfter={0}")]
    SignerExpired(String),
    #[error("key type {0:?} is not supported by this kubelet: use ED25519, ECDSAP256 or ECDSAP384")]
    UnsupportedKeyType(String),
    #[error(
        "data does not contain a private key that signs: RSA of 2048 to 4096 bits, ECDSA on P-256 or P-384"
    )]
    UnusableKey,
    /// As Go's `crypto/x509` says it.
    #[error("x509: provided PrivateKey doesn't match parent's PublicKey")]
    AnothersKey,
    #[error("cannot sign: {0}")]
    Signing(String),
}
