//! Controllers of service accounts and tokens.

use std::time::Duration;

use serde_json::{Value, json};

use crate::crashes::scenario::{PLAIN, Scenario, Step, create, create_in, delete, patch, wait};
use crate::crashes::world::{World, equal};

const ACCOUNTS: &str = "/api/v1/namespaces/x/serviceaccounts";
const DAYS: Duration = Duration::from_secs(3 * 24 * 3600);

pub const SCENARIOS: [Scenario; 5] = [
    Scenario {
        controller: "serviceaccount-controller",
        after: || {
            vec![
                create_in("", "v1", "Namespace", "y", json!({})),
                delete(&format!("{ACCOUNTS}/default")),
            ]
        },
        check: |world| {
            for namespace in ["x", "y"] {
                let is_its = |account: &&Value| account["metadata"]["namespace"] == namespace;
                let names: Vec<&Value> = world
                    .all("serviceaccounts")
                    .iter()
                    .filter(is_its)
                    .map(|a| &a["metadata"]["name"])
                    .collect();
                equal(namespace, &json!(names), &json!(["default"]))?;
            }
            Ok(())
        },
        ..PLAIN
    },
    Scenario {
        controller: "serviceaccount-token-controller",
        after: || {
            vec![
                create("v1", "ServiceAccount", "bot", json!({})),
                token("of-bot", "bot"),
                token("of-default", "default"),
                token("of-nobody", "nobody"),
                wait(5),
                delete(&format!("{ACCOUNTS}/bot")),
            ]
        },
        check: |world| {
            equal("tokens", &tokens(world), &json!(["of-default"]))?;
            let data = world.one("secrets", "of-default")?["data"].as_object();
            let keys: Vec<&String> = data.into_iter().flat_map(|data| data.keys()).collect();
            equal(
                "keys",
                &json!(keys),
                &json!(["ca.crt", "namespace", "token"]),
            )
        },
        ..PLAIN
    },
    Scenario {
        controller: "legacy-serviceaccount-token-cleaner-controller",
        company: &["serviceaccount-token-controller"],
        before: || {
            let tracked = json!({"data": {"since": "2020-01-01"}});
            let name = "kube-apiserver-legacy-service-account-token-tracking";
            vec![
                create_in("", "v1", "Namespace", "kube-system", json!({})),
                create_in("kube-system", "v1", "ConfigMap", name, tracked),
                create(
                    "v1",
                    "ServiceAccount",
                    "bot",
                    json!({"secrets": [{"name": "generated"}]}),
                ),
                token("generated", "bot"),
                token("made", "bot"),
                Step::Pass(DAYS),
            ]
        },
        after: || {
            vec![
                Step::When(|world| {
                    let secret = world.one("secrets", "generated")?;
                    let since =
                        &secret["metadata"]["labels"]["kubernetes.io/legacy-token-invalid-since"];
                    equal("marked", &json!(since.is_string()), &json!(true))
                }),
                Step::Pass(DAYS),
                // It is looked at once a day, and when it changes.
                patch(
                    "/api/v1/namespaces/x/secrets/generated",
                    json!({"metadata": {"annotations": {"seen": "yes"}}}),
                ),
            ]
        },
        check: |world| {
            equal("tokens", &tokens(world), &json!(["made"]))?;
            let account = world.one("serviceaccounts", "bot")?;
            let listed = account["secrets"].as_array().map_or(0, Vec::len);
            equal("listed", &json!(listed), &json!(0))
        },
        ..PLAIN
    },
    Scenario {
        controller: "bootstrap-signer-controller",
        before: || {
            vec![
                create_in("", "v1", "Namespace", "kube-public", json!({})),
                create_in("", "v1", "Namespace", "kube-system", json!({})),
                create_in(
                    "kube-public",
                    "v1",
                    "ConfigMap",
                    "cluster-info",
                    json!({"data": {"kubeconfig": "a"}}),
                ),
            ]
        },
        after: || {
            vec![
                bootstrap_token("aaaaaa", json!({})),
                bootstrap_token("bbbbbb", json!({})),
                wait(5),
                patch(
                    "/api/v1/namespaces/kube-public/configmaps/cluster-info",
                    json!({"data": {"kubeconfig": "b"}}),
                ),
                delete("/api/v1/namespaces/kube-system/secrets/bootstrap-token-bbbbbb"),
            ]
        },
        check: |world| {
            let data = world.one("configmaps", "cluster-info")?["data"].as_object();
            let keys: Vec<&String> = data.into_iter().flat_map(|data| data.keys()).collect();
            equal(
                "signatures",
                &json!(keys),
                &json!(["jws-kubeconfig-aaaaaa", "kubeconfig"]),
            )
        },
        ..PLAIN
    },
    Scenario {
        controller: "token-cleaner-controller",
        before: || vec![create_in("", "v1", "Namespace", "kube-system", json!({}))],
        after: || {
            vec![
                bootstrap_token("aaaaaa", json!({"expiration": "2020-01-01T00:00:00Z"})),
                bootstrap_token("bbbbbb", json!({"expiration": "2020-01-01T00:00:00Z"})),
                bootstrap_token("cccccc", json!({})),
            ]
        },
        check: |world| {
            let is_one = |secret: &&Value| secret["type"] == "bootstrap.kubernetes.io/token";
            let names: Vec<&Value> = world
                .all("secrets")
                .iter()
                .filter(is_one)
                .map(|s| &s["metadata"]["name"])
                .collect();
            equal("tokens", &json!(names), &json!(["bootstrap-token-cccccc"]))
        },
        ..PLAIN
    },
];

fn token(name: &str, account: &str) -> Step {
    let meta = json!({"annotations": {"kubernetes.io/service-account.name": account}});
    create(
        "v1",
        "Secret",
        name,
        json!({"metadata": meta, "type": "kubernetes.io/service-account-token"}),
    )
}

fn tokens(world: &World) -> Value {
    let is_one = |secret: &&Value| secret["type"] == "kubernetes.io/service-account-token";
    let names: Vec<&Value> = world
        .all("secrets")
        .iter()
        .filter(is_one)
        .map(|s| &s["metadata"]["name"])
        .collect();
    json!(names)
}

fn bootstrap_token(id: &str, more: Value) -> Step {
    let mut data = json!({"token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true"});
    for (key, value) in more.as_object().into_iter().flatten() {
        data[key] = value.clone();
    }
    let secret = json!({"type": "bootstrap.kubernetes.io/token", "stringData": data});
    create_in(
        "kube-system",
        "v1",
        "Secret",
        &format!("bootstrap-token-{id}"),
        secret,
    )
}
