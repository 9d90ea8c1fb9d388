use base64::{Engine, engine::general_purpose::STANDARD};
use expect_test::{Expect, expect};
use knarr_x509::{Key, KeyType, pem};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};

use super::{
    certificate_signing_request::{self as csr, APPROVAL},
    cluster_trust_bundle as bundle, pod_certificate_request as pcr,
};
use crate::{
    BuiltIn, Requester,
    kind::Part,
    testing::{create_errors, created, lines, row, update_errors, updated},
};

const NOW: i64 = 1_767_225_600;

fn check(kind: &BuiltIn, object: Value, expected: Expect) {
    expected.assert_eq(&create_errors(kind, object));
}

fn stub() -> Vec<u8> {
    let key = Key::generate(KeyType::EcdsaP256).unwrap();
    key.stub_request().unwrap()
}

fn request(spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("request").is_none() {
        let text = pem::encode(pem::REQUEST, &stub());
        spec["request"] = STANDARD.encode(text).into();
    }
    json!({"metadata": {"name": "r"}, "spec": spec})
}

fn ca(name: &str, is_ca: bool) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params.self_signed(&key).unwrap().pem()
}

#[test]
fn signing_requests_are_checked() {
    let kind = &csr::KIND;
    let good = json!({"signerName": "example.com/mine", "usages": ["client auth"]});
    check(kind, request(good), expect![""]);
    check(
        kind,
        request(json!({
            "request": "anVuaw==", "signerName": "kubernetes.io/legacy-unknown", "expirationSeconds": 599,
            "usages": ["client auth", "client auth", "flying"],
        })),
        expect![[r#"
            spec.request: Invalid value: "anVuaw==": PEM block type must be CERTIFICATE REQUEST
            spec.usages[2]: Unsupported value: "flying": supported values: "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping"
            spec.usages[1]: Duplicate value: "client auth"
            spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version
            spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)"#]],
    );
    let none = json!({"signerName": "example.com/mine", "usages": ["client auth"]});
    let none = json!({"metadata": {"name": "r"}, "spec": none});
    check(
        kind,
        none,
        expect!["spec.request: Invalid value: null: PEM block type must be CERTIFICATE REQUEST"],
    );
    check(
        kind,
        request(json!({"signerName": "nodot/a/b"})),
        expect![[r#"
            spec.usages: Required value
            spec.signerName: Invalid value: "nodot/a/b": must be a fully qualified domain and path of the form 'example.com/signer-name'"#]],
    );
    check(
        kind,
        request(json!({"signerName": "nodot/A_b", "usages": ["any"]})),
        expect![[r#"
            spec.signerName: Invalid value: "nodot": should be a domain with at least two segments separated by dots
            spec.signerName: Invalid value: "A_b": validating label "A_b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]],
    );
}

#[test]
fn signing_requests_say_who_asks() {
    let mut object = request(json!({"username": "somebody else", "extra": {"a": ["b"]}}));
    object["status"] = json!({"conditions": [{"type": "Approved"}]});
    let mut object = created(&csr::KIND, object);
    assert_eq!(object["status"], json!({}));
    let groups = ["devs".to_owned()];
    let requester = Requester {
        name: "ann",
        uid: "",
        groups: &groups,
        extra: &Default::default(),
    };
    csr::KIND.strategy.stamp(&mut object, &requester);
    let spec = object["spec"].as_object().unwrap();
    assert_eq!(spec["username"], "ann");
    assert_eq!(spec["groups"], json!(["devs"]));
    assert!(!spec.contains_key("extra") && !spec.contains_key("uid"));
}

#[test]
fn each_part_of_a_signing_request_has_its_writers() {
    let kind = &csr::KIND;
    let old = request(json!({"signerName": "example.com/mine", "usages": ["any"]}));
    let with = |status: Value| {
        let mut object = old.clone();
        object["status"] = status;
        object
    };
    let approved = json!({"type": "Approved", "status": "True"});
    let denied = json!({"type": "Denied", "status": "True"});
    // Nothing but metadata through the object itself.
    let mut changed = with(json!({"conditions": [approved]}));
    changed["spec"]["usages"] = json!(["client auth"]);
    let kept = updated(kind, changed, &old, Part::Main);
    assert_eq!((&kept["spec"], kept.get("status")), (&old["spec"], None));
    // Decisions through the approval, with times.
    let yes = updated(
        kind,
        with(json!({"conditions": [approved]})),
        &old,
        APPROVAL,
    );
    let condition = &yes["status"]["conditions"][0];
    assert!(condition["lastUpdateTime"].is_string() && condition["lastTransitionTime"].is_string());
    assert_eq!(update_errors(kind, yes.clone(), &old, APPROVAL), "");
    let both = with(json!({"conditions": [approved, denied]}));
    expect![[r#"status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive"#]]
        .assert_eq(&update_errors(kind, both, &old, APPROVAL));
    let neither = with(json!({"conditions": []}));
    expect![[
        r#"status.conditions: Forbidden: updates may not remove a condition of type "Approved""#
    ]]
    .assert_eq(&update_errors(kind, neither, &yes, APPROVAL));
    // Not through the status.
    let smuggled = with(json!({"conditions": [approved]}));
    expect![[
        r#"status.conditions: Forbidden: updates may not add a condition of type "Approved""#
    ]]
    .assert_eq(&update_errors(kind, smuggled, &old, Part::Status));
    let mut rewritten = yes.clone();
    rewritten["status"]["conditions"][0]["reason"] = "Because".into();
    let kept = updated(kind, rewritten, &yes, Part::Status);
    assert_eq!(kept["status"], yes["status"]);
    // Certificates, once.
    let certificate = STANDARD.encode(ca("a", false));
    let mut signed = yes.clone();
    signed["status"]["certificate"] = certificate.into();
    assert_eq!(update_errors(kind, signed.clone(), &yes, Part::Status), "");
    let mut again = signed.clone();
    again["status"]["certificate"] = STANDARD.encode(ca("b", false)).into();
    expect!["status.certificate: Forbidden: updates may not modify existing certificate content"]
        .assert_eq(&update_errors(kind, again, &signed, Part::Status));
    let mut junk = yes.clone();
    junk["status"]["certificate"] = STANDARD.encode("junk").into();
    expect![[r#"status.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block"#]]
        .assert_eq(&update_errors(kind, junk, &yes, Part::Status));
    let mut failed = yes.clone();
    failed["status"]["conditions"] =
        json!([approved, {"type": "Failed", "status": "False"}, {"type": "X"}]);
    expect![[r#"
        status.conditions[1].status: Unsupported value: "False": supported values: "True"
        status.conditions[2].status: Required value"#]]
    .assert_eq(&update_errors(kind, failed, &yes, Part::Status));
    expect!["r | <unknown> | example.com/mine |  | <none> | Approved,Issued"]
        .assert_eq(&row(kind, &signed, NOW));
}

#[test]
fn trust_bundles_are_named_by_their_signers_and_hold_authorities() {
    let kind = &bundle::KIND;
    let (one, two) = (ca("one", true), ca("two", true));
    let object = |name: &str, signer: &str, text: &str| json!({"metadata": {"name": name}, "spec": {"signerName": signer, "trustBundle": text}});
    check(kind, object("a", "", &one), expect![""]);
    check(
        kind,
        object("a.b:c:x", "a.b/c", &format!("{one}{two}")),
        expect![""],
    );
    check(
        kind,
        object("x", "a.b/c", &one),
        expect![[
            r#"metadata.name: Invalid value: "x": ClusterTrustBundle for signerName a.b/c must be named with prefix a.b:c:"#
        ]],
    );
    check(
        kind,
        object("x:y", "", &one),
        expect![[
            r#"metadata.name: Invalid value: "x:y": ClusterTrustBundle without signer name must not have ":" in its name"#
        ]],
    );
    let leaf = ca("leaf", false);
    let key = pem::encode(pem::PRIVATE_KEY, b"x");
    let junk = pem::encode(pem::CERTIFICATE, b"x");
    check(
        kind,
        object("a", "", &format!("{leaf}{key}{junk}")),
        expect![[r#"
            spec.trustBundle: Invalid value: "<value omitted>": entry 0 does not have the CA bit set
            spec.trustBundle: Invalid value: "<value omitted>": entry 1 has bad block type: PRIVATE KEY
            spec.trustBundle: Invalid value: "<value omitted>": entry 2 does not parse as X.509"#]],
    );
    check(
        kind,
        object("a", "", &format!("{one}{two}{one}")),
        expect![[
            r#"spec.trustBundle: Invalid value: "<value omitted>": duplicate trust anchor (indices [0 2])"#
        ]],
    );
    check(
        kind,
        object("a", "", "nothing"),
        expect![[
            r#"spec.trustBundle: Invalid value: "<value omitted>": at least one trust anchor must be provided"#
        ]],
    );
    check(
        kind,
        object("a", "", &"x".repeat(1024 * 1024 + 1)),
        expect!["spec.trustBundle: Too long: may not be more than 1048576 bytes"],
    );
    let old = object("a", "", "what was stored once");
    assert_eq!(update_errors(kind, old.clone(), &old, Part::Main), "");
    let moved = object("a.b:c:x", "a.b/c", &one);
    expect![[r#"spec.signerName: Invalid value: "a.b/c": field is immutable"#]]
        .assert_eq(&update_errors(kind, moved.clone(), &old, Part::Main));
    let mut unsigned = moved.clone();
    unsigned["spec"]
        .as_object_mut()
        .and_then(|spec| spec.remove("signerName"));
    expect![[r#"
        metadata.name: Invalid value: "a.b:c:x": ClusterTrustBundle without signer name must not have ":" in its name
        spec.signerName: Invalid value: "": field is immutable"#]]
    .assert_eq(&update_errors(kind, unsigned, &moved, Part::Main));
    expect!["a | <none>"].assert_eq(&row(kind, &old, NOW));
}

fn pod_request(more: Value) -> Value {
    let mut spec = json!({
        "signerName": "example.com/mine", "podName": "p", "podUID": "u", "serviceAccountName": "default",
        "serviceAccountUID": "s", "nodeName": "n", "nodeUID": "m", "stubPKCS10Request": STANDARD.encode(stub()),
    });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    json!({"metadata": {"name": "r", "namespace": "ns"}, "spec": spec})
}

#[test]
fn pods_requests_are_checked() {
    let kind = &pcr::KIND;
    let object = created(kind, pod_request(json!({})));
    assert_eq!(object["spec"]["maxExpirationSeconds"], 86_400);
    check(kind, pod_request(json!({})), expect![""]);
    check(
        kind,
        pod_request(json!({
            "podName": "", "podUID": "", "nodeUID": "x".repeat(129), "maxExpirationSeconds": 3599,
            "unverifiedUserAnnotations": {"plain": "x"}, "stubPKCS10Request": "",
        })),
        expect![[r#"
            spec.unverifiedUserAnnotations: Invalid value: "plain": must be a domain-prefixed key (such as "acme.io/foo")
            spec.podName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.podUID: Invalid value: "": must not be empty
            spec.nodeUID: Too long: may not be more than 128 bytes
            spec.maxExpirationSeconds: Invalid value: 3599: must be in the range [3600, 7862400]
            spec: Invalid value: exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set"#]],
    );
    let kubernetes = json!({"signerName": "kubernetes.io/x", "maxExpirationSeconds": 86_401});
    check(
        kind,
        pod_request(kubernetes),
        expect![
            "spec.maxExpirationSeconds: Invalid value: 86401: must be in the range [3600, 86400]"
        ],
    );
    let mut forged = stub();
    *forged.last_mut().unwrap() ^= 1;
    for (stub, expected) in [
        (b"junk".to_vec(), "must be a valid PKCS#10 CSR"),
        (forged, "invalid signature"),
    ] {
        let object = pod_request(json!({"stubPKCS10Request": STANDARD.encode(stub)}));
        let errors = create_errors(kind, object);
        assert_eq!(
            errors,
            format!("spec.stubPKCS10Request: Invalid value: {expected}")
        );
    }
}

/// A request with its key, and a certificate of this life in seconds for that key.
fn answered(life: i64) -> (Value, Value) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let stub = params.serialize_request(&key).unwrap();
    let mut old = pod_request(json!({"stubPKCS10Request": STANDARD.encode(stub.der())}));
    old["spec"]["maxExpirationSeconds"] = 7200.into();
    let now = jiff::Timestamp::now().as_second();
    let time = |seconds: i64| {
        rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds.unsigned_abs())
    };
    params.not_before = time(now);
    params.not_after = time(now + life);
    let text =
        |seconds| knarr_meta::time::format_seconds(jiff::Timestamp::from_second(seconds).unwrap());
    let mut new = old.clone();
    new["status"] = json!({
        "certificateChain": params.self_signed(&key).unwrap().pem(),
        "notBefore": text(now), "notAfter": text(now + life), "beginRefreshAt": text(now + life / 2),
        "conditions": [{"type": "Issued", "status": "True", "reason": "Fine", "lastTransitionTime": text(now)}],
    });
    (old, new)
}

#[test]
fn signers_answer_once_and_for_the_key() {
    let kind = &pcr::KIND;
    let errors = |new: &Value, old: &Value| {
        let new = updated(kind, new.clone(), old, Part::Status);
        lines(&kind.strategy.validate_update(&new, old, Part::Status))
    };
    let (old, good) = answered(3600);
    assert_eq!(errors(&good, &old), "");
    expect!["r | p | default | n | example.com/mine | Issued | <none>"]
        .assert_eq(&row(kind, &good, NOW));
    let immutable =
        "status: Invalid value: immutable after PodCertificateRequest is issued, denied, or failed";
    let mut again = good.clone();
    again["status"]["notAfter"] = "2030-01-01T00:00:00Z".into();
    assert_eq!(errors(&again, &good), immutable);

    let change = |field: &str, value: Value| {
        let mut new = good.clone();
        new["status"][field] = value;
        errors(&new, &old)
    };
    let other = answered(3600).1["status"]["certificateChain"].clone();
    assert!(
        change("certificateChain", other)
            .ends_with("leaf certificate was not issued to the requested public key")
    );
    assert!(
        change("certificateChain", "x".into())
            .ends_with("issued certificate chain must contain at least one certificate")
    );
    assert!(change("notBefore", Value::Null).contains("status.notBefore: Required value: must be present and consistent with the issued certificate"));
    assert!(
        change("notAfter", "2030-01-01T00:00:00Z".into())
            .ends_with("must be set to the NotAfter time encoded in the leaf certificate")
    );
    let soon = good["status"]["notBefore"].clone();
    assert!(
        change("beginRefreshAt", soon)
            .ends_with("must be at least 10 minutes after status.notBefore")
    );
    assert_eq!(
        change("conditions", json!([])),
        "status: Invalid value: status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\""
    );
    let denied = json!([{"type": "Denied", "status": "True", "reason": "No", "lastTransitionTime": "2030-01-01T00:00:00Z"}]);
    assert_eq!(
        change("conditions", denied.clone()),
        "status: Invalid value: non-condition status fields must be empty when denying or failing the PodCertificateRequest"
    );
    let mut refused = old.clone();
    refused["status"] = json!({"conditions": denied});
    assert_eq!(errors(&refused, &old), "");

    let (old, long) = answered(7201);
    assert!(
        errors(&long, &old)
            .ends_with("leaf certificate lifetime must be <= spec.maxExpirationSeconds (7200)")
    );
    let (old, short) = answered(3599);
    assert!(errors(&short, &old).ends_with("leaf certificate lifetime must be >= 1 hour"));
    let mut odd = old.clone();
    odd["status"] = json!({"conditions": [{"type": "Odd", "status": "True", "reason": "X", "lastTransitionTime": "2030-01-01T00:00:00Z"}]});
    expect![[r#"status.conditions.[0].type: Unsupported value: "Odd": supported values: "Issued", "Denied", "Failed""#]]
        .assert_eq(&errors(&odd, &old));
}
