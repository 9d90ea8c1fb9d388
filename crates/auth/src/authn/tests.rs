use std::sync::Arc;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    PKCS_ECDSA_P256_SHA256,
};
use serde_json::json;

use super::*;
use crate::{
    testing::{Fake, user},
    tokens::Config,
};

fn certificate(name: Option<&str>, groups: &[&str], usage: ExtendedKeyUsagePurpose) -> Vec<u8> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for group in groups {
        params
            .distinguished_name
            .push(DnType::OrganizationName, *group);
    }
    if let Some(name) = name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.extended_key_usages = vec![usage];
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    params.self_signed(&key).unwrap().der().to_vec()
}

fn authn() -> Authn {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .unwrap()
        .serialize_der();
    let fake = Fake::new();
    fake.put(
        "",
        "serviceaccounts",
        json!({"metadata": {"name": "bot", "namespace": "ns", "uid": "u"}}),
    );
    let config = Config::of_domain("cluster.local", "192.0.2.1:6443");
    let tokens = Tokens::new(&key, config, fake.clone()).unwrap();
    Authn::new(Arc::new(tokens), fake)
}

#[tokio::test]
async fn certificates_then_tokens_then_nobody() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let authn = authn();
    let token = authn.tokens.request("ns", "bot", json!({})).unwrap()["status"]["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let good = certificate(Some("ann"), &["devs"], ClientAuth);
    let server = certificate(Some("ann"), &["devs"], ServerAuth);
    let nameless = certificate(None, &["devs"], ClientAuth);
    for (what, certificate, bearer, expected) in [
        ("nothing", None, None, Ok(None)),
        ("certificate", Some(&good), None, Ok(Some("ann"))),
        (
            "certificate before token",
            Some(&good),
            Some(token.as_str()),
            Ok(Some("ann")),
        ),
        (
            "token",
            None,
            Some(token.as_str()),
            Ok(Some("system:serviceaccount:ns:bot")),
        ),
        (
            "token beside a useless certificate",
            Some(&server),
            Some(token.as_str()),
            Ok(Some("system:serviceaccount:ns:bot")),
        ),
        ("server certificate", Some(&server), None, Err(401)),
        ("nameless certificate", Some(&nameless), None, Err(401)),
        ("bad token", None, Some("x.y.z"), Err(401)),
        ("empty token", None, Some(""), Err(401)),
    ] {
        let credentials = Credentials {
            client_certificate: certificate.map(Vec::as_slice),
            bearer,
            remarks: &(),
        };
        let answer = authn.authenticate(credentials).await;
        let answer = answer
            .map(|found| found.map(|found| found.user.name.clone()))
            .map_err(|status| status.code);
        assert_eq!(
            answer,
            expected.map(|name: Option<&str>| name.map(String::from)),
            "{what}"
        );
    }
}

#[test]
fn a_certificate_names_user_and_groups_within_its_life() {
    let certificates = x509::Certificates::default();
    let der = certificate(Some("ann"), &["ops"], ExtendedKeyUsagePurpose::ClientAuth);
    let found = certificates.user(&der).unwrap();
    let id = &found.user.extra["authentication.kubernetes.io/credential-id"][0];
    assert_eq!(id.len(), "X509SHA256=".len() + 64, "{id}");
    assert!(id.starts_with("X509SHA256="), "{id}");
    let named = user("ann", &["ops", AUTHENTICATED]);
    assert_eq!(
        (&found.user.name, &found.user.groups),
        (&named.name, &named.groups)
    );
    assert_eq!(certificates.user_at(&der, 0), None);
    assert_eq!(certificates.user_at(&der, i64::MAX), None);
    assert_eq!(certificates.user(&der), Some(found), "from memory");
    assert_eq!(certificates.user(b"no certificate"), None);
}

#[test]
fn only_health_and_what_is_public_are_for_everyone() {
    let public = "/api/v1/namespaces/kube-public/configmaps";
    for (path, expected) in [
        (&*format!("{public}/cluster-info"), true),
        (&*format!("{public}/cluster-info/"), false),
        (&*format!("{public}/other"), false),
        (public, false),
        ("/healthz", true),
        ("/livez", true),
        ("/readyz", true),
        ("/version", false),
        ("/readyz/x", false),
        ("/", false),
    ] {
        assert_eq!(anonymous_allowed(path), expected, "{path}");
    }
    assert_eq!(unauthorized().message, "Unauthorized");
}
