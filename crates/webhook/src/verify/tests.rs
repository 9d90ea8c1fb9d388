//! Certificates as openssl makes them by default: signed by themselves, and authorities.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

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
