use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_auth::{
    UserInfo,
    authz::Authz,
    testing::{
        Fake, kind,
        rbac::{binding, role},
        user,
    },
};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::{Value, json};

use super::*;
use crate::{
    request::{AdmissionPlugin, Operation},
    testing::Write,
};

const RBAC: &str = "rbac.authorization.k8s.io";

/// `one` may do everything with the signer `a.b/one`, `all` with all of `a.b`.
fn authorizer() -> Arc<Authz> {
    let fake = Fake::new();
    let verbs = "approve,sign,attest certificates.k8s.io signers";
    for (who, signer) in [("one", "a.b/one"), ("all", "a.b/*")] {
        let rule = format!("{verbs} {signer}");
        fake.put(RBAC, "clusterroles", role("", who, &[&rule]));
        let bound = binding(
            "",
            who,
            &format!("ClusterRole/{who}"),
            &format!("User:{who}"),
        );
        fake.put(RBAC, "clusterrolebindings", bound);
    }
    Arc::new(Authz::new(fake))
}

fn csr(signer: &str, status: Value) -> Value {
    json!({"metadata": {"name": "r"}, "spec": {"signerName": signer}, "status": status})
}

async fn outcome(write: Write, plugin: &dyn AdmissionPlugin) -> String {
    write
        .run(plugin)
        .await
        .err()
        .map_or_else(String::new, |status| status.message)
}

#[tokio::test]
async fn who_decides_and_signs_must_be_allowed_to() {
    let authz = authorizer();
    let (approval, signing) = (
        CertificateApproval::new(authz.clone()),
        CertificateSigning::new(authz.clone()),
    );
    let requests = kind(
        GROUP,
        "certificatesigningrequests",
        "CertificateSigningRequest",
    );
    let decided = json!({"conditions": [{"type": "Approved"}]});
    let signed = json!({"certificate": "eA=="});
    let update = |who: &str, subresource, signer: &str, status: &Value| Write {
        subresource,
        ..Write::update(
            requests,
            user(who, &[]),
            csr(signer, json!({})),
            // What the new object says of its signer does not count.
            csr("a.b/one", status.clone()),
        )
    };
    for (who, signer, allowed) in [
        ("one", "a.b/one", true),
        ("all", "a.b/one", true),
        ("all", "a.b/two", true),
        ("one", "a.b/two", false),
        ("all", "c.d/one", false),
        ("ann", "a.b/one", false),
    ] {
        let approved = outcome(update(who, "approval", signer, &decided), &approval).await;
        let certified = outcome(update(who, "status", signer, &signed), &signing).await;
        let refused = |verb: &str| match allowed {
            true => String::new(),
            false => format!(
                "certificatesigningrequests.certificates.k8s.io \"r\" is forbidden: user not permitted to {verb} requests with signerName \"{signer}\""
            ),
        };
        assert_eq!(approved, refused("approve"), "{who} {signer}");
        assert_eq!(certified, refused("sign"), "{who} {signer}");
    }
    assert_eq!(
        outcome(update("ann", "status", "a.b/one", &json!({})), &signing).await,
        ""
    );
    assert_eq!(
        outcome(update("ann", "", "a.b/one", &signed), &signing).await,
        ""
    );
}

#[tokio::test]
async fn pods_certificates_are_signed_by_who_may() {
    let plugin = PodCertificateSigning::new(authorizer());
    let requests = kind(GROUP, "podcertificaterequests", "PodCertificateRequest");
    let update = |who: &str, status: Value| Write {
        subresource: "status",
        ..Write::update(
            requests,
            user(who, &[]),
            csr("a.b/one", json!({})),
            csr("a.b/one", status),
        )
    };
    let issued = json!({"conditions": [{"type": "Issued"}]});
    assert_eq!(outcome(update("one", issued.clone()), &plugin).await, "");
    assert_eq!(outcome(update("ann", json!({})), &plugin).await, "");
    let status = update("ann", issued).run(&plugin).await.unwrap_err();
    assert_eq!(status.code, 422);
    assert_eq!(
        status.message,
        "PodCertificateRequest.certificates.k8s.io \"r\" is invalid: spec.signerName: Forbidden: User \"ann\" is not permitted to \"sign\" for signer \"a.b/one\""
    );
}

#[tokio::test]
async fn trust_is_attested_by_who_may() {
    let plugin = ClusterTrustBundleAttest::new(authorizer());
    let bundles = kind(GROUP, "clustertrustbundles", "ClusterTrustBundle");
    let create =
        |who: &str, signer: &str| Write::create(bundles, user(who, &[]), csr(signer, json!({})));
    assert_eq!(outcome(create("one", "a.b/one"), &plugin).await, "");
    assert_eq!(outcome(create("ann", ""), &plugin).await, "");
    assert_eq!(
        outcome(create("ann", "a.b/one"), &plugin).await,
        "clustertrustbundles.certificates.k8s.io \"r\" is forbidden: user not permitted to attest for signerName \"a.b/one\""
    );
    // The garbage collector attests nothing.
    let old = csr("a.b/one", json!({}));
    let mut new = old.clone();
    new["metadata"]["finalizers"] = json!(["x"]);
    let collected = Write::update(bundles, user("ann", &[]), old.clone(), new);
    assert_eq!(outcome(collected, &plugin).await, "");
    let mut new = old.clone();
    new["spec"]["trustBundle"] = "x".into();
    let changed = Write::update(bundles, user("ann", &[]), old, new);
    assert_ne!(outcome(changed, &plugin).await, "");
}

/// PEM, in base64, of a request in the name of these groups.
fn request(groups: &[&str]) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "x");
    for group in groups {
        params
            .distinguished_name
            .push(DnType::OrganizationName, *group);
    }
    let request = params.serialize_request(&KeyPair::generate().unwrap());
    STANDARD.encode(request.unwrap().pem().unwrap())
}

#[tokio::test]
async fn nobody_asks_to_be_a_master() {
    let requests = kind(
        GROUP,
        "certificatesigningrequests",
        "CertificateSigningRequest",
    );
    let root: UserInfo = user("root", &["system:masters"]);
    let create = |signer: &str, request: &str| {
        let object =
            json!({"metadata": {"name": "r"}, "spec": {"signerName": signer, "request": request}});
        let write = Write::create(requests, root.clone(), object);
        assert_eq!(write.operation, Operation::Create);
        write
    };
    let plugin = CertificateSubjectRestriction;
    let client = "kubernetes.io/kube-apiserver-client";
    let masters = request(&["system:masters"]);
    assert_eq!(
        outcome(create(client, &masters), &plugin).await,
        "certificatesigningrequests.certificates.k8s.io \"r\" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    );
    assert_eq!(
        outcome(create(client, &request(&["devs"])), &plugin).await,
        ""
    );
    assert_eq!(outcome(create("a.b/c", &masters), &plugin).await, "");
    assert_eq!(
        outcome(create(client, "junk"), &plugin).await,
        "certificatesigningrequests.certificates.k8s.io \"r\" is forbidden: failed to parse CSR: PEM block type must be CERTIFICATE REQUEST"
    );
}
