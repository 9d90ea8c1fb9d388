//! The key that service-account tokens are signed with, and keys of others whose tokens hold here, too: those that this cluster signed
//! with before, or that another one of its servers signs with (upstream's `--service-account-key-file`).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use knarr_x509::{SigningKey, pem, signing::Form};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use x509_parser::{
    certificate::X509Certificate, prelude::FromDer, public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

use super::{
    KeyError,
    jwt::{self, NotValid},
};

/// The key that signs here.
pub(super) struct TokenKey {
    signing: SigningKey,
    public: VerificationKey,
}

impl TokenKey {
    /// From a file: RSA of 2048 to 4096 bits, P-256 or P-384.
    pub(super) fn from_pem(text: &[u8]) -> Result<TokenKey, KeyError> {
        Self::of(SigningKey::from_pem(text, Form::Fixed))
    }

    pub(super) fn from_pkcs8(der: &[u8]) -> Result<TokenKey, KeyError> {
        Self::of(SigningKey::from_pkcs8(der, Form::Fixed))
    }

    fn of(key: Result<SigningKey, knarr_x509::Error>) -> Result<TokenKey, KeyError> {
        let signing = key.map_err(|error| KeyError(error.to_string()))?;
        let public = VerificationKey::of_spki(signing.public_key());
        let public = public.ok_or_else(|| KeyError("nothing verifies what it signs".to_owned()))?;
        Ok(TokenKey { signing, public })
    }

    /// The key by which its tokens are checked.
    pub(super) fn public(&self) -> &VerificationKey {
        &self.public
    }

    pub(super) fn sign<C: Serialize>(&self, claims: &C) -> Result<String, KeyError> {
        let public = &self.public;
        jwt::sign(&self.signing, public.name, &public.id, claims).map_err(KeyError)
    }
}

/// A public key.
#[derive(Clone)]
pub struct VerificationKey {
    id: String,
    /// As headers name it.
    name: &'static str,
    algorithm: &'static dyn VerificationAlgorithm,
    /// A point, or an RSAPublicKey.
    key: Vec<u8>,
    jwk: Value,
}

impl std::fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerificationKey({} {})", self.name, self.id)
    }
}

impl VerificationKey {
    /// All public keys of a PEM file, also those of certificates: RSA, P-256 and P-384.
    ///
    /// # Errors
    /// There is none, or one that cannot be used.
    pub fn parse(pem: &[u8]) -> Result<Vec<VerificationKey>, KeyError> {
        let mut keys = Vec::new();
        for block in pem::blocks(pem) {
            let key = match &*block.label {
                "PUBLIC KEY" => Self::of_spki(&block.der),
                "CERTIFICATE" => X509Certificate::from_der(&block.der)
                    .ok()
                    .and_then(|(_, certificate)| Self::of_spki(certificate.public_key().raw)),
                other => {
                    let why = format!("it has a block {other:?}, which is no public key");
                    return Err(KeyError(why));
                }
            };
            let usable =
                "it has a key that is neither RSA of 2048 bits or more, nor P-256, nor P-384";
            keys.push(key.ok_or_else(|| KeyError(usable.to_owned()))?);
        }
        match keys.is_empty() {
            true => Err(KeyError("it has no public key".to_owned())),
            false => Ok(keys),
        }
    }

    fn of_spki(der: &[u8]) -> Option<VerificationKey> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
        let key = info.subject_public_key.data.to_vec();
        let encode = |number: &[u8]| {
            let from = number.iter().position(|byte| *byte != 0);
            BASE64.encode(
                number
                    .get(from.unwrap_or(number.len())..)
                    .unwrap_or_default(),
            )
        };
        let (name, algorithm, parts): (_, &'static dyn VerificationAlgorithm, Value) = match info
            .parsed()
            .ok()?
        {
            PublicKey::RSA(rsa) if rsa.key_size() >= 2048 => {
                let parts =
                    json!({"kty": "RSA", "n": encode(rsa.modulus), "e": encode(rsa.exponent)});
                ("RS256", &RSA_PKCS1_2048_8192_SHA256, parts)
            }
            PublicKey::EC(_) => {
                // An uncompressed point: 4, x, y.
                let (4, point) = key.split_first()? else {
                    return None;
                };
                let (x, y) = point.split_at_checked(point.len() / 2)?;
                let (name, algorithm, curve): (_, &'static dyn VerificationAlgorithm, _) =
                    match point.len() {
                        64 => ("ES256", &ECDSA_P256_SHA256_FIXED, "P-256"),
                        96 => ("ES384", &ECDSA_P384_SHA384_FIXED, "P-384"),
                        _ => return None,
                    };
                let parts = json!({"kty": "EC", "crv": curve, "x": BASE64.encode(x), "y": BASE64.encode(y)});
                (name, algorithm, parts)
            }
            _ => return None,
        };
        let id = jwt::key_id(der);
        let mut jwk = json!({"use": "sig", "kid": id, "alg": name});
        if let (Some(jwk), Value::Object(parts)) = (jwk.as_object_mut(), parts) {
            jwk.extend(parts);
        }
        Some(VerificationKey {
            id,
            name,
            algorithm,
            key,
            jwk,
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn algorithm(&self) -> &'static str {
        self.name
    }

    pub(super) fn verify<C: DeserializeOwned>(&self, token: &str) -> Result<C, NotValid> {
        let key = UnparsedPublicKey::new(self.algorithm, &self.key);
        jwt::verify(token, self.name, &self.id, |signed, signature| {
            key.verify(signed, signature).is_ok()
        })
    }

    /// As a member of a JWK set.
    pub(super) fn jwk(&self) -> &Value {
        &self.jwk
    }
}
