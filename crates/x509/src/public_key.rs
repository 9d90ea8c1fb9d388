//! Public keys, and what they have signed.

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::{
    certificate::X509Certificate,
    signature_algorithm::RsaSsaPssParams,
    x509::{AlgorithmIdentifier, SubjectPublicKeyInfo},
};

use crate::Error;

/// Curves of ECDSA keys that have a name here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    P224,
    P256,
    P384,
    P521,
}

impl Curve {
    /// As `crypto/elliptic` names it.
    pub fn name(self) -> &'static str {
        match self {
            Curve::P224 => "P-224",
            Curve::P256 => "P-256",
            Curve::P384 => "P-384",
            Curve::P521 => "P-521",
        }
    }
}

/// What a public key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKey {
    Ed25519,
    Ecdsa(Curve),
    Rsa {
        /// Of the modulus.
        bits: usize,
    },
    Unknown,
}

const ED25519: &str = "1.3.101.112";
const EC: &str = "1.2.840.10045.2.1";
const RSA: &str = "1.2.840.113549.1.1.1";
const RSA_PSS: &str = "1.2.840.113549.1.1.10";
const SHA256: &str = "2.16.840.1.101.3.4.2.1";
const SHA384: &str = "2.16.840.1.101.3.4.2.2";
const SHA512: &str = "2.16.840.1.101.3.4.2.3";

/// What kind of key this is.
pub(crate) fn kind(key: &SubjectPublicKeyInfo<'_>) -> PublicKey {
    match key.algorithm.algorithm.to_id_string().as_str() {
        ED25519 => PublicKey::Ed25519,
        EC => curve(&key.algorithm).map_or(PublicKey::Unknown, PublicKey::Ecdsa),
        RSA => match key.parsed() {
            Ok(x509_parser::public_key::PublicKey::RSA(rsa)) => PublicKey::Rsa {
                bits: modulus_bits(rsa.modulus),
            },
            _ => PublicKey::Unknown,
        },
        _ => PublicKey::Unknown,
    }
}

/// Bits of whole bytes, as Go's `Size() * 8`.
fn modulus_bits(modulus: &[u8]) -> usize {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    modulus.len().saturating_sub(zeros).saturating_mul(8)
}

fn curve(algorithm: &AlgorithmIdentifier<'_>) -> Option<Curve> {
    let oid = algorithm.parameters.as_ref()?.clone().oid().ok()?;
    Some(match oid.to_id_string().as_str() {
        "1.3.132.0.33" => Curve::P224,
        "1.2.840.10045.3.1.7" => Curve::P256,
        "1.3.132.0.34" => Curve::P384,
        "1.3.132.0.35" => Curve::P521,
        _ => return None,
    })
}

/// Whether the key of `issuer` has signed the certificate.
pub fn is_signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let message = certificate.tbs_certificate.as_ref();
    let algorithm = &certificate.signature_algorithm;
    let signature = &certificate.signature_value.data;
    verify(issuer.public_key(), algorithm, message, signature).is_ok()
}

/// Whether `key` has signed `message` by `algorithm`.
pub(crate) fn verify(
    key: &SubjectPublicKeyInfo<'_>,
    algorithm: &AlgorithmIdentifier<'_>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), Error> {
    let kind = kind(key);
    let verification = verification(kind, algorithm).ok_or(Error::UnsupportedAlgorithm)?;
    let failed = match kind {
        PublicKey::Rsa { .. } => "RSA",
        PublicKey::Ed25519 => "Ed25519",
        _ => "ECDSA",
    };
    UnparsedPublicKey::new(verification, &key.subject_public_key.data)
        .verify(message, signature)
        .map_err(|_| Error::Signature(failed))
}

fn verification(
    key: PublicKey,
    algorithm: &AlgorithmIdentifier<'_>,
) -> Option<&'static dyn VerificationAlgorithm> {
    let oid = algorithm.algorithm.to_id_string();
    Some(match (key, oid.as_str()) {
        (PublicKey::Ed25519, ED25519) => &signature::ED25519,
        (PublicKey::Ecdsa(Curve::P256), "1.2.840.10045.4.3.2") => {
            &signature::ECDSA_P256_SHA256_ASN1
        }
        (PublicKey::Ecdsa(Curve::P256), "1.2.840.10045.4.3.3") => {
            &signature::ECDSA_P256_SHA384_ASN1
        }
        (PublicKey::Ecdsa(Curve::P384), "1.2.840.10045.4.3.2") => {
            &signature::ECDSA_P384_SHA256_ASN1
        }
        (PublicKey::Ecdsa(Curve::P384), "1.2.840.10045.4.3.3") => {
            &signature::ECDSA_P384_SHA384_ASN1
        }
        (PublicKey::Rsa { .. }, "1.2.840.113549.1.1.11") => &signature::RSA_PKCS1_2048_8192_SHA256,
        (PublicKey::Rsa { .. }, "1.2.840.113549.1.1.12") => &signature::RSA_PKCS1_2048_8192_SHA384,
        (PublicKey::Rsa { .. }, "1.2.840.113549.1.1.13") => &signature::RSA_PKCS1_2048_8192_SHA512,
        (PublicKey::Rsa { .. }, RSA_PSS) => pss(algorithm)?,
        _ => return None,
    })
}

fn pss(algorithm: &AlgorithmIdentifier<'_>) -> Option<&'static dyn VerificationAlgorithm> {
    let parameters = algorithm.parameters.as_ref()?;
    let parameters = RsaSsaPssParams::try_from(parameters).ok()?;
    Some(
        match parameters.hash_algorithm_oid().to_id_string().as_str() {
            SHA256 => &signature::RSA_PSS_2048_8192_SHA256,
            SHA384 => &signature::RSA_PSS_2048_8192_SHA384,
            SHA512 => &signature::RSA_PSS_2048_8192_SHA512,
            _ => return None,
        },
    )
}
