mod keys;

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PublicKeyData, SigningKey as _};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;
use crate::{Authority, Key, KeyType, Policy, Request, public_key};

/// A key by its PKCS#8 and by the form that upstream's tools write.
const KEYS: [(&str, &str); 3] = [
    (keys::RSA, keys::RSA_TRADITIONAL),
    (keys::P256, keys::P256_TRADITIONAL),
    (keys::P384, keys::P384_TRADITIONAL),
];

/// An authority's certificate.
fn certificate(key: &KeyPair) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(key).unwrap().der().to_vec()
}

#[test]
fn every_form_has_its_pkcs8() {
    for (wanted, traditional) in KEYS {
        let wanted = KeyPair::from_pem(wanted).unwrap().subject_public_key_info();
        let before =
            "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
        for text in [traditional, &format!("{before}{traditional}")] {
            let text = pkcs8(text.as_bytes()).unwrap();
            let key = KeyPair::from_pem(&text).unwrap();
            assert_eq!(key.subject_public_key_info(), wanted);
            assert_eq!(pkcs8(text.as_bytes()).unwrap(), text);
        }
    }
    for none in [
        "",
        "x",
        "-----BEGIN RSA PRIVATE KEY-----\nMAA=\n-----END RSA PRIVATE KEY-----\n",
    ] {
        assert!(pkcs8(none.as_bytes()).is_err(), "{none}");
    }
}

#[test]
fn every_form_of_a_key_is_the_same_key() {
    for (pkcs8, traditional) in KEYS {
        let wanted = KeyPair::from_pem(pkcs8).unwrap().subject_public_key_info();
        for text in [pkcs8, traditional] {
            for form in [Form::Asn1, Form::Fixed] {
                let key = SigningKey::from_pem(text.as_bytes(), form).unwrap();
                assert_eq!(key.public_key(), wanted, "{text}");
                assert!(!key.sign(b"message").unwrap().is_empty());
            }
        }
    }
}

#[test]
fn authorities_with_keys_of_every_type_sign_what_they_are_asked_for() {
    let key = Key::generate(KeyType::EcdsaP256).unwrap();
    let request = Request::from_der(&key.stub_request().unwrap()).unwrap();
    let policy = Policy {
        usages: &["client auth"],
        life: Duration::from_secs(600),
        now: "2030-01-01T00:00:00Z".parse().unwrap(),
    };
    for (pkcs8, traditional) in KEYS {
        let der = certificate(&KeyPair::from_pem(pkcs8).unwrap());
        let (_, ca) = X509Certificate::from_der(&der).unwrap();
        for text in [pkcs8, traditional] {
            let authority = Authority::new(&der, text).unwrap();
            let signed = authority.sign(&request, &policy).unwrap();
            let block = pem::blocks(signed.as_bytes()).next().unwrap();
            let (_, signed) = X509Certificate::from_der(&block.der).unwrap();
            assert_eq!(signed.signature_algorithm, signed.tbs_certificate.signature);
            public_key::verify(
                ca.public_key(),
                &signed.signature_algorithm,
                signed.tbs_certificate.as_ref(),
                &signed.signature_value.data,
            )
            .unwrap();
        }
    }
}

#[test]
fn what_cannot_sign_is_refused() {
    let refused = |text: &str| SigningKey::from_pem(text.as_bytes(), Form::Asn1).unwrap_err();
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    assert!(!ed25519.sign(b"message").unwrap().is_empty());
    let damaged = keys::RSA_TRADITIONAL.replacen("MIIE", "MIIF", 1);
    for text in ["", "junk", &ed25519.serialize_pem(), &damaged] {
        assert_eq!(refused(text), Error::UnusableKey, "{text}");
    }
    let der = certificate(&KeyPair::from_pem(keys::P256).unwrap());
    let another = Authority::new(&der, keys::RSA).unwrap_err();
    assert_eq!(another, Error::AnothersKey);
}
