use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::json;

use super::*;
use crate::certificates::{
    certificate,
    tests::{csr, pem},
};
use crate::fixtures::object;
use knarr_x509::{Certificate, pem::blocks};

fn authority() -> Authority {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certificate = params.self_signed(&key).expect("a certificate");
    Authority::new(certificate.der(), &key.serialize_pem()).expect("an authority")
}

fn decided(mut csr: CertificateSigningRequest, types: &[&str]) -> CertificateSigningRequest {
    let condition = |type_: &&str| json!({"type": type_, "status": "True"});
    let conditions: Vec<_> = types.iter().map(condition).collect();
    csr.status = object(json!({"conditions": conditions}));
    csr
}

#[test]
fn only_what_was_approved_is_signed() {
    let pem = pem("ann", "devs", Vec::new());
    let of = |signer: &str, types: &[&str]| decided(csr(signer, &pem, &["client auth"]), types);
    for (csr, due) in [
        (of(CLIENT, &[APPROVED]), true),
        (of(LEGACY_UNKNOWN, &[APPROVED]), true),
        (of(CLIENT, &[]), false),
        (of(CLIENT, &[APPROVED, DENIED]), false),
        (of(CLIENT, &[APPROVED, FAILED]), false),
        (of("example.com/mine", &[APPROVED]), false),
    ] {
        assert_eq!(is_due(&csr), due, "{:?}", csr.status);
    }
    let now = "2030-01-01T00:00:00Z".parse().expect("a time");
    let answer = answer(&of(CLIENT, &[APPROVED]), &authority(), now).expect("an answer");
    assert!(!is_due(&answer));
    let block = blocks(certificate(&answer)).next().expect("a block");
    let issued = Certificate::from_der(&block.der).expect("a certificate");
    assert_eq!(issued.not_after.to_string(), "2030-12-31T23:55:00Z");
}

#[test]
fn what_a_signer_does_not_sign_fails_for_good() {
    let pem = pem("ann", "devs", Vec::new());
    for (signer, usages, why) in [
        (
            CLIENT,
            &["server auth"][..],
            "invalid usage for client certificate: server auth",
        ),
        (
            KUBELET_CLIENT,
            &["client auth"],
            "subject organization is not system:nodes",
        ),
        (
            KUBELET_SERVING,
            &["server auth"],
            "subject organization is not system:nodes",
        ),
    ] {
        let csr = decided(csr(signer, &pem, usages), &[APPROVED]);
        let answer = answer(&csr, &authority(), Timestamp::now()).expect("an answer");
        let failed = crate::certificates::conditions(&answer, FAILED).next();
        let failed = failed.expect("a condition");
        assert_eq!(failed.message.as_deref(), Some(why));
        assert_eq!(failed.reason.as_deref(), Some("SignerValidationFailure"));
        assert!(certificate(&answer).is_empty() && !is_due(&answer));
    }
}

#[test]
fn lives_are_bounded() {
    for (asked, expected) in [
        (None, LONGEST),
        (Some(1), SHORTEST),
        (Some(-5), SHORTEST),
        (Some(3600), Duration::from_secs(3600)),
        (Some(i32::MAX), LONGEST),
    ] {
        let mut csr = csr(CLIENT, "", &[]);
        csr.spec.expiration_seconds = asked;
        assert_eq!(life(&csr), expected, "{asked:?}");
    }
}
