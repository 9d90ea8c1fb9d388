//! Certificates as openssl makes them by default: signed by themselves, and authorities.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::*;

const NAME: &str = "hook.example.org";

/// A certificate that its own key has signed, as PEM and as DER.
fn own() -> (Vec<u8>, CertificateDer<'static>) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.pem().into_bytes(), certificate.der().clone())
}

fn verify(bundle: &[u8], shown: &CertificateDer<'_>) -> Result<(), String> {
    let bundle = Bundle::new(bundle, Arc::new(ring::default_provider())).expect("a bundle");
    let name = ServerName::try_from(NAME).expect("a name");
    let verified = bundle.verify_server_cert(shown, &[], &name, &[], UnixTime::now());
    verified.map(|_| ()).map_err(|error| explain(&error))
}

#[test]
fn a_certificate_that_signed_itself_is_known_by_the_bundle_or_to_nobody() {
    let ((pem, shown), (other, _)) = (own(), own());
    assert_eq!(verify(&pem, &shown), Ok(()));
    let refused = verify(&other, &shown).expect_err("nobody vouches for it");
    let wanted = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    assert!(refused.starts_with(wanted), "{refused}");
}

#[test]
fn a_certificate_of_another_name_tells_its_names() {
    let refused = |names: &[&str], common: &str, host: &str| {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, common);
        let certificate = params.self_signed(&key).expect("a certificate");
        let provider = Arc::new(ring::default_provider());
        let bundle = Bundle::new(certificate.pem().as_bytes(), provider).expect("a bundle");
        let name = ServerName::try_from(host.to_owned()).expect("a name");
        let shown = certificate.der();
        let verified = bundle.verify_server_cert(shown, &[], &name, &[], UnixTime::now());
        let error = explain(&verified.expect_err("is of another name"));
        let prefix = "tls: failed to verify certificate: x509: ";
        error.strip_prefix(prefix).expect("the prefix").to_owned()
    };
    for (names, common, host, wanted) in [
        (
            &["localhost"][..],
            "",
            "127.0.0.1",
            "cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs",
        ),
        (
            &["10.0.0.1", "a.b"],
            "",
            "127.0.0.1",
            "certificate is valid for 10.0.0.1, not 127.0.0.1",
        ),
        (
            &["a.b", "c.d"],
            "e.f",
            "e.f",
            "certificate is valid for a.b, c.d, not e.f",
        ),
        (
            &[],
            "e.f",
            "e.f",
            "certificate relies on legacy Common Name field, use SANs instead",
        ),
        (
            &[],
            "g.h",
            "e.f",
            "certificate is not valid for any names, but wanted to match e.f",
        ),
    ] {
        assert_eq!(refused(names, common, host), wanted, "{names:?} {host}");
    }
}
