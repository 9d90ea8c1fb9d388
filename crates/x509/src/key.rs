//! New keys, with the request that proves that one has them.

use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519,
};

use crate::{Error, pem};

/// Types of keys that can be made. The API has RSA and P-521 too, for which `ring` makes no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    Ed25519,
    EcdsaP256,
    EcdsaP384,
}

impl KeyType {
    /// By the name that `podCertificate.keyType` has.
    ///
    /// # Errors
    /// [`Error::UnsupportedKeyType`].
    pub fn parse(name: &str) -> Result<KeyType, Error> {
        match name {
            "ED25519" => Ok(KeyType::Ed25519),
            "ECDSAP256" => Ok(KeyType::EcdsaP256),
            "ECDSAP384" => Ok(KeyType::EcdsaP384),
            other => Err(Error::UnsupportedKeyType(other.to_owned())),
        }
    }
}

/// A private key.
pub struct Key {
    pair: KeyPair,
}

impl Key {
    /// # Errors
    /// Where the system has no randomness.
    pub fn generate(kind: KeyType) -> Result<Key, Error> {
        let algorithm = match kind {
            KeyType::Ed25519 => &PKCS_ED25519,
            KeyType::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
            KeyType::EcdsaP384 => &PKCS_ECDSA_P384_SHA384,
        };
        let pair = KeyPair::generate_for(algorithm).map_err(signing)?;
        Ok(Key { pair })
    }

    /// PKCS#8, version 1: OpenSSL before 3 reads no other.
    pub fn to_pem(&self) -> String {
        let der = self.pair.serialized_der();
        pem::encode(pem::PRIVATE_KEY, &without_public_key(der))
    }

    /// DER of a request that names nobody, as upstream's kubelet makes it.
    ///
    /// # Errors
    /// [`Error::Signing`].
    pub fn stub_request(&self) -> Result<Vec<u8>, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.pair).map_err(signing)?;
        Ok(request.der().to_vec())
    }
}

/// An Ed25519 key as `ring` writes it has the public key attached, which is version 2.
fn without_public_key(der: &[u8]) -> Vec<u8> {
    const HEAD: [u8; 16] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    // From the algorithm on both versions are alike.
    match der.get(5..) {
        Some(rest)
            if der.get(2..5) == Some(&[0x02, 0x01, 0x01]) && rest.starts_with(&HEAD[5..]) =>
        {
            let seed = rest.get(11..43).unwrap_or_default();
            [&HEAD, seed].concat()
        }
        _ => der.to_vec(),
    }
}

fn signing(error: rcgen::Error) -> Error {
    Error::Signing(error.to_string())
}
