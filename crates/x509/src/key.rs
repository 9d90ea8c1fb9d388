//! New keys, with the request that proves that one has them.

use std::net::IpAddr;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData, SanType,
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

/// Whom a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    pub common_name: &'a str,
    pub organization: &'a str,
    pub dns_names: &'a [String],
    pub ip_addresses: &'a [IpAddr],
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

    /// Reads what [`Key::to_pem`] wrote.
    ///
    /// # Errors
    /// [`Error::Signing`].
    pub fn from_pem(text: &str) -> Result<Key, Error> {
        let pair = KeyPair::from_pem(text).map_err(signing)?;
        Ok(Key { pair })
    }

    /// PKCS#8, version 1: OpenSSL before 3 reads no other.
    pub fn to_pem(&self) -> String {
        let der = self.pair.serialized_der();
        pem::encode(pem::PRIVATE_KEY, &without_public_key(der))
    }

    /// DER of its SubjectPublicKeyInfo.
    pub fn public_key(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
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

    /// DER of a request for a certificate that names somebody.
    ///
    /// # Errors
    /// [`Error::Signing`], also where a name is none that a certificate can have.
    pub fn request(&self, subject: &Subject<'_>) -> Result<Vec<u8>, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (type_, value) in [
            (DnType::OrganizationName, subject.organization),
            (DnType::CommonName, subject.common_name),
        ] {
            params.distinguished_name.push(type_, value);
        }
        for name in subject.dns_names {
            let name = name.as_str().try_into().map_err(signing)?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let addresses = subject.ip_addresses.iter().copied();
        let addresses = addresses.map(SanType::IpAddress);
        params.subject_alt_names.extend(addresses);
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
