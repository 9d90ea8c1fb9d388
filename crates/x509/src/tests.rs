use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;

fn ca() -> (Vec<u8>, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    (params.self_signed(&key).unwrap().der().to_vec(), key)
}

fn request(name: &str, sans: Vec<SanType>) -> Request {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
        .distinguished_name
        .push(DnType::OrganizationName, "o");
    params.subject_alt_names = sans;
    let csr = params.serialize_request(&KeyPair::generate().unwrap());
    Request::from_pem(csr.unwrap().pem().unwrap().as_bytes()).unwrap()
}

fn sign(request: &Request, usages: &[&str], life: u64, now: &str) -> Result<Vec<u8>, Error> {
    let (der, key) = ca();
    let authority = Authority::new(&der, &key.serialize_pem()).unwrap();
    let policy = Policy {
        usages,
        life: Duration::from_secs(life),
        now: now.parse().unwrap(),
    };
    let text = authority.sign(request, &policy)?;
    let blocks: Vec<pem::Block> = pem::blocks(text.as_bytes()).collect();
    assert_eq!((blocks.len(), &*blocks[0].label), (1, pem::CERTIFICATE));
    let (_, parsed) = X509Certificate::from_der(&blocks[0].der).unwrap();
    let (_, authority) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(parsed.issuer().as_raw(), authority.subject().as_raw());
    public_key::verify(
        authority.public_key(),
        &parsed.signature_algorithm,
        parsed.tbs_certificate.as_ref(),
        &parsed.signature_value.data,
    )?;
    Ok(blocks.into_iter().next().unwrap().der)
}

#[test]
fn a_certificate_says_what_was_asked_for() {
    let sans = vec![
        SanType::DnsName("a.example".try_into().unwrap()),
        SanType::IpAddress("10.0.0.1".parse().unwrap()),
        SanType::URI("spiffe://x/y".try_into().unwrap()),
    ];
    let request = request("somebody", sans);
    assert_eq!(request.common_name, "somebody");
    assert_eq!(request.organizations, ["o"]);
    assert_eq!(request.dns_names, ["a.example"]);
    assert_eq!(request.ip_addresses, [vec![10, 0, 0, 1]]);
    assert_eq!(request.uris, ["spiffe://x/y"]);
    let usages = ["digital signature", "key encipherment", "client auth"];
    let der = sign(&request, &usages, 86_400, "2030-01-01T00:00:00Z").unwrap();
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(parsed.subject().to_string(), "CN=somebody, O=o");
    let usage = parsed.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.digital_signature() && usage.value.key_encipherment());
    assert!(!usage.value.key_cert_sign());
    let purposes = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(purposes.client_auth && !purposes.server_auth && !purposes.any);
    assert!(!parsed.is_ca());
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    assert_eq!(
        (names.critical, names.value.general_names.len()),
        (false, 3)
    );
    let certificate = Certificate::from_der(&der).unwrap();
    assert_eq!(certificate.public_key, request.public_key);
    assert_eq!(certificate.dns_names, ["a.example"]);
    assert_eq!(certificate.organizations, ["o"]);
    assert!(certificate.is_client && !certificate.is_server);
    assert!(!certificate.names_issuer(&certificate));
}

#[test]
fn lives_are_cut_as_upstream_cuts_them() {
    let request = request("a", Vec::new());
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    for (life, now, end) in [
        (600, "2030-01-01T00:00:00Z", "2030-01-01T00:10:00Z"),
        (86_400, "2030-01-01T00:00:00Z", "2030-01-01T23:55:00Z"),
        (864_000, "2039-12-31T00:00:00Z", "2040-01-01T00:00:00Z"),
    ] {
        let der = sign(&request, &["client auth"], life, now).unwrap();
        let certificate = Certificate::from_der(&der).unwrap();
        assert_eq!(certificate.not_after, at(end), "{life} {now}");
        assert_eq!(certificate.not_before, at(now) - Duration::from_secs(300));
    }
    let late = sign(&request, &["client auth"], 600, "2040-01-01T00:00:00Z");
    assert!(matches!(late, Err(Error::SignerExpired(_))));
}

#[test]
fn what_is_not_right_is_not_signed() {
    let good = request("a", Vec::new());
    let usages = sign(
        &good,
        &["client auth", "x", "y"],
        600,
        "2030-01-01T00:00:00Z",
    );
    assert_eq!(
        usages.unwrap_err().to_string(),
        "unrecognized usage values: [\"x\" \"y\"]"
    );
    let key = Key::generate(KeyType::EcdsaP256).unwrap();
    let mut der = key.stub_request().unwrap();
    assert!(Request::from_der(&der).unwrap().verify().is_ok());
    *der.last_mut().unwrap() ^= 1;
    let forged = Request::from_der(&der).unwrap();
    assert_eq!(forged.verify(), Err(Error::Signature("ECDSA")));
    der.push(0);
    assert_eq!(
        Request::from_der(&der),
        Err(Error::Malformed("certificate request"))
    );
    let other = pem::encode(pem::CERTIFICATE, &der);
    assert_eq!(
        Request::from_pem(other.as_bytes()),
        Err(Error::BlockType("CERTIFICATE REQUEST"))
    );
    assert_eq!(
        Request::from_pem(b"junk"),
        Err(Error::BlockType("CERTIFICATE REQUEST"))
    );
}

#[test]
fn keys_of_every_type_prove_themselves() {
    for (name, kind) in [
        ("ED25519", PublicKey::Ed25519),
        ("ECDSAP256", PublicKey::Ecdsa(Curve::P256)),
        ("ECDSAP384", PublicKey::Ecdsa(Curve::P384)),
    ] {
        let key = Key::generate(KeyType::parse(name).unwrap()).unwrap();
        let request = Request::from_der(&key.stub_request().unwrap()).unwrap();
        assert_eq!((request.key, request.verify()), (kind, Ok(())), "{name}");
        assert_eq!(request.common_name, "");
        // What is written is read again.
        let text = key.to_pem();
        let read = KeyPair::from_pem(&text).unwrap();
        assert_eq!(read.public_key_raw(), key_of(&request), "{name}");
        let der = pem::blocks(text.as_bytes()).next().unwrap().der;
        let version = der.windows(3).find(|bytes| bytes[..2] == [0x02, 0x01]);
        assert_eq!(version.unwrap()[2], 0, "{name}");
    }
    assert!(KeyType::parse("RSA3072").is_err());
    assert!(KeyType::parse("ECDSAP521").is_err());
}

/// The raw public key of a request.
fn key_of(request: &Request) -> Vec<u8> {
    let (_, key) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&request.public_key).unwrap();
    key.subject_public_key.data.to_vec()
}
