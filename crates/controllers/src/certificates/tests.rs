use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use serde_json::json;

use super::*;
use crate::fixtures::object;

/// PEM of a request for this name in this organization, with other names.
pub(crate) fn pem(name: &str, organization: &str, sans: Vec<SanType>) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
        .distinguished_name
        .push(DnType::OrganizationName, organization);
    params.subject_alt_names = sans;
    let key = KeyPair::generate().expect("a key");
    let request = params.serialize_request(&key).expect("a request");
    request.pem().expect("PEM")
}

/// A request to this signer.
pub(crate) fn csr(signer: &str, pem: &str, usages: &[&str]) -> CertificateSigningRequest {
    let mut csr: CertificateSigningRequest = object(json!({
        "metadata": {"name": "r", "creationTimestamp": "2030-01-01T00:00:00Z"},
        "spec": {"signerName": signer, "usages": usages, "username": "system:node:n1", "request": ""},
    }));
    csr.spec.request.0 = pem.as_bytes().to_vec();
    csr
}

#[test]
fn kubelets_ask_for_nothing_else() {
    let dns = || vec![SanType::DnsName("n1".try_into().expect("a name"))];
    let ip = || vec![SanType::IpAddress([10, 0, 0, 1].into())];
    let uri = || vec![SanType::URI("spiffe://a/b".try_into().expect("a URI"))];
    let client = ["digital signature", "client auth"];
    let server = ["digital signature", "key encipherment", "server auth"];
    let node = "system:node:n1";
    type Check = fn(&CertificateSigningRequest, &Request) -> Result<(), String>;
    /// What judges, common name, organization, other names, usages, and what is wrong.
    type Case<'c> = (
        Check,
        &'c str,
        &'c str,
        Vec<SanType>,
        &'c [&'c str],
        &'c str,
    );
    let (for_client, for_server): (Check, Check) = (check_kubelet_client, check_kubelet_serving);
    let cases: [Case<'_>; 11] = [
        (for_client, node, NODES, vec![], &client, ""),
        (
            for_client,
            node,
            "o",
            vec![],
            &client,
            "subject organization is not system:nodes",
        ),
        (
            for_client,
            "n1",
            NODES,
            vec![],
            &client,
            "subject common name does not begin with system:node:",
        ),
        (
            for_client,
            node,
            NODES,
            dns(),
            &client,
            "DNS subjectAltNames are not allowed",
        ),
        (
            for_client,
            node,
            NODES,
            ip(),
            &client,
            "IP subjectAltNames are not allowed",
        ),
        (
            for_client,
            node,
            NODES,
            uri(),
            &client,
            "URI subjectAltNames are not allowed",
        ),
        (
            for_client,
            node,
            NODES,
            vec![],
            &server,
            "usages did not match [client auth digital signature key encipherment]",
        ),
        (for_server, node, NODES, dns(), &server, ""),
        (
            for_server,
            node,
            NODES,
            vec![],
            &server,
            "DNS or IP subjectAltName is required",
        ),
        (
            for_server,
            node,
            NODES,
            ip(),
            &client,
            "usages did not match [digital signature key encipherment server auth]",
        ),
        (
            for_server,
            "n1",
            NODES,
            ip(),
            &server,
            "subject common name does not begin with system:node:",
        ),
    ];
    for (check, name, organization, sans, usages, wrong) in cases {
        let pem = pem(name, organization, sans);
        let request = Request::from_pem(pem.as_bytes()).expect("a request");
        let answer = check(&csr("x", &pem, usages), &request);
        assert_eq!(
            answer.err().unwrap_or_default(),
            wrong,
            "{name} {organization} {usages:?}"
        );
    }
}

#[test]
fn clients_are_clients() {
    for (usages, wrong) in [
        (&["client auth"][..], ""),
        (
            &["digital signature", "key encipherment", "client auth"],
            "",
        ),
        (
            &["digital signature"],
            "missing required usage for client certificate: client auth",
        ),
        (
            &["client auth", "server auth"],
            "invalid usage for client certificate: server auth",
        ),
    ] {
        let answer = check_client(&csr("x", "", usages));
        assert_eq!(answer.err().unwrap_or_default(), wrong, "{usages:?}");
    }
}
