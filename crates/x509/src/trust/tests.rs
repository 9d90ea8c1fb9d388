use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use super::*;

const NAME: &str = "registry.example.org";

/// As `openssl req -x509` makes it: an authority that signed itself, with its key.
fn own() -> (Vec<u8>, CertificateDer<'static>, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let made = params.self_signed(&key).expect("a certificate");
    (
        made.pem().into_bytes(),
        made.der().clone(),
        key.serialize_pem(),
    )
}

#[test]
fn beside_the_systems_authorities_a_certificate_vouches_for_itself() {
    let ((pem, shown, _), (other, _, _)) = (own(), own());
    let verify = |pem: &[u8], name: &'static str| {
        let provider = Arc::new(ring::default_provider());
        let bundle = Bundle::beside_system(pem, provider).expect("a bundle");
        let name = ServerName::try_from(name).expect("a name");
        bundle
            .verify_server_cert(&shown, &[], &name, &[], UnixTime::now())
            .is_ok()
    };
    assert!(verify(&pem, NAME));
    assert!(!verify(&pem, "other.example.org"));
    assert!(!verify(&other, NAME));
}

#[test]
fn a_client_is_made_of_what_can_be_read() {
    let (pem, _, key) = own();
    let identity = [&pem[..], key.as_bytes()].concat();
    assert!(client(&pem, Some(&identity)).is_ok());
    assert!(matches!(client(b"", None), Err(BundleError::Unreadable)));
    assert!(matches!(client(&pem, Some(&pem)), Err(BundleError::Key)));
}
