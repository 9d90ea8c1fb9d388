//! Controllers of certificates and of what is trusted.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use knarr_x509::{Key, KeyType, Subject, pem};
use serde_json::{Value, json};

use crate::crashes::scenario::{PLAIN, Scenario, Step, create, create_in, delete, patch, wait};
use crate::crashes::world::{World, equal};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const MAPS: &str = "/api/v1/namespaces/x/configmaps";
const SERVING: &str = "kubernetes.io/kube-apiserver-serving";

pub const SCENARIOS: [Scenario; 6] = [
    Scenario {
        controller: "certificatesigningrequest-approving-controller",
        after: || {
            vec![
                request("n8", "kubernetes.io/kube-apiserver-client-kubelet"),
                request("other", "example.com/mine"),
            ]
        },
        check: |world| {
            equal("decided", &conditions(world, "n8")?, &json!(["Approved"]))?;
            equal("another's", &conditions(world, "other")?, &json!([]))
        },
        ..PLAIN
    },
    Scenario {
        controller: "certificatesigningrequest-signing-controller",
        after: || {
            vec![
                request("a", "kubernetes.io/kube-apiserver-client"),
                request("b", "kubernetes.io/kube-apiserver-client"),
                decide("a", "Approved"),
            ]
        },
        check: |world| {
            let signed = |name: &str| -> Result<Value, String> {
                let certificate =
                    &world.one("certificatesigningrequests", name)?["status"]["certificate"];
                Ok(json!(certificate.is_string()))
            };
            equal("signed", &signed("a")?, &json!(true))?;
            equal("signed without approval", &signed("b")?, &json!(false))
        },
        ..PLAIN
    },
    Scenario {
        controller: "certificatesigningrequest-cleaner-controller",
        after: || {
            vec![
                request("denied", "example.com/mine"),
                request("open", "example.com/mine"),
                decide("denied", "Denied"),
                wait(3700),
            ]
        },
        check: |world| {
            let names: Vec<&Value> = world
                .all("certificatesigningrequests")
                .iter()
                .map(|one| &one["metadata"]["name"])
                .collect();
            equal("requests", &json!(names), &json!(["open"]))
        },
        ..PLAIN
    },
    Scenario {
        controller: "kube-apiserver-serving-clustertrustbundle-publisher-controller",
        before: || {
            let spec =
                json!({"signerName": SERVING, "trustBundle": include_str!("retired-ca.pem")});
            let name = "kubernetes.io:kube-apiserver-serving:retired";
            vec![create_in(
                "",
                "certificates.k8s.io/v1",
                "ClusterTrustBundle",
                name,
                json!({"spec": spec}),
            )]
        },
        check: |world| {
            let bundles = world.all("clustertrustbundles");
            equal("bundles", &json!(bundles.len()), &json!(1))?;
            let retired = bundles[0]["spec"]["trustBundle"] == include_str!("retired-ca.pem");
            equal("retired", &json!(retired), &json!(false))
        },
        ..PLAIN
    },
    Scenario {
        controller: "podcertificaterequest-cleaner-controller",
        after: || {
            vec![
                pod_request("a"),
                pod_request("b"),
                wait(1000),
                pod_request("c"),
            ]
        },
        check: |world| {
            let names: Vec<&Value> = world
                .all("podcertificaterequests")
                .iter()
                .map(|one| &one["metadata"]["name"])
                .collect();
            equal("requests", &json!(names), &json!(["c"]))
        },
        ..PLAIN
    },
    Scenario {
        controller: "root-ca-certificate-publisher-controller",
        after: || {
            vec![
                create_in("", "v1", "Namespace", "y", json!({})),
                Step::When(|world| published(world, "x")),
                patch(
                    &format!("{MAPS}/kube-root-ca.crt"),
                    json!({"data": {"ca.crt": "another", "more": "x"}}),
                ),
                Step::When(|world| published(world, "y")),
                delete("/api/v1/namespaces/y/configmaps/kube-root-ca.crt"),
            ]
        },
        check: |world| {
            ["x", "y"]
                .into_iter()
                .try_for_each(|namespace| published(world, namespace))
        },
        ..PLAIN
    },
];

/// The authority's certificate is in a namespace, and nothing beside it.
fn published(world: &World, namespace: &str) -> Result<(), String> {
    let is_it = |map: &&Value| {
        let meta = &map["metadata"];
        meta["namespace"] == namespace && meta["name"] == "kube-root-ca.crt"
    };
    let map = world
        .all("configmaps")
        .iter()
        .find(is_it)
        .ok_or_else(|| format!("none in {namespace}"))?;
    let data = map["data"].as_object().ok_or("no data")?;
    let text = data
        .get("ca.crt")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let found = json!((data.len(), text.starts_with("-----BEGIN")));
    equal("a certificate alone", &found, &json!([1, true]))
}

/// A request whose subject is the node of this name.
fn request(name: &str, signer: &str) -> Step {
    let key = Key::generate(KeyType::EcdsaP256).expect("a key");
    let subject = Subject {
        common_name: &format!("system:node:{name}"),
        organization: "system:nodes",
        dns_names: &[],
        ip_addresses: &[],
    };
    let der = key.request(&subject).expect("a request");
    let text = pem::encode("CERTIFICATE REQUEST", &der);
    let spec = json!({"signerName": signer, "request": BASE64_STANDARD.encode(text),
        "usages": ["digital signature", "client auth"]});
    create_in(
        "",
        "certificates.k8s.io/v1",
        "CertificateSigningRequest",
        name,
        json!({"spec": spec}),
    )
}

fn decide(name: &str, decision: &str) -> Step {
    let condition = json!({"type": decision, "status": "True", "reason": "Asked", "message": ""});
    patch(
        &format!("{REQUESTS}/{name}/approval"),
        json!({"status": {"conditions": [condition]}}),
    )
}

fn conditions(world: &World, name: &str) -> Result<Value, String> {
    let conditions =
        world.one("certificatesigningrequests", name)?["status"]["conditions"].as_array();
    let types: Vec<&Value> = conditions
        .into_iter()
        .flatten()
        .map(|c| &c["type"])
        .collect();
    Ok(json!(types))
}

fn pod_request(name: &str) -> Step {
    let key = Key::generate(KeyType::EcdsaP256).expect("a key");
    let stub = key.stub_request().expect("a request");
    let spec = json!({"signerName": "example.com/mine", "podName": "p", "podUID": "u", "serviceAccountName": "default",
        "serviceAccountUID": "s", "nodeName": "n", "nodeUID": "m", "stubPKCS10Request": BASE64_STANDARD.encode(stub)});
    create(
        "certificates.k8s.io/v1",
        "PodCertificateRequest",
        name,
        json!({"spec": spec}),
    )
}
