//! Validation of new requests: upstream's `ValidatePodCertificateRequestCreate`.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{i64_at, map_at, str_at},
};
use knarr_x509::{Curve, PublicKey, Request};
use serde_json::Value;

use super::bytes;
use crate::{
    certificates::{
        MIN_POD_CERTIFICATE_SECONDS, max_pod_certificate_seconds, validate_signer_name,
        validate_user_annotations,
    },
    validate,
};

const UID_BYTES: usize = 128;
const STUB_BYTES: usize = 10 * 1024;

pub(super) fn validate(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let text = |field| str_at(object, &["spec", field]);
    validate_signer_name(text("signerName"), &path.child("signerName"), &mut errors);
    if let Some(annotations) = map_at(object, &["spec", "unverifiedUserAnnotations"]) {
        let path = path.child("unverifiedUserAnnotations");
        validate_user_annotations(annotations, &path, &mut errors);
    }
    for (name, uid) in [
        ("podName", "podUID"),
        ("serviceAccountName", "serviceAccountUID"),
        ("nodeName", "nodeUID"),
    ] {
        let wrong = names::dns1123_subdomain(text(name));
        validate::each(&mut errors, &path.child(name), text(name), wrong);
        if text(uid).is_empty() {
            errors.push(Error::invalid(&path.child(uid), "", "must not be empty"));
        }
        if text(uid).len() > UID_BYTES {
            errors.push(Error::too_long(&path.child(uid), UID_BYTES));
        }
    }
    let seconds_path = path.child("maxExpirationSeconds");
    let Some(seconds) = i64_at(object, &["spec", "maxExpirationSeconds"]) else {
        errors.push(Error::required(&seconds_path, "must be set"));
        return errors;
    };
    let (min, max) = (
        MIN_POD_CERTIFICATE_SECONDS,
        max_pod_certificate_seconds(text("signerName")),
    );
    if !(min..=max).contains(&seconds) {
        let why = format!("must be in the range [{min}, {max}]");
        errors.push(Error::invalid(&seconds_path, seconds, why));
    }
    validate_stub(object, &path, &mut errors);
    errors
}

/// The request that proves that the kubelet has the key. This version of the API has no other proof.
fn validate_stub(object: &Value, spec: &Path, errors: &mut ErrorList) {
    let path = spec.child("stubPKCS10Request");
    let malformed = || Error::invalid_whole(&path, "must be a valid PKCS#10 CSR");
    let Some(stub) = bytes(object, &["spec", "stubPKCS10Request"]) else {
        errors.push(malformed());
        return;
    };
    if stub.is_empty() {
        let why =
            "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set";
        errors.push(Error::invalid_whole(spec, why));
        return;
    }
    if stub.len() > STUB_BYTES {
        errors.push(Error::too_long(&path, STUB_BYTES));
        return;
    }
    let Ok(request) = Request::from_der(&stub) else {
        errors.push(malformed());
        return;
    };
    let wrong = match request.key {
        PublicKey::Ecdsa(curve @ Curve::P224) => Some(Error::invalid(
            &path,
            format!("curve {}", curve.name()),
            "elliptic public keys must use curve P256, P384, or P521",
        )),
        PublicKey::Rsa { bits } if bits != 3072 && bits != 4096 => Some(Error::invalid(
            &path,
            format!("{bits}-bit modulus"),
            "RSA keys must have modulus size 3072 or 4096",
        )),
        PublicKey::Unknown => Some(Error::invalid_whole(
            &path,
            "unknown public key type; supported types are Ed25519, ECDSA, and RSA",
        )),
        _ => None,
    };
    match wrong {
        Some(wrong) => errors.push(wrong),
        None if request.verify().is_err() => {
            errors.push(Error::invalid_whole(&path, "invalid signature"));
        }
        None => {}
    }
}
