//! Keys that sign, from the PEM files that upstream's tools write: RSA of 2048 to 4096 bits, ECDSA on P-256 and P-384.
//!
//! `kubeadm` writes RSA in PKCS#1 and ECDSA in SEC1, OpenSSL and `rcgen` write PKCS#8. `ring` reads PKCS#1 and PKCS#8: SEC1 is put into
//! PKCS#8 here.

use ring::{
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
        ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, KeyPair, RSA_PKCS1_SHA256,
    },
};

use crate::{Error, der, pem};

const RSA_LABEL: &str = "RSA PRIVATE KEY";
const EC_LABEL: &str = "EC PRIVATE KEY";

const RSA_ENCRYPTION: &[u32] = &[1, 2, 840, 113_549, 1, 1, 1];
const SHA256_WITH_RSA: &[u32] = &[1, 2, 840, 113_549, 1, 1, 11];
const EC_PUBLIC_KEY: &[u32] = &[1, 2, 840, 10_045, 2, 1];
const P256: &[u32] = &[1, 2, 840, 10_045, 3, 1, 7];
const P384: &[u32] = &[1, 3, 132, 0, 34];
const ECDSA_WITH_SHA256: &[u32] = &[1, 2, 840, 10_045, 4, 3, 2];
const ECDSA_WITH_SHA384: &[u32] = &[1, 2, 840, 10_045, 4, 3, 3];

/// What a key signs with: one algorithm for each type of key, the one that Go's `crypto/x509` and upstream's tokens have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rsa,
    /// With SHA-256.
    EcdsaP256,
    /// With SHA-384.
    EcdsaP384,
}

/// How the two numbers of an ECDSA signature are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As certificates have them.
    Asn1,
    /// One after the other, as JWTs have them.
    Fixed,
}

/// A private key that signs.
pub struct SigningKey {
    pair: Pair,
    random: SystemRandom,
    algorithm: Algorithm,
    public_key: Vec<u8>,
}

enum Pair {
    Rsa(rsa::KeyPair),
    Ec(EcdsaKeyPair),
}

/// The first key of a PEM file that [`SigningKey::from_pem`] takes, in PKCS#8, PEM: what `rcgen` reads.
///
/// # Errors
/// [`Error::UnusableKey`] where there is none.
pub fn pkcs8(text: &[u8]) -> Result<String, Error> {
    let found = pem::blocks(text).find_map(|block| {
        let der = block.der;
        match &*block.label {
            pem::PRIVATE_KEY => SigningKey::of_pkcs8(&der, Form::Asn1).map(|_| der),
            RSA_LABEL => {
                rsa::KeyPair::from_der(&der).ok()?;
                let kind = der::sequence(&[&der::oid(RSA_ENCRYPTION), &der::NULL]);
                let parts: [&[u8]; 3] = [&der::unsigned(&[]), &kind, &der::octets(&der)];
                Some(der::sequence(&parts))
            }
            EC_LABEL => SigningKey::sec1(&der, Form::Asn1).map(|(wrapped, _)| wrapped),
            _ => None,
        }
    });
    let der = found.ok_or(Error::UnusableKey)?;
    Ok(pem::encode(pem::PRIVATE_KEY, &der))
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the key.
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// The first key of a PEM file. Blocks that are none, such as the parameters that OpenSSL writes before a key, are skipped, as
    /// upstream skips them.
    ///
    /// # Errors
    /// [`Error::UnusableKey`] where there is none of a type that signs.
    pub fn from_pem(text: &[u8], form: Form) -> Result<SigningKey, Error> {
        pem::blocks(text)
            .find_map(|block| match &*block.label {
                pem::PRIVATE_KEY => Self::of_pkcs8(&block.der, form),
                RSA_LABEL => rsa::KeyPair::from_der(&block.der).ok().map(Self::of_rsa),
                EC_LABEL => Self::of_sec1(&block.der, form),
                _ => None,
            })
            .ok_or(Error::UnusableKey)
    }

    /// A key in PKCS#8, DER.
    ///
    /// # Errors
    /// [`Error::UnusableKey`].
    pub fn from_pkcs8(der: &[u8], form: Form) -> Result<SigningKey, Error> {
        Self::of_pkcs8(der, form).ok_or(Error::UnusableKey)
    }

    fn of_pkcs8(der: &[u8], form: Form) -> Option<SigningKey> {
        let rsa = rsa::KeyPair::from_pkcs8(der).ok().map(Self::of_rsa);
        rsa.or_else(|| {
            [Algorithm::EcdsaP256, Algorithm::EcdsaP384]
                .into_iter()
                .find_map(|algorithm| Self::of_ec(der, algorithm, form))
        })
    }

    fn of_sec1(der: &[u8], form: Form) -> Option<SigningKey> {
        Self::sec1(der, form).map(|(_, key)| key)
    }

    /// With its PKCS#8.
    fn sec1(der: &[u8], form: Form) -> Option<(Vec<u8>, SigningKey)> {
        let curves = [(Algorithm::EcdsaP256, P256), (Algorithm::EcdsaP384, P384)];
        curves.into_iter().find_map(|(algorithm, curve)| {
            let kind = der::sequence(&[&der::oid(EC_PUBLIC_KEY), &der::oid(curve)]);
            let wrapped = der::sequence(&[&der::unsigned(&[]), &kind, &der::octets(der)]);
            let key = Self::of_ec(&wrapped, algorithm, form)?;
            Some((wrapped, key))
        })
    }

    fn of_rsa(pair: rsa::KeyPair) -> SigningKey {
        let kind = der::sequence(&[&der::oid(RSA_ENCRYPTION), &der::NULL]);
        let public_key = der::sequence(&[&kind, &der::bits(pair.public_key().as_ref())]);
        SigningKey {
            pair: Pair::Rsa(pair),
            random: SystemRandom::new(),
            algorithm: Algorithm::Rsa,
            public_key,
        }
    }

    fn of_ec(pkcs8: &[u8], algorithm: Algorithm, form: Form) -> Option<SigningKey> {
        let (signing, curve): (&'static EcdsaSigningAlgorithm, _) = match (algorithm, form) {
            (Algorithm::EcdsaP256, Form::Asn1) => (&ECDSA_P256_SHA256_ASN1_SIGNING, P256),
            (Algorithm::EcdsaP256, Form::Fixed) => (&ECDSA_P256_SHA256_FIXED_SIGNING, P256),
            (Algorithm::EcdsaP384, Form::Asn1) => (&ECDSA_P384_SHA384_ASN1_SIGNING, P384),
            (Algorithm::EcdsaP384, Form::Fixed) => (&ECDSA_P384_SHA384_FIXED_SIGNING, P384),
            (Algorithm::Rsa, _) => return None,
        };
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(signing, pkcs8, &random).ok()?;
        let kind = der::sequence(&[&der::oid(EC_PUBLIC_KEY), &der::oid(curve)]);
        let public_key = der::sequence(&[&kind, &der::bits(pair.public_key().as_ref())]);
        Some(SigningKey {
            pair: Pair::Ec(pair),
            random,
            algorithm,
            public_key,
        })
    }

    /// DER of its SubjectPublicKeyInfo.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// DER of the AlgorithmIdentifier that stands beside its signatures in certificates.
    pub(crate) fn identifier(&self) -> Vec<u8> {
        match self.algorithm {
            Algorithm::Rsa => der::sequence(&[&der::oid(SHA256_WITH_RSA), &der::NULL]),
            Algorithm::EcdsaP256 => der::sequence(&[&der::oid(ECDSA_WITH_SHA256)]),
            Algorithm::EcdsaP384 => der::sequence(&[&der::oid(ECDSA_WITH_SHA384)]),
        }
    }

    /// # Errors
    /// [`Error::Signing`] where the system has no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = |_| Error::Signing("the key has refused".to_owned());
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &self.random, message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            Pair::Ec(pair) => {
                let signature = pair.sign(&self.random, message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

#[cfg(test)]
mod tests;
